"""What a plugin must be: a component with options of its own. Three of the four kinds are here; `copgkit.samplers` has
the fourth.

A component is made from its validated `Options` and a `Context`. Every method but the one that does the work has a
default, so that a method can be added later without breaking a plugin. Modules that define components import heavy
libraries (torch, transformers, datasets) inside methods only: `copgkit check` reads the options without them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from copgkit.errors import DataError, PluginError
from copgkit.progress import Progress
from copgkit.types import Completion, Curves, Estimate, Evaluation, Group, Prompt, Score

_CHECKPOINT_FILES = {".safetensors", ".json", ".txt", ".model", ".jinja"}


@dataclass(frozen=True)
class Context:
    """What the run tells a component.

    name: the name under which the recipe uses it (metrics and messages carry it).
    folder: the recipe's folder; paths in options are relative to it.
    seed: the run's seed. device: "cpu", "cuda", ... for components that own a model.
    """

    name: str = ""
    folder: Path = Path(".")
    seed: int = 0
    device: str = "cpu"
    progress: Progress = field(default_factory=Progress)

    def path(self, given: str) -> Path:
        """`given` as a path, relative to the recipe's folder."""
        return (self.folder / Path(given).expanduser()).resolve()

    def model(self, given: str) -> str:
        """`given` as transformers takes it: the folder beside the recipe where there is one, else a hub name."""
        beside = self.path(given)
        return str(beside) if beside.exists() else given

    def digest(self, given: str) -> str | None:
        """The content of a model folder as a hash, for fingerprints: weights, configuration and tokenizer, by name.
        None where there is no such folder beside the recipe."""
        folder = self.path(given)
        if not folder.is_dir():
            return None
        digest = hashlib.sha256()
        for file in sorted(folder.iterdir()):
            if file.suffix in _CHECKPOINT_FILES:
                digest.update(f"{file.name}\n".encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
        return digest.hexdigest()

    def commit(self, given: str, revision: str | None = None) -> str | None:
        """The commit that loading a hub model now would take, found without loading it, for fingerprints. None for a
        folder beside the recipe, and where neither hub nor cache can tell."""
        if self.path(given).exists():
            return None
        from transformers.utils.hub import cached_file, extract_commit_hash

        try:
            file = cached_file(given, "config.json", revision=revision or "main")
        except (OSError, ValueError):  # no such name, no network: loading the model says which
            return None
        found: str | None = extract_commit_hash(file, None)
        return found


class Component:
    """Common part of the four kinds. Override `setup` rather than `__init__`."""

    kind: ClassVar[str] = "component"

    class Options(BaseModel):
        """What a recipe may set. Extend it as `class Options(RewardSource.Options)`: typed, strict about unknown keys.

        Give every field a description (`Field(description=...)`): `copgkit describe` prints it.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, options: Any = None, context: Context | None = None) -> None:
        self.options: Any = self.Options() if options is None else options
        self.context: Context = context or Context()
        self.setup()

    def setup(self) -> None:
        """Prepares the component; called once, after `options` and `context` are set."""

    def describe_run(self) -> Mapping[str, str]:
        """What it found on this machine, by name, for `run.json` ({"sandbox": "full"}); short, and nothing private."""
        return {}

    def release(self) -> None:
        """Frees memory that can be had again (weights): it will not be asked for a while. Asked again, it works as
        before. By default it keeps everything."""

    def close(self) -> None:
        """Releases what the component holds (models, processes). It may be called more than once."""

    def text_of(self, prompt: Prompt, where: str | None = None) -> str:
        """The text that `where` names: None for the prompt itself, 'answer', or a fact such as 'facts.post'.

        Raises DataError naming the prompt if it has no such text."""
        if where is None:
            return prompt.text
        value = prompt.answer if where == "answer" else prompt.facts.get(where.removeprefix("facts."))
        if not isinstance(value, str):
            raise DataError(
                f"{prompt.place}: {self.kind} '{self.context.name}' asks for the text '{where}', which this prompt does"
                f" not have. Its facts: {', '.join(prompt.facts) or 'none'}."
            )
        return value


class PromptSource(Component):
    """Gives the prompts of a run."""

    kind: ClassVar[str] = "prompt source"

    def load(self) -> Iterable[Prompt]:
        """Gives every prompt, in order. Raises DataError naming file and row for a bad one."""
        raise PluginError(f"prompt source '{self.context.name}': it does not define load().")

    def count(self) -> int | None:
        """The number of prompts if it can be told cheaply and without torch or datasets, else None (for `check`).

        Raises DataError for data that is missing."""
        return None


class RewardSource(Component):
    """Scores completions.

    What it said once is kept in the score store, keyed by the source's code, version and `fingerprint()` and by what
    it is given of a completion: prompt content, facts, answer, text, finished. So it must not read anything else.
    stored: False for a source that is as cheap as a look into the store, or whose answers must not be kept.
    reads_recorded_scores: True for one that looks at the scores that came with the data; the others do not get them.
    completions_per_call: how many completions one call should hold. None lets the clock decide, a few seconds' worth; a
    number suits a source whose last digits depend on what is batched together. May be a property.
    """

    kind: ClassVar[str] = "reward source"
    stored: ClassVar[bool] = True
    reads_recorded_scores: ClassVar[bool] = False
    completions_per_call: int | None = None

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        """Gives one score per completion, in order. A score must not depend on the other completions."""
        raise PluginError(f"reward source '{self.context.name}': it does not define score().")

    def score_groups(self, groups: Sequence[Group]) -> list[Sequence[Score]]:
        """Scores whole groups, K each. The default flattens them into one call of `score`; override it for a score
        that compares the completions of a group."""
        flat = list(self.score([completion for group in groups for completion in group.completions]))
        wanted = sum(len(group.completions) for group in groups)
        if len(flat) != wanted:
            raise PluginError(
                f"reward source '{self.context.name}' returned {len(flat)} scores for {wanted} completions."
                " One score per completion, in order."
            )
        scores: list[Sequence[Score]] = []
        start = 0
        for group in groups:
            scores.append(flat[start : start + len(group.completions)])
            start += len(group.completions)
        return scores

    def fingerprint(self) -> str:
        """What makes an old score invalid when it changes: options, and by override versions or model revisions."""
        options = self.options.model_dump_json() if isinstance(self.options, BaseModel) else repr(self.options)
        return f"{type(self).__module__}.{type(self).__qualname__}:{options}"


class Evaluator(Component):
    """Measures samples of the policy."""

    kind: ClassVar[str] = "evaluator"

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        """Gives figures by name, for instance {"reward/mean": Estimate(...)}; logged as `eval/<name>`."""
        raise PluginError(f"evaluator '{self.context.name}': it does not define evaluate().")

    def figures(self) -> Sequence[Curves]:
        """Gives pictures of its own for the report, asked for once at the end of a run."""
        return ()
