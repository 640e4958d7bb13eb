"""A bounded memory of scored groups, each once."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from copgkit import Prompt, ScoredGroup, scored_group_from_row, scored_group_to_row


@dataclass(frozen=True)
class Held:
    """A scored group and the round in which it was drawn."""

    scored: ScoredGroup
    round: int


class Buffer:
    """The latest groups, at most `capacity`; the oldest leave first. A group that comes again is held once, as new."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._held: dict[str, Held] = {}

    def __len__(self) -> int:
        return len(self._held)

    def add(self, groups: Sequence[ScoredGroup], round_: int) -> None:
        """Takes in the groups of a round."""
        for scored in groups:
            key = content_key(scored)
            self._held.pop(key, None)
            self._held[key] = Held(scored, round_)
        for key in list(self._held)[: max(0, len(self._held) - self._capacity)]:
            del self._held[key]

    def forget_before(self, round_: int) -> None:
        """Lets go of the groups of earlier rounds."""
        self._held = {key: held for key, held in self._held.items() if held.round >= round_}

    def choose(
        self, count: int, chance: random.Random, temperature: float | None, besides: Collection[str] = ()
    ) -> list[Held]:
        """At most count different groups, none of those named by `besides`, each with odds exp(mean reward /
        temperature); equal odds for None."""
        ranked = sorted(
            (key for key in self._held if key not in besides),
            key=lambda key: self._log_odds(key, temperature) + _gumbel(chance),
            reverse=True,
        )
        return [self._held[key] for key in ranked[:count]]

    def state(self) -> list[dict[str, Any]]:
        """Everything held, as plain JSON data."""
        rows = [{"round": held.round, "group": scored_group_to_row(held.scored)} for held in self._held.values()]
        plain: list[dict[str, Any]] = json.loads(json.dumps(rows))
        return plain

    def restore(self, state: Sequence[Mapping[str, Any]], prompts: Sequence[Prompt]) -> None:
        """Holds what was saved. prompts: those of the run, which take the place of the saved ones."""
        own = {_prompt_key(prompt): prompt for prompt in prompts}
        self._held = {}
        for row in state:
            scored = _with_own_prompt(scored_group_from_row(row["group"]), own)
            self._held[content_key(scored)] = Held(scored, int(row["round"]))

    def _log_odds(self, key: str, temperature: float | None) -> float:
        rewards = self._held[key].scored.rewards
        return 0.0 if temperature is None else math.fsum(rewards) / len(rewards) / temperature


def content_key(scored: ScoredGroup) -> str:
    """Equal for groups of one prompt with the same completions in the same order."""
    said = [(one.text, one.token_ids) for one in scored.group.completions]
    return blake2b(f"{scored.group.prompt.content_key}|{said!r}".encode(), digest_size=16).hexdigest()


def _gumbel(chance: random.Random) -> float:
    """Noise with which the largest of log-odds + noise is a draw by the odds (Gumbel-top-k: Kool et al. 2019)."""
    return -math.log(-math.log(chance.uniform(1e-300, 1 - 1e-16)))


def _with_own_prompt(scored: ScoredGroup, own: Mapping[str, Prompt]) -> ScoredGroup:
    """The group with the run's own prompt, which also knows what no row holds: recorded completions, its origin."""
    saved = scored.group.prompt
    prompt = own.get(_prompt_key(saved), saved)
    completions = tuple(replace(completion, prompt=prompt) for completion in scored.group.completions)
    return replace(scored, group=replace(scored.group, prompt=prompt, completions=completions))


def _prompt_key(prompt: Prompt) -> str:
    return f"{prompt.id}|{prompt.content_key}"
