"""The command line: what it prints, its exit statuses, and that answering costs no torch."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from recipe_world import write_recipe

from copgkit.cli import main
from copgkit.cli.terminal import amount, columns
from copgkit.errors import CopgkitError
from copgkit.store import RunLock

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _only_the_file(monkeypatch):
    monkeypatch.setenv("COPGKIT_PLUGINS", "")


def test_check_shows_every_value_with_its_origin_in_one_column(copgkit_command, tmp_path):
    status, out, err = copgkit_command("check", write_recipe(tmp_path), "--set", "train.epochs=3")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    epochs = next(line for line in lines if line.startswith("train.epochs"))
    beta = next(line for line in lines if line.startswith("objective.beta"))
    assert epochs.split() == ["train.epochs", "3", "--set"]
    assert beta.split() == ["objective.beta", "0.05", "r.yaml:12"]
    assert epochs.index("--set") == beta.index("r.yaml:12")
    assert next(line for line in lines if line.startswith("steps")).split()[1] == "12"
    assert next(line for line in lines if line.startswith("parameters")).split()[1] == "unknown"


def test_check_as_json_holds_values_origins_components_and_plan(copgkit_command, tmp_path):
    status, out, _ = copgkit_command("check", "--json", write_recipe(tmp_path))
    data = json.loads(out)
    assert status == 0
    assert data["values"]["train.learning_rate"] == {"value": 1e-6, "origin": "r.yaml:16"}
    assert data["components"]["rewards[0]"]["name"] == "taste"
    assert {figure["name"]: figure["value"] for figure in data["plan"]}["steps"] == 8


def test_a_fault_is_printed_without_a_traceback_and_exits_with_2(copgkit_command, tmp_path):
    path = write_recipe(tmp_path, ("epochs: 2", "epoch: 2"))
    status, out, err = copgkit_command("check", path)
    assert (status, out) == (2, "")
    assert err == f"{path}:14: train.epoch: unknown key of 'train'. Did you mean 'epochs'?\n"


@pytest.mark.parametrize("position", [0, 1, 2])
def test_debug_shows_the_traceback_wherever_it_stands(copgkit_command, tmp_path, position):
    arguments = ["check", tmp_path / "absent.yaml"]
    arguments.insert(position, "--debug")
    status, _, err = copgkit_command(*arguments)
    assert status == 2
    assert "Traceback" in err
    assert "no such file" in err.splitlines()[-1]


def test_an_unexpected_exception_is_named_a_bug(copgkit_command, monkeypatch, tmp_path):
    monkeypatch.setattr("copgkit.recipe.make_plan", lambda resolved: 1 / 0)
    status, _, err = copgkit_command("check", write_recipe(tmp_path))
    assert status == 70
    assert err.startswith("This is a bug in copgkit: ZeroDivisionError: division by zero.")
    assert "--debug" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("fault", "expected"),
    [(KeyboardInterrupt(), 130), (BrokenPipeError(), 0), (CopgkitError("x: y. z."), 2), (SystemExit(0), 2)],
)
def test_every_ending_has_its_exit_status(monkeypatch, tmp_path, fault, expected):
    def fail(*arguments):
        raise fault

    monkeypatch.setattr("copgkit.recipe.load_recipe", fail)
    monkeypatch.setattr("os.dup2", lambda *descriptors: None)
    monkeypatch.setattr("sys.stdout", open(os.devnull, "w"))  # noqa: SIM115
    with pytest.raises(SystemExit) as end:
        main(["check", str(tmp_path)])
    assert (end.value.code or 0) == expected


def test_plugins_lists_components_and_failures(copgkit_command, tmp_path, monkeypatch):
    (tmp_path / "broken_for_cli.py").write_text("import nothing_of_that_name")
    info = tmp_path / "copgkit_broken-0.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: copgkit-broken\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[copgkit]\nbroken = broken_for_cli\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COPGKIT_PLUGINS", "broken,samplers")
    status, out, _ = copgkit_command("plugins")
    assert status == 0
    assert out.split("\n")[0].split()[:4] == ["KIND", "NAME", "PLUGIN", "DISTRIBUTION"]
    assert "copgkit-broken 0.2  No module named 'nothing_of_that_name'" in out
    data = json.loads(copgkit_command("plugins", "--json")[1])
    assert data["failures"][0]["distribution"] == "copgkit-broken"


@pytest.fixture
def calm(monkeypatch):
    """The foreign plugin's source on the path, announced as an installer would announce it."""

    def install(folder):
        (folder / "calm_reward.py").write_text((ROOT / "tests/foreign_plugin/calm_reward.py").read_text())
        info = folder / "copgkit_calm-2.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: copgkit-calm\nVersion: 2.1.0\n")
        (info / "entry_points.txt").write_text("[copgkit]\ncalm = calm_reward\n")
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setenv("COPGKIT_PLUGINS", "calm")

    return install


def test_describe_gives_types_defaults_and_help(copgkit_command, tmp_path, calm):
    calm(tmp_path)
    status, out, _ = copgkit_command("describe", "calm")
    assert status == 0
    assert out.startswith("calm  reward source, copgkit-calm 2.1.0 (plugin calm)\n")
    assert "tolerated  number, at least 0, at most 1  default 0.1  Share of capitals that costs nothing." in out
    assert "rewards: [{use: calm}]" in out
    (data,) = json.loads(copgkit_command("describe", "reward-source/calm", "--json")[1])
    assert data["options"]["properties"]["tolerated"]["default"] == 0.1


def test_describe_explains_the_sections_of_the_recipe_too(copgkit_command):
    status, out, _ = copgkit_command("describe", "train")
    assert status == 0
    line = next(line for line in out.splitlines() if line.split()[:1] == ["tokens_per_forward"])
    assert "whole number, more than 0 or null  default null" in line


def test_describe_suggests_the_nearest_name(copgkit_command, tmp_path, calm):
    calm(tmp_path)
    status, _, err = copgkit_command("describe", "clam")
    assert status == 2
    assert err.startswith("nothing is called 'clam'. Did you mean 'calm'?\n  Known: calm, causal-lm, ")


def test_schema_prints_a_json_schema(copgkit_command):
    status, out, _ = copgkit_command("schema")
    assert status == 0
    assert json.loads(out)["properties"]["version"]["const"] == 1


def test_run_refuses_a_faulty_recipe_before_it_imports_anything_heavy(tmp_path):
    path = write_recipe(tmp_path, ("epochs: 2", "epoch: 2"))
    code = (
        "import sys\nfrom copgkit.cli import main\n"
        f"try:\n    main(['run', {str(path)!r}])\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["2", "False"]


@pytest.mark.parametrize("attempts", [1, pytest.param(50, marks=pytest.mark.slow)])
def test_run_refuses_a_folder_in_use_before_it_imports_anything_heavy(tmp_path, attempts):
    path, out = write_recipe(tmp_path), tmp_path / "out"
    out.mkdir()
    lock = RunLock.take(out)
    code = (
        "import sys\nfrom copgkit.cli import main\n"
        f"try:\n    main(['run', {str(path)!r}, '-o', {str(out)!r}])\n"
        "except SystemExit as end:\n    print(end.code, 'torch' in sys.modules)\n"
    )
    for _ in range(attempts):
        ended, seconds = _measured(code)
        assert ended.stdout.split() == ["2", "False"]
        assert f"another run works in this folder: process {os.getpid()} on " in ended.stderr
        assert seconds < 1.0, "half a second on an idle machine"
    lock.release()


def test_a_folder_in_use_is_left_to_those_who_share_the_run_and_to_a_fresh_one(tmp_path, copgkit_command, monkeypatch):
    path, out = write_recipe(tmp_path), tmp_path / "out"
    out.mkdir()
    began = []
    monkeypatch.setattr(sys.modules["copgkit.cli.run"], "_run_here", lambda *parts: began.append(parts))
    lock = RunLock.take(out)
    assert copgkit_command("run", path, "-o", out)[0] == 2
    assert began == []
    assert copgkit_command("run", path, "-o", out, "--fresh")[0] == 0
    monkeypatch.setenv("WORLD_SIZE", "2")  # the first of them took the lock while this one was starting
    assert copgkit_command("run", path, "-o", out)[0] == 0
    assert len(began) == 2
    lock.release()


def _measured(code):
    """What a new process gives that runs the code, and the seconds of processor time it took, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("arguments", [["check"], ["plugins"], ["describe"], ["schema"], ["--help"], ["--version"]])
def test_answering_imports_nothing_heavy(tmp_path, arguments, monkeypatch):
    monkeypatch.delenv("COPGKIT_PLUGINS")  # with every installed plugin, too
    if arguments == ["check"]:
        arguments = ["check", str(write_recipe(tmp_path))]
    if arguments == ["describe"]:
        arguments = ["describe", "reference"]
    heavy = ("torch", "transformers", "datasets", "evaluate", "accelerate", "matplotlib", "numpy")
    code = (
        "import sys\nfrom copgkit.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    pass\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)\n"
    )
    ended, seconds = _measured(code)
    print(f"copgkit {arguments[0]}: {seconds:.2f} s of CPU time, the interpreter's start included")
    assert ended.stderr.splitlines()[-1] == "[]"
    assert seconds < 2.0, "half a second on an idle machine; torch alone would take longer than this"


def test_the_module_is_the_command():
    ended = subprocess.run([sys.executable, "-m", "copgkit", "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("copgkit ")


def test_a_reader_that_stops_reading_makes_no_noise(tmp_path):
    command = f"{sys.executable} -m copgkit schema | head -c 1"
    ended = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert ended.stdout == "{"
    assert ended.stderr == ""


def test_columns_are_aligned_and_the_last_one_wraps_under_itself(monkeypatch):
    monkeypatch.setenv("COLUMNS", "50")
    lines = columns([("a", "1", "short"), ("bbb", "22", "word " * 10)], right=(1,))
    assert lines[0] == "a     1  short"
    assert lines[1].startswith("bbb  22  word word")
    assert lines[2].startswith(" " * 9 + "word")
    assert all(len(line) <= 50 for line in lines)


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "bytes", "unknown"),
        (1234567, "tokens", "1,234,567"),
        (3_210_000_000, "bytes", "3.21 GB"),
        (500, "bytes", "1 kB"),
    ],
)
def test_amounts_are_shown_for_people(value, unit, shown):
    assert amount(value, unit) == shown


def test_check_says_which_data_is_missing_and_leaves_its_counts_open(
    copgkit_command, tmp_path, tiny_policy_folder, monkeypatch
):
    monkeypatch.delenv("COPGKIT_PLUGINS")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"policy: {{model: {tiny_policy_folder}}}\nprompts: {{use: jsonl, options: {{path: post.jsonl}}}}\n"
        "rewards: [{use: recorded, options: {column: judge}}]\nsampler: {use: recorded}\nobjective: {beta: 0.1}\n"
    )
    (tmp_path / "posts.jsonl").write_text("{}\n")
    status, out, _ = copgkit_command("check", recipe)
    assert status == 0
    said = " ".join(out.split())
    assert "there is no file post.jsonl in" in said
    assert "Did you mean 'posts.jsonl'?" in said


@pytest.mark.parametrize(
    ("given", "patience"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_threads_wait_briefly_unless_the_user_says_how_long(monkeypatch, copgkit_command, given, patience):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    copgkit_command("--version")
    assert os.environ.get("GOMP_SPINCOUNT") == patience


ROUNDS_OF_BLOCKS = """
import resource, torch
from copgkit.cli.machine import keep_freed_memory
keep_freed_memory()
def use(): return [torch.empty(2**22).fill_(1) for _ in range(8)]
for _ in range(3): use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is told")
def test_freed_memory_is_kept_unless_the_user_says_otherwise():
    def faults(**said):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        ended = subprocess.run(
            [sys.executable, "-c", ROUNDS_OF_BLOCKS], env=plain | said, capture_output=True, text=True, check=True
        )
        return int(ended.stdout)

    pages = 5 * 8 * 2**24 // resource.getpagesize()
    assert faults() < pages / 5
    assert faults(MALLOC_TRIM_THRESHOLD_="131072") > pages / 2


def test_the_interpreter_ends_without_a_search_for_cycles(tmp_path):
    code = (
        "import atexit, gc; from copgkit.cli import main; log = open('log', 'w'); log.write('kept')\n"
        "atexit.register(lambda: print('frozen', gc.get_freeze_count() > 0)); main(['--version'])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ended.stdout.splitlines()[-1] == "frozen True"
    assert (tmp_path / "log").read_text() == "kept"  # a file that a plugin left open


def test_a_dry_run_says_what_a_run_would_do_and_does_nothing(copgkit_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("copgkit.missing.missing_scores", lambda resolved, progress: [])
    status, out, _ = copgkit_command("run", write_recipe(tmp_path), "--dry-run", "--set", "train.epochs=3")
    assert status == 0
    assert next(line for line in out.splitlines() if line.startswith("steps")).split()[1] == "12"
    assert not (tmp_path / "runs").exists()
    data = json.loads(copgkit_command("run", write_recipe(tmp_path), "--dry-run", "--json")[1])
    assert {figure["name"]: figure["value"] for figure in data["plan"]}["steps"] == 8


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_taught_the_commands(shell, tmp_path):
    environment = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "copgkit"]
    shown = subprocess.run(
        [*command, "--show-completion", shell], env=environment, capture_output=True, text=True, check=True
    )
    assert "_COPGKIT_COMPLETE" in shown.stdout
    assert shown.stderr == ""


def test_a_shell_that_asks_gets_the_commands_that_begin_so():
    asked = {"_COPGKIT_COMPLETE": "complete_bash", "COMP_WORDS": "copgkit co", "COMP_CWORD": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", "copgkit"], env=os.environ | asked, capture_output=True, text=True, check=True
    )
    assert (ended.stdout.split(), ended.stderr) == (["compare"], "")


@pytest.mark.parametrize(("setting", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_no_color_is_respected(monkeypatch, setting, coloured):
    from copgkit.cli.terminal import bold, dim

    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    assert ("\x1b[" in bold("a") + dim("b")) == coloured


def test_json_has_null_for_what_no_number_of_it_can_say(capsys):
    from copgkit.cli.terminal import print_json

    print_json({"a": [1.5, float("inf")], "b": (float("nan"),)})
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail) == {"a": [1.5, None], "b": [None]}
