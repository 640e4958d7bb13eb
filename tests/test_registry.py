"""The registry: one plugin at a time, names with owners, conflicts, and broken plugins that do no harm."""

from __future__ import annotations

import sys
import textwrap

import pytest

from copgkit.errors import PluginError
from copgkit.registry import Registry

SOURCE = """
from copgkit import RewardSource, Score, hookimpl

class {name}(RewardSource):
    def score(self, completions):
        return [Score(1.0) for _ in completions]

@hookimpl
def register_reward_sources(register):
    register("{register}", {name})
"""


def source(register="kindness", name="Kindness"):
    return SOURCE.format(register=register, name=name)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install("copgkit-kind", "1.2", code) puts a distribution on the path, as an installer would leave it there; only
    those installed so are loaded."""
    monkeypatch.syspath_prepend(str(tmp_path))
    installed = []

    def install(distribution, version, code, entry="plugin", metadata=True):
        module = f"{distribution.replace('-', '_')}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[copgkit]\n{entry} = {module}\n")
        installed.append(distribution if metadata else module)
        monkeypatch.setenv("COPGKIT_PLUGINS", ",".join(installed))
        return module

    return install


def test_a_name_knows_its_distribution_and_version(install):
    module = install("copgkit-kind", "1.2", source(), entry="kind")
    item = Registry.load().get("reward source", "kindness")
    assert (item.distribution, item.version, item.plugin, item.kind) == ("copgkit-kind", "1.2", "kind", "reward source")
    assert item.cls is sys.modules[module].Kindness
    assert item.owner == "copgkit-kind 1.2"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import a_module_that_nobody_has", "No module named 'a_module_that_nobody_has'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def register(", "SyntaxError: "),
        ("x = 1", "it has no function with @hookimpl"),
        ("def register_reward_sources(register): ...", "it has no function with @hookimpl"),
        (source().replace("(register)", "(register, more)"), "Argument(s) {'more'}"),
        (source().replace("register_reward_sources", "register_rewards"), "there is no hook 'register_rewards'"),
        (source(register="Kind_ness"), "'Kind_ness' is not a name for a reward source: use kebab-case"),
        (source().replace("RewardSource)", "object)"), "is not a subclass of RewardSource"),
        (source().replace("def score(", "def sorce("), "Kindness does not define score() or score_groups()"),
        (
            source().replace("    def score(", "    class Options: pass\n    def score("),
            "Kindness.Options is not a pydantic model",
        ),
        (
            "from pydantic import BaseModel\n"
            + source().replace("    def score(", "    class Options(BaseModel):\n        x: int = 1\n\n    def score("),
            "Kindness.Options accepts unknown keys",
        ),
        (source() + '    register("kindness", Kindness)\n', "it registers reward source 'kindness' twice"),
        (source() + "    raise KeyError('late')\n", "KeyError: 'late'"),
    ],
)
def test_a_broken_plugin_is_recorded_with_its_reason_and_harms_nobody(install, code, reason):
    install("copgkit-broken", "0.2", code, entry="broken")
    install("copgkit-sound", "1.0", source("soundness", "Soundness"), entry="sound")
    registry = Registry.load()
    assert [item.name for item in registry] == ["soundness"]
    (failure,) = registry.failures
    assert (failure.name, failure.distribution, failure.version) == ("broken", "copgkit-broken", "0.2")
    assert reason in failure.reason


def test_a_missing_name_mentions_the_plugins_that_could_not_be_loaded(install):
    install("copgkit-broken", "0.2", "import openai_that_is_not_here", entry="broken")
    install("copgkit-kind", "1.2", source())
    with pytest.raises(PluginError) as fault:
        Registry.load().get("reward source", "kindnes")
    assert str(fault.value) == (
        "no reward source is called 'kindnes'. Did you mean 'kindness' (copgkit-kind 1.2)?\n"
        "  Known: kindness.  1 plugin could not be loaded: broken of copgkit-broken 0.2"
        " (No module named 'openai_that_is_not_here')."
    )


def test_a_name_taken_twice_is_an_error_that_names_both(install):
    install("copgkit-one", "1.0", source())
    install("copgkit-two", "2.0", source())
    with pytest.raises(PluginError, match=r"'kindness': both copgkit-(one 1|two 2)\.0 and copgkit-(one 1|two 2)\.0"):
        Registry.load()


def test_one_name_may_serve_two_kinds(install, tmp_path):
    install("copgkit-kind", "1.2", source())
    file = tmp_path / "measure.py"
    file.write_text(
        "from copgkit import Evaluator, hookimpl\n"
        "class Kindness(Evaluator):\n    def evaluate(self, evaluation): return {}\n"
        "@hookimpl\ndef register_evaluators(register): register('kindness', Kindness)\n"
    )
    registry = Registry.load([file])
    assert [item.kind for item in registry.find("kindness")] == ["reward source", "evaluator"]
    assert [item.kind for item in registry.find("reward-source/kindness")] == ["reward source"]


def test_loading_can_be_limited_by_entry_point_or_distribution(install, monkeypatch):
    install("copgkit-one", "1.0", source("first"), entry="one-point")
    install("copgkit-two", "2.0", source("second"), entry="two-point")
    for limit, names in {
        "one-point": ["first"],
        "copgkit-two": ["second"],
        "": [],
        "one-point, two-point": ["first", "second"],
    }.items():
        monkeypatch.setenv("COPGKIT_PLUGINS", limit)
        assert [item.name for item in Registry.load()] == names
    monkeypatch.setenv("COPGKIT_PLUGINS", "one-pint")
    with pytest.raises(
        PluginError, match=r"COPGKIT_PLUGINS: no installed plugin is called 'one-pint'\. Did you mean 'one-point'"
    ):
        Registry.load()


def test_damaged_metadata_does_not_hide_a_plugin(install):
    module = install("copgkit-odd", "1.0", source(), metadata=False)
    item = Registry.load().get("reward source", "kindness")
    assert (item.distribution, item.version) == (module, "")


def test_an_interruption_is_not_a_broken_plugin(install):
    install("copgkit-slow", "1.0", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        Registry.load()


@pytest.fixture
def one_file(tmp_path, monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")

    def write(code):
        file = tmp_path / "mine.py"
        file.write_text(code)
        return file

    return write


def test_a_file_is_a_plugin_whose_annotations_resolve(one_file):
    code = (
        "from __future__ import annotations\nfrom enum import Enum\nclass Colour(Enum):\n    red = 'red'\n" + source()
    )
    options = "    class Options(RewardSource.Options):\n        colour: Colour = Colour.red\n\n    def score("
    item = next(iter(Registry.load([one_file(code.replace("    def score(", options))])))
    assert item.cls.Options.model_validate_json('{"colour": "red"}').colour.name == "red"
    assert item.distribution.endswith("mine.py")


def test_the_name_of_a_files_classes_changes_with_the_file_so_that_old_scores_are_not_reused(one_file):
    first = next(iter(Registry.load([one_file(source())])))
    again = next(iter(Registry.load([one_file(source())])))
    changed = next(iter(Registry.load([one_file(source().replace("1.0", "2.0"))])))
    assert first.cls().fingerprint() == again.cls().fingerprint() != changed.cls().fingerprint()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("x = 1\ndef f(:\n", r"mine\.py:2: "),
        ("x = 1\n\nimport nowhere_at_all\n", r"mine\.py:3: it cannot be imported: ModuleNotFoundError"),
        ("raise SystemExit\n", r"mine\.py:1: it cannot be imported: SystemExit"),
        ("x = 1\n", r"mine\.py: it has no function with @hookimpl\."),
        (source(register="No Name"), r"mine\.py: 'No Name' is not a name for a reward source"),
    ],
)
def test_a_broken_file_is_an_error_with_file_and_line(one_file, code, message):
    with pytest.raises(PluginError, match=message):
        Registry.load([one_file(code)])


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(PluginError, match=r"absent\.py: there is no such file"):
        Registry().add_file(tmp_path / "absent.py", "absent.py")
