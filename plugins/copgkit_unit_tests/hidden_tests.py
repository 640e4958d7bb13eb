"""The evaluator `hidden-tests`: does code that passes the reward's tests do the task?

A reward that reads three asserts can be pleased by code that does something else. Asserts that no reward reads, kept
under another name in the facts, show how often that happens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from copgkit import Completion, DataError, Estimate, Evaluation, Evaluator
from copgkit_unit_tests.pass_at_k import interval, value_by
from copgkit_unit_tests.source import UnitTests


class HiddenTests(Evaluator):
    """Share of samples that pass a second list of asserts, and share that pass the reward's tests and not this list.

    One sample of each prompt is run. Samples that one of the two could not judge are left out of both shares.
    """

    class Options(Evaluator.Options):
        tests: str = Field("hidden_test_list", description="The fact that holds the asserts, written as in MBPP.")
        source: str = Field("unit-tests", description="The reward source that says what passed, as metrics call it.")
        passed_from: Annotated[float, Field(allow_inf_nan=False)] = Field(
            1.0, description="The score of that source from which on a sample has passed."
        )
        run: UnitTests.Options = Field(UnitTests.Options(), description="How the asserts run: options of `unit-tests`.")

    def setup(self) -> None:
        """Looks for the isolation, so that a machine without it shows before any work."""
        self._runner = UnitTests(self.options.run, self.context)

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """`hidden-tests/passed` and `hidden-tests/only-seen-passed`, with Wilson's intervals.

        Raises DataError if the source does not exist, or naming the row whose facts lack the asserts.
        """
        samples = evaluation.samples
        seen = [value_by(self.options.source, sample, self.context.name) for sample in samples]
        hidden = self._runner.score([self._with_hidden_tests(sample.completion) for sample in samples])
        judged = [
            (value >= self.options.passed_from, score.value >= 1.0)
            for value, score in zip(seen, hidden, strict=True)
            if value is not None and score.value is not None
        ]
        if not judged:
            return {}
        return {
            "hidden-tests/passed": interval(sum(passed for _, passed in judged), len(judged)),
            "hidden-tests/only-seen-passed": interval(sum(seen and not passed for seen, passed in judged), len(judged)),
        }

    def close(self) -> None:
        """Ends every process of the sandbox."""
        self._runner.close()

    def _with_hidden_tests(self, completion: Completion) -> Completion:
        prompt = completion.prompt
        if not prompt.facts.get(self.options.tests):
            raise DataError(
                f"evaluator '{self.context.name}', {prompt.place}: the prompt has no '{self.options.tests}'."
                f" Its facts: {', '.join(map(str, prompt.facts)) or 'none'}. Say which in options.tests."
            )
        facts = {**prompt.facts, "test_list": prompt.facts[self.options.tests]}
        return replace(completion, prompt=replace(prompt, facts=facts))
