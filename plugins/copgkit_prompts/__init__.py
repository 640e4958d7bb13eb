"""Where prompts come from: JSON lines, Parquet, and hub datasets."""

from __future__ import annotations

from typing import Any

from copgkit import hookimpl
from copgkit_prompts.sources import HubDataset, JsonLines, Parquet


@hookimpl
def register_prompt_sources(register: Any) -> None:
    """Announces `jsonl`, `parquet` and `hub`."""
    register("jsonl", JsonLines)
    register("parquet", Parquet)
    register("hub", HubDataset)
