"""What the pages show is what works: their Python, their recipes, their commands, and what those print."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest
import yaml
from doc_pages import NOT_TYPED, PAGES, PLAIN_COMMANDS, ROOT, Block, Reader, blocks_of, typed

from copgkit.recipe import Recipe

SOURCES_WITH_A_LIMIT = {"jsonl", "parquet", "hub"}
# The paper's curves, and its ten thousand pairs, take longer than the run.
MORE = {ROOT / "recipes/bandit.yaml": ["evaluate.with[0].options.curve_seeds=0", "sampler.options.pairs=64"]}
# Command, recipe and output of what need not be run again: code-online.yaml stands for this one.
_RAN = {("run", ROOT / "recipes/code.yaml", "")}


def _small(arguments):
    """What makes this run or sweep a matter of seconds; None for one that was done already."""
    import copgkit

    command, path = arguments[0], Path(arguments[1]).resolve()
    recipe = copgkit.load_recipe(path).recipe
    changes = MORE.get(path, [])
    if recipe.policy.use != "tabular":
        known = (command, path, "".join(arguments[arguments.index("--output") :]) if "--output" in arguments else "")
        if known in _RAN:
            return None
        _RAN.add(known)
        changes = [*changes, "train.groups_per_step=4", "train.steps=2"]
        if recipe.evaluate.prompts:
            changes += ["evaluate.max_prompts=4", "evaluate.every=null"]
        if recipe.prompts.use in SOURCES_WITH_A_LIMIT:
            changes.append("prompts.options.limit=8")
    return [word for change in changes for word in ("--set", change)]


def _start(page, folder):
    """Where the page's reader begins: in something like a checkout, or, for a package's README, in the package."""
    for shared in ("recipes", "docs"):
        (folder / shared).symlink_to(ROOT / shared)
    if page.name == "faults.md":
        _leave_a_bad_step(folder)
    if not (page.parent / "pyproject.toml").is_file() or page.parent == ROOT:
        return folder
    return copytree(page.parent, folder / page.parent.name, ignore=ignore_patterns("*-info", "__pycache__"))


def _leave_a_bad_step(folder):
    """What a run left that was not finite in a step: that one does is held by test_bad_steps.py."""
    (folder / "rows.jsonl").write_text('{"prompt": "?", "completions": ["a", "b"], "scores": {"taste": [2.0, 1.0]}}\n')
    (folder / "mine.yaml").write_text(
        "policy: {use: tabular, arms: [a, b]}\nprompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        "sampler: {use: recorded}\nrewards: [{use: recorded, options: {column: taste}}]\n"
    )
    kept = folder / "runs/mine/bad-steps/0001-at-step-000118.jsonl"
    kept.parent.mkdir(parents=True)
    copy(folder / "rows.jsonl", kept)


@pytest.fixture
def follow(tmp_path, capsys, monkeypatch):
    """follow(page, small=...): works through a page's blocks in order, in a folder of its own."""
    from copgkit.cli import main

    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])  # they take longer than the rest
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'plugins'}")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def command(arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(arguments)
        printed = capsys.readouterr()
        return end.value.code, printed.out + printed.err

    known = set(sys.modules)

    def work(page, small):
        reader = Reader(_start(page, tmp_path), command, small)
        for block in blocks_of(page):
            reader.follow(block)

    yield work
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]  # a module of the page's, whose name another page may use


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_works(page, follow, tmp_path):
    follow(page, _small)
    runs = [*tmp_path.rglob("metrics.jsonl"), *tmp_path.rglob("timing.jsonl")]
    written = {name for file in runs for line in file.read_text().splitlines() for name in json.loads(line)}
    assert [name for name in sorted(written) if not re.fullmatch(_listed_metrics(), name)] == []


def test_a_block_of_text_is_no_command_no_recipe_and_no_python():
    """Such blocks are not run, so that nothing that could be may hide in one."""
    found = [block.place for page in PAGES for block in blocks_of(page) if block.language == "text" and _is_code(block)]
    assert found == []


def _is_code(block):
    first = [line.removeprefix("$ ").split(" ")[0] for line in block.text.splitlines() if line.strip()]
    if {"copgkit", "python", "pip", "accelerate", "pytest", *PLAIN_COMMANDS} & set(first):
        return True
    return _reads_as_a_recipe(block.text) or _compiles(block.text)


def _reads_as_a_recipe(text):
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return isinstance(data, dict) and bool(data.keys() & Recipe.model_fields.keys())


def _compiles(text):
    try:
        compile(text, "block", "exec")
    except SyntaxError:
        return False
    return True


@pytest.mark.parametrize("text", ["copgkit run a.yaml", "$ ls", "train: {steps: 1}", "import copgkit"])
def test_code_is_found_in_a_block_of_text(text):
    assert _is_code(Block(ROOT / "README.md", 1, "text", None, text))


@pytest.mark.parametrize("command", NOT_TYPED)
def test_what_is_not_typed_is_on_some_page(command):
    lines = [line for page in PAGES for block in blocks_of(page) for line, _ in typed(block)]
    assert any(re.match(command, part.strip()) for line in lines for part in line.split(" && "))


def _listed_metrics():
    """The names in the tables of the page on metrics, and those of the evaluators that recipes bring in a file."""
    text = (ROOT / "docs/reference/metrics.md").read_text()
    names = [name for row in re.findall(r"^\|([^|]+)\|", text, flags=re.M) for name in re.findall(r"`(.+?)`", row)]
    listed = "|".join(re.sub("<.+?>", ".+", name) for name in names)
    return rf"step|({listed}|eval/(faithful|fault|regret)/.+)(/low|/high)?"


def test_the_pages_that_are_made_from_the_code_are_current():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    old = [str(path.relative_to(ROOT)) for path, text in generate.pages().items() if path.read_text() != text]
    assert old == [], "run: python docs/generate.py"


def test_every_page_can_be_found_in_the_navigation_and_every_decision_in_their_list():
    navigation, decisions = (ROOT / "mkdocs.yml").read_text(), (ROOT / "docs/decisions/README.md").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in PAGES if ROOT / "docs" in page.parents]
    decided = [page.name for page in pages if page.parts[0] == "decisions" and page.name != "README.md"]
    assert [name for name in decided if f"({name})" not in decisions] == []
    others = [str(page) for page in pages if page.name not in decided and page.parts[0] != "examples"]
    assert [page for page in others if page not in navigation] == []


def test_the_tutorials_plugin_is_the_one_under_examples(tmp_path, monkeypatch):
    from copgkit.cli.new import reward

    finished, made = ROOT / "docs/examples/plain-words", tmp_path / "plain-words"
    monkeypatch.chdir(tmp_path)
    reward("plain-words")
    for block in blocks_of(ROOT / "docs/tutorials/reward-plugin.md"):
        if block.title and block.title.startswith("plain-words/"):
            (tmp_path / block.title).write_text(block.text)
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert [(file, (made / file).read_text()) for file in files] == [
        (file, (finished / file).read_text()) for file in files
    ]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_prints_what_it_shows_at_full_size(page, follow):
    lines = [line for block in blocks_of(page) for line, _ in typed(block)]
    if not any(line.startswith(("copgkit run", "copgkit sweep")) for line in lines):
        pytest.skip("nothing here runs a recipe")
    follow(page, None)
