"""The runs of a check: one that nothing happens to, and for each break one that ends there and goes on.

    trials = Trials("recipe.yaml", changes, folder, keep=False)
    heard, state = trials.whole()
    trials.broken_off(breaks_of(heard.stretches, every=3)[0], every=3)

Every start has the same random states, so that they are the same at the end, and in every check. A run is held before
its report, which depends on the clock, while its last checkpoint is still there; the break before the report goes on to
the end. The run without a break is saved as its recipe says, the others more often: saving must not matter either.
"""

from __future__ import annotations

import gc
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from copgkit.errors import CopgkitError, TrainingError
from copgkit.interrupts import Interrupted
from copgkit.resuming.moments import AT_REPORT, Break, BrokenOff, Listening
from copgkit.resuming.states import State, differences, newest_checkpoint, state_of
from copgkit.store import read_manifest

_WHOLE, _AGAIN = "without-a-break", "without-a-break-again"


@dataclass(frozen=True)
class ResumeFinding:
    """What came of one break. where: at which moment; asked: by Ctrl-C, else as if the process was killed; went_on:
    from where. differences: from the run without a break, a line for each file; none if all is the same."""

    where: str
    asked: bool
    went_on: str
    differences: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        return not self.differences


@dataclass
class Trials:
    """Runs of a recipe with changes, each in a folder of its own within `folder`. keep: leave all of them there; else
    `folder` goes, unless one differs, which stays beside the run without a break. say: gets a line every few seconds.
    """

    recipe: str | Path
    changes: Sequence[str]
    folder: Path
    keep: bool
    say: Callable[[str], None] = lambda text: None
    differing: int = 0
    _broken: int = 0
    _found: dict[str, Any] = field(default_factory=dict)

    def whole(self) -> tuple[Listening, State]:
        """The run without a break: what was heard of it, and what it left. Raises CopgkitError."""
        try:
            heard = self._run(_WHOLE, AT_REPORT)
        except TrainingError as fault:
            raise TrainingError(
                f"{fault} This was without a break, and with these changes: {' '.join(self.changes)}. Set other values"
                " with --set, or say --whole."
            ) from fault
        gc.freeze()  # else every run would have all of torch looked through each time that it lets go of a model
        return heard, state_of(self.folder / _WHOLE)

    def broken_off(self, one: Break, every: int, title: str = "") -> ResumeFinding:
        """What comes of a break, for a run that is saved every so many steps."""
        self._broken += 1
        name, went_on = f"break-{self._broken:02d}", ""
        try:
            if one is AT_REPORT:
                shutil.copytree(self.folder / _WHOLE, self.folder / name)  # it was broken off there
            elif self._run(name, one, AT_REPORT, every=every, title=title).came is not one:
                raise CopgkitError("it did not come to this point a second time")
            went_on = _where(self.folder / name)
            self._run(name, *(() if one is AT_REPORT else (AT_REPORT,)), every=every, title=title)
            found = differences(state_of(self.folder / name), state_of(self.folder / _WHOLE))
        except CopgkitError as fault:
            found = [f"the run failed, which it does not without a break: {fault}"]
        self.differing += bool(found)
        if not (found or self.keep):
            shutil.rmtree(self.folder / name)
        return ResumeFinding(one.words, one.asked, went_on, found)

    def is_repeatable(self) -> bool:
        """Whether a second run without a break leaves the same."""
        try:
            self._run(_AGAIN, AT_REPORT)
        except CopgkitError:
            return False
        return not differences(state_of(self.folder / _AGAIN), state_of(self.folder / _WHOLE))

    def close(self) -> None:
        """Removes what need not stay, and leaves the random states as they were."""
        from copgkit.engine.checkpoints import restore_random_states

        gc.unfreeze()
        if self._found:
            restore_random_states(self._found)
        if not (self.differing or self.keep):
            shutil.rmtree(self.folder)

    def _run(self, name: str, *breaks: Break, every: int | None = None, title: str = "without a break") -> Listening:
        """Runs, or goes on, until a break or the end."""
        from copgkit.engine.checkpoints import random_states
        from copgkit.runner import run

        self._found = self._found or random_states()
        _seed()
        heard = Listening(*breaks, say=lambda text: self.say(f"{title}: {text}"))
        saved = [] if every is None else [f"train.checkpoint_every={every}"]
        try:
            run(self.recipe, [*self.changes, *saved], self.folder / name, heard)
        except BrokenOff:
            pass
        except Interrupted:
            if heard.came is None or not heard.came.asked:
                raise KeyboardInterrupt from None  # somebody wants the check to end
        gc.collect()  # what held the models is gone
        return heard


def _seed() -> None:
    """Puts the random numbers that belong to nobody at a fixed beginning."""
    import numpy
    import torch

    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)


def _where(folder: Path) -> str:
    newest = newest_checkpoint(folder)
    return "the beginning" if newest is None else f"step {read_manifest(newest)['step']}"
