"""Verdict mode b: tests in one sandbox, the candidate in another, and plain data carried between them.

The tests run against stand-ins. A call of one comes up from the tests' sandbox, is put to the candidate's, and the
answer goes down: a value, or the name of a built-in exception, and the arguments as the call left them. What is not
plain data stays with the candidate under a number. The tests can use it (`sandbox/inside/foreign.py`), but it equals
nothing, and nothing done with it tells the candidate what it ought to have answered.

Before the candidate has answered anything, whatever goes wrong in the tests' sandbox is the tests' fault: NoVerdict.
Afterwards it can be what the answers led to, and then it is a failed test: a candidate can never stop a run.
Limits: tests cannot hand functions or objects of their own to the candidate. They get NoVerdict, which says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from copgkit_unit_tests.candidate import Answer, Candidate, Rejected
from copgkit_unit_tests.problems import Checks
from copgkit_unit_tests.sandbox import Opaque, SandboxGone, Session, WireError
from copgkit_unit_tests.test_text import COUNTER
from copgkit_unit_tests.verdict import NoVerdict, Verdict


@dataclass
class Examination:
    """One run of a problem's tests against one candidate."""

    tests: Session
    candidate: Candidate
    problem: Checks
    each_part: bool
    raised: str = ""
    answers: int = 0
    _outcomes: dict[int, bool] = field(default_factory=dict)
    _tainted: bool = False

    def verdict(self) -> Verdict:
        """What the tests say. Raises Rejected, NoVerdict, or SandboxGone for an end that is nobody's fault."""
        try:
            self.tests.send(self._request())
            while "ask" in (message := self.tests.receive()):
                self.tests.send(self._reply(message))
        except SandboxGone as gone:
            if not gone.is_the_codes_fault:
                raise
            raise self._tests_ended(f"ended by {gone}") from gone
        except WireError as error:
            raise self._tests_ended(f"sent more than a message holds: {error}") from error
        return self._verdict_of(message)

    def _request(self) -> dict[str, Any]:
        counted = self.each_part and self.problem.asserts > 0
        first, *others = self.problem.names
        return {
            "do": "check",
            "source": self.problem.counted if counted else self.problem.source,
            "entry_point": first,
            "names": [*others, COUNTER] if counted else others,
        }

    def _reply(self, message: dict[str, Any]) -> dict[str, Any]:
        if message["name"] == COUNTER:
            self._count(*message["args"])
            return Answer().as_message()
        self._refuse_what_cannot_travel(message)
        if message["ask"] == "operate":
            answer = self.candidate.operate(message["name"], message["args"])
        else:
            answer = self.candidate.call(message["name"], message["args"], message["kwargs"])
            self.raised = self.raised or answer.raised
        self.answers += 1
        self._tainted = self._tainted or _holds_nameless(answer.value)
        return answer.as_message()

    def _count(self, number: int, passed: bool) -> None:
        self._outcomes[number] = self._outcomes.get(number, True) and passed

    def _refuse_what_cannot_travel(self, message: dict[str, Any]) -> None:
        """Something of the tests' own that is not plain, unless the candidate's answers may have brought it about."""
        if _holds_nameless([message["args"], message["kwargs"]]) and not self._tainted:
            raise NoVerdict(
                f"the tests give {message['name']}() a function or an object of their own, which"
                " cannot leave their sandbox; tests may pass plain data and what the candidate returned"
            )

    def _verdict_of(self, message: dict[str, Any]) -> Verdict:
        passed = message["passed"]
        if not passed and not self.answers:
            raise NoVerdict(f"the tests raise {message['type']} before they call the candidate: {message['text']:.200}")
        if not (self.each_part and self.problem.asserts):
            return Verdict(int(passed), 1, self.raised)
        total = self.problem.asserts
        right = sum(self._outcomes.get(number, passed) for number in range(total))
        return Verdict(right if passed else min(right, total - 1), total, self.raised)

    def _tests_ended(self, how: str) -> Exception:
        if not self.answers:
            return NoVerdict(f"the tests {how}, before they call the candidate")
        return Rejected("tests-ended")


def _holds_nameless(value: Any) -> bool:
    """Whether there is an object in it that no process has a number for."""
    kind = type(value)
    if kind is Opaque:
        return not value.handle
    if kind is dict:
        return any(map(_holds_nameless, value)) or any(map(_holds_nameless, value.values()))
    return kind in (list, tuple, set, frozenset) and any(map(_holds_nameless, value))
