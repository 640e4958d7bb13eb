"""Asking until there is a grade, or no hope of one: when to ask again, how long to wait, and what it cost."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from copgkit_judge.endpoint import Answer, Fault
from copgkit_judge.grades import GradeReader, NoGrade

_REMINDER = "I could not read a grade in that ({reason}). Answer once more, exactly in the form asked for."


@dataclass
class Grading:
    """What came of one question: a grade, or the reason why there is none, and everything that was used for it."""

    grade: float | None = None
    failure: str | None = None
    answer: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass
class Sitting:
    """What the questions of one call of score() share: when all must be over, and a fault that would meet them all."""

    until: float
    over: threading.Event = field(default_factory=threading.Event)
    hopeless: str | None = None

    def give_up(self, reason: str) -> None:
        """Wakes those who wait to ask again; nothing is asked any more."""
        self.hopeless = reason
        self.over.set()


@dataclass(frozen=True)
class Patience:
    """retries: how often to ask again after a passing fault. backoff: seconds before the first of them, doubled each
    time up to `longest`, which also bounds what a server may ask for. seed: of the jitter."""

    retries: int
    backoff: float
    longest: float
    seed: int

    def wait(self, attempt: int, question: str, asked_for: float | None) -> float:
        """Seconds before attempt number 1, 2, ...: half of the back-off and a random part of the other half, so that
        many who were refused together do not come back together; or longer, if the server asks for it."""
        step = min(self.longest, self.backoff * 2.0 ** (attempt - 1))
        jitter = random.Random(f"{self.seed}:{attempt}:{question}").random()
        return min(self.longest, max(step * (1 + jitter) / 2, asked_for or 0.0))


@dataclass(frozen=True)
class Examiner:
    """ask: sends a conversation and gives the answer within so many seconds, or raises Fault. system: the first turn.
    seconds: for one request."""

    ask: Callable[[Sequence[Mapping[str, str]], float], Answer]
    reader: GradeReader
    patience: Patience
    system: str | None
    seconds: float

    def grade(self, question: str, sitting: Sitting) -> Grading:
        """The grade of one question. Passing faults are waited out; an answer without grade is asked for once more."""
        grading = Grading()
        messages = [{"role": "system", "content": self.system}] if self.system else []
        messages.append({"role": "user", "content": question})
        met, allowed = Counter[str](), {"passing": self.patience.retries, "nonsense": 1}
        while grading.grade is None:
            try:
                grading.grade = self._try(messages, grading, sitting)
            except Fault as fault:
                met[fault.kind] += 1
                if met[fault.kind] > allowed.get(fault.kind, 0):
                    grading.failure = f"{fault}, after {grading.requests} requests" if met.total() > 1 else str(fault)
                    if fault.kind == "hopeless":
                        sitting.give_up(grading.failure)
                    break
                if fault.kind == "passing":
                    sitting.over.wait(self._pause(met["passing"], question, fault.wait, sitting))
                elif grading.answer:
                    messages += _asked_again(grading.answer, str(fault))
        return grading

    def _try(self, messages: Sequence[Mapping[str, str]], grading: Grading, sitting: Sitting) -> float:
        left = sitting.until - time.monotonic()
        if left <= 0 or sitting.over.is_set():
            raise Fault(sitting.hopeless or "the deadline for all grades together is over", "refused")
        grading.requests += 1
        grading.answer = ""
        answer = self.ask(messages, min(self.seconds, left))
        grading.answer = answer.text
        grading.prompt_tokens += answer.prompt_tokens
        grading.completion_tokens += answer.completion_tokens
        try:
            return self.reader.read(answer.text)
        except NoGrade as fault:
            why = f"{fault} (the answer ran into max_tokens)" if answer.cut else str(fault)
            raise Fault(why, "nonsense") from None

    def _pause(self, attempt: int, question: str, asked_for: float | None, sitting: Sitting) -> float:
        wait = self.patience.wait(attempt, question, asked_for)
        return max(0.0, min(wait, sitting.until - time.monotonic()))


def _asked_again(answer: str, reason: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": answer},
        {"role": "user", "content": _REMINDER.format(reason=reason)},
    ]
