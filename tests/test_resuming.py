"""`copgkit verify --resume`: what goes on right passes, what does not is named, and neither is taken for chance."""

import json
import random
import tempfile
from pathlib import Path

import pytest
import torch
from resume_world import POLICY, WORLD, tabular_recipe
from safetensors.torch import save_file

from copgkit import CopgkitError, RecipeError, TrainingError, load_recipe
from copgkit.resuming import check_resume, moments
from copgkit.resuming.moments import AT_REPORT, Break, Stretch, breaks_of, interval_of
from copgkit.resuming.shortening import shortened
from copgkit.resuming.states import differences, state_of
from copgkit.resuming.trials import Trials

RECIPES = Path(__file__).parents[1] / "recipes"
ROUNDS = """
import itertools, random
from copgkit import Completion, Group, Sampler

class Turns(Sampler):
    "Pairs of completions that take turns from round to round."
    steps_per_round = 2
    def setup(self):
        self.rounds = 0
    def draw(self, num_groups):
        self.rounds += FIRST
        names = [*"abc", *"abc"][self.rounds % 3:][:2]
        prompts = itertools.islice(itertools.cycle(self.context.prompts), num_groups)
        return [Group(one, tuple(Completion(one, name) for name in names)) for one in prompts]
    def state(self):
        return {"rounds": self.rounds} if SAVED else {}
    def restore(self, state):
        self.rounds = state.get("rounds", 0)

@hookimpl
def register_samplers(register):
    register("turns", Turns)
"""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch, tmp_path):
    """A report takes longer than all the rest of so small a run; and what is left behind is left in tmp_path."""
    monkeypatch.setattr("copgkit.runner.record.write_report", lambda *parts: None)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def left(tmp_path):
    """The folders that a check has left behind."""
    return list((tmp_path / "temporary").glob("copgkit-*"))


@pytest.fixture
def turns(tmp_path):
    """turns(saved=False) -> a recipe whose sampler saves what round it is in, or does not."""

    def write(saved, first="1", **sections):
        recipe = tabular_recipe(tmp_path, sampler={"use": "turns"}, **sections)
        text = WORLD + ROUNDS.replace("SAVED", str(saved)).replace("FIRST", first)
        (tmp_path / "world.py").write_text(text)
        return recipe

    return write


@pytest.fixture
def only(monkeypatch):
    """only(*breaks): no others are made."""
    return lambda *breaks: monkeypatch.setattr("copgkit.resuming.breaks_of", lambda *parts: list(breaks))


EARLY, LATE = Break("train", 1, 2, "after step 2"), Break("train", 1, 4, "after step 4")


def test_broken_off_in_every_phase_a_run_ends_as_without_a_break(tmp_path):
    recipe = tabular_recipe(tmp_path, sampler=POLICY)
    found, state = [], random.getstate()
    check = check_resume(recipe, ["train.steps=6"], report=found.append)
    assert random.getstate() == state
    assert check.holds
    assert (check.findings, check.repeatable, check.folder) == (found, None, None)
    wheres = [(one.where, one.asked, one.went_on) for one in found]
    assert [where for where, _, _ in wheres][-2:] == [
        "after training, in 'evaluate: generate', at 2 of 4 prompts",
        "before the report",
    ]
    assert ("after step 3, before it was saved", False, "the beginning") in wheres
    assert ("after step 4, when step 3 was saved", False, "step 3") in wheres
    assert ("in step 4", True, "step 4") in wheres  # Ctrl-C has saved it
    for phase in ("evaluate: generate", "score with best", "generate", "reference"):
        assert any("before training" in where and f"'{phase}'" in where for where, _, _ in wheres), phase
    assert any("after step" in where and "'generate'" in where for where, _, _ in wheres)
    assert left(tmp_path) == []


def test_state_that_a_plugin_does_not_save_is_caught_and_named(turns, only):
    only(EARLY, LATE)
    check = check_resume(turns(saved=False))
    assert not check.holds
    assert check.repeatable, "without a break the run is always the same"
    early, late = check.findings
    assert (early.went_on, early.holds) == ("the beginning", True)
    assert (late.went_on, late.holds) == ("step 3", False)
    by_file = dict(one.split(": ", 1) for one in late.differences)
    tensors = "3 of 4 tensors differ, first optimiser/0/exp_avg at [0, 0]: "  # all but the number of steps
    assert by_file["checkpoint/training.safetensors"].startswith(tensors)
    assert by_file["metrics.jsonl"].startswith("line ")
    assert "without a break" in by_file["metrics.jsonl"]
    assert {path.name for path in check.folder.iterdir()} == {"without-a-break", "without-a-break-again", "break-02"}


def test_of_state_that_is_saved_nothing_is_lost_and_random_numbers_of_the_process_are_restored(turns, only):
    only(LATE)
    assert check_resume(turns(saved=True, first="random.randrange(10**6)")).holds


def test_what_is_not_restored_is_caught(tmp_path, monkeypatch):
    recipe = tabular_recipe(tmp_path)
    trials = Trials(recipe, ["train.steps=6", "scoring.store=null"], tmp_path / "trials", keep=False)
    trials.whole()
    assert trials.broken_off(LATE, every=3).holds
    monkeypatch.setattr("copgkit.engine.checkpoints._restore_optimiser", lambda *parts: None)
    finding = trials.broken_off(LATE, every=3)
    assert finding.went_on == "step 3"
    assert any("checkpoint/training.safetensors" in one and "optimiser/" in one for one in finding.differences)


def test_what_a_run_leaves_has_the_same_hash_in_every_check(tmp_path):
    recipe, digests = tabular_recipe(tmp_path), set()
    for name in ("one", "other"):
        random.random()
        trials = Trials(recipe, ["train.steps=2", "scoring.store=null"], tmp_path / name, keep=True)
        digests.add(trials.whole()[1].digest)
        trials.close()
    assert len(digests) == 1


def test_a_recipe_that_never_gives_the_same_is_told_from_one_that_loses_something(turns, only):
    only(LATE)
    check = check_resume(turns(saved=True, first="random.SystemRandom().randrange(10**6)"))
    assert not check.holds
    assert check.repeatable is False


def test_a_run_that_cannot_go_on_is_a_finding_and_one_that_cannot_run_is_an_error(tmp_path, monkeypatch, only):
    only(LATE)
    recipe = tabular_recipe(tmp_path)

    def refuses(*parts):
        raise CopgkitError("no.")

    with monkeypatch.context() as patched:
        patched.setattr("copgkit.engine.checkpoints.restore", refuses)
        (finding,) = check_resume(recipe).findings
    assert finding.differences == ["the run failed, which it does not without a break: no."]
    with pytest.raises(TrainingError, match=r"--whole"):
        check_resume(recipe, ["rewards[0].clip=[5, 6]", "sampler.use=reference"])
    assert len(left(tmp_path)) == 1, "that of the finding"


def test_a_signal_from_outside_ends_the_check(tmp_path):
    recipe = tabular_recipe(tmp_path)
    (tmp_path / "world.py").write_text(
        WORLD.replace("    def load(self):", "    def load(self):\n        import signal; signal.raise_signal(2)")
    )
    with pytest.raises(KeyboardInterrupt) as end:
        check_resume(recipe)
    assert end.type is KeyboardInterrupt, "nothing was saved that the same command could go on with"
    assert left(tmp_path) == []


def test_the_command_says_what_was_shortened_what_came_of_each_break_and_where_the_runs_are(
    turns, tmp_path, only, copgkit_command
):
    only(AT_REPORT)
    status, out, _ = copgkit_command("verify", "--resume", turns(saved=True), "--set", "train.steps=5", "--json")
    told = json.loads(out)
    assert (status, told["holds"], told["breaks"][0]["went_on"]) == (0, True, "step 5")
    assert told["shortened"] == ["evaluate.max_prompts=4", "evaluate.every=4", "train.groups_per_step=2"]
    only(LATE, AT_REPORT)
    recipe = turns(saved=False, train={"steps": 5})
    status, out, _ = copgkit_command("verify", "--resume", recipe, "--whole", "-o", tmp_path / "kept")
    assert status == 1
    lines = out.splitlines()
    assert lines[0].endswith("recipe.yaml, as it is")
    assert lines[2].startswith("FAILED killed after step 4")
    assert any(line.strip().startswith("metrics.jsonl: line ") for line in lines)
    assert any(line.startswith("ok     killed before the report") for line in lines)
    assert "2 breaks" in out
    assert "1 FAILED" in out
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {
        *("without-a-break", "without-a-break-again", "break-01", "break-02")
    }


REFUSED = {
    "no recipe": (["--resume", "none.yaml"], {}, "none.yaml"),
    "no data": (["--resume", "no-data.yaml"], {}, "rows.jsonl"),
    "several processes": (["--resume", "recipe.yaml"], {"WORLD_SIZE": "2"}, "works in one"),
    "DeepSpeed": (["--resume", "recipe.yaml"], {"ACCELERATE_USE_DEEPSPEED": "true"}, "Leave DeepSpeed out"),
    "a folder in use": (["--resume", "recipe.yaml", "-o", "."], {}, "--output"),
    "nothing to change": (["--set", "train.steps=1"], {}, "--resume"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_checked_is_refused(tmp_path, monkeypatch, copgkit_command, case):
    arguments, environment, words = REFUSED[case]
    rows = {"use": "jsonl", "options": {"path": "rows.jsonl"}}
    tabular_recipe(tmp_path, prompts=rows).rename(tmp_path / "no-data.yaml")
    tabular_recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    status, _, err = copgkit_command("verify", *arguments)
    assert status == 2
    assert words in err
    assert "Traceback" not in err
    assert left(tmp_path) == []


def test_a_recipe_is_cut_down_where_it_is_long_and_nowhere_else():
    assert shortened(load_recipe(RECIPES / "tldr.yaml")) == [
        "prompts.options.limit=12",
        "evaluate.prompts.options.limit=4",
        "evaluate.every=4",
        "train.groups_per_step=2",
        "train.steps=8",
    ]
    own = ["train.steps=100", "prompts.options.limit=5", "evaluate.every=3"]
    assert shortened(load_recipe(RECIPES / "tldr.yaml", own)) == [
        "evaluate.prompts.options.limit=4",
        "train.groups_per_step=2",
    ]
    long_rounds = ["sampler.options.sampler.options.every=30", "reference.refresh_every=50"]
    changes = shortened(load_recipe(RECIPES / "code-online.yaml", long_rounds))
    assert "train.steps=32" in changes, "there is a second round"
    assert "reference.refresh_every=2" not in changes, "it was set by hand"


def test_every_shipped_recipe_can_be_cut_down():
    for recipe in RECIPES.glob("*.yaml"):
        try:
            resolved = load_recipe(recipe)
        except RecipeError:  # its models are not here
            continue
        changes = shortened(resolved)
        assert changes
        load_recipe(recipe, changes)


def test_breaks_are_around_a_checkpoint_and_also_of_a_run_of_one_step():
    def stretches(steps):
        return [Stretch("generate", 1, 4, "prompts", done=4), Stretch("train", 1, steps, "steps", done=steps)]

    for steps, every in ((1, 1), (2, 1), (4, 3), (8, 3), (90, 30)):
        went = stretches(steps)
        assert interval_of(went) == every
        assert all(one.done is None or one.done <= max(steps, 4) for one in breaks_of(went, every))
    assert [one.words for one in breaks_of(stretches(1), 1)] == [
        "before training, in 'generate', at 2 of 4 prompts",
        "after step 1, before it was saved",
        "when training was over",
        "before the report",
    ]


def test_progress_is_said_every_few_seconds(monkeypatch):
    said, clock = [], iter(range(0, 100, 2))
    monkeypatch.setattr(moments.time, "monotonic", lambda: next(clock))
    heard = moments.Listening(say=said.append)
    with heard.phase("generate", 12, "prompts") as phase:
        for _ in range(4):
            phase.advance(3)
    assert said[0].startswith("generate: ")
    assert 1 <= len(said) <= 3


@pytest.fixture
def two_runs(tmp_path):
    """Two folders that hold the same files of every kind."""
    for name in ("one", "other"):
        (tmp_path / name / "checkpoints/step-00000003").mkdir(parents=True)
        (tmp_path / name / "model").mkdir()
        (tmp_path / name / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
        (tmp_path / name / "model/weights.bin").write_bytes(b"0123456789")
        tensors = {"weights/a": torch.zeros(2, 3), "weights/b": torch.tensor(1, dtype=torch.bfloat16)}
        save_file(tensors, tmp_path / name / "checkpoints/step-00000003/training.safetensors")
        (tmp_path / name / "checkpoints/step-00000003/run.json").write_text('{"positions": [{"random": [1, 2, 3]}]}')
    return tmp_path / "one", tmp_path / "other"


def test_a_difference_names_file_place_and_both_values(two_runs):
    one, other = two_runs
    assert differences(state_of(one), state_of(other)) == []
    assert state_of(one).digest == state_of(other).digest
    (one / "timing.jsonl").write_text("{}\n")
    assert differences(state_of(one), state_of(other)) == []
    (one / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.125}\n')
    (one / "model/weights.bin").write_bytes(b"0123x56789")
    tensors = {"weights/a": torch.zeros(2, 3), "weights/b": torch.tensor(1, dtype=torch.bfloat16)}
    tensors["weights/a"][1, 2] = -0.0  # equal as a number, and not the same
    save_file(tensors, one / "checkpoints/step-00000003/training.safetensors")
    (one / "checkpoints/step-00000003/run.json").write_text('{"positions": [{"random": [1, 2, 4]}]}')
    (one / "samples.jsonl").write_text("")
    assert differences(state_of(one), state_of(other)) == [
        "checkpoint/run.json: positions[0].random[2]: 4, and 3 without a break",
        "checkpoint/training.safetensors: 1 of 2 tensors differ, first weights/a at [1, 2]: -0.0, and 0.0 without a"
        " break",
        "metrics.jsonl: line 2: loss: 0.125, and 0.25 without a break",
        "model/weights.bin: byte 4 is the first that differs, of 10 and 10 without a break",
        "samples.jsonl: there is none without a break",
    ]
    assert state_of(one).digest != state_of(other).digest


def test_a_row_too_many_or_cut_off_is_a_difference(two_runs):
    one, other = two_runs
    (one / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n')
    (one / "model/weights.bin").unlink()
    metrics, model = differences(state_of(one), state_of(other))
    assert metrics.startswith("metrics.jsonl: line 2 (1 lines, and 2 without a break): null, and ")
    assert model == "model/weights.bin: it is missing"
    (one / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "lo')
    assert any("line 2" in words and '"lo' in words for words in differences(state_of(one), state_of(other)))


def test_of_a_finished_run_the_hash_of_the_last_checkpoint_is_compared(two_runs):
    import shutil

    one, other = two_runs
    whole = state_of(other)
    shutil.rmtree(one / "checkpoints")
    told = {"sha256": whole.hashes["checkpoint/training.safetensors"]}
    (one / "run.json").write_text(json.dumps({"last_checkpoint": told}))
    assert differences(state_of(one), whole) == []
    (one / "run.json").write_text(json.dumps({"last_checkpoint": {"sha256": "another"}}))
    (words,) = differences(state_of(one), whole)
    assert words.startswith("checkpoint/training.safetensors: its sha256 is another, and ")
