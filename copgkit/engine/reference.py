"""The reference as the loss sees it: its log-probabilities, each computed once, and how it may follow the policy.

    reference = Reference(policy.frozen_copy())                     # fixed, as in the paper
    reference = Reference(policy.frozen_copy(), every=200)          # becomes the policy every 200 steps
    reference = Reference(policy.frozen_copy(), every=1, decay=0.99)  # exponential moving average of the weights

A reference that moves is another problem than the recipe's beta says: T alignments to the end, each from the last one's
result, are one alignment at beta / T, since every one multiplies the policy by exp(R / beta) again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b

import torch

from copgkit.engine import ranks
from copgkit.engine.policy import Policy
from copgkit.types import Group, ScoredGroup

_GROUPS_KEPT = 20_000  # their log-probabilities take a few megabytes


@dataclass(frozen=True)
class Example:
    """A scored group with the reference's log-probabilities of its completions (K, nats).

    refreshes: how often the reference had followed the policy when they were computed.
    """

    scored: ScoredGroup
    ref_log_probs: tuple[float, ...]
    refreshes: int = 0


@dataclass
class Reference:
    """The frozen policy that the loss is measured from.

    every: optimiser steps after which it follows the policy; None: never. decay: the share of its own weights that it
    keeps when it does. autocast: the precision in which it runs, the policy's.
    """

    policy: Policy
    every: int | None = None
    decay: float = 0.0
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    refreshes: int = 0
    _known: dict[bytes, tuple[float, ...]] = field(default_factory=dict)

    def examples(
        self, groups: Sequence[ScoredGroup], advance: Callable[[int], None] = lambda done: None
    ) -> list[Example]:
        """The groups with their log-probabilities. One that comes again is not computed again; several processes share
        the others."""
        keys = [_key(scored.group) for scored in groups]
        known = {key: self._known[key] for key in keys if key in self._known}
        new = {key: scored for key, scored in zip(keys, groups, strict=True) if key not in known}
        advance(len(groups) - len(ranks.share_of(list(new))))  # what is known, and what other processes do
        with self.autocast():
            computed = ranks.share_out(list(new.values()), lambda own: self._log_probs(own, advance))
        known |= dict(zip(new, computed, strict=True))
        self._remember(known)
        return [Example(scored, known[key], self.refreshes) for key, scored in zip(keys, groups, strict=True)]

    def now(self, examples: Sequence[Example]) -> list[Example]:
        """The same groups as the reference sees them now, which differs after it has followed the policy."""
        if all(example.refreshes == self.refreshes for example in examples):
            return list(examples)
        return self.examples([example.scored for example in examples])

    @torch.no_grad()
    def follow(self, policy: Policy, step: int) -> None:
        """Moves towards the policy if this step is one at which it does."""
        if self.every is None or step % self.every:
            return
        for own, new in zip(self.policy.parameters(), policy.parameters(), strict=True):
            own.lerp_(new.to(own), 1 - self.decay)
        self.refreshes += 1
        self._known.clear()

    def _log_probs(self, groups: Sequence[ScoredGroup], advance: Callable[[int], None]) -> list[tuple[float, ...]]:
        return [example.ref_log_probs for example in reference_log_probs(self.policy, groups, advance)]

    def _remember(self, known: dict[bytes, tuple[float, ...]]) -> None:
        """Keeps the latest; what was used last goes last."""
        for key, log_probs in known.items():
            self._known.pop(key, None)
            self._known[key] = log_probs
        for key in list(self._known)[: max(0, len(self._known) - _GROUPS_KEPT)]:
            del self._known[key]


def reference_log_probs(
    reference: Policy, groups: Sequence[ScoredGroup], advance: Callable[[int], None], groups_per_call: int = 64
) -> list[Example]:
    """The groups with the reference's log-probabilities, computed without gradient."""
    examples = []
    for start in range(0, len(groups), groups_per_call):
        chunk = groups[start : start + groups_per_call]
        with torch.no_grad():
            logp_GK = reference.log_probs([scored.group for scored in chunk]).double().cpu()
        for scored, row in zip(chunk, logp_GK.tolist(), strict=True):
            examples.append(Example(scored, tuple(row[: len(scored.rewards)])))
        advance(len(chunk))
    return examples


def _key(group: Group) -> bytes:
    """What the log-probabilities of a group depend on, in short."""
    said = [
        (completion.token_ids, completion.token_ids is None and completion.text) for completion in group.completions
    ]
    return blake2b(f"{group.prompt.content_key}|{said}".encode(), digest_size=16).digest()
