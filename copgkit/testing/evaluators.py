"""What an evaluator must keep: figures with honest intervals, whatever the order of the samples."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from copgkit.components import Evaluator
from copgkit.errors import CopgkitError
from copgkit.testing.rules import Broken, Contract, Finding, check
from copgkit.testing.stand_ins import some_samples
from copgkit.types import Curves, Estimate, Evaluation, Sample

ROUNDING = 1e-9
"""How far a figure may lie beside its interval, relative beyond 1: the upper bound of n out of n is 1 but for this."""


class EvaluatorContract(Contract):
    """What an evaluator must keep.

    samples, reference_samples: what it measures, for the same prompts in the same order; stand-ins if not given. Of
    each prompt there is a second sample, the reference's, for evaluators that look at several.
    tolerance: how far a figure may move with the order of the samples.
    """

    component: type[Evaluator]
    samples: Sequence[Sample] = ()
    reference_samples: Sequence[Sample] = ()
    tolerance: float = 1e-6

    def work(self, component: Any) -> Any:
        """Measures once."""
        return component.evaluate(self._evaluation())

    def test_it_gives_estimates_under_names_that_metrics_can_have(self) -> None:
        figures = self._figures()
        if not figures:
            raise Broken("it gave no figure. Give the contract samples that it can measure.")
        for name, figure in figures.items():
            if not isinstance(figure, Estimate):
                raise Broken(f"{name!r} is a {type(figure).__name__}, not an Estimate.")
            if name != "".join(name.split()) or name != name.strip("/") or not name:
                raise Broken(f"{name!r} cannot be a metric's name. Use area/name without spaces.")

    def test_every_figure_is_finite_and_lies_in_its_interval(self) -> None:
        for name, figure in self._figures().items():
            if not all(math.isfinite(value) for value in (figure.low, figure.value, figure.high)):
                raise Broken(f"{name!r} is {figure}. Leave out a figure that cannot be told.")
            rounding = ROUNDING * max(1.0, abs(figure.value))
            if not figure.low - rounding <= figure.value <= figure.high + rounding:
                raise Broken(f"{name!r} is {figure.value:g}, outside [{figure.low:g}, {figure.high:g}].")

    def test_every_figure_says_how_many_samples_are_behind_it(self) -> None:
        there = sum(map(len, self._evaluation().by_prompt))
        for name, figure in self._figures().items():
            if isinstance(figure.n, bool) or not isinstance(figure.n, int) or not 1 <= figure.n <= there:
                raise Broken(f"{name!r} says that n = {figure.n!r} samples of {there} are behind it.")

    def test_the_order_of_the_samples_does_not_matter(self) -> None:
        there = self._evaluation()
        turned = Evaluation(0, there.samples[::-1], there.reference_samples[::-1], there.by_prompt[::-1])
        self._same(self._figures(), self._figures(turned), "when the samples come in the reverse order")

    def test_the_same_samples_give_the_same_figures_again(self) -> None:
        with self.made() as evaluator:
            first, second = self.work(evaluator), self.work(evaluator)
        self._same(first, second, "when it is asked once more")

    def test_no_samples_give_no_figures(self) -> None:
        try:
            figures = self._figures(Evaluation(0, [], []))
        except CopgkitError:
            return  # a message for people is an answer, too
        except Exception as fault:
            raise Broken(f"an evaluation without samples raised {type(fault).__name__}: {fault}.") from fault
        bad = [name for name, figure in figures.items() if figure.n or not math.isfinite(figure.value)]
        if bad:
            raise Broken(f"without samples it gives {', '.join(bad)}. Give no figure.")

    def test_it_leaves_the_samples_alone(self) -> None:
        evaluation = self._evaluation()
        before = copy.deepcopy(evaluation)
        self._figures(evaluation)
        if evaluation != before:
            raise Broken("it changed the samples, which others measure too. Copy before changing.")

    def test_its_pictures_are_curves(self) -> None:
        with self.made() as evaluator:
            self.work(evaluator)
            for picture in evaluator.figures():
                if not isinstance(picture, Curves):
                    raise Broken(f"figures() gave a {type(picture).__name__}. Give Curves.")
                for label, points in picture.lines.items():
                    if not all(math.isfinite(number) for point in points for number in point):
                        raise Broken(f"line {label!r} of {picture.title!r} has a point that is not finite.")

    def _evaluation(self) -> Evaluation:
        samples, reference_samples = self.samples, self.reference_samples
        if not samples:
            samples, reference_samples = some_samples()
        theirs = list(reference_samples or samples)
        return Evaluation(0, list(samples), theirs, [list(pair) for pair in zip(samples, theirs, strict=True)])

    def _figures(self, evaluation: Evaluation | None = None) -> Mapping[str, Estimate]:
        with self.made() as evaluator:
            figures: Mapping[str, Estimate] = evaluator.evaluate(evaluation or self._evaluation())
        return figures

    def _same(self, first: Mapping[str, Estimate], second: Mapping[str, Estimate], when: str) -> None:
        if first.keys() != second.keys():
            raise Broken(f"it gives other figures {when}: {', '.join(second)} for {', '.join(first)}.")
        for name, figure in first.items():
            other = second[name].value
            if not math.isclose(figure.value, other, rel_tol=self.tolerance, abs_tol=self.tolerance):
                raise Broken(f"{name!r} is {other:g} instead of {figure.value:g} {when}.")


def check_evaluator(
    component: type[Evaluator], options: Mapping[str, Any] | None = None, samples: Sequence[Sample] = (), **more: Any
) -> list[Finding]:
    """The rules that an evaluator breaks. more: other attributes of the contract."""
    members = {"component": component, "options": options or {}, "samples": samples, **more}
    return check(type("Checked", (EvaluatorContract,), members))
