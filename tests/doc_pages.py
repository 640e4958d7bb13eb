"""The blocks of a documentation page, and a reader who works through them in a folder like a checkout.

    for block in blocks_of(page): reader.follow(block)

A titled block (```yaml title="mine.yaml") is a file that the reader saves; another YAML block is part of a recipe. In
```console the lines behind `$` are typed and the others must be printed, and nothing else, `...` standing for anything;
in ```bash every line is typed. A command that ends with a status other than 0 must be followed by `$ echo $?`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import chdir
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
# Tutorials first: a shipped recipe is run by the first page that names it, and others need not.
PAGES = sorted(
    [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")], key=lambda page: ("tutorials" not in page.parts, page)
)
LANGUAGES = {"python", "yaml", "json", "bash", "console", "text"}

# A recipe that lacks nothing; a block that shows a few keys of a recipe replaces those keys in it.
WHOLE = """
policy: {use: tabular, arms: ["yes", "no"]}
prompts: {use: jsonl, options: {path: prompts.jsonl}}
sampler: {use: reference}
rewards: [{use: copy-rate}]
"""

# What is not typed, and what runs it instead. Every other command of a console or bash block is.
NOT_TYPED = {
    r"python3? -m venv |(\S*/)?pip install |source ": "`.ci/run`; for plugins, test_foreign_distribution.py",
    r"\.venv/bin/python -m pytest": "this very suite",
    r"accelerate launch ": "several processes, or machines: test_processes_runs.py, test_sharding.py and test_zero.py",
    r"python -m benchmarks": "minutes to hours: test_benchmarks.py measures with every section's code in small",
}
_SET_UP = re.compile("|".join(NOT_TYPED))
_HERE = re.compile(r"^cat > (\S+) <<'(\w+)'\n(.*?)^\2\n", re.M | re.S)
PLAIN_COMMANDS = {"ls", "cat", "head", "tail", "mkdir", "cp", "wc", "grep", "diff"}


Command = Callable[[list[str]], tuple[int, str]]
Small = Callable[[list[str]], list[str] | None]


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language, the file that it is (if it has a title), its text."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Every fenced block of a page, in order. Raises ValueError for a fence without a known language."""
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in re.finditer(r"^( *)```(.*)\n((?s:.*?))^\1```$", text, flags=re.M):
        language, _, rest = found[2].strip().partition(" ")
        line = text.count("\n", 0, found.start()) + 1
        if language not in LANGUAGES:
            raise ValueError(f"{page.name}:{line}: a block in {language!r}. Use one of {', '.join(sorted(LANGUAGES))}.")
        title = re.search(r'title="([^"]+)"', rest)
        blocks.append(Block(page, line, language, title and title[1], textwrap.dedent(found[3])))
    return blocks


def typed(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console or bash block, each with the lines that the page shows below it."""
    lines = _HERE.sub("", block.text).replace("\\\n", " ").splitlines()
    if block.language == "bash":
        yield from ((line, []) for line in lines if line.strip() and not line.startswith("#"))
        return
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ") and block.language == "console"]
    for start, end in pairwise([*starts, len(lines)]):
        yield lines[start][2:], [line for line in lines[start + 1 : end] if line.strip()]


class Reader:
    """Follows a page from one folder, as somebody in a checkout would.

    command(arguments) -> exit status and what was printed: the command line, in this process.
    small(arguments) -> what to add to `copgkit run` and `sweep`, so that they take seconds, or None if checking the
    recipe will do; with anything added, what is printed is not compared. Without it recipes are run as they are.
    """

    def __init__(self, folder: Path, command: Command, small: Small | None) -> None:
        self.folder, self._command, self._small = folder, command, small
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._status, self._printed = 0, ""

    def follow(self, block: Block) -> None:
        """Does what the block asks for. Raises AssertionError naming page and line where that does not work."""
        if block.title:
            self._save(block)
        elif block.language == "python":
            with chdir(self.folder):
                exec(compile("\n" * block.line + block.text, block.place, "exec"), self._names)
        elif block.language == "yaml":
            self._read_part(block)
        elif block.language == "json":
            _read_json(block)
        elif block.language in ("console", "bash"):
            for name, _, text in _HERE.findall(block.text):
                (self.folder / name).write_text(text)
            for line, shown in typed(block):
                self._type(line, shown, block.place)
            assert self._status == 0, f"{block.place}: the last command ended with {self._status}:\n{self._printed}"

    def _save(self, block: Block) -> None:
        assert block.title
        path = self.folder / block.title
        assert self.folder in path.resolve().parents, f"{block.place}: {block.title} would be outside the page's folder"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if block.language == "python":
            compile(block.text, block.place, "exec")
        elif path.suffix == ".yaml":
            self._load(path, block.place)

    def _read_part(self, block: Block) -> None:
        path = self.folder / "part-of-a-recipe.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(WHOLE) | yaml.safe_load(block.text)))
        self._load(path, block.place)
        path.unlink()

    def _load(self, path: Path, place: str) -> None:
        from copgkit import CopgkitError, load_recipe

        try:
            load_recipe(path)
        except CopgkitError as fault:
            raise AssertionError(f"{place}: {fault}") from fault

    def _type(self, line: str, shown: list[str], place: str) -> None:
        if line.strip() == "echo $?":
            assert shown == [str(self._status)], f"{place}: the command before it ended with {self._status}"
            self._status = 0
            return
        assert self._status == 0, f"{place}: before {line!r} a command ended with {self._status}:\n{self._printed}"
        for part in line.split(" && "):
            compared = self._do(part.strip(), place)
        if compared:
            for missing in _not_printed(shown, self._printed):
                raise AssertionError(f"{place}: {line!r} does not print {missing!r} but\n{self._printed}")
            if shown and not any(part.strip() == "..." for part in shown):
                printed = [part for part in self._printed.splitlines() if part.strip()]
                assert len(printed) == len(shown), f"{place}: {line!r} prints more than is shown:\n{self._printed}"

    def _do(self, line: str, place: str) -> bool:
        """Runs one command; gives whether its output is what the page's reader would see."""
        words = shlex.split(line, comments=True)
        target = words[words.index(">") + 1] if ">" in words else None
        words = words[: words.index(">")] if target else words
        if _SET_UP.match(line):
            self._set_up(words)
            return False
        compared, (self._status, self._printed) = self._call(words, line, place)
        if target:
            (self.folder / target).write_text(self._printed)
        return compared

    def _call(self, words: list[str], line: str, place: str) -> tuple[bool, tuple[int, str]]:
        name = Path(words[0]).name
        if name == "cd":
            self.folder = (self.folder / words[1]).resolve()
            assert self.folder.is_dir(), f"{place}: there is no folder {words[1]}"
            return True, (0, "")
        if name == "copgkit":
            return self._call_copgkit(words[1:])
        if name == "pytest":
            return True, self._in_a_process([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words[1:]])
        if name == "python":
            return True, self._in_a_process([sys.executable, *words[1:]])
        assert name in PLAIN_COMMANDS, f"{place}: the test cannot run {line!r}. Mark the block as text."
        return True, self._in_a_process(words)

    def _call_copgkit(self, words: list[str]) -> tuple[bool, tuple[int, str]]:
        """A run is made small, a sweep to two rows of it; a run is only checked where it would take several processes,
        which test_processes_runs.py starts."""
        with chdir(self.folder):
            if words[0] not in ("run", "sweep") or self._small is None:
                return True, self._command(words)
            added = None if "--processes" in words else self._small(words)
            if added is None:
                return False, self._command(["check", words[1], *_changes(_rows(words, 1))])
            return not added, self._command([*(_rows(words, 2) if added else words), *added])

    def _in_a_process(self, words: list[str]) -> tuple[int, str]:
        ended = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    def _set_up(self, words: list[str]) -> None:
        """`pip install -e .` of a plugin: its entry points are announced, as pip does; nothing else is done."""
        if "-e" in words and (self.folder / "pyproject.toml").is_file():
            announce(self.folder)
            sys.path.insert(0, str(self.folder))
            os.environ["PYTHONPATH"] = os.pathsep.join([str(self.folder), os.environ.get("PYTHONPATH", "")])


def announce(package: Path) -> None:
    """Writes what an installer leaves beside a package: its metadata and its entry points."""
    import tomllib

    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    info = package / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{key} = {value}\n" for key, value in project["entry-points"]["copgkit"].items())
    (info / "entry_points.txt").write_text("[copgkit]\n" + points)


def _changes(words: list[str]) -> list[str]:
    return [word for pair in pairwise(words) if pair[0] == "--set" for word in pair]


def _rows(words: list[str], count: int) -> list[str]:
    """A sweep with so many values of the last key that varies, and one of each other."""
    if words[0] != "sweep":
        return words
    keys = [index for index, word in enumerate(words) if words[index - 1] == "--set"]
    kept = {index: ",".join(words[index].split(",")[: count if index == keys[-1] else 1]) for index in keys}
    return [kept.get(index, word) for index, word in enumerate(words)]


def _read_json(block: Block) -> None:
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():  # several lines of a JSONL file
            json.loads(line)


def _not_printed(shown: list[str], printed: str) -> Iterator[str]:
    """The shown lines that are not printed in this order; `...` stands for anything, also for whole lines."""
    rest = iter([" ".join(line.split()) for line in printed.splitlines()])
    for line in shown:
        if line.strip() == "...":
            continue
        pattern = re.escape(" ".join(line.split())).replace(re.escape("..."), ".*")
        if not any(re.fullmatch(pattern, other) for other in rest):
            yield line
