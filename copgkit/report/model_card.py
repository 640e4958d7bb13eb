"""The card beside an aligned model: from what it was made, how, and what that changed, as a hub shows it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from copgkit.report.summary import Summary, as_cells


def model_card(summary: Summary, record: Mapping[str, Any], base_model: str, on_hub: bool, recipe: str) -> str:
    """Markdown with the front matter of the Hugging Face hub.

    record: run.json. base_model: the policy the run began with, named in the front matter if it is on_hub. recipe: the
    resolved one, as YAML.
    """
    front: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["copgkit", "contrastive-policy-gradient"],
    }
    if on_hub:
        front["base_model"] = base_model
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("copgkit", "torch", "transformers"))
    cautions = "".join(f"- {warning}\n" for warning in record["warnings"]) or "None.\n"
    return (
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"
        f"# `{Path(base_model).name}`, aligned with copgkit\n\n{record['result']}\n\n{_table(summary)}\n"
        "Shares and means are over held-out prompts, with 95 % intervals.\n"
        f"Made with {versions}; seed {record['seed']}.\n\n"
        f"## Warnings of the run\n\n{cautions}\n"
        f"## Provenance\n\n{_provenance(record)}\n"
        f"## Recipe\n\nThe run's folder holds it as `recipe.yaml`. With every default:\n\n```yaml\n{recipe}```\n"
    )


def _provenance(record: Mapping[str, Any]) -> str:
    """Data, models and code by content, and what was checked of the rewards; run.json beside the model has all."""
    lines = [f"- {key}: `{value}`" for key, value in record.get("models", {}).items()]
    lines += [f"- {key}: sha256 `{value[:16]}...`" for key, value in record["hashes"].items()]
    machine = ", ".join(str(value) for value in record["machine"].values())
    lines.append(f"- {machine}; device {record['device']}")
    if checked := record.get("rewards"):
        wrong = checked["wrong-rewards"] + checked["wrong-means"]
        said = "all are" if not wrong else f"{wrong} are not"
        lines.append(
            f"- {checked['checked']:,} rewards worked out again from their raw scores: {said} what was optimised"
        )
    return "".join(f"{line}\n" for line in lines)


def _table(summary: Summary) -> str:
    rows = [("", "before", "after", "95 %", "difference"), ("---", *["---:"] * 4)]
    rows += [(line.label, line.before, line.after, line.after_interval, line.difference) for line in as_cells(summary)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
