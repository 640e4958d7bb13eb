"""A run that is broken off anywhere and taken up again ends as one that was not: every byte of it."""

import json
import os
import random
import re
import signal

import pytest
from resume_world import POLICY, Killed, Killing, broken_off, outcome, tabular_recipe, worded_recipe

import copgkit
from copgkit import CopgkitError, TrainingError
from copgkit.engine import causal_lm
from copgkit.engine.bad_steps import BadSteps
from copgkit.interrupts import Interrupted
from copgkit.runner import identity
from copgkit.store.written import WrittenBatches

SETTINGS = {
    "on-policy": {},
    "two epochs of rounds": {
        "sampler": {"use": "policy", "options": {"completions_per_prompt": 3, "every": 4}},
        "train": {"epochs": 2},
    },
    "replay": {"sampler": {"use": "replay", "options": {"sampler": POLICY}}},
    "offline, rare checkpoints": {
        "sampler": {"use": "reference", "options": {"completions_per_prompt": 3}},
        "train": {"epochs": 12, "steps": None, "checkpoint_every": 5},
    },
    "a mixture with a memory": {
        "sampler": {
            "use": "mixture",
            "options": {
                "samplers": [
                    POLICY,
                    {"use": "difficulty", "options": {"memory": 0.9, "reward_between": [0.1, 0.6], "sampler": POLICY}},
                ]
            },
        }
    },
    "a reference that follows": {"reference": {"refresh_every": 5, "decay": 0.3}},
}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """A report takes longer than all the rest of so small a run."""
    monkeypatch.setattr("copgkit.runner.record.write_report", lambda *parts: None)


def unbroken(recipe, folder):
    """What the run is when nothing happens to it, and how many signs of life it gives."""
    progress = Killing()
    copgkit.run(recipe, output=folder, progress=progress)
    return outcome(folder), progress.seen


@pytest.mark.parametrize("setting", SETTINGS)
def test_killed_anywhere_a_run_ends_as_if_it_had_not_been(tmp_path, setting):
    recipe = tabular_recipe(tmp_path, **SETTINGS[setting])
    whole, signs = unbroken(recipe, tmp_path / "whole")
    broken_off(recipe, tmp_path / "out", random.Random(setting).randrange(1, signs))
    broken_off(recipe, tmp_path / "out", signs // 3)  # and once more on the way
    copgkit.run(recipe, output=tmp_path / "out")
    assert outcome(tmp_path / "out") == whole


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_from_every_step_a_run_goes_on_to_the_same_end(tmp_path, setting, monkeypatch):
    """24 steps in 6 settings: 144 points."""
    recipe = tabular_recipe(tmp_path, **SETTINGS[setting])
    whole, _ = unbroken(recipe, tmp_path / "whole")
    for step in range(24):
        output = tmp_path / f"broken-off-after-{step}"
        with monkeypatch.context() as patched:
            patched.setattr("copgkit.engine.training.Training._take", _ends_after(step))
            with pytest.raises(Killed):
                copgkit.run(recipe, output=output)
        copgkit.run(recipe, output=output)
        assert outcome(output) == whole, step


def _ends_after(step):
    from copgkit.engine.training import Training

    real = Training._take

    def take(self, examples):
        if self.step == step:
            raise Killed
        return real(self, examples)

    return take


@pytest.fixture
def words(tmp_path, tiny_policy_folder):
    return worded_recipe(tmp_path, tiny_policy_folder)


def test_of_a_language_model_nothing_is_written_twice_but_the_batch_in_flight(words, tmp_path, monkeypatch):
    written = []

    def counting(start, streams, *more, real=causal_lm.complete):
        rows = real(start, streams, *more)
        written.append(tuple(streams))
        if len(written) in kills:
            raise Killed
        return rows

    monkeypatch.setattr(causal_lm, "complete", counting)
    kills = ()
    copgkit.run(words, output=tmp_path / "whole")
    batches, written[:] = list(written), []
    kills = (1, 4, 7)  # while the reference, a round and an evaluation are written; what was written then is lost
    for _ in kills:
        with pytest.raises(Killed):
            copgkit.run(words, set={"train.checkpoint_every": 1}, output=tmp_path / "killed")
    copgkit.run(words, set={"train.checkpoint_every": 1}, output=tmp_path / "killed")
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert len(written) == len(batches) + len(kills)
    assert set(written) == set(batches)


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGUSR1))],
)
def test_a_signal_saves_the_run_wherever_it_comes(words, tmp_path, number):
    class Signalled(Killing):
        def _sign(self, name):
            self.seen += 1
            if name == phase and self.seen > self.at:
                self.at = 10**9
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    ended = {}
    for phase, at in (("evaluate: generate", 0), ("generate", 30), ("train", 0)):
        with pytest.raises(Interrupted):
            copgkit.run(words, output=tmp_path / "out", progress=Signalled(at))
        ended[phase] = sorted(path.name for path in (tmp_path / "out").glob("checkpoints/*"))
    assert ended["evaluate: generate"] == []
    assert ended["generate"]  # no interval was over: the signal alone has saved it
    copgkit.run(words, output=tmp_path / "out")
    copgkit.run(words, output=tmp_path / "whole")
    assert outcome(tmp_path / "out") == outcome(tmp_path / "whole")
    assert signal.getsignal(number) == before


def test_scores_are_something_that_was_made_and_the_run_goes_on_in_their_folder(tmp_path):
    """No completion of a table is kept, and no store: the first thing in the folder is a score."""
    recipe, seen = tabular_recipe(tmp_path, scoring={"store": None}), Killing()
    whole = copgkit.run(recipe, output=tmp_path / "whole", progress=seen)
    first_answer = seen.events.index("score with best") + 2  # signs are counted from 1, and the first one is the start
    assert broken_off(recipe, tmp_path / "out", first_answer) == "score with best"
    assert (tmp_path / "out/scores.sqlite").exists()
    result = copgkit.run(recipe, output=tmp_path / "out")
    assert result.folder == tmp_path / "out"
    assert outcome(tmp_path / "out") == outcome(whole.folder)


OFFLINE = {"sampler": {"use": "reference", "options": {"completions_per_prompt": 3}}}


def test_the_last_step_is_saved_also_where_there_are_fewer_than_the_recipe_allows(tmp_path):
    recipe = tabular_recipe(tmp_path, **OFFLINE, train={"steps": 100, "epochs": 2, "checkpoint_every": None})
    result = copgkit.run(recipe, output=tmp_path / "out")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (result.steps, record["last_checkpoint"]["step"]) == (4, 4)
    exact = copgkit.run(recipe, set={"train.steps": 4}, output=tmp_path / "exact")
    assert outcome(tmp_path / "out") == outcome(exact.folder)  # the learning rate falls to the end, too


def test_the_step_before_one_that_is_not_taken_is_saved_at_the_end(tmp_path, monkeypatch):
    refuses = BadSteps.refuses
    monkeypatch.setattr(BadSteps, "refuses", lambda self, step, *more: step == 4 or refuses(self, step, *more))
    recipe = tabular_recipe(tmp_path, **OFFLINE, train={"steps": None, "epochs": 2, "checkpoint_every": None})
    result = copgkit.run(recipe, output=tmp_path / "out")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert (result.steps, record["last_checkpoint"]["step"]) == (3, 3)


def test_a_finished_run_is_said_to_be_finished_and_nothing_is_written(tmp_path):
    recipe = tabular_recipe(tmp_path, train={"steps": 2})
    first = copgkit.run(recipe, output=tmp_path / "out")
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.json*")}
    again = copgkit.run(recipe, output=tmp_path / "out")
    assert (again.folder, again.steps, again.summary) == (first.folder, first.steps, first.summary)
    assert list(again.rows) == list(first.rows)
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "out").rglob("*.json*")}
    assert not (tmp_path / "out/checkpoints").exists()
    assert copgkit.run(recipe, output=tmp_path / "out", fresh=True).folder.name == "out-2"
    other = copgkit.run(recipe, set={"objective.beta": 0.25}, output=tmp_path / "out")
    assert other.folder.name == "out-3"


def test_an_unfinished_run_of_something_else_is_refused_unless_it_is_meant(tmp_path):
    recipe = tabular_recipe(tmp_path, train={"steps": 6})
    broken_off(recipe, tmp_path / "out", 40)
    with pytest.raises(CopgkitError, match=r"train\.learning_rate was 0\.05 and is 0\.01"):
        copgkit.run(recipe, set={"train.learning_rate": 0.01}, output=tmp_path / "out")
    (tmp_path / "world.py").write_text((tmp_path / "world.py").read_text() + "\n# changed\n")
    with pytest.raises(CopgkitError, match=r"plugins\[0\]: world\.py was"):
        copgkit.run(recipe, output=tmp_path / "out")
    result = copgkit.run(recipe, output=tmp_path / "out", force_resume=True)
    (changed,) = json.loads((result.folder / "run.json").read_text())["changed_on_the_way"]
    assert "world.py was" in changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train.groups_per_step": 3}, "train.groups_per_step was 4 and is 3"),
        ({}, 'torch was "2.1.0" and is '),
    ],
    ids=["batch size", "torch version"],
)
def test_another_batch_size_or_torch_is_refused_or_recorded(tmp_path, monkeypatch, change, said):
    recipe = tabular_recipe(tmp_path)
    whole, signs = unbroken(recipe, tmp_path / "whole")
    versions = {**identity.installed_versions(), **({} if change else {"torch": "2.1.0"})}
    with monkeypatch.context() as patched:
        patched.setattr(identity, "installed_versions", lambda: versions)
        assert broken_off(recipe, tmp_path / "out", signs // 2)
    with pytest.raises(CopgkitError, match=re.escape(said)):
        copgkit.run(recipe, set=change, output=tmp_path / "out")
    result = copgkit.run(recipe, set=change, output=tmp_path / "out", force_resume=True)
    (changed,) = json.loads((result.folder / "run.json").read_text())["changed_on_the_way"]
    assert changed.startswith(said)
    assert result.steps == 24
    assert (outcome(tmp_path / "out") == whole) == (not change), "the version alone was another one, not torch"


def test_on_another_number_of_threads_a_run_goes_on_and_says_that_it_is_no_longer_exact(tmp_path, monkeypatch):
    recipe = tabular_recipe(tmp_path, train={"steps": 6})
    broken_off(recipe, tmp_path / "out", 40)
    broken_off(recipe, tmp_path / "same", 40)
    same = copgkit.run(recipe, output=tmp_path / "same")
    assert json.loads((same.folder / "run.json").read_text())["changed_on_the_way"] == []
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    result = copgkit.run(recipe, output=tmp_path / "out")
    record = json.loads((result.folder / "run.json").read_text())
    (changed,) = record["changed_on_the_way"]
    assert changed.startswith("threads was ")
    assert changed.endswith(" and is 7")
    (told,) = [warning for warning in result.warnings if "no longer bit for bit" in warning]
    assert changed in told
    assert told in record["warnings"]
    assert outcome(result.folder) == outcome(same.folder), "it went on from the same checkpoint"
    again = copgkit.run(recipe, output=tmp_path / "same")
    assert again.folder == same.folder, "a finished run is finished wherever it is asked for"


def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_leads_to_the_same_end(tmp_path):
    recipe = tabular_recipe(tmp_path)
    whole, signs = unbroken(recipe, tmp_path / "whole")
    broken_off(recipe, tmp_path / "out", signs // 2)
    newest = max((tmp_path / "out/checkpoints").glob("step-*"))
    content = bytearray((newest / "training.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (newest / "training.safetensors").write_bytes(content)
    result = copgkit.run(recipe, output=tmp_path / "out")
    assert outcome(tmp_path / "out") == whole
    (told,) = [warning for warning in result.warnings if "damaged" in warning]
    assert "training.safetensors" in told
    assert (tmp_path / f"out/checkpoints/.bad-{newest.name}").exists()


@pytest.mark.parametrize("fault", ["SafetensorError", "OSError"])
def test_a_disk_without_room_costs_a_warning_and_no_result(tmp_path, monkeypatch, fault):
    from safetensors import SafetensorError

    recipe = tabular_recipe(tmp_path, train={"steps": 4})
    whole, _ = unbroken(recipe, tmp_path / "whole")
    error = {"SafetensorError": SafetensorError, "OSError": OSError}[fault]
    from copgkit.engine import checkpoints

    def failing(tensors, file, real=checkpoints.save_tensors, calls=[]):  # noqa: B006
        calls.append(file)
        if len(calls) in (2, 3):
            file.write_bytes(b"half")
            raise error("No space left on device (os error 28)")
        real(tensors, file)

    forgotten = []
    monkeypatch.setattr(checkpoints, "save_tensors", failing)
    monkeypatch.setattr(WrittenBatches, "forget", lambda batches: forgotten.append(batches))
    result = copgkit.run(recipe, output=tmp_path / "out")
    assert outcome(tmp_path / "out") == whole
    assert len(forgotten) == 2, "completions are let go of at steps 1 and 4, whose checkpoints were written"
    told = [warning for warning in result.warnings if "could not be written" in warning]
    assert [warning.split(":")[0] for warning in told] == ["checkpoint of step 2", "checkpoint of step 3"]
    monkeypatch.setattr(checkpoints, "save_tensors", lambda tensors, file: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(CopgkitError, match="on_failed_checkpoint"):
        copgkit.run(recipe, set={"train.on_failed_checkpoint": "stop"}, output=tmp_path / "stops")


def test_a_run_that_cannot_go_on_says_so_again(tmp_path):
    recipe = tabular_recipe(tmp_path, train={"learning_rate": 1e300, "max_bad_steps": 0})
    for _ in range(2):
        with pytest.raises(TrainingError):
            copgkit.run(recipe, output=tmp_path / "out")


def test_nothing_that_is_read_can_run_code():
    from pathlib import Path

    root = Path(copgkit.__file__).parent
    sources = [*root.rglob("*.py"), *(root.parent / "plugins").rglob("*.py")]
    assert len(sources) > 150
    for source in sources:
        text = source.read_text(encoding="utf-8")
        assert "torch.load" not in text, source
        assert "import pickle" not in text, source


def test_broken_off_after_its_last_step_a_run_ends_without_the_round_that_no_step_needs(tmp_path):
    for setting in ("on-policy", "offline, rare checkpoints"):
        recipe = tabular_recipe(tmp_path, **SETTINGS[setting], scoring={"store": None})
        whole, signs = unbroken(recipe, tmp_path / f"whole {setting}")
        output = tmp_path / f"out {setting}"
        assert broken_off(recipe, output, signs - 4)
        (newest,) = [path for path in output.glob("checkpoints/step-*") if path.name == max(os.listdir(path.parent))]
        assert (newest.name, (newest / "round.jsonl").read_text()) == ("step-00000024", "")
        copgkit.run(recipe, output=output)
        assert outcome(output) == whole
