"""One call of a reward source, and what may go wrong in it.

    caller = Caller("taste", source, by_group=False, timeout_seconds=60, spares_others=True, tell=progress.message)
    scores = caller.scores(units)                # a row for each unit, every score checked

A fault of one completion (its source raises on it, or says NaN) is a failure of that score where the recipe leaves
failures out (`spares_others`), and an error that names the completion where it does not. A fault of the answer as a
whole (another length, a dict, text) is always an error: there is no telling which score belongs to which completion.

A source is foreign code in this process. What it changes stays its own, what it prints is shown in part, and a process
that it forks ends with its call. What no process can do for itself is not done: os._exit and a crash end the run as the
system does.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Timer
from typing import Any

from copgkit.components import RewardSource
from copgkit.engine.foreign_output import Overheard
from copgkit.engine.score_checks import Misshapen, Unit, checked, listed
from copgkit.engine.time_limit import OverTime, within
from copgkit.errors import CopgkitError, DataError, RewardError
from copgkit.redaction import redacted
from copgkit.types import Group, Prompt, Score

_SILENT_SECONDS = 600.0  # after which a call without a time limit is spoken of
_OF_ONE_ROW = (RewardError, DataError)  # the project's own errors that a source raises about a completion


@dataclass
class Caller:
    """Calls one source. by_group: it scores whole groups. timeout_seconds: of one call; None waits for ever.

    spares_others: what fails for one completion is a failed score, and the others are asked for again one by one.
    hangs: a call was over its time, and may still be at work.
    """

    label: str
    source: RewardSource
    by_group: bool
    timeout_seconds: float | None = None
    spares_others: bool = False
    tell: Callable[[str], None] = lambda text: None
    hangs: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self._overheard = Overheard(f"reward source '{self.label}'", self.tell)

    def scores(self, units: Sequence[Unit]) -> list[list[Score]]:
        """The scores of each unit. Raises RewardError, and any other CopgkitError that the source raises."""
        try:
            return self._ask(units)
        except Misshapen:
            raise
        except OverTime as error:
            self.hangs = True
            raise RewardError(
                f"reward source '{self.label}': no answer within scoring.timeout_seconds = {self.timeout_seconds}"
                f" ({len(units)} were asked for). What was scored before is kept; mend the source or allow more time."
            ) from error
        except (Exception, SystemExit) as error:  # sys.exit() in a source must not end the run as if all were well
            if self.spares_others and _is_of_one_row(error):
                return self._spared(units, error)
            if isinstance(error, CopgkitError):
                raise
            raise RewardError(
                f"{self._culprit(units)}: {_told(error)}. Mend the source; --debug shows where."
            ) from error

    def _spared(self, units: Sequence[Unit], error: BaseException) -> list[list[Score]]:
        """Each unit asked for by itself; a failure for the one that the error is about."""
        if len(units) > 1:
            return [row for unit in units for row in self.scores([unit])]
        return [[Score.failed(redacted(_told(error))) for _ in units[0].group.completions]]

    def _ask(self, units: Sequence[Unit]) -> list[list[Score]]:
        slow = Timer(_SILENT_SECONDS, self._tell_silence)
        slow.daemon = True
        if self.timeout_seconds is None:
            slow.start()
        try:
            with self._overheard:
                rows = within(self.timeout_seconds, partial(self._rows, units))
        finally:
            slow.cancel()
        return checked(self.label, units, rows, self.spares_others)

    def _rows(self, units: Sequence[Unit]) -> list[Any]:
        """What the source returned, a row per unit. It gets tuples, and facts of its own."""
        pid = os.getpid()
        try:
            return self._listed(owned([unit.group for unit in units]))
        finally:
            if os.getpid() != pid:  # the source has forked, and this is the child: the run goes on in its parent
                os._exit(1)

    def _listed(self, groups: Sequence[Group]) -> list[Any]:
        if self.by_group:
            return listed(self.label, self.source.score_groups(tuple(groups)))
        scores = listed(self.label, self.source.score(tuple(group.completions[0] for group in groups)))
        if len(scores) != len(groups):
            raise Misshapen(
                f"reward source '{self.label}' returned {len(scores)} scores for {len(groups)} completions."
                " One score per completion, in order."
            )
        return [[score] for score in scores]

    def _culprit(self, units: Sequence[Unit]) -> str:
        """Names the first completion that the source cannot score by itself, found by asking again one by one."""
        for unit in units:
            try:
                self._ask([unit])
            except (Exception, SystemExit):
                whole = f"reward source '{self.label}', {unit.group.prompt.place}"
                return whole if self.by_group else unit.place(self.label, 0)
        return f"reward source '{self.label}' (on a batch; nothing in it raises by itself)"

    def _tell_silence(self) -> None:
        self.tell(
            f"reward source '{self.label}': no answer for {_SILENT_SECONDS:.0f} s. It is waited for without end;"
            " scoring.timeout_seconds sets a limit."
        )


def owned(groups: Sequence[Group]) -> list[Group]:
    """The groups with everything copied that a source could change: what it does to them stays its own."""
    copies: dict[int, Prompt] = {}
    for group in groups:
        if id(group.prompt) not in copies:
            copies[id(group.prompt)] = _copied(group.prompt)
    return [_with_prompt(group, copies[id(group.prompt)]) for group in groups]


def _copied(prompt: Prompt) -> Prompt:
    if not prompt.facts and not prompt.is_conversation:
        return prompt
    content = prompt.content if isinstance(prompt.content, str) else tuple(turn.copy() for turn in prompt.content)
    return replace(prompt, content=content, facts=copy.deepcopy(prompt.facts))


def _with_prompt(group: Group, prompt: Prompt) -> Group:
    if prompt is group.prompt:
        return group
    completions = tuple(replace(one, prompt=prompt) for one in group.completions)
    return replace(group, prompt=prompt, completions=completions)


def _is_of_one_row(error: BaseException) -> bool:
    """Whether another completion may well be scored: not where the plugin as a whole is at fault."""
    return isinstance(error, _OF_ONE_ROW) or not isinstance(error, CopgkitError)


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, CopgkitError) else f"{type(error).__name__}: {error}"
