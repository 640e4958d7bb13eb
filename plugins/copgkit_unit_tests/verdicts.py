"""The verdict on one program, decided in copgkit's process from plain data that came out of a sandbox.

a  Calls     the candidate gets arguments and claims results, which are compared here.
b  Checks    the tests run in a sandbox of their own against stand-ins; every call of one is carried to the candidate's
             sandbox and its answer back. The two never share a process, nor one forked from the other.
c  Programs  the candidate gets standard input; its whole output is compared here.

A process that holds the candidate's code never holds an expected value or a line of test text, so that there is nothing
in it to read, forge or patch that would help. Three outcomes: scored (`Verdict`), rejected (`Verdict.rejected`, the
program's own fault) and neither (`NoVerdict`, nobody's fault or the tests').
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from copgkit_unit_tests.candidate import Candidate, Raised, Rejected
from copgkit_unit_tests.comparison import same, same_output
from copgkit_unit_tests.examination import Examination
from copgkit_unit_tests.problems import Calls, Checks, Problem, Programs
from copgkit_unit_tests.sandbox import Pool, SandboxGone
from copgkit_unit_tests.verdict import NoVerdict, Verdict

RULES = "1"
"""The version of what counts as right. A change invalidates stored scores."""


@dataclass(frozen=True)
class Bench:
    """Where programs are judged. each_part: count every part instead of stopping at the first that fails."""

    pool: Pool
    each_part: bool = False
    tolerance: float = 0.0

    def judge(self, problem: Problem, source: str) -> Verdict:
        """The verdict on a program. Raises NoVerdict."""
        try:
            return self.pool.execute(lambda: self._judge_once(problem, source))
        except SandboxGone as gone:
            raise NoVerdict(f"the sandbox did not work: {gone.detail}", again=True) from gone

    def _judge_once(self, problem: Problem, source: str) -> Verdict:
        try:
            if isinstance(problem, Calls):
                return self._calls(problem, source)
            return self._programs(problem, source) if isinstance(problem, Programs) else self._checks(problem, source)
        except Rejected as fault:
            return Verdict(0, self._parts(problem), rejected=str(fault))
        except Raised as fault:
            return Verdict(0, self._parts(problem), raised=str(fault))

    def _parts(self, problem: Problem) -> int:
        """How many parts there are to pass: cases, or asserts where those are counted."""
        if isinstance(problem, Checks):
            return max(1, problem.asserts) if self.each_part else 1
        return len(problem.cases)

    def _calls(self, problem: Calls, source: str) -> Verdict:
        passed, raised = 0, ""
        with self._loaded(source) as candidate:
            for arguments, expected in problem.cases:
                reply = candidate.call(problem.entry_point, list(arguments), {})
                raised = raised or reply.raised
                right = not reply.raised and same(expected, reply.value, self.tolerance)
                passed += right
                if not (right or self.each_part):
                    break
        return Verdict(passed, len(problem.cases), raised)

    def _programs(self, problem: Programs, source: str) -> Verdict:
        passed, raised = 0, ""
        for stdin, expected in problem.cases:
            with self.pool.open("candidate") as session:
                output, status = Candidate(session).run(source, stdin)
            raised = raised or ("SystemExit" if status else "")
            right = status == 0 and same_output(expected, output)
            passed += right
            if not (right or self.each_part):
                break
        return Verdict(passed, len(problem.cases), raised)

    def _checks(self, problem: Checks, source: str) -> Verdict:
        with self._loaded(source) as candidate, self.pool.open("tests") as session:
            return Examination(session, candidate, problem, self.each_part).verdict()

    @contextmanager
    def _loaded(self, source: str) -> Iterator[Candidate]:
        with self.pool.open("candidate") as session:
            candidate = Candidate(session)
            candidate.load(source)
            yield candidate
