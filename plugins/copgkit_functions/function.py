"""The reward source `python`: a function in a file beside the recipe.

    rewards:
      - {use: python, options: {file: reward.py}}

The function runs in copgkit's own process, with your rights: this is for your code, not for code that a model wrote.
Only its own file counts for stored scores: after a change in a module that it imports, change `arguments` or the file.
"""

from __future__ import annotations

import copy
import difflib
import inspect
import runpy
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from pydantic import Field

from copgkit import Completion, PluginError, RewardError, RewardSource, Score
from copgkit_functions.values import finite_number, named

_IMMUTABLE = (str, int, float, bool, bytes, type(None))


class PythonFunction(RewardSource):
    """A function of your own: `def score(completion): return float(len(completion))`.

    It may name any of completion, prompt, answer, finished and the prompt's facts, or take **facts for all of them. It
    gives a finite number (true and false count as 1 and 0), None to abstain, or a Score. An exception is a failure, for
    which the recipe says what happens, and never a zero. What it is given is its own: changing it changes nothing
    elsewhere.
    """

    class Options(RewardSource.Options):
        file: str = Field(description="The Python file, relative to the recipe.")
        function: str = Field("score", description="The function in it.")
        batch: bool = Field(
            False,
            description="Call it once with lists instead of once for each completion; a fact that a prompt lacks is"
            " None in its list.",
        )
        arguments: dict[str, Any] = Field(default_factory=dict, description="More keyword arguments for every call.")

    def setup(self) -> None:
        """Loads the function, so that a fault shows before any work."""
        self._function = self._load()
        self._wanted, self._wants_all = _parameters(self._function, self._where)
        unknown = [name for name in self.options.arguments if name not in self._wanted]
        if unknown and not self._wants_all:
            raise PluginError(
                f"{self._where}: `arguments` gives '{unknown[0]}', which it does not take. It takes:"
                f" {', '.join(self._wanted) or 'nothing'}."
            )

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Calls the function. Raises RewardError naming the completion for an exception or a value of another type."""
        if not self.options.batch:
            return [self._score_one(completion) for completion in completions]
        if not completions:
            return []
        inputs = [self._inputs(completion) for completion in completions]
        names = dict.fromkeys(name for each in inputs for name in each)
        values = self._call({name: [each.get(name) for each in inputs] for name in names}, "a batch")
        if hasattr(values, "tolist"):
            values = values.tolist()
        if not isinstance(values, list | tuple) or len(values) != len(completions):
            found = f"{len(values)} of them" if isinstance(values, list | tuple) else type(values).__name__
            raise PluginError(
                f"{self._where}: it must give a list of {len(completions)} numbers, one per completion; it gave"
                f" {found}."
            )
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
        except (Exception, SystemExit) as fault:
            raise PluginError(f"{self._where}: the file does not load: {_told(fault, str(path))}") from fault
        function = names.get(self.options.function)
        if callable(function):
            return cast(Callable[..., Any], function)
        functions = [name for name, value in names.items() if inspect.isfunction(value)]
        near = difflib.get_close_matches(self.options.function, functions, 1)
        hint = f" Did you mean '{near[0]}'?" if near else f" It has: {', '.join(functions) or 'none'}."
        raise PluginError(f"{self._where}: the file has no such function.{hint}")

    def _score_one(self, completion: Completion) -> Score:
        return self._as_score(self._call(self._inputs(completion), named(completion)), completion)

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
            return self._function(**{name: _own(value) for name, value in {**inputs, **self.options.arguments}.items()})
        except (Exception, SystemExit) as fault:
            told = _told(fault, str(self.context.path(self.options.file)))
            raise RewardError(f"{self._where}: it raised on {what}: {told}") from fault

    def _as_score(self, value: Any, completion: Completion) -> Score:
        if value is None:
            return Score.abstain()
        if isinstance(value, Score):
            return value
        number = finite_number(value)
        if number is None:
            raise RewardError(
                f"{self._where}: it gave {_short(value)} for {named(completion)}. Give a finite number, or None to"
                " abstain."
            )
        return Score(number)


def _parameters(function: Callable[..., Any], where: str) -> tuple[dict[str, bool], bool]:
    """The parameter names of a function with whether each is required, and whether it takes **facts."""
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise PluginError(f"{where}: it is async, and nobody would await it. Write `def`, with asyncio.run inside.")
    if inspect.isgeneratorfunction(function):
        raise PluginError(f"{where}: it yields. Write `return`.")
    wanted, wants_all = {}, False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            wants_all = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise PluginError(f"{where}: its parameter '{name}' cannot be given by name. Use plain parameters.")
        else:
            wanted[name] = parameter.default is parameter.empty
    return wanted, wants_all


def _own(value: Any) -> Any:
    """The value, copied if it could be changed."""
    return value if isinstance(value, _IMMUTABLE) else copy.deepcopy(value)


def _told(fault: BaseException, file: str) -> str:
    """An exception in one line, with the line of the user's file it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(fault.__traceback__) if frame.filename == file]
    place = f" (line {lines[-1]})" if lines else ""
    if isinstance(fault, SystemExit):
        return f"it called exit({fault.code!r}){place}. Raise an exception, or return a number or None."
    return f"{type(fault).__name__}: {fault}{place}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
