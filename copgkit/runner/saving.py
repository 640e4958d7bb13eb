"""When a run is saved, what of it, and how it goes on from there.

    saver.mark(training, round, ...)       # after a step, or an evaluation: from here the run could go on
    saver.save_if_due()
    saver.save()                           # at the latest mark, whatever was begun since

A mark is cheap. Between two marks weights do not change but within a step, which no signal divides; so that a run which
is asked to end in the middle of a round or an evaluation is saved as it was at the last mark.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from copgkit import interrupts
from copgkit.errors import CopgkitError
from copgkit.progress import Progress
from copgkit.runner.log import Log
from copgkit.runner.parts import Parts
from copgkit.runner.saved import round_from_rows, round_to_rows, samples_from_rows, samples_to_rows
from copgkit.store import Checkpoints, file_hash, read_manifest
from copgkit.types import Sample

if TYPE_CHECKING:
    from torch import Tensor

    from copgkit.engine.rounds import Round
    from copgkit.engine.training import Training

_SHARE = 0.01  # of a run's time that its checkpoints may take
_SECONDS_BETWEEN = 60.0
_TENSORS, _RUN, _ROUND = "training.safetensors", "run.json", "round.jsonl"

Plain = dict[str, Any]


@dataclass(frozen=True)
class Mark:
    """A point from which the run can go on. run: what is known of it, in plain data; position: how far the training
    is; samples: those of the latest evaluation."""

    run: Plain
    position: Plain
    round: Round
    samples: Sequence[Sample]


@dataclass(frozen=True)
class Saved:
    """A run as a checkpoint has it. round: None where the last step was taken."""

    run: Plain
    position: Plain
    facts: Plain
    tensors: Mapping[str, Tensor]
    round: Round | None
    samples: Sequence[Sample]


class Saver:
    """Saves one run. every: steps between checkpoints; None lets their cost decide. forget: lets go of what a
    checkpoint makes superfluous. main: this process writes them."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        parts: Parts,
        log: Log,
        progress: Progress,
        forget: Callable[[], None],
        main: bool,
    ) -> None:
        settings = parts.resolved.recipe.train
        self.every, self.stops = settings.checkpoint_every, settings.on_failed_checkpoint == "stop"
        self._checkpoints, self._parts, self._log, self._progress = checkpoints, parts, log, progress
        self._forget, self._main = forget, main
        self._mark: Mark | None = None
        self._training: Training | None = None
        self._saved_step = 0
        self._last, self._cost = time.monotonic(), 0.0

    def mark(self, training: Training, present: Round, run: Plain, samples: Sequence[Sample]) -> None:
        """From here the run could go on."""
        from copgkit.engine.checkpoints import position_of

        self._training = training
        self._mark = Mark({**run, **self._log.lengths()}, position_of(training), present, samples)

    def save_if_due(self, over: bool = False) -> None:
        """Saves if it is time, and at the last step. over: there is none to come. Every process has to ask. Raises
        AllInterrupted where a signal has asked any of them to end."""
        from copgkit.engine import ranks

        answers = ranks.gathered((over or self._is_due(), interrupts.is_asked()))
        if answers[0][0] and self.save():  # by the clock of the main process
            self._forget()
        if any(asked for _, asked in answers):
            raise interrupts.AllInterrupted("a signal asked the run to end")

    def save(self) -> bool:
        """Saves the run as it was at the latest mark, if there is anything new. Every process has to ask. Gives whether
        it was saved.

        A failure costs a warning, or raises CopgkitError if the recipe says so; earlier checkpoints are as they were.
        """
        from safetensors import SafetensorError

        from copgkit.engine import checkpoints, ranks, zero

        if zero.is_used(self._parts.accelerator):
            self._progress.warning(
                "checkpoints: DeepSpeed keeps weights and optimiser in its own form; none is written."
            )
            return False
        if self._mark is None or self._training is None or self._mark.position["step"] <= self._saved_step:
            return False
        began = time.monotonic()
        tensors, facts = checkpoints.state_of(self._training)
        positions = ranks.gathered(self._mark.position)
        fault = None
        if self._main:
            try:
                self._publish(self._mark, tensors, facts, positions)
            except (OSError, RuntimeError, SafetensorError) as found:
                fault = found
        self._saved_step = self._mark.position["step"]
        self._last = time.monotonic()
        self._cost = self._last - began
        if fault is not None:
            self._tell(fault)
        return ranks.from_main(lambda: fault is None)

    def load(self) -> Saved | None:
        """The newest whole checkpoint; None where there is none."""
        from copgkit.engine import ranks
        from copgkit.engine.checkpoints import load_tensors

        path = ranks.from_main(self._checkpoints.newest)
        if path is None:
            return None
        content = json.loads((path / _RUN).read_text(encoding="utf-8"))
        positions = content["positions"]
        rows = [json.loads(line) for line in (path / _ROUND).read_bytes().split(b"\n")[:-1]]
        held_out, examination = self._parts.examination.prompts, self._parts.examination
        examination.reference_by_prompt = samples_from_rows(content["reference_samples"], held_out)
        self._saved_step = positions[0]["step"]
        return Saved(
            content["run"],
            positions[min(ranks.rank(), len(positions) - 1)],
            content["facts"],
            load_tensors(path / _TENSORS),
            round_from_rows(rows, self._parts.prompts) if rows else None,
            [sample for (sample,) in samples_from_rows(content["samples"], held_out)],
        )

    def end(self) -> dict[str, Any]:
        """A hash of all weights and of the optimiser's memory, as the last checkpoint has them, and its step."""
        newest = self._checkpoints.newest()
        if newest is None:
            return {}
        return {"step": read_manifest(newest)["step"], "sha256": file_hash(newest / _TENSORS)}

    def rest(self) -> None:
        """Lets go of the training, which is over and saved."""
        self._mark = self._training = None

    def remove(self) -> None:
        """Removes the checkpoints of a run that is finished."""
        self._checkpoints.remove()

    def _is_due(self) -> bool:
        assert self._training is not None
        step = self._training.step
        if self._is_over():
            return True
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._last > max(_SECONDS_BETWEEN, self._cost / _SHARE)

    def _is_over(self) -> bool:
        """Whether the last step was taken."""
        assert self._training is not None
        return self._training.step >= self._training.total_steps

    def _publish(self, mark: Mark, tensors: Mapping[str, Tensor], facts: Plain, positions: Sequence[Plain]) -> None:
        from copgkit.engine.checkpoints import save_tensors, size_of

        examination = self._parts.examination
        content = {
            "run": mark.run,
            "positions": positions,
            "facts": facts,
            "reference_samples": samples_to_rows(examination.reference_by_prompt, examination.prompts),
            "samples": samples_to_rows([[sample] for sample in mark.samples], examination.prompts),
        }
        rows = [] if self._is_over() else round_to_rows(mark.round, self._parts.prompts)  # no step needs it any more
        lines = [json.dumps(row) + "\n" for row in rows]
        text = json.dumps(content, default=_as_list)

        def write(draft: Path) -> None:
            save_tensors(tensors, draft / _TENSORS)
            (draft / _RUN).write_text(text, encoding="utf-8")
            (draft / _ROUND).write_text("".join(lines), encoding="utf-8", newline="")

        self._checkpoints.publish(positions[0]["step"], write, size_of(tensors) + len(text) + sum(map(len, lines)))

    def _tell(self, fault: Exception) -> None:
        step = self._saved_step
        why = getattr(fault, "strerror", None) or fault
        words = f"checkpoint of step {step}: it could not be written ({' '.join(str(why).split())[:300]})"
        if self.stops:
            raise CopgkitError(f"{words}. Make room, or say `train: {{on_failed_checkpoint: go-on}}`.") from fault
        self._progress.warning(f"{words}. Training goes on; earlier checkpoints are as they were.")


def _as_list(value: Any) -> Any:
    """States of random numbers, which stay arrays until they are written."""
    return value.tolist()
