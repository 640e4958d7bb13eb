"""The three sources. Each yields (place, row) pairs, which `rows.py` makes prompts of."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from copgkit import DataError, Prompt, PromptSource, open_lines, read_rows
from copgkit_prompts.rows import Fields, prompt_of_row


class _Rows(PromptSource):
    """Common part: which fields of a row mean what, and which rows are wanted."""

    class Options(PromptSource.Options, Fields):
        limit: int | None = Field(None, ge=1, description="Only so many prompts.")
        shuffle_seed: int | None = Field(None, description="Shuffle the rows with this seed before the limit applies.")
        max_words: int | None = Field(None, ge=1, description="Leave out longer prompts; counted and said.")

    def load(self) -> Iterable[Prompt]:
        """The prompts in order. Raises DataError naming file and row for a bad one."""
        rows = self._chosen(self._rows())
        prompts: list[Prompt] = []
        too_long = 0
        for place, row in rows:
            prompt = prompt_of_row(row, place, self.options)
            if self.options.max_words is not None and len(prompt.text.split()) > self.options.max_words:
                too_long += 1
                continue
            prompts.append(prompt)
            if len(prompts) == self.options.limit:
                break
        if too_long:
            self.context.progress.message(
                f"{self.context.name}: {too_long} prompts of more than {self.options.max_words} words are left out."
            )
        self._tell_repeated(prompts)
        self._tell_same_ids(prompts)
        return prompts

    def _tell_repeated(self, prompts: Sequence[Prompt]) -> None:
        """Warns of groups that hold a completion more than once: equal ones contrast with nothing."""
        repeated = [one for one in prompts if len({each.text for each in one.recorded}) < len(one.recorded)]
        if repeated:
            self.context.progress.warning(
                f"{self.context.name}: {len(repeated)} of {len(prompts)} groups hold a completion more than once"
                f" (first: {repeated[0].place}). They are used as they are."
            )

    def _tell_same_ids(self, prompts: Sequence[Prompt]) -> None:
        """Warns of rows with the same id: it is only a name in messages and reports, but then it names two."""
        first: dict[str, Prompt] = {}
        again = [one for one in prompts if one.id and first.setdefault(one.id, one) is not one]
        if again:
            self.context.progress.warning(
                f"{self.context.name}: {len(again)} rows have the id of an earlier one ({first[again[0].id].place} and"
                f" {again[0].place}: {again[0].id!r}). They are used as they are."
            )

    def _chosen(self, rows: Iterator[tuple[str, Any]]) -> Iterable[tuple[str, Any]]:
        if self.options.shuffle_seed is None:
            return rows
        shuffled = list(rows)
        random.Random(self.options.shuffle_seed).shuffle(shuffled)
        return shuffled

    def _rows(self) -> Iterator[tuple[str, Any]]:
        raise DataError(f"prompt source '{self.context.name}': it cannot read rows.")

    def _limited(self, count: int | None) -> int | None:
        limit = self.options.limit
        return limit if count is None else min(count, limit or count)


class JsonLines(_Rows):
    """A file with one JSON object a line; `.gz` files are read as they are."""

    class Options(_Rows.Options):
        path: str = Field(description="The file, relative to the recipe.")

    def count(self) -> int | None:
        """The number of lines that are not blank, up to the limit. None if the file cannot be read."""
        path = _existing(self.context.path(self.options.path), self.context.name)
        try:
            with open_lines(path) as file:
                return self._limited(sum(not line.isspace() for line in file))
        except OSError:
            return None

    def _rows(self) -> Iterator[tuple[str, Any]]:
        return read_rows(_existing(self.context.path(self.options.path), self.context.name))


class Parquet(_Rows):
    """A Parquet file, or several by a pattern such as `part-*.parquet`."""

    class Options(_Rows.Options):
        path: str = Field(description="The file or pattern, relative to the recipe.")

    def count(self) -> int | None:
        """The number of rows by the files' own footers, up to the limit."""
        from pyarrow import ArrowException, parquet

        try:
            return self._limited(sum(parquet.read_metadata(file).num_rows for file in self._files()))
        except (OSError, ArrowException):
            return None

    def _rows(self) -> Iterator[tuple[str, Any]]:
        for file in self._files():
            yield from read_rows(file)

    def _files(self) -> list[Path]:
        pattern = self.context.path(self.options.path)
        files = sorted(pattern.parent.glob(pattern.name)) if pattern.parent.is_dir() else []
        return files or [_existing(pattern, self.context.name)]


class HubDataset(_Rows):
    """A dataset of the Hugging Face hub, or a folder that `datasets` can load."""

    class Options(_Rows.Options):
        dataset: str = Field(description="Its name on the hub, or a folder relative to the recipe.")
        config: str | None = Field(None, description="Its configuration, where there are several.")
        split: str = Field("train", description="Its split.")
        revision: str | None = Field(None, description="Branch, tag or commit.")

    def count(self) -> int | None:
        """The limit, where there is one; the size of a dataset is not known before it is loaded."""
        return self._limited(None)

    def _rows(self) -> Iterator[tuple[str, Any]]:
        from datasets import load_dataset

        options = self.options
        name = self.context.model(options.dataset)
        try:
            rows = load_dataset(name, options.config, split=options.split, revision=options.revision)
        except Exception as fault:  # datasets raises many kinds, all of them for the user to mend
            raise DataError(
                f"{self.context.name}: the dataset '{options.dataset}', split '{options.split}', cannot be loaded:"
                f" {str(fault).splitlines()[0] if str(fault) else type(fault).__name__}"
            ) from fault
        for number, row in enumerate(rows, start=1):
            yield f"{options.dataset}[{options.split}]:{number}", row


def _existing(path: Path, name: str) -> Path:
    if path.is_file():
        return path
    folder = path.parent
    neighbours = [file.name for file in folder.iterdir() if file.is_file()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, neighbours, 1)
    hint = f" Did you mean '{near[0]}'?" if near else f" It holds: {', '.join(sorted(neighbours)[:8]) or 'nothing'}."
    if not folder.is_dir():
        hint = " That folder does not exist either; paths are relative to the recipe."
    raise DataError(f"prompt source '{name}': there is no file {path.name} in {folder.name}/.{hint}")
