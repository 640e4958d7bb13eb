"""Long runs stay flat: memory, descriptors, threads and processes do not grow with the steps, and files by the row."""

import gc
import json
import os
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest
import torch

import copgkit
from copgkit.runner import log

BYTES_PER_BLOCK = 64  # of Python's own memory, about


def _descriptors():
    return len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0


def _children():
    found = Path(f"/proc/self/task/{threading.main_thread().native_id}/children")
    return len(found.read_text().split()) if found.exists() else 0


class Watched(log.Log):
    """Looks at the process at every logged step."""

    seen: ClassVar = []

    def add(self, figures):
        super().add(figures)
        if "train/loss/mean" in figures:
            gc.collect()
            tensors = sum(one.numel() * one.element_size() for one in gc.get_objects() if type(one) is torch.Tensor)
            held = sys.getallocatedblocks() * BYTES_PER_BLOCK + tensors
            self.seen.append((self.step, held, (_descriptors(), threading.active_count(), _children()), _resident()))


def _resident():
    """Bytes of memory that the process has, where the system tells."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") if pages.exists() else 0


def _recipe(folder, steps, sampler):
    rows = [{"prompt": f"Choose {n}.", "completions": ["a", "b", "c"], "scores": {"s": [2, 1, 0]}} for n in range(64)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "reward.py").write_text("def score(completion):\n    return float('abc'.index(completion))\n")
    path = folder / "r.yaml"
    path.write_text(
        "policy: {use: tabular, arms: [a, b, c]}\n"
        "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        f"sampler: {sampler}\n"
        "rewards: [{use: python, options: {file: reward.py}}]\n"
        f"train: {{groups_per_step: 4, steps: {steps}, epochs: {steps}, log_every: {steps // 12}}}\n"
    )
    return path


SAMPLERS = {
    "offline": ("{use: recorded}", 1),
    "online": ("{use: replay, options: {share: 0.5, sampler: {use: policy, options: {completions_per_prompt: 3}}}}", 4),
}


@pytest.mark.parametrize("steps", [320, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_memory_descriptors_threads_and_files_stay_flat(tmp_path, monkeypatch, sampler, steps):
    monkeypatch.setattr("copgkit.runner.phases.Log", Watched)
    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])
    text, share = SAMPLERS[sampler]
    steps //= share  # a step of the policy's own takes as much longer
    Watched.seen.clear()
    result = copgkit.run(_recipe(tmp_path, steps, text), output=tmp_path / "out")
    assert result.steps == steps
    later = Watched.seen[len(Watched.seen) // 2 :]  # what is made once is made by then
    growth = 1000 * _slope([(step, held) for step, held, _, _ in later])
    resident = 1000 * _slope([(step, held) for step, _, _, held in later])
    print(f"{sampler}, {steps} steps: {growth / 1e6:.3f} MB per 1,000 steps, resident {resident / 1e6:.3f}")
    assert growth < 1e6
    assert steps < 2000 or resident < 1e6  # the system counts in pages, too coarse for a short run
    assert len({counts for _, _, counts, _ in later}) == 1
    sizes = [len(line) for line in (result.folder / "metrics.jsonl").read_bytes().splitlines()]
    assert max(sizes) < 2000


def _slope(points):
    """Of the least-squares line through points."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
