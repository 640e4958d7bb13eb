"""Does a recipe go on bit for bit where it was broken off? It is broken off and gone on with, and the ends compared.

    check = check_resume("recipes/tldr.yaml", report=print)
    check.holds, check.findings

The recipe runs once as if nothing happened. Then it runs again for each break: it ends there, goes on in its folder as
`copgkit run` does, and what it leaves is compared with the first (`states` says what is). `shortening` has it take
seconds, `moments` chooses the breaks, `trials` runs.

Limits: one process, without DeepSpeed. All runs are in this process: what a package keeps in a module of its own
outlives a break here, which it would not elsewhere.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from copgkit.errors import CopgkitError
from copgkit.launched import is_one_of_several, is_with_deepspeed
from copgkit.recipe import load_recipe
from copgkit.resuming.moments import Break, breaks_of, interval_of
from copgkit.resuming.shortening import shortened
from copgkit.resuming.states import State
from copgkit.resuming.trials import ResumeFinding, Trials

__all__ = ["ResumeCheck", "ResumeFinding", "check_resume"]

_KEPT_ELSEWHERE = ("scoring.store=null", "train.trackers=[]", "train.on_failed_checkpoint=stop")
"""Where a run keeps and tells things; no result depends on it. In a store that runs share, a run would find all scores
of the one before, and never be broken off while it scores."""


@dataclass(frozen=True)
class ResumeCheck:
    """What came of it. files and sha256: how many were compared at each break, and one hash over what they are without
    one. repeatable: whether they are the same when it runs again without a break; None where all breaks hold, and
    nobody had to ask. folder: where runs stay, if any does."""

    findings: Sequence[ResumeFinding]
    files: int
    sha256: str
    repeatable: bool | None = None
    folder: Path | None = None

    @property
    def holds(self) -> bool:
        return all(finding.holds for finding in self.findings)


def check_resume(
    recipe: str | Path,
    set: Sequence[str] = (),
    whole: bool = False,
    output: str | Path | None = None,
    begin: Callable[[Sequence[str]], None] = lambda changes: None,
    report: Callable[[ResumeFinding], None] = lambda finding: None,
    say: Callable[[str], None] = lambda text: None,
) -> ResumeCheck:
    """Breaks off a recipe at all kinds of moments, and tells whether it ends as it would have.

    set: overrides, as ["objective.beta=0.1"]. whole: do not shorten it. output: a new or empty folder in which every
    run stays; without it those that differ stay in a temporary one, beside the run without a break. begin: called with
    the changes that shorten it. report: called with each finding as it comes. say: gets a line every few seconds.

    Raises CopgkitError for anything the user can mend: several processes, DeepSpeed, and a recipe that cannot be read,
    or does not come to its end without a break.
    """
    _require_one_process()
    changes = [] if whole else shortened(load_recipe(recipe, set))
    folder = Path(tempfile.mkdtemp(prefix="copgkit-resume-")) if output is None else _empty(Path(output))
    trials = Trials(recipe, [*changes, *set, *_KEPT_ELSEWHERE], folder, keep=output is not None, say=say)
    begin(changes)
    try:
        heard, unbroken = trials.whole()
        every = interval_of(heard.stretches)
        findings = []
        for number, one in enumerate(breaks := _possible(breaks_of(heard.stretches, every)), start=1):
            findings.append(trials.broken_off(one, every, f"break {number} of {len(breaks)}"))
            report(findings[-1])
        repeatable = trials.is_repeatable() if any(not one.holds for one in findings) else None
    finally:
        trials.close()
    return _result(findings, unbroken, repeatable, trials)


def _result(findings: Sequence[ResumeFinding], unbroken: State, repeatable: bool | None, trials: Trials) -> ResumeCheck:
    folder = trials.folder if trials.keep or trials.differing else None
    return ResumeCheck(findings, len(unbroken.hashes), unbroken.digest, repeatable, folder)


def _possible(breaks: Sequence[Break]) -> list[Break]:
    """Those that can be made here: Ctrl-C is heard in the main thread alone."""
    in_main = threading.current_thread() is threading.main_thread()
    return [one for one in breaks if in_main or not one.asked]


def _require_one_process() -> None:
    if is_one_of_several():
        raise CopgkitError(
            "copgkit verify --resume: it was launched in several processes, and works in one. Start it alone."
        )
    if is_with_deepspeed():
        raise CopgkitError(
            "copgkit verify --resume: accelerate's configuration asks for DeepSpeed, beside which a run saves nothing"
            " to go on from. Leave DeepSpeed out."
        )


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            return folder
    except OSError as fault:
        raise CopgkitError(f"{folder}: this folder cannot be made ({fault.strerror}). Choose another.") from fault
    raise CopgkitError(f"{folder}: there is something in this folder already. Choose another with --output.")
