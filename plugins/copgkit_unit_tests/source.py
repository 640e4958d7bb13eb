"""The reward source `unit-tests`: a completion's score is what its program achieves against the tests of its prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from copgkit import Completion, PluginError, RewardSource, Score, bounded_map
from copgkit_unit_tests.extraction import Program, program_of
from copgkit_unit_tests.problems import Problem, problem_of
from copgkit_unit_tests.sandbox import Limits, Pool, SandboxUnavailable, probe
from copgkit_unit_tests.verdict import NoVerdict, Verdict
from copgkit_unit_tests.verdicts import RULES, Bench

Work = tuple[Problem, Program]


class Table(BaseModel):
    """What each stage is worth, for `value: table`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compiles: float = Field(0.1, description="It compiles, and raises.", allow_inf_nan=False)
    runs: float = Field(0.3, description="Every call gives a value; not all are right.", allow_inf_nan=False)
    passes: float = Field(1.0, description="It passes every test.", allow_inf_nan=False)


class UnitTests(RewardSource):
    """Runs the program in a completion against the tests of its prompt, isolated: 1 if it passes all, or the share.

    The tests are facts of the prompt: `entry_point` and `test` with a check(candidate) as in HumanEval, `test_list` as
    in MBPP, or `inputs` and `outputs` of calls or of whole programs. Nothing of a completion runs in copgkit's own
    process, and no expected value is in a process that holds a completion. A program that times out, crashes or does
    not compile is rejected: its own fault. A sandbox that fails is a failure, not a score.
    """

    class Options(RewardSource.Options):
        value: Literal["all-passed", "share-passed", "table"] = Field(
            "all-passed", description="1 or 0; the share of cases or asserts passed; or the stage reached, by `table`."
        )
        table: Table = Field(Table(), description="What each stage is worth, for `value: table`.")
        rejected: float = Field(
            0.0,
            description="The score of a program that times out, crashes, exceeds a limit or does not compile.",
            allow_inf_nan=False,
        )
        timeout: PositiveFloat = Field(5.0, description="Seconds of processor time for a program with all its tests.")
        memory: PositiveInt = Field(
            512, description="Megabytes of address space; the interpreter takes about 40.", ge=64
        )
        workers: PositiveInt | None = Field(None, description="Programs judged at once; null: one more than cores.")
        profile: Literal["full", "container", "weak"] = Field(
            "container", description="The weakest isolation that will do; without it the run does not start."
        )
        tolerance: float = Field(1e-9, ge=0, description="For finite floats in `outputs` of calls, relative beyond 1.")
        challenge_tests: bool = Field(False, description="Run MBPP's challenge_test_list as well.")
        language: Literal["python"] = Field("python", description="What the programs are written in.")

    def setup(self) -> None:
        """Looks for the isolation that the recipe asks for. Raises PluginError naming the layer that is missing."""
        self._pool: Pool | None = None
        try:
            probe().demand(self.options.profile)
        except SandboxUnavailable as fault:
            raise PluginError(f"reward source '{self.context.name}': {fault}") from fault
        self._profile = probe().profile
        self.context.progress.message(f"{self.context.name}: programs run in sandbox profile '{self._profile}'")

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One score for each completion, in order. Raises DataError naming the row whose tests cannot be used."""
        problems: dict[int, Problem] = {}
        for completion in completions:
            prompt = completion.prompt
            if id(prompt) not in problems:
                problems[id(prompt)] = problem_of(prompt, self.options.challenge_tests)
        work = [
            (problem, program_of(one.text, one.prompt.text, problem.wanted))
            for one in completions
            for problem in [problems[id(one.prompt)]]
        ]
        return self._scores(work)

    def fingerprint(self) -> str:
        """Changes with the options that a score depends on, the rules of the verdict and the version of Python."""
        options = self.options.model_dump_json(exclude={"workers", "profile"})
        return f"unit-tests {RULES}, Python {sys.version_info.major}.{sys.version_info.minor}: {options}"

    def describe_run(self) -> Mapping[str, str]:
        """The sandbox profile, and what keeps the machine from a stronger one."""
        missing = "; ".join(f"{layer.name}: {layer.why}" for layer in probe().layers if not layer.works)
        return {"sandbox": self._profile} | ({"sandbox layers missing": missing} if missing else {})

    def close(self) -> None:
        """Ends every process of the sandbox."""
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def _scores(self, work: Sequence[Work]) -> list[Score]:
        """Judges all, side by side, and what failed by the machine's fault once more, alone."""
        bench = Bench(self._opened(), self.options.value == "share-passed", self.options.tolerance)
        results = bounded_map(lambda one: self._result(bench, *one), work, self._workers)
        for number, result in enumerate(results):
            if isinstance(result, NoVerdict) and result.again:
                results[number] = self._result(bench, *work[number])
        return [self._score_of(result) for result in results]

    def _result(self, bench: Bench, problem: Problem, program: Program) -> Verdict | NoVerdict:
        if program.fault:
            return Verdict(rejected=program.fault)
        try:
            return bench.judge(problem, program.source)
        except NoVerdict as fault:
            return fault

    def _score_of(self, result: Verdict | NoVerdict) -> Score:
        if isinstance(result, NoVerdict):
            return Score.failed(str(result))
        notes: dict[str, float | str] = {"passed": result.passed, "total": result.total}
        if result.raised:
            notes["raised"] = result.raised
        if result.rejected:
            return Score(self.options.rejected, {result.rejected: 1, **notes})
        return Score(self._value_of(result), notes)

    def _value_of(self, verdict: Verdict) -> float:
        if self.options.value == "share-passed":
            return verdict.passed / verdict.total
        if self.options.value == "all-passed":
            return float(verdict.all_passed)
        table = self.options.table
        return float(table.passes if verdict.all_passed else table.runs if verdict.ran else table.compiles)

    @property
    def _workers(self) -> int:
        """One more than cores: an execution waits for its own processes about a quarter of its time."""
        return int(self.options.workers or (os.cpu_count() or 1) + 1)

    def _opened(self) -> Pool:
        """The pool, opened at the first use."""
        if self._pool is None:
            seconds = self.options.timeout
            limits = Limits(cpu_seconds=seconds, wall_seconds=seconds + _SLACK, memory_mb=self.options.memory)
            self._pool = Pool(self._profile, limits, self._workers)
        return self._pool


_SLACK = 0.5
"""Seconds that an execution may take beyond its processor time, queueing for a processor not counted."""
