"""What a reward source must keep: one score each, in order, whoever else is in the batch, and never a false zero."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from numbers import Real
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from copgkit.components import RewardSource
from copgkit.errors import CopgkitError
from copgkit.testing.elsewhere import ask_another_process
from copgkit.testing.rules import Broken, Contract, Finding, as_recipes_give, check
from copgkit.testing.stand_ins import some_completions
from copgkit.types import Completion, Group, Score


class RewardSourceContract(Contract):
    """What a reward source must keep.

    completions: what it is asked to score; stand-ins if not given. abstains_on: completions on which it must have
    nothing to say. fails_on: completions that it cannot score, and must say so of. tolerance: how far two scores of the
    same completion may lie apart, relative and absolute; models round differently in batches of another size.
    other_options: options with which it must have another fingerprint, where changing those given will not do.
    """

    component: type[RewardSource]
    completions: Sequence[Completion] = ()
    abstains_on: Sequence[Completion] = ()
    fails_on: Sequence[Completion] = ()
    tolerance: float = 1e-5
    other_options: Mapping[str, Any] | None = None

    def work(self, component: Any) -> Any:
        """Scores the completions."""
        return self._score(component, self._completions)

    def test_it_gives_one_score_for_each_completion(self) -> None:
        with self.made() as source:
            scores = self._score(source, self._completions)
        if len(scores) != len(self._completions):
            raise Broken(f"{len(scores)} scores for {len(self._completions)} completions. One each, in order.")

    def test_every_score_is_a_finite_number_an_abstention_or_a_failure(self) -> None:
        with self.made() as source:
            for completion, score in zip(self._completions, self._score(source, self._completions), strict=False):
                fault = _fault(score)
                if fault:
                    raise Broken(f"for {completion.text!r} {fault}. Give a finite number, or abstain, or fail.")

    def test_scores_come_in_the_order_of_the_completions(self) -> None:
        with self.made() as source:
            forwards = self._score(source, self._completions)
            backwards = self._score(source, self._completions[::-1])[::-1]
        self._same(forwards, backwards, "when the completions are given in the reverse order")

    def test_a_score_does_not_depend_on_the_rest_of_the_batch(self) -> None:
        with self.made() as source:
            together = self._score(source, self._completions)
            alone = [score for one in self._completions for score in self._score(source, [one])]
        self._same(together, alone, "when it is scored by itself")

    def test_the_same_completions_get_the_same_scores_again(self) -> None:
        with self.made() as source:
            first = self._score(source, self._completions)
            self._same(first, self._score(source, self._completions), "when it is scored once more")
        with self.made() as fresh:
            self._same(first, self._score(fresh, self._completions), "from another instance with the same options")

    def test_it_scores_as_before_when_it_was_released(self) -> None:
        with self.made() as source:
            before = self._score(source, self._completions)
            source.release()
            after = self.unless_it_raises("scoring after release()", lambda: self._score(source, self._completions))
        self._same(before, after, "after release(), which frees only what can be had again")

    def test_no_completions_get_no_scores(self) -> None:
        with self.made() as source:
            scores = self.unless_it_raises("scoring an empty list", lambda: self._score(source, []))
        if scores:
            raise Broken(f"{len(scores)} scores for no completions. Give an empty list.")

    def test_an_abstention_is_kept_apart_from_zero(self) -> None:
        with self.made() as source:
            known = self._score(source, self._completions)
            scores = [score for one in self.abstains_on for score in self._score(source, [one])]
        for score in known:
            if score.value is not None and "abstained" in score.notes:
                raise Broken(f"a score of {score.value:g} says in its notes that it abstained. Use Score.abstain().")
        for completion, score in zip(self.abstains_on, scores, strict=True):
            if score.value is not None or score.failure is not None:
                raise Broken(f"for {completion.text!r} it should abstain and gave {score}. Use Score.abstain().")

    def test_a_failure_is_never_a_number(self) -> None:
        with self.made() as source:
            for completion in self.fails_on:
                try:
                    (score,) = self._score(source, [completion])
                except CopgkitError:
                    continue  # stopping with a message is no false score either
                if score.failure is None:
                    raise Broken(f"for {completion.text!r} it should fail and gave {score}. Use Score.failed(reason).")

    def test_it_leaves_the_completions_alone(self) -> None:
        given = list(copy.deepcopy(self._completions))
        before = copy.deepcopy(given)
        with self.made() as source:
            self._score(source, given)
        if given != before:
            changed = [one.text for one, other in zip(given, before, strict=False) if one != other]
            raise Broken(f"it changed what it was given (first: {changed[:1]}). Copy facts before changing them.")

    def test_a_group_is_scored_as_it_is_beside_other_groups(self) -> None:
        groups = self._groups()
        with self.made() as source:
            together = [list(row) for row in source.score_groups(groups)]
            alone = [list(source.score_groups([group])[0]) for group in groups]
        if [len(row) for row in together] != [len(group.completions) for group in groups]:
            raise Broken("score_groups() does not give K scores for every group. One each, in order.")
        self._same([*chain(*together)], [*chain(*alone)], "when its group is scored by itself")

    def test_the_fingerprint_is_the_same_for_the_same_options(self) -> None:
        with self.made() as source, self.made() as other:
            here, again = source.fingerprint(), other.fingerprint()
        if here != again:
            raise Broken(f"two instances give {here!r} and {again!r}. Stored scores would never be found again.")

    def test_the_fingerprint_is_the_same_in_another_process(self) -> None:
        if "<locals>" in self.component.__qualname__:
            return  # a class made inside a function cannot be found by another process
        options = as_recipes_give(self.component, self.options).model_dump(mode="json", by_alias=True)
        there, _ = ask_another_process("fingerprint", self.component, options, Path(self.folder))
        with self.made() as source:
            here = source.fingerprint()
        if there != here:
            raise Broken(f"another process gives {there!r} for {here!r}. Leave out addresses, times and set orders.")

    def test_the_fingerprint_changes_with_the_options(self) -> None:
        with self.made() as source:
            known = source.fingerprint()
        tried = []
        for options in self._variants():
            try:
                with self.made(options) as source:
                    tried.append(source.fingerprint())
            except CopgkitError:
                continue  # this change does not fit the rest
        if tried and all(other == known for other in tried):
            raise Broken("it stays the same whatever the options are, so that old scores would be taken for new ones.")

    @property
    def _completions(self) -> list[Completion]:
        return list(self.completions) or some_completions()

    def _score(self, source: RewardSource, completions: Sequence[Completion]) -> list[Score]:
        """Scores of completions; of groups of one where the source scores groups only."""
        if type(source).score is not RewardSource.score:
            return list(source.score(completions))
        groups = [Group(one.prompt, (one,)) for one in completions]
        return [score for row in source.score_groups(groups) for score in row]

    def _groups(self) -> list[Group]:
        """The completions by prompt, in the order in which the prompts come."""
        by_prompt: dict[str, list[Completion]] = {}
        for completion in self._completions:
            by_prompt.setdefault(completion.prompt.text, []).append(completion)
        return [Group(row[0].prompt, tuple(row)) for row in by_prompt.values()]

    def _same(self, first: Sequence[Score], second: Sequence[Score], when: str) -> None:
        if len(first) != len(second):
            raise Broken(f"{len(second)} scores instead of {len(first)} {when}.")
        for position, (one, other) in enumerate(zip(first, second, strict=True)):
            if not _alike(one, other, self.tolerance):
                raise Broken(f"score {position + 1} is {_shown(other)} instead of {_shown(one)} {when}.")

    def _variants(self) -> Iterator[Mapping[str, Any]]:
        """Options that differ in one value from those of the contract."""
        if self.other_options is not None:
            yield self.other_options
            return
        given = as_recipes_give(self.component, self.options).model_dump(mode="json", by_alias=True)
        for name, field in self.component.Options.model_fields.items():
            key = field.alias or name
            for other in _neighbours(given.get(key), field.annotation):
                try:
                    as_recipes_give(self.component, {**given, key: other})
                except ValidationError:
                    continue
                yield {**given, key: other}


def check_reward_source(
    component: type[RewardSource],
    options: Mapping[str, Any] | None = None,
    completions: Sequence[Completion] = (),
    **more: Any,
) -> list[Finding]:
    """The rules that a reward source breaks. more: other attributes of the contract, for instance folder="data"."""
    members = {"component": component, "options": options or {}, "completions": completions, **more}
    return check(type("Checked", (RewardSourceContract,), members))


def _fault(score: object) -> str:
    if not isinstance(score, Score):
        return f"it returned {score!r} instead of a Score"
    if score.value is None:
        return "" if score.failure is None or score.failure else "the failure has no reason"
    if score.failure is not None:
        return f"it gave both the value {score.value!r} and the failure {score.failure!r}"
    if isinstance(score.value, bool) or not isinstance(score.value, Real):
        return f"the value is {score.value!r}, not a number"
    return "" if math.isfinite(score.value) else f"the value is {score.value}"


def _alike(one: Score, other: Score, tolerance: float) -> bool:
    if one.value is None or other.value is None:
        return one.value is other.value and (one.failure is None) == (other.failure is None)
    return math.isclose(one.value, other.value, rel_tol=tolerance, abs_tol=tolerance)


def _shown(score: Score) -> str:
    if score.value is not None:
        return f"{score.value:g}"
    return "an abstention" if score.failure is None else f"a failure ({score.failure})"


def _neighbours(value: Any, annotation: Any) -> list[Any]:
    """Other values that an option could have."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1, value - 1, value / 2]
    return [choice for choice in get_args(annotation) if get_origin(annotation) is Literal and choice != value]
