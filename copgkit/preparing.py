"""Groups on files, without training: drawing them, and scoring those that are there.

    copgkit.sample_groups("recipe.yaml", "groups.jsonl")
    copgkit.score_groups("groups.jsonl", "recipe.yaml", "scored.jsonl")

Another program may write the first file, or fill in the scores: docs/scored-groups.md is the format. Training on the
second file (`jsonl` or `parquet`, `recorded`, `recorded`) is what `copgkit run` does on the same groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from copgkit.assembly import Assembly
from copgkit.errors import CopgkitError, DataError
from copgkit.panel import make_panel, open_store
from copgkit.progress import Progress
from copgkit.recipe import Part, ResolvedRecipe, load_recipe
from copgkit.registry import Registry
from copgkit.samplers import Generator
from copgkit.store import write_groups
from copgkit.types import Group, Score, ScoredGroup

if TYPE_CHECKING:
    from copgkit.engine.scoring import Verdict

Overrides = Mapping[str, Any] | Sequence[str]
WrittenBy = Literal["copgkit", "vllm"]
ENDINGS = (".jsonl", ".parquet")
CHOOSE_ROWS = ("limit", "shuffle_seed", "max_words")
"""Options of a prompt source that leave out rows or change their order: a file is scored as a whole."""


def sample_groups(
    recipe: str | Path,
    output: str | Path,
    set: Overrides = (),
    progress: Progress | None = None,
    generator: WrittenBy = "copgkit",
) -> Path:
    """Writes the groups of the recipe's sampler, all of them or those of its first round, without scores.

    The policy is the recipe's, untrained. generator: what writes its completions; "vllm" takes the extra of that name
    and this process's GPU (engine/vllm_generator.py says how far that is tested). Groups of fewer than two completions
    (prompts that are too long) are left out and counted. Raises CopgkitError for anything the user can mend, among it a
    file that exists.
    """
    resolved, file = load_recipe(recipe, set), _new_file(output)
    # vLLM starts processes of its own, which must find the GPU as it was.
    assembly = Assembly(resolved, progress or Progress(), _device() if generator == "copgkit" else "cpu")
    prompts = assembly.prompts(resolved.parts.prompts)
    model = _writer(assembly, generator)
    sampler = assembly.sampler(resolved.parts.sampler, prompts, model, model)
    try:
        lasting = sampler.steps_per_round
        groups = sampler.draw(lasting and lasting * resolved.recipe.train.groups_per_step)
    finally:
        sampler.close()
    whole = [group for group in groups if len(group.completions) >= 2]
    if len(whole) < len(groups):
        assembly.progress.warning(
            f"sampler: {len(groups) - len(whole)} groups have fewer than two completions: left out."
        )
    if not whole:
        raise DataError("sampler: no group is left to write. Raise policy.max_prompt_tokens, or give more data.")
    write_groups(file, [ScoredGroup(group, {}, ()) for group in whole])
    return file


def score_groups(
    groups: str | Path, recipe: str | Path, output: str | Path, set: Overrides = (), progress: Progress | None = None
) -> Path:
    """Writes the groups of a file with what the recipe's reward sources say of them, and with the recipe's rewards.

    Scores that the file holds already are kept; those of the recipe's sources are replaced. Failures are written as
    failures and counted. Preference data is scored as it is. output may be the file that is read, and no other that
    exists. Raises CopgkitError for anything the user can mend.
    """
    given = Path(groups)
    file = Path(output) if _same(given, Path(output)) else _new_file(output)
    resolved = load_recipe(recipe, set)
    assembly = Assembly(resolved, progress or Progress(), _device())
    registry = Registry.load()
    reader = _reader(resolved, registry, given)
    if file.exists():
        _refuse_to_rename_fields(reader, file)
    prompts = assembly.prompts(reader)
    sampler = assembly.sampler(_part(registry, "sampler", "recorded", {}), prompts, None, None)
    drawn = sampler.draw(None)
    write_groups(file, [_with_those_it_had(scored) for scored in _judged(assembly, drawn)])
    return file


def scored_data(resolved: ResolvedRecipe, progress: Progress) -> list[ScoredGroup]:
    """The groups that come with a recipe's data, scored by its sources, without what its `scoring` section drops."""
    assembly = Assembly(resolved, progress, _device())
    sampler = assembly.sampler(resolved.parts.sampler, assembly.prompts(resolved.parts.prompts), None, None)
    store = open_store(resolved, progress)
    panel = make_panel(resolved, assembly.context, progress, store)
    try:
        return panel.score(sampler.draw(None))
    finally:
        panel.close()
        sampler.close()
        if store is not None:
            store.close()


def _writer(assembly: Assembly, generator: WrittenBy) -> Generator | None:
    """What writes completions; None where the sampler needs nothing written."""
    if assembly.resolved.sampler_facts.plan.generator == "none":
        return None
    return assembly.vllm() if generator == "vllm" else assembly.policy()


def _judged(assembly: Assembly, groups: Sequence[Group]) -> list[ScoredGroup]:
    """The groups with all that the recipe's sources say, failures included."""
    store = open_store(assembly.resolved, assembly.progress)
    panel = make_panel(assembly.resolved, assembly.context, assembly.progress, store)
    try:
        verdicts = panel.judge(groups)
    finally:
        panel.close()
        if store is not None:
            store.close()
    _tell_failures([verdict for row in verdicts for verdict in row], assembly.progress)
    return [panel.scored(group, row) for group, row in zip(groups, verdicts, strict=True)]


def _with_those_it_had(scored: ScoredGroup) -> ScoredGroup:
    """The scored group with the scores that came with all of its completions, where no source has replaced them."""
    group = scored.group
    had = [completion.recorded_scores for completion in group.completions]
    kept = [name for name in had[0] if name not in scored.scores and all(name in one for one in had)]
    columns = {name: [_as_score(one[name]) for one in had] for name in kept} | dict(scored.scores)
    completions = tuple(
        replace(
            one, recorded_scores={name: value for name, value in one.recorded_scores.items() if name not in columns}
        )
        for one in group.completions
    )
    return replace(scored, group=replace(group, completions=completions), scores=columns)


def _as_score(recorded: float | Score) -> Score:
    return recorded if isinstance(recorded, Score) else Score(recorded)


def _tell_failures(verdicts: Sequence[Verdict], progress: Progress) -> None:
    failures = [verdict.failure for verdict in verdicts if verdict.failure is not None]
    if failures:
        progress.warning(
            f"score: {len(failures)} of {len(verdicts)} completions have no reward: {failures[0]}. Failures are written"
            " as failures; score the file again once the source is mended."
        )


def _reader(resolved: ResolvedRecipe, registry: Registry, file: Path) -> Part:
    """What reads every row of the file: the recipe's own prompt source with its names for fields, if that is its file;
    else the one for files of this ending."""
    own = resolved.parts.prompts
    path = getattr(own.options, "path", None)
    if isinstance(path, str) and _same(resolved.folder / path, file):
        known = type(own.options).model_fields
        return replace(own, options=own.options.model_copy(update={k: None for k in CHOOSE_ROWS if k in known}))
    name = "parquet" if file.suffix == ".parquet" else "jsonl"
    return _part(registry, "prompt source", name, {"path": str(file.resolve())})


def _refuse_to_rename_fields(reader: Part, file: Path) -> None:
    """A file whose fields have other names would come back in ours, and the recipe could read it no more."""
    if reader.options.model_fields_set - {"path", *CHOOSE_ROWS}:
        raise CopgkitError(
            f"{file}: the recipe reads it with field names of its own, which the scored file will not have. Write to"
            " another file with --output."
        )


def _part(registry: Registry, kind: str, name: str, options: Mapping[str, Any]) -> Part:
    item = registry.get(kind, name)
    return Part(kind, name, item, item.cls.Options(**options))


def _new_file(output: str | Path) -> Path:
    file = Path(output)
    if file.suffix not in ENDINGS:
        raise CopgkitError(
            f"{file}: groups are written as JSON lines or Parquet. End the name with .jsonl or .parquet."
        )
    if file.exists():
        raise CopgkitError(f"{file}: there is something under this name already. Choose another with --output.")
    return file


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _device() -> str:
    """Where models run, as accelerate chooses it."""
    from accelerate import PartialState

    return str(PartialState().device)
