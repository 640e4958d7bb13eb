"""The plain data that every room of copgkit speaks: prompts, completions, groups and scores.

Standard library only. A *group* is the completions of one prompt; everything upstream makes groups and everything
downstream consumes them. Plugins see text; a completion that the engine generated also carries its token ids, so
that it is never tokenised a second time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict, TypeVar

T = TypeVar("T")


class Message(TypedDict):
    """One turn of a conversation, in the form that chat templates take."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """A completion that came with the data, and the scores that came with it (by column name): plain numbers, or a
    `Score` where there is more to say (an abstention, a failure, notes)."""

    text: str
    scores: Mapping[str, float | Score] = field(default_factory=dict)
    token_ids: tuple[int, ...] | None = None
    finished: bool = True


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is asked.

    content: plain text, or the turns of a conversation (the tokenizer's chat template is applied to those).
    facts: what is known about this prompt and no model sees; rewards and evaluators may read it (tests, labels, ...).
    answer: a known good text, where there is one.
    recorded: completions that came with the data, for the `recorded` sampler; recorded_weights: their pair weights.
    origin: where it was read ("posts.jsonl:17"), for messages.
    """

    content: str | tuple[Message, ...]
    id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None = None
    recorded: tuple[Recorded, ...] = ()
    origin: str = ""
    recorded_weights: PairWeights | None = None

    @property
    def text(self) -> str:
        """The prompt as text; the turns of a conversation are joined by blank lines, each as `role: content`."""
        if isinstance(self.content, str):
            return self.content
        return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in self.content)

    @property
    def content_key(self) -> str:
        """The content as one string: equal for equal contents, also for conversations."""
        return json.dumps(self.content)

    @property
    def is_conversation(self) -> bool:
        return not isinstance(self.content, str)

    @property
    def place(self) -> str:
        """How messages name this prompt."""
        return self.origin or self.id or repr(self.text[:40])


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer of a model, or of the data, to a prompt.

    token_ids: the generated ids, end-of-sequence included when it was produced; None when only text is known.
    finished: False when generation stopped at the length limit, so that the end-of-sequence token is missing.
    recorded_scores: the scores that came with the data.
    log_prob: ln pi(y|x) in nats of the model that wrote it, as that then was; None where nobody knows. It is no part of
    what a completion is: not compared, as its last digits depend on the batch, and not written to files.
    """

    prompt: Prompt
    text: str
    token_ids: tuple[int, ...] | None = None
    finished: bool = True
    recorded_scores: Mapping[str, float | Score] = field(default_factory=dict)
    log_prob: float | None = field(default=None, compare=False, repr=False)


PairWeights = tuple[tuple[float, ...], ...]
"""[K, K], symmetric and non-negative: how much each pair of a group's completions counts in the loss."""


@dataclass(frozen=True, slots=True)
class Group:
    """K >= 2 completions of one prompt. pair_weights None means that all pairs count equally."""

    prompt: Prompt
    completions: tuple[Completion, ...]
    pair_weights: PairWeights | None = None

    def only(self, keep: Sequence[int]) -> Group:
        """The group with only these of its completions, and their pair weights."""
        weights = self.pair_weights and tuple(tuple(self.pair_weights[i][j] for j in keep) for i in keep)
        return replace(self, completions=tuple(self.completions[k] for k in keep), pair_weights=weights)


@dataclass(frozen=True, slots=True)
class Score:
    """What one reward source says of one completion.

    Three things that are never confused: a value (0.0 is one), an abstention (this source has nothing to say here;
    the other sources decide) and a failure (the source could not tell; the recipe says what happens).
    A value must be finite; NaN and infinity are refused at the door of the panel.
    """

    value: float | None
    notes: Mapping[str, float | str] = field(default_factory=dict)
    failure: str | None = None

    @classmethod
    def failed(cls, reason: str) -> Score:
        """The source could not tell. Never a zero."""
        return cls(None, failure=reason)

    @classmethod
    def abstain(cls, reason: str = "") -> Score:
        """The source has nothing to say about this completion: it contributes nothing to the reward."""
        return cls(None, notes={"abstained": reason or "yes"})

    @property
    def is_finite(self) -> bool:
        return self.value is not None and math.isfinite(self.value)


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group with what every source said and the reward that is optimised.

    scores: raw scores by source name, K each, in the order of the completions.
    rewards: K weighted sums.
    mapped: values after clip, scale and shift, of the sources that have such a map; None where a source abstained.
    weighted: values times their weight, of the sources whose weight is not 1. A step that changes nothing is left out.
    """

    group: Group
    scores: Mapping[str, Sequence[Score]]
    rewards: tuple[float, ...]
    mapped: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    weighted: Mapping[str, Sequence[float | None]] = field(default_factory=dict)

    def terms(self, source: str) -> Sequence[float | None]:
        """What a source adds to the rewards: its weighted values, K of them; None where it abstained."""
        if source in self.weighted:
            return self.weighted[source]
        return self.mapped.get(source) or [score.value for score in self.scores[source]]

    def only(self, keep: Sequence[int]) -> ScoredGroup:
        """The scored group with only these of its completions."""
        return ScoredGroup(
            self.group.only(keep),
            _only(self.scores, keep),
            tuple(self.rewards[k] for k in keep),
            _only(self.mapped, keep),
            _only(self.weighted, keep),
        )


def _only(columns: Mapping[str, Sequence[T]], keep: Sequence[int]) -> dict[str, list[T]]:
    return {name: [column[k] for k in keep] for name, column in columns.items()}


@dataclass(frozen=True, slots=True)
class Sample:
    """One evaluated completion: its raw scores by source, its reward (None if a source failed) and
    log_ratio = ln pi(y|x) - ln pi_ref(y|x) in nats, summed over its tokens."""

    completion: Completion
    scores: Mapping[str, Score]
    reward: float | None
    log_ratio: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured figure with its 95 % confidence interval and the number of samples behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluator sees: one sample of the policy and of the reference for each prompt, in the same order.

    by_prompt: all samples of the policy that were drawn for each prompt, the one in `samples` first
    (`evaluate.samples_per_prompt`).
    """

    step: int
    samples: Sequence[Sample]
    reference_samples: Sequence[Sample]
    by_prompt: Sequence[Sequence[Sample]] = ()


@dataclass(frozen=True, slots=True)
class Curves:
    """A picture for the report: lines by label, each a list of points (x, y, low, high)."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float, float, float]]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How completions are drawn. temperature 0 means greedy. Truncating with top_p changes the behaviour policy;
    the loss does not need to know."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int | None = None
    seed: int = 0
