"""TRL's side of the on-policy step: `RLOOTrainer`, set up for speed. What is not named here is TRL's default."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
from trl import RLOOConfig, RLOOTrainer

from benchmarks.cells import Cell
from benchmarks.copgkit_on_policy import reward_of
from benchmarks.material import TokenGroup, text_of
from benchmarks.timing import Watch
from benchmarks.trl_training import Laps, TrlSide, common_settings


class TrlOnPolicy(TrlSide):
    """Takes optimiser steps, each on completions that the policy has just written."""

    def __init__(
        self, cell: Cell, folder: Path, groups: Sequence[TokenGroup], watch: Watch, completions_per_forward: int
    ) -> None:
        """Loads policy and reference."""
        disable_progress_bars()
        self.watch = watch
        self.trainer = RLOOTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa"),
            reward_funcs=lambda completions, **more: [reward_of(text) for text in completions],
            args=on_policy_settings(cell, folder, completions_per_forward),
            train_dataset=Dataset.from_list([{"prompt": text_of(group.prompt)} for group in groups]),
            processing_class=AutoTokenizer.from_pretrained(folder),
            callbacks=[Laps(watch)],
        )
        self.trainer.remove_callback(PrinterCallback)


def on_policy_settings(cell: Cell, folder: Path, completions_per_forward: int) -> RLOOConfig:
    """TRL's settings for fresh completions. transformers generates, in one call for all of a step's completions."""
    return RLOOConfig(
        beta=0.1,
        num_generations=cell.completions_per_prompt,
        max_completion_length=cell.completion,
        temperature=1.0,
        num_iterations=1,  # on-policy: every completion is trained on once
        disable_dropout=True,
        per_device_train_batch_size=completions_per_forward,
        gradient_accumulation_steps=cell.completions // completions_per_forward,
        **common_settings(cell, folder),
    )
