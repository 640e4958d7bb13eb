"""TRL's side of the training step: `DPOTrainer` with the IPO loss on pairs, set up for speed.

A group of K completions is K/2 pairs, each with the prompt repeated, so that both programs train on the same
completions in every step. What is set and why is said beside each setting; what is not named here is TRL's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback, TrainerCallback
from trl import DPOConfig, DPOTrainer

from benchmarks.cells import Cell
from benchmarks.material import TokenGroup, text_of
from benchmarks.timing import Watch


class TrlSide:
    """One of TRL's trainers, as a side that takes optimiser steps."""

    name: str = "TRL"
    trainer: Any
    watch: Watch

    def run(self, steps: int) -> list[Any]:
        """What each of so many steps took, fetching its batch included. The optimiser lives on between calls."""
        self.trainer.args.max_steps = steps
        self.trainer.train()
        return list(self.watch.laps)


class TrlPairs(TrlSide):
    """Takes optimiser steps on pairs."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        groups: Sequence[TokenGroup],
        watch: Watch,
        pairs_per_forward: int,
        name: str = "TRL",
        checkpointing: bool = False,
    ) -> None:
        """Tokenises the pairs and computes what the reference says of them, both before the clock starts."""
        disable_progress_bars()
        self.name, self.watch = name, watch
        self.trainer = DPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa"),
            args=pair_settings(cell, folder, pairs_per_forward, checkpointing),
            train_dataset=Dataset.from_list([row for group in groups for row in pairs_of(group)]),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Laps(watch)],
        )
        self.trainer.remove_callback(PrinterCallback)


def pair_settings(cell: Cell, folder: Path, pairs_per_forward: int, checkpointing: bool = False) -> DPOConfig:
    """TRL's settings for pairs. checkpointing: compute every layer twice, to save memory."""
    return DPOConfig(
        loss_type="ipo",
        beta=0.1,
        precompute_ref_log_probs=True,  # no reference model in the step
        precompute_ref_batch_size=max(1, 4096 // (2 * (cell.prompt + cell.completion))),  # before the clock starts
        max_length=cell.prompt + cell.completion,  # cuts nothing
        per_device_train_batch_size=pairs_per_forward,
        gradient_accumulation_steps=cell.pairs // pairs_per_forward,
        train_sampling_strategy="sequential",  # each step holds the completions of whole groups, as copgkit's
        **common_settings(cell, folder) | {"gradient_checkpointing": checkpointing},
    )


def common_settings(cell: Cell, folder: Path) -> dict[str, Any]:
    """What the pair trainer and the on-policy trainer have in common."""
    return {
        "output_dir": str(folder / "trl"),
        "gradient_checkpointing": False,  # TRL's default is on, which computes every layer twice; copgkit's is off
        "bf16": cell.dtype == "bf16",  # TRL's default is on; both sides use the precision of the cell
        "optim": "adamw_torch_fused",  # the fastest AdamW of torch, and the Trainer's default
        "learning_rate": 1e-5,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,  # as copgkit
        "weight_decay": 0.0,  # as copgkit
        "dataloader_pin_memory": cell.device != "cpu",
        "use_cpu": cell.device == "cpu",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "max_steps": 1,  # set again for each call
    }


def pairs_of(group: TokenGroup) -> list[dict[str, str]]:
    """Neighbours as pairs, the one with the higher reward chosen. TRL adds end-of-sequence itself."""
    rows = []
    for first in range(0, len(group.completions), 2):
        better, worse = sorted((first, first + 1), key=lambda index: -group.rewards[index])
        rows.append(
            {
                "prompt": text_of(group.prompt),
                "chosen": " " + text_of(group.completions[better]),
                "rejected": " " + text_of(group.completions[worse]),
            }
        )
    return rows


class Laps(TrainerCallback):  # type: ignore[misc]
    """Takes the time from the start of the first epoch to each step's end."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Just before the first batch is fetched."""
        self.watch.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """After the optimiser's step."""
        self.watch.lap()
