"""Rewards without a model: a Python function in a file, and scores that came with the data."""

from __future__ import annotations

import difflib
import inspect
import math
import runpy
import traceback
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from pydantic import Field

from copgkit import Completion, PluginError, RewardError, RewardSource, Score, hookimpl


class PythonFunction(RewardSource):
    """A function of your own: `def score(completion): return float(len(completion))`.

    It may name any of completion, prompt, answer, finished and the prompt's facts, or take **facts for all of them. It
    gives a number, or None to abstain. An exception stops the run; it is never a zero.
    """

    class Options(RewardSource.Options):
        file: str = Field(description="The Python file, relative to the recipe.")
        function: str = Field("score", description="The function in it.")
        batch: bool = Field(False, description="Call it once with lists instead of once for each completion.")
        arguments: dict[str, Any] = Field(default_factory=dict, description="More keyword arguments for every call.")

    def setup(self) -> None:
        """Loads the function, so that a fault shows before any work."""
        self._function = self._load()
        self._wanted, self._wants_all = _parameters(self._function, self._where)

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Calls the function. Raises RewardError naming the completion for an exception or a value of another type."""
        if not self.options.batch:
            return [self._score_one(completion) for completion in completions]
        inputs = [self._inputs(completion) for completion in completions]
        names = inputs[0].keys() if inputs else ()
        values = self._call({name: [each[name] for each in inputs] for name in names}, "a batch")
        if not isinstance(values, Sequence) or len(values) != len(completions):
            raise RewardError(f"{self._where}: it must give a list of {len(completions)} numbers, one per completion.")
        return [self._as_score(value, one) for value, one in zip(values, completions, strict=True)]

    def fingerprint(self) -> str:
        """Changes with the options and with the file."""
        return super().fingerprint() + self.context.path(self.options.file).read_text()

    @property
    def _where(self) -> str:
        return f"reward source '{self.context.name}', {self.options.function}() in {self.options.file}"

    def _load(self) -> Callable[..., Any]:
        path = self.context.path(self.options.file)
        if not path.is_file():
            raise PluginError(f"{self._where}: there is no file {path.name}. Paths are relative to the recipe.")
        try:
            names = runpy.run_path(str(path))
        except Exception as fault:
            raise PluginError(f"{self._where}: the file does not load: {_told(fault, str(path))}") from fault
        function = names.get(self.options.function)
        if callable(function):
            return function
        functions = [name for name, value in names.items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(self.options.function, functions, 1)
        hint = f" Did you mean '{near[0]}'?" if near else f" It has: {', '.join(functions) or 'none'}."
        raise PluginError(f"{self._where}: the file has no such function.{hint}")

    def _score_one(self, completion: Completion) -> Score:
        return self._as_score(self._call(self._inputs(completion), _named(completion)), completion)

    def _inputs(self, completion: Completion) -> dict[str, Any]:
        """The keyword arguments that the function asks for."""
        prompt = completion.prompt
        known: dict[str, Any] = {
            **prompt.facts,
            "completion": completion.text,
            "prompt": prompt.text,
            "answer": prompt.answer,
            "finished": completion.finished,
        }
        given = known.keys() | self.options.arguments.keys()
        missing = [name for name, required in self._wanted.items() if required and name not in given]
        if missing:
            raise RewardError(
                f"{self._where}: it asks for '{missing[0]}', which {prompt.place} does not have."
                f" There are: {', '.join(sorted(known))}."
            )
        return {name: value for name, value in known.items() if name in self._wanted or self._wants_all}

    def _call(self, inputs: Mapping[str, Any], what: str) -> Any:
        try:
            return self._function(**inputs, **self.options.arguments)
        except Exception as fault:
            told = _told(fault, str(self.context.path(self.options.file)))
            raise RewardError(f"{self._where}: it raised on {what}: {told}") from fault

    def _as_score(self, value: Any, completion: Completion) -> Score:
        if value is None:
            return Score.abstain()
        if not isinstance(value, Real) or not math.isfinite(value):
            raise RewardError(
                f"{self._where}: it gave {value!r} for {_named(completion)}. Give a finite number, or None to abstain."
            )
        return Score(float(value))


class RecordedScore(RewardSource):
    """A score that came with the data: one of the numbers under `scores` of a recorded completion."""

    stored = False
    reads_recorded_scores = True

    class Options(RewardSource.Options):
        column: str = Field(description="The score's name in the data.")

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """The recorded numbers; a completion without one is a failure, not a zero."""
        return [self._score_one(completion) for completion in completions]

    def _score_one(self, completion: Completion) -> Score:
        scores = completion.recorded_scores
        if self.options.column in scores:
            return Score(scores[self.options.column])
        return Score.failed(f"no recorded score '{self.options.column}'; there are: {', '.join(scores) or 'none'}")


def _parameters(function: Callable[..., Any], where: str) -> tuple[dict[str, bool], bool]:
    """The parameter names of a function with whether each is required, and whether it takes **facts."""
    wanted, wants_all = {}, False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            wants_all = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise PluginError(f"{where}: its parameter '{name}' cannot be given by name. Use plain parameters.")
        else:
            wanted[name] = parameter.default is parameter.empty
    return wanted, wants_all


def _told(fault: BaseException, file: str) -> str:
    """An exception in one line, with the line of the user's file it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == file]
    place = f" (line {lines[-1]})" if lines else ""
    return f"{type(fault).__name__}: {fault}{place}"


def _named(completion: Completion) -> str:
    text = completion.text if len(completion.text) <= 60 else completion.text[:57] + "..."
    return f"{completion.prompt.place}, completion {text!r}"


@hookimpl
def register_reward_sources(register: Any) -> None:
    """Announces `python` and `recorded`."""
    register("python", PythonFunction)
    register("recorded", RecordedScore)
