"""Where the groups are that somebody wants to look at: a file, a folder, a run, or a recipe's own data.

    found = groups_to_inspect("runs/tldr")
    inspect_groups(found.groups, found.beta)

Files and folders are read without torch. The data of a recipe are scored by the recipe's sources, as its run would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from copgkit.components import Context
from copgkit.errors import CopgkitError
from copgkit.progress import Progress
from copgkit.recipe import ResolvedRecipe, beta_of, load_recipe
from copgkit.registry import Registry
from copgkit.store import newest_run, read_groups, read_rows
from copgkit.types import Completion, Group, Prompt, Score, ScoredGroup

_DATA = (".jsonl", ".parquet", ".gz")
_RECIPES = (".yaml", ".yml")


@dataclass(frozen=True)
class FoundGroups:
    """Scored groups, where they were found, and the beta that goes with them, where one does."""

    title: str
    groups: Sequence[ScoredGroup]
    beta: float | None


def groups_to_inspect(
    target: str | Path, set: Mapping[str, Any] | Sequence[str] = (), progress: Progress | None = None
) -> FoundGroups:
    """The scored groups of a file, of a folder of such files, of a run folder, or of a recipe.

    set: changes, for a recipe only. A recipe that generates has no groups of its own: those of its newest run are
    taken. A file without rewards is given the plain sum of its scores. Raises CopgkitError for what is not there.
    """
    path, progress = Path(target), progress or Progress()
    if path.suffix in _RECIPES:
        return _of_recipe(load_recipe(path, set), progress)
    if set:
        raise CopgkitError(f"--set: {path} is no recipe, and has nothing to set. Say --beta, or give the recipe.")
    if path.is_dir():
        return _of_folder(path, progress)
    if not path.exists():
        raise CopgkitError(f"{path}: there is no such file or folder. Give groups, a run folder or a recipe.")
    return FoundGroups(path.name, list(_of_file(path, progress)), beta_of(path.parent.parent / "resolved.yaml"))


def _of_folder(folder: Path, progress: Progress) -> FoundGroups:
    """All files of a run, or all files of any other folder, by name."""
    run = folder / "groups"
    files = sorted(file for file in (run if run.is_dir() else folder).iterdir() if file.suffix in _DATA)
    if not files:
        raise CopgkitError(f"{folder}: there are no groups in it (.jsonl or .parquet). Give a run folder, or a file.")
    beta = beta_of(folder / "resolved.yaml") or beta_of(folder.parent / "resolved.yaml")
    return FoundGroups(folder.resolve().name, [group for file in files for group in _of_file(file, progress)], beta)


def _of_recipe(resolved: ResolvedRecipe, progress: Progress) -> FoundGroups:
    beta = resolved.recipe.objective.beta
    if resolved.sampler_facts.plan.generator == "none":
        from copgkit.preparing import scored_data

        return FoundGroups(resolved.path.stem, scored_data(resolved, progress), beta)
    run = newest_run(resolved.default_output)
    if run is None:
        raise CopgkitError(
            f"{resolved.path}: its completions are yet to be generated, and {resolved.default_output} holds no run."
            " Run it, or write groups with `copgkit sample` and `copgkit score` and inspect those."
        )
    progress.message(f"groups of {run}")
    found = _of_folder(run, progress)
    return FoundGroups(found.title, found.groups, beta)


def _of_file(file: Path, progress: Progress) -> Iterator[ScoredGroup]:
    """What a run wrote as it stands; of any other file, what its prompt source reads."""
    first = next(read_rows(file), ("", None))[1]
    if isinstance(first, dict) and first.get("rewards"):
        return read_groups(file)
    return _of_data(file, progress)


def _of_data(file: Path, progress: Progress) -> Iterator[ScoredGroup]:
    """Groups with the plain sum of their scores as rewards; completions without a number are left out and counted."""
    reader = Registry.load().get("prompt source", "parquet" if file.suffix == ".parquet" else "jsonl")
    prompts = reader.cls(reader.cls.Options(path=str(file.resolve())), Context(file.name)).load()
    progress.message(f"{file.name}: no rewards in it; the sum of a completion's scores is taken for one")
    without = 0
    for prompt in prompts:
        scored = _summed(prompt)
        without += len(prompt.recorded) - (0 if scored is None else len(scored.rewards))
        if scored is not None:
            yield scored
    if without:
        progress.warning(f"{file.name}: {without} completions have no score, or no other one beside them: left out.")


def _summed(prompt: Prompt) -> ScoredGroup | None:
    """The prompt's recorded completions that have a number; None if fewer than two have."""
    kept = []
    for one in prompt.recorded:
        scores = {name: score if isinstance(score, Score) else Score(score) for name, score in one.scores.items()}
        values = [score.value for score in scores.values() if score.value is not None]
        if values and not any(score.failure for score in scores.values()):
            kept.append((Completion(prompt, one.text, one.token_ids, one.finished), scores, sum(values)))
    if len(kept) < 2:
        return None
    names = [name for name in kept[0][1] if all(name in scores for _, scores, _ in kept)]
    columns = {name: [scores[name] for _, scores, _ in kept] for name in names}
    return ScoredGroup(Group(prompt, tuple(one for one, _, _ in kept)), columns, tuple(total for *_, total in kept))
