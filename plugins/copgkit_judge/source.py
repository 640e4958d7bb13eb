"""The reward source `judge`.

    rewards:
      - use: judge
        options:
          url: https://api.example.com/v1/chat/completions
          model: some-model
          api_key_env: JUDGE_KEY
          prompt: |
            How good is this summary? Reason briefly, then end with "Grade: N", N from 1 to 10.
            <post>{facts.post}</post>
            <summary>{completion}</summary>
          grade_range: [1, 10]

Limits: a judge can be talked to by what it judges; put completions between marks, and look at the samples. A model
behind an address may change without its name changing, and nothing here could notice. Grades of equal text may differ.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from copgkit import Completion, ModelError, RewardSource, Score, bounded_map
from copgkit_judge.asking import Examiner, Grading, Patience, Sitting
from copgkit_judge.endpoint import Endpoint, check_url
from copgkit_judge.grades import GRADE, GradeReader, check_pattern
from copgkit_judge.template import check_template, fill

_JUDGED_BY = {
    "url", "model", "prompt", "system", "grade", "grade_field", "grade_range", "temperature", "max_tokens", "request"
}  # fmt: skip
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def _check_name_of_variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("it is no name of an environment variable. Give the name, never the key itself.")
    return name


class JudgeModel(RewardSource):
    """The grade that a language model gives, asked for at an OpenAI-compatible chat endpoint.

    A judge that cannot be reached, or gives no grade within the range, has failed: that is never a number.
    """

    class Options(RewardSource.Options):
        model_config = ConfigDict(hide_input_in_errors=True)

        url: Annotated[str, AfterValidator(check_url)] = Field(
            description="The endpoint, as https://host/v1/chat/completions."
        )
        model: str = Field(description="The model's name there.")
        prompt: Annotated[str, AfterValidator(check_template)] = Field(
            description="The question, with {completion} and any of {prompt}, {answer}, {facts.NAME}; other braces"
            " stay as they are."
        )
        system: str | None = Field(None, description="A system turn before the question.")
        grade: Annotated[str, AfterValidator(check_pattern)] | None = Field(
            None,
            description="Regular expression; the first group of its last match in the answer is the grade. By default"
            " the number behind the word 'grade'.",
        )
        grade_field: str | None = Field(
            None, description="Read the grade from this field of a JSON object in the answer instead."
        )
        grade_range: tuple[float, float] = Field(
            description="Lowest and highest grade; an answer outside of it is asked for once more, then a failure."
        )
        api_key_env: Annotated[str, AfterValidator(_check_name_of_variable)] | None = Field(
            None, description="The environment variable that holds the API key; the key itself is written nowhere."
        )
        temperature: float = Field(0.0, ge=0, description="Of the judge; 0 for the most repeatable grades.")
        max_tokens: int = Field(1024, ge=1, description="The longest answer; reasoning counts.")
        request: dict[str, Any] = Field(
            default_factory=dict,
            description="More of the request's body; null takes a key out, for instance max_tokens.",
        )
        workers: int = Field(8, ge=1, le=256, description="Requests under way at once.")
        timeout: float = Field(60.0, gt=0, description="Seconds for one request.")
        deadline: float = Field(
            1800.0, gt=0, description="Seconds for four completions of each worker together; what is late has failed."
        )
        retries: int = Field(5, ge=0, le=100, description="How often to ask again after 429, 5xx, or no answer.")
        backoff: float = Field(1.0, ge=0, description="Seconds before the first of these, doubled each time.")
        longest_wait: float = Field(60.0, ge=0, description="Bound of these seconds, and of what Retry-After asks for.")
        max_kilobytes: int = Field(1024, ge=1, description="Larger answers are not read.")
        prompt_price: float | None = Field(None, ge=0, description="Price of a million prompt tokens, for the log.")
        completion_price: float | None = Field(None, ge=0, description="Price of a million completion tokens.")
        keep_answers: bool = Field(False, description="Keep the judge's words among the score's notes.")

        @model_validator(mode="after")
        def _range(self) -> Any:
            if not self.grade_range[0] < self.grade_range[1]:
                raise ValueError("grade_range must be [lowest, highest].")
            return self

    def setup(self) -> None:
        """Looks for the key, so that a missing one shows before any work. Nothing is sent."""
        options = self.options
        self._totals = Grading()
        self._graded = self._failed = 0
        body = {"model": options.model, "temperature": options.temperature, "max_tokens": options.max_tokens}
        body = {key: value for key, value in {**body, **options.request}.items() if value is not None}
        endpoint = Endpoint(options.url, body, self._key(), options.max_kilobytes * 1024)
        reader = GradeReader(options.grade or GRADE, options.grade_field, *options.grade_range)
        patience = Patience(options.retries, options.backoff, options.longest_wait, self.context.seed)
        self._examiner = Examiner(endpoint.ask, reader, patience, options.system, options.timeout)

    @property
    def completions_per_call(self) -> int:  # type: ignore[override]
        """Enough to keep every worker busy, few enough that little is lost with a run that is killed."""
        return 4 * int(self.options.workers)

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """One grade per completion, in order. Notes: requests, tokens and, where prices are given, cost."""
        questions = [fill(self.options.prompt, completion, self._where) for completion in completions]
        sitting = Sitting(until=time.monotonic() + self.options.deadline)
        try:
            gradings = bounded_map(
                partial(self._examiner.grade, sitting=sitting),
                questions,
                workers=self.options.workers,
                deadline=self.options.deadline,
                late=self._late,
            )
        finally:
            sitting.over.set()
        self._count(gradings)
        return [self._as_score(grading) for grading in gradings]

    def fingerprint(self) -> str:
        """Changes with what is asked and how it is read; not with keys, prices, patience or the number of workers."""
        judged_by = self.options.model_dump_json(include=_JUDGED_BY)
        return f"{type(self).__module__}.{type(self).__qualname__}:{judged_by}"

    def close(self) -> None:
        """Says what was asked for and what it cost, failures included."""
        totals, self._totals = self._totals, Grading()
        graded, failed, self._graded, self._failed = self._graded, self._failed, 0, 0
        cost = self._cost(totals)
        if totals.requests:
            self.context.progress.message(
                f"{self._where}: {graded} grades and {failed} failures in {totals.requests} requests, with"
                f" {totals.prompt_tokens} prompt and {totals.completion_tokens} completion tokens"
                + ("" if cost is None else f", cost {cost:.4g}")
            )

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}'"

    def _key(self) -> str | None:
        name = self.options.api_key_env
        if name is None:
            return None
        key = os.environ.get(name, "").strip()
        if not key:
            raise ModelError(f"{self._where}: the environment variable {name} holds no key. Set it before the run.")
        if not all("!" <= character <= "~" for character in key):
            raise ModelError(
                f"{self._where}: the key in {name} has characters that no header can carry. Is it whole, and nothing"
                " but the key?"
            )
        if urlsplit(self.options.url).scheme == "http" and urlsplit(self.options.url).hostname not in _LOCAL:
            self.context.progress.warning(
                f"{self._where}: the key in {name} travels unencrypted over http. Use https where others can listen."
            )
        return key

    def _late(self, question: str) -> Grading:
        return Grading(failure=f"no grade within the deadline of {self.options.deadline:g} seconds for all together")

    def _as_score(self, grading: Grading) -> Score:
        notes: dict[str, float | str] = {
            "requests": float(grading.requests),
            "prompt_tokens": float(grading.prompt_tokens),
            "completion_tokens": float(grading.completion_tokens),
        }
        cost = self._cost(grading)
        if cost is not None:
            notes["cost"] = cost
        if self.options.keep_answers:
            notes["answer"] = grading.answer
        return Score(grading.grade, notes, grading.failure)

    def _cost(self, grading: Grading) -> float | None:
        prompt, completion = self.options.prompt_price, self.options.completion_price
        if prompt is None and completion is None:
            return None
        return (grading.prompt_tokens * (prompt or 0) + grading.completion_tokens * (completion or 0)) / 1e6

    def _count(self, gradings: Sequence[Grading]) -> None:
        totals = self._totals
        for grading in gradings:
            totals.requests += grading.requests
            totals.prompt_tokens += grading.prompt_tokens
            totals.completion_tokens += grading.completion_tokens
        self._graded += sum(grading.failure is None for grading in gradings)
        self._failed += sum(grading.failure is not None for grading in gradings)
