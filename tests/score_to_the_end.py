"""Scores the groups of a recipe with its panel and writes the rewards; the kill test runs it as a process.

python score_to_the_end.py recipe.yaml rewards.json
"""

import json
import sys
from dataclasses import fields
from pathlib import Path

from copgkit.components import Context
from copgkit.panel import make_panel, open_store
from copgkit.progress import Progress
from copgkit.recipe import load_recipe
from copgkit.samplers import SamplerContext


class Loud(Progress):
    """A warning ends the process: a store that was damaged by a kill must not go unseen."""

    def show_warning(self, text):
        sys.exit(f"warning: {text}")


def main(recipe, output):
    resolved, progress = load_recipe(recipe), Loud()
    context = Context(folder=resolved.folder, progress=progress)
    panel = make_panel(
        resolved, lambda part: Context(part.label, resolved.folder), progress, open_store(resolved, progress)
    )
    prompts = list(resolved.parts.prompts.make(context).load())
    plain = {field.name: getattr(context, field.name) for field in fields(context)}
    groups = resolved.parts.sampler.make(SamplerContext(**plain, prompts=prompts)).draw(None)
    scored = panel.score(groups)
    Path(output).write_text(json.dumps([reward for group in scored for reward in group.rewards]))


main(*sys.argv[1:])
