"""What the rows of a sweep share instead of doing it again: completions that a frozen model wrote, and scores.

Completions are kept in a folder, so that a sweep that was killed does not draw them again either. Scores are kept by
the score store; those of sources whose scores it does not keep stay in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path

from copgkit.engine.on_demand import OnDemand
from copgkit.engine.policy import FrozenPolicy
from copgkit.store import read_groups, write_groups
from copgkit.types import Completion, GenerationSettings, Group, Prompt, Score, ScoredGroup


class Remembering(OnDemand):
    """A frozen policy that writes nothing twice and stays in memory. identity: what else its completions depend on."""

    def __init__(self, policy: FrozenPolicy, folder: Path, identity: str) -> None:
        super().__init__(policy)
        self._folder, self._identity = folder, identity
        self._written: dict[str, list[list[Completion]]] = {}

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """As the policy writes them, or as it wrote them when it was asked the same before."""
        asked = [self._identity, completions_per_prompt, asdict(settings), [one.content_key for one in prompts]]
        name = blake2b(repr(asked).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        if name not in self._written:
            self._written[name] = self._from_file(self._folder / f"{name}.jsonl") or self._write(
                self._folder / f"{name}.jsonl", super().generate(prompts, completions_per_prompt, settings), prompts
            )
        rows = zip(prompts, self._written[name], strict=True)
        return [[replace(one, prompt=prompt) for one in row] for prompt, row in rows]

    @staticmethod
    def _from_file(file: Path) -> list[list[Completion]] | None:
        return [list(one.group.completions) for one in read_groups(file)] if file.exists() else None

    @staticmethod
    def _write(file: Path, rows: list[list[Completion]], prompts: Sequence[Prompt]) -> list[list[Completion]]:
        groups = (Group(prompt, tuple(row)) for prompt, row in zip(prompts, rows, strict=True))
        write_groups(file, (ScoredGroup(group, {}, ()) for group in groups))
        return rows


class MemoryShelf:
    """The scores of a source that the score store keeps none of, for as long as the sweep lasts."""

    def __init__(self) -> None:
        self._scores: dict[bytes, Sequence[Score]] = {}

    def keys(self, groups: Sequence[Group]) -> list[bytes]:
        """By all that is known of a group."""
        return [blake2b(repr(group).encode("utf-8", "surrogatepass"), digest_size=16).digest() for group in groups]

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Sequence[Score]]:
        return {key: self._scores[key] for key in keys if key in self._scores}

    def keep(self, scores: Mapping[bytes, Sequence[Score]]) -> None:
        self._scores |= scores
