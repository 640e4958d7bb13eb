"""The round and the samples of a run as plain data, and back: what a checkpoint holds beside the training.

A prompt is saved as its place among the run's own prompts, which know what no row holds; one that a sampler has made up
itself is saved as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from copgkit.store import number_in, number_out, scored_group_from_row, scored_group_to_row
from copgkit.types import Group, Prompt, Sample, ScoredGroup

if TYPE_CHECKING:
    from copgkit.engine.rounds import Round

Row = dict[str, Any]


def round_to_rows(present: Round, prompts: Sequence[Prompt]) -> Iterator[Row]:
    """A row for the round, one for each group that was scored in it, and one for each that is trained on."""
    places = {id(prompt): place for place, prompt in enumerate(prompts)}
    numbers = {id(scored): number for number, scored in enumerate(present.scored)}
    yield {
        "number": present.number,
        "scored": len(present.scored),
        "without_signal": present.without_signal,
        "sampler": present.sampler,
    }
    yield from (_group_to_row(scored, places) for scored in present.scored)
    for example in present.examples:
        same = numbers.get(id(example.scored))
        yield {
            **(_group_to_row(example.scored, places) if same is None else {"same": same}),
            "ref_log_probs": example.ref_log_probs,
            "refreshes": example.refreshes,
        }


def round_from_rows(rows: Sequence[Row], prompts: Sequence[Prompt]) -> Round:
    """The inverse of round_to_rows."""
    from copgkit.engine.reference import Example
    from copgkit.engine.rounds import Round

    head, *rest = rows
    scored = [_group_from_row(row, prompts) for row in rest[: head["scored"]]]
    examples = [
        Example(
            scored[row["same"]] if "same" in row else _group_from_row(row, prompts),
            tuple(row["ref_log_probs"]),
            row["refreshes"],
        )
        for row in rest[head["scored"] :]
    ]
    return Round(head["number"], scored, examples, head["without_signal"], head["sampler"])


def samples_to_rows(samples: Sequence[Sequence[Sample]], prompts: Sequence[Prompt]) -> list[list[Row]]:
    """Samples by prompt, each as a group of one completion with its reward and log-ratio."""
    places = {id(prompt): place for place, prompt in enumerate(prompts)}
    return [[_sample_to_row(sample, places) for sample in of_prompt] for of_prompt in samples]


def samples_from_rows(rows: Sequence[Sequence[Row]], prompts: Sequence[Prompt]) -> list[list[Sample]]:
    """The inverse of samples_to_rows."""
    return [[_sample_from_row(row, prompts) for row in of_prompt] for of_prompt in rows]


def _sample_to_row(sample: Sample, places: Mapping[int, int]) -> Row:
    scores = {name: [score] for name, score in sample.scores.items()}
    one = ScoredGroup(Group(sample.completion.prompt, (sample.completion,)), scores, ())
    return {**_group_to_row(one, places), "reward": sample.reward, "log_ratio": number_out(sample.log_ratio)}


def _sample_from_row(row: Row, prompts: Sequence[Prompt]) -> Sample:
    one = _group_from_row(row, prompts)
    scores = {name: column[0] for name, column in one.scores.items()}
    return Sample(one.group.completions[0], scores, row["reward"], number_in(row["log_ratio"]))


def _group_to_row(scored: ScoredGroup, places: Mapping[int, int]) -> Row:
    return {"group": scored_group_to_row(scored), "place": places.get(id(scored.group.prompt))}


def _group_from_row(row: Row, prompts: Sequence[Prompt]) -> ScoredGroup:
    scored = scored_group_from_row(row["group"])
    prompt = scored.group.prompt if row["place"] is None else prompts[row["place"]]
    completions = tuple(replace(one, prompt=prompt) for one in scored.group.completions)
    return replace(scored, group=replace(scored.group, prompt=prompt, completions=completions))
