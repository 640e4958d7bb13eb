"""The reference as the loss sees it: its log-probabilities, each computed once, and how it may follow the policy.

    reference = Reference(policy.frozen_copy())                     # fixed, as in the paper
    reference = Reference(policy.frozen_copy(), shelf=shelf)        # and what earlier runs computed is read, not redone
    reference = Reference(policy.frozen_copy(), every=200)          # becomes the policy every 200 steps
    reference = Reference(policy.frozen_copy(), every=1, decay=0.99)  # exponential moving average of the weights

A reference that moves is another problem than the recipe's beta says: T alignments to the end, each from the last one's
result, are one alignment at beta / T, since every one multiplies the policy by exp(R / beta) again.

What the reference writes itself it knows as it writes: `generate` remembers, and `examples` makes no pass over it.
Every other group has a forward pass of its own. In a larger one the last digits of a group would depend on the groups
beside it, and with them on which of these were known already. Measured on one CPU core (2.2 M-parameter Llama, 64
groups of 4 completions after 96 prompt tokens): 0.98 to 1.01 s of processor time, against 0.65 to 0.71 s in passes of
4,096 tokens, which gave other last digits to 64 % of the completions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

import torch

from copgkit.engine import ranks
from copgkit.engine.policy import FrozenPolicy, Policy
from copgkit.types import Completion, GenerationSettings, Group, Prompt, ScoredGroup

_GROUPS_KEPT = 20_000  # their log-probabilities take a few megabytes
_GROUPS_PER_WRITE = 64  # so many are lost at most with a run that is killed

LogProbs = tuple[float, ...]
"""Of a group's completions, in order, in nats."""


class Shelf(Protocol):
    """Where the log-probabilities of one frozen model are kept from one run to the next, by what they depend on."""

    def find(self, groups: Sequence[Group]) -> Sequence[LogProbs | None]:
        """What was kept of each group, bit for bit; None for what was not."""
        ...

    def keep(self, groups: Sequence[Group], log_probs: Sequence[LogProbs]) -> None:
        """Writes the log-probabilities of each group, all or none; they are safe when it returns."""
        ...


@dataclass(frozen=True)
class Example:
    """A scored group with the reference's log-probabilities of its completions (K, nats).

    refreshes: how often the reference had followed the policy when they were computed.
    """

    scored: ScoredGroup
    ref_log_probs: LogProbs
    refreshes: int = 0


@dataclass
class Reference:
    """The frozen policy that the loss is measured from.

    every: optimiser steps after which it follows the policy; None: never. decay: the share of its own weights that it
    keeps when it does. autocast: the precision in which it runs, the policy's. shelf: asked until it has moved.
    written, spared and computed: completions that it wrote itself, whose log-probabilities the shelf had, and that took
    a forward pass.
    """

    policy: FrozenPolicy
    every: int | None = None
    decay: float = 0.0
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext
    shelf: Shelf | None = None
    refreshes: int = 0
    written: int = 0
    spared: int = 0
    computed: int = 0
    _known: dict[bytes, LogProbs] = field(default_factory=dict)
    _own: dict[tuple[str, tuple[int, ...]], float] = field(default_factory=dict)
    _taken: tuple[int, int] = (0, 0)

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """As the policy writes them. Their log-probabilities, where writing gives them, serve the next examples; they
        are gone with the process, so that only a run that keeps its examples should draw from here."""
        rows = self.policy.generate(prompts, completions_per_prompt, settings)
        completions = (one for row in rows for one in row)
        self._own |= {_content(one): one.log_prob for one in completions if one.log_prob is not None}
        return rows

    def examples(
        self, groups: Sequence[ScoredGroup], advance: Callable[[int], None] = lambda done: None
    ) -> list[Example]:
        """The groups with their log-probabilities. One that comes again is not computed again; several processes share
        the others."""
        keys = [_key(scored.group) for scored in groups]
        known = self._known_of(keys, groups)
        new = {key: scored.group for key, scored in zip(keys, groups, strict=True) if key not in known}
        advance(len(groups) - len(ranks.share_of(list(new))))  # those that are known, and the other processes' share
        with self.policy.whole():
            log_probs = ranks.share_out(list(new.values()), lambda own: self._log_probs(own, advance))
        known |= zip(new, log_probs, strict=True)
        self._remember(known)
        self._own.clear()
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
        with policy.whole():
            for own, new in zip(self.policy.parameters(), policy.parameters(), strict=True):
                own.lerp_(new.to(own), 1 - self.decay)
        self.refreshes += 1
        self._known.clear()
        self._own.clear()

    def take_figures(self) -> dict[str, float]:
        """Completions that the shelf had and completions that were computed since this was last called, by metric
        name; nothing without a shelf that is still asked."""
        hits, computed = self.spared - self._taken[0], self.computed - self._taken[1]
        self._taken = (self.spared, self.computed)
        figures: dict[str, float] = ranks.summed(
            {"reference/log-probs/store-hits": hits, "reference/log-probs/store-misses": computed}
        )
        return figures if self._open_shelf is not None and any(figures.values()) else {}

    def record(self) -> dict[str, int]:
        """What is worth remembering of a run: completions that the reference wrote itself, and of the others those
        whose log-probabilities were in the store, and those that were computed."""
        shared = ranks.summed({"from-store": self.spared, "computed": self.computed})
        return {"written": self.written, **shared}  # every process has all that was written

    @property
    def _open_shelf(self) -> Shelf | None:
        """The shelf knows the model as it was at the start; one that has moved is another model."""
        return None if self.refreshes else self.shelf

    def _known_of(self, keys: Sequence[bytes], groups: Sequence[ScoredGroup]) -> dict[bytes, LogProbs]:
        """Those of groups that were given before, or that are wholly the reference's own."""
        known = {key: self._known[key] for key in keys if key in self._known}
        for key, scored in zip(keys, groups, strict=True) if self._own else ():
            own = [self._own.get(_content(one)) for one in scored.group.completions]
            log_probs = tuple(logp for logp in own if logp is not None)
            if key not in known and len(log_probs) == len(own):
                known[key] = log_probs
                self.written += len(own)
        return known

    def _log_probs(self, groups: Sequence[Group], advance: Callable[[int], None]) -> list[LogProbs]:
        """Those of each group: the shelf's where it has them, else computed."""
        shelf = self._open_shelf
        found = [None] * len(groups) if shelf is None else shelf.find(groups)
        missing = [group for group, kept in zip(groups, found, strict=True) if kept is None]
        advance(len(groups) - len(missing))
        computed = self._computed(missing, shelf, advance)
        self.spared += sum(len(kept) for kept in found if kept is not None)
        return [next(computed) if kept is None else kept for kept in found]

    def _computed(
        self, groups: Sequence[Group], shelf: Shelf | None, advance: Callable[[int], None]
    ) -> Iterator[LogProbs]:
        """Those of each group, written to the shelf as they come."""
        for start in range(0, len(groups), _GROUPS_PER_WRITE):
            chunk = groups[start : start + _GROUPS_PER_WRITE]
            with self.autocast():
                rows = [log_probs_of(self.policy, group) for group in chunk]
            if shelf is not None:
                shelf.keep(chunk, rows)
            self.computed += sum(map(len, rows))
            advance(len(chunk))
            yield from rows

    def _remember(self, known: dict[bytes, LogProbs]) -> None:
        """Keeps the latest; what was used last goes last."""
        for key, log_probs in known.items():
            self._known.pop(key, None)
            self._known[key] = log_probs
        for key in list(self._known)[: max(0, len(self._known) - _GROUPS_KEPT)]:
            del self._known[key]


@torch.no_grad()
def log_probs_of(reference: FrozenPolicy, group: Group) -> LogProbs:
    """The log-probabilities of a group's completions, from a pass of its own."""
    (logp_K,) = reference.log_probs([group]).double().tolist()
    return tuple(logp_K)


def _content(completion: Completion) -> tuple[str, tuple[int, ...]]:
    """What a completion's log-probability depends on."""
    return completion.prompt.content_key, completion.token_ids or ()


def _key(group: Group) -> bytes:
    """What the log-probabilities of a group depend on, in short."""
    said = [
        (completion.token_ids, completion.token_ids is None and completion.text) for completion in group.completions
    ]
    return blake2b(f"{group.prompt.content_key}|{said}".encode(), digest_size=16).digest()
