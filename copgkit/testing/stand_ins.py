"""Data that contracts are tried on where the author gives none: prompts, completions, samples, a model of words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from copgkit.types import Completion, GenerationSettings, Group, Message, Prompt, Recorded, Sample, Score, ScoredGroup

_WORDS = "the a cat dog light sea sky is was blue far near it not why because air water".split()  # noqa: SIM905


def some_prompts() -> list[Prompt]:
    """Five prompts with answers and recorded, scored completions; one is a conversation."""
    asked: list[str | tuple[Message, ...]] = [
        "Why is the sky blue?",
        "Say something of the sea.",
        (Message(role="user", content="Name a colour."),),
        "How far is the moon?",
        "Is it late?",
    ]
    return [
        Prompt(
            content,
            id=f"prompt-{number}",
            answer=f"A known good answer to question {number}.",
            recorded=tuple(Recorded(text, {"judge": float(len(text) % 7)}) for text in _texts(number)),
            origin=f"contract:{number}",
        )
        for number, content in enumerate(asked, start=1)
    ]


def some_completions() -> list[Completion]:
    """Fifteen completions: short and long, empty, unfinished, with line breaks and with other letters."""
    return [
        Completion(prompt, one.text, finished=bool(number), recorded_scores=one.scores)
        for prompt in some_prompts()
        for number, one in enumerate(prompt.recorded)
    ]


def some_samples(completions: Sequence[Completion] | None = None) -> tuple[list[Sample], list[Sample]]:
    """Samples of a policy and of its reference for the same prompts; one of them has no reward, since a source
    failed."""
    completions = some_completions() if completions is None else list(completions)
    first: dict[str, Completion] = {}
    last: dict[str, Completion] = {}
    for completion in completions:
        first.setdefault(completion.prompt.text, completion)
        last[completion.prompt.text] = completion
    samples = [_sample(one, number, 0.1 * number) for number, one in enumerate(last.values())]
    return samples, [_sample(one, number + 2, 0.0) for number, one in enumerate(first.values())]


def scored(groups: Sequence[Group]) -> list[ScoredGroup]:
    """The groups as a panel with one source would score them: by the number of letters."""
    values = [tuple(float(len(one.text) % 11) for one in group.completions) for group in groups]
    return [
        ScoredGroup(group, {"letters": [Score(value) for value in row]}, row)
        for group, row in zip(groups, values, strict=True)
    ]


@dataclass(frozen=True)
class WordGenerator:
    """A model that writes a few words by chance: the same ones for the same seed, prompt and number."""

    name: str = "policy"

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Completions of two to six words, for each prompt."""
        return [[self._one(prompt, number, settings) for number in range(completions_per_prompt)] for prompt in prompts]

    def _one(self, prompt: Prompt, number: int, settings: GenerationSettings) -> Completion:
        chance = random.Random(f"{self.name}|{settings.seed}|{prompt.text}|{number if settings.temperature else 0}")
        ids = [chance.randrange(len(_WORDS)) for _ in range(chance.randint(2, 6))]
        return Completion(prompt, " ".join(_WORDS[index] for index in ids), (*ids, len(_WORDS)))


def _texts(number: int) -> tuple[str, ...]:
    return (
        f"Answer {number}, cut off in the",
        f"It is so, {number} times over.\n\nAnd näher besehen: 日本.",
        "" if number == 2 else f"{'very ' * number}short",
    )


def _sample(completion: Completion, number: int, log_ratio: float) -> Sample:
    if number == 1:
        return Sample(completion, {"judge": Score.failed("no answer")}, None, log_ratio)
    return Sample(completion, {"judge": Score(float(number))}, float(number), log_ratio)
