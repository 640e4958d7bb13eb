"""The machine and the versions that figures belong to, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("copgkit", "torch", "transformers", "accelerate", "trl", "datasets", "numpy")


def describe(device: str) -> dict[str, Any]:
    """Processor, cores, threads, load and versions."""
    import torch

    record: dict[str, Any] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory GB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load at the start": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": {name: _version(name) for name in _PACKAGES},
    }
    if device != "cpu":
        record["accelerator"] = torch.cuda.get_device_name()
    return record


def matmul_flops_per_second(device: str = "cpu", dtype: str = "float32", seconds: float = 1.0) -> float:
    """Operations a second of the best of three sizes of square matrix product, each repeated for so many seconds; the
    fastest single product counts. Nothing made of matrix products can be faster for long."""
    return max(_product(size, device, dtype, seconds) for size in (1024, 2048, 4096))


def _product(size: int, device: str, dtype: str, seconds: float) -> float:
    import torch

    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=kind) for _ in range(2))
    out = torch.empty_like(left)
    best, until = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < until or best == float("inf"):
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
