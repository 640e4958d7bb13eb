"""Writing K completions of a prompt: copgkit's `generate` beside the one of transformers, on the same rows.

Both sample at temperature 1 from the whole softmax, on the same model with random weights and nothing that could end a
completion early, so that they write equally many tokens. transformers gets each prompt K times, as its
`num_return_sequences` would give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from benchmarks.cells import Cell
from benchmarks.material import draw_groups, model_folder
from benchmarks.options import Options
from benchmarks.tables import Table
from benchmarks.timing import Elapsed, Side, Spread, Stopwatch, Watch, interleave, ratios
from copgkit import GenerationSettings, Prompt
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec

NAMES = ("generate", "copgkit")


def measure(options: Options) -> list[Table]:
    """Completions of one prompt for every cell, K = 1 included, and of a step's prompts together at the centre."""
    ks = options.ks if 1 in options.ks else (1, *options.ks)
    one = [replace(cell, groups=1, completions_per_prompt=k) for cell in _by_prompt(options) for k in ks]
    several = [replace(options.cell, completions_per_prompt=k) for k in ks]
    return [
        _table("Generation: K completions of one prompt", one, options),
        _table(f"Generation: K completions of each of {options.cell.groups} prompts", several, options),
    ]


def compare(cell: Cell, options: Options) -> dict[str, list[Elapsed]]:
    """What both took for all completions of the cell's groups, in each repeat, by name."""
    prompts = [group.prompt for group in draw_groups(cell, cell.groups)]
    with model_folder(cell.shape, cell.prompt + cell.completion) as folder:
        # One for each: a policy changes how its module attends.
        plain, ours = _load(cell, folder), _load(cell, folder)
    sides: list[Side] = [
        Plain(cell, plain, prompts, Stopwatch(cell.device)),
        Copgkit(cell, ours, prompts, Stopwatch(cell.device)),
    ]
    return interleave(sides, options.repeats, options.steps, options.say)


class Plain:
    """transformers' `generate`, on a batch that holds each prompt K times."""

    name = NAMES[0]

    def __init__(self, cell: Cell, module: Any, prompts: Sequence[Sequence[int]], watch: Watch) -> None:
        """Puts the batch together."""
        self.cell, self.module, self.watch = cell, module, watch
        self.ids = torch.tensor(prompts, device=cell.device).repeat_interleave(cell.completions_per_prompt, 0)

    def run(self, steps: int) -> list[Any]:
        """What each of so many batches took."""
        self.watch.start()
        for _ in range(steps):
            written = self.module.generate(
                self.ids, attention_mask=torch.ones_like(self.ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                max_new_tokens=self.cell.completion, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
            self.watch.lap()
            _require(written.shape[1] - self.ids.shape[1], self.cell)
        return list(self.watch.laps)


class Copgkit:
    """copgkit's, which is told of each prompt once."""

    name = NAMES[1]

    def __init__(self, cell: Cell, module: Any, prompts: Sequence[Sequence[int]], watch: Watch) -> None:
        """Makes a policy of the module."""
        self.cell, self.watch = cell, watch
        self.policy = CausalLMPolicy(
            module, IntegerCodec(stop_ids=()), max_prompt_tokens=cell.prompt, max_completion_tokens=cell.completion
        )
        self.prompts = [Prompt(" ".join(map(str, ids))) for ids in prompts]
        self._seed = 0

    def run(self, steps: int) -> list[Any]:
        """What each of so many batches took."""
        self.watch.start()
        for _ in range(steps):
            self._seed += 1
            settings = GenerationSettings(seed=self._seed)
            rows = self.policy.generate(self.prompts, self.cell.completions_per_prompt, settings)
            self.watch.lap()
            _require(min(len(one.token_ids or ()) for row in rows for one in row), self.cell)
        return list(self.watch.laps)


def _by_prompt(options: Options) -> list[Cell]:
    return [replace(options.cell, prompt=prompt) for prompt in options.prompts]


def _table(title: str, cells: Sequence[Cell], options: Options) -> Table:
    table = Table(
        title,
        ("prompt", "K", "generate, tokens/s", "copgkit, tokens/s", "copgkit / generate", "in processor time"),
        note="The bar at prompt 384, K = 8 of one prompt is 2.",
    )
    for cell in cells:
        options.say(f"generation: {cell.groups} x prompt {cell.prompt}, K = {cell.completions_per_prompt}")
        taken = compare(cell, options)
        plain, ours = ([elapsed.wall for elapsed in taken[name]] for name in NAMES)
        plain_cpu, ours_cpu = ([elapsed.cpu for elapsed in taken[name]] for name in NAMES)
        tokens = cell.completions * cell.completion
        rates = [Spread.of([tokens / seconds for seconds in wall]).shown() for wall in (plain, ours)]
        row = [*rates, ratios(plain, ours).shown(), ratios(plain_cpu, ours_cpu).shown()]
        table.add(
            [str(cell.prompt), str(cell.completions_per_prompt), *row],
            {
                "prompt": cell.prompt,
                "completions per prompt": cell.completions_per_prompt,
                "prompts": cell.groups,
                "tokens": tokens,
                "seconds": {"generate": plain, "copgkit": ours},
                "processor seconds": {"generate": plain_cpu, "copgkit": ours_cpu},
            },
        )
    return table


def _load(cell: Cell, folder: Path) -> Any:
    dtype = torch.bfloat16 if cell.dtype == "bf16" else torch.float32
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(cell.device).eval()


def _require(written: int, cell: Cell) -> None:
    """Raises RuntimeError if a completion ended early: the two would not have written the same."""
    if written != cell.completion:
        raise RuntimeError(f"a completion of {written} tokens instead of {cell.completion}")
