"""Bad reward plugins x what the recipe says of failures: each pair has its outcome, and no weight follows one."""

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest

from copgkit.store import read_groups

HERE = Path(__file__).parent
POLICIES = ("stop", "drop-completion", "drop-group")
TEXTS = [["a", "b", "c"]] * 3 + [["a", "bx", "c"]] + [["c", "b", "a"]] * 3
ROW = r"rows.jsonl:4, completion 2 'bx'"


def alike(outcome):
    return dict.fromkeys(POLICIES, outcome)


def spared(words, reason):
    """Stops and names the completion; or leaves it out, or its group, and counts the reason."""
    return {"stop": (2, words), "drop-completion": (0, reason), "drop-group": (0, reason)}


SOUND = alike((0, None))
OUTCOMES = {
    "sound": SOUND,
    "raises": spared(f"{ROW}: KeyError: 'x'", "KeyError"),
    "exits": spared(f"{ROW}: SystemExit: 0", "SystemExit"),
    "nan": spared(f"{ROW}: the score is nan", "'bad' failed: the score is nan$"),
    "infinite": spared(f"{ROW}: the score is inf", "'bad' failed: the score is inf$"),
    "huge": spared(r"rows.jsonl:4, completion 'bx': .*1e\+30.*beyond 1e\+15.*`clip`", r"beyond 1e\+15"),
    "none": SOUND,  # an abstention: the other source decides
    "hangs": alike((2, r"'bad': no answer within scoring.timeout_seconds = 0.2")),
    "slow": SOUND,
    "too few": alike((2, r"returned \d+ scores for \d+ completions")),
    "too many": alike((2, r"returned \d+ scores for \d+ completions")),
    "one for all": alike((2, r"returned 1 scores for \d+ completions")),
    "a dict": alike((2, "returned dict .*not a list of scores")),
    "text": alike((2, r"rows.jsonl:1, completion 1 'a': the score's value is str '1.0', not a number")),
    "bools": alike((2, r"rows.jsonl:1, completion 1 'a': the score's value is bool 'False'")),
    "bare numbers": alike((2, r"rows.jsonl:1, completion 1 'a': returned float instead of a Score")),
    "empties its list": {
        "stop": (2, r"rows.jsonl:1, completion 1 'a': AttributeError"),
        "drop-completion": (2, r"'bad': 21 of 21 scores failed.*AttributeError"),
        "drop-group": (2, r"'bad': 21 of 21 scores failed.*AttributeError"),
    },
    "mutates": SOUND,
    "prints": SOUND,
    "prints without end": SOUND,
    "forks": SOUND,
    "tensors": alike((2, "the score's value is Tensor")),
    "tensors elsewhere": alike((2, "the score's value is Tensor")),
    "all none": alike((2, "returned NoneType instead of a Score")),
    "all abstain": alike((2, "all completions have the same reward")),
    "all raise": {
        "stop": (2, r"rows.jsonl:1, completion 1 'a': RuntimeError: always"),
        "drop-completion": (2, r"'bad': 21 of 21 scores failed, more than scoring.max_failed_share = 0.1.*always"),
        "drop-group": (2, r"'bad': 21 of 21 scores failed, more than scoring.max_failed_share = 0.1.*always"),
    },
}


@pytest.fixture
def world(tmp_path, copgkit_command, monkeypatch):
    monkeypatch.setattr("copgkit.report.html.run_figures", lambda rows, curves: [])  # they take longer than the run
    return World(tmp_path, copgkit_command)


@pytest.fixture(scope="module")
def sound_logits():
    """What sound scores train on these texts, kept from test to test."""
    return {}


class World:
    def __init__(self, folder, command):
        self.folder, self.command = folder, command
        shutil.copy(HERE / "bad_rewards.py", folder)

    def recipe(self, texts=TEXTS):
        """A tabular policy over recorded completions, scored by the bad source beside a witness."""
        rows = [
            {"prompt": f"Choose {n}.", "facts": {"note": ["as it was"]}, "completions": some}
            for n, some in enumerate(texts)
            if some
        ]
        (self.folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        path = self.folder / "r.yaml"
        path.write_text(
            "plugins: [bad_rewards.py]\n"
            "policy: {use: tabular, arms: [a, b, bx, c]}\n"
            "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
            "sampler: {use: recorded}\n"
            "rewards: [{use: bad}, {use: witness}]\n"
            "scoring: {store: null, timeout_seconds: 5}\n"
            "train: {groups_per_step: 2, learning_rate: 0.1}\n"
        )
        return path

    def run(self, kind, policy, name="out", texts=TEXTS):
        """Exit status, standard output, standard error and the run folder."""
        limit = 0.2 if kind == "hangs" else 5
        settings = (
            f"rewards[0].options.kind={kind}",
            f"scoring.on_failure={policy}",
            f"scoring.timeout_seconds={limit}",
        )
        changes = [word for change in settings for word in ("--set", change)]
        status, out, err = self.command("run", self.recipe(texts), *changes, "-o", self.folder / name, "-q")
        return status, out, err, self.folder / name


def test_every_kind_that_can_be_tried_in_a_process_has_an_outcome():
    sys.path.insert(0, str(HERE))
    try:
        from bad_rewards import KINDS
    finally:
        sys.path.remove(str(HERE))
    assert set(OUTCOMES) == set(KINDS) - {"crashes", "ends the process"}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", OUTCOMES)
def test_a_bad_reward_has_its_outcome_and_moves_no_weight(world, sound_logits, kind, policy):
    status, words = OUTCOMES[kind][policy]
    found, out, err, folder = world.run(kind, policy)
    assert found == status, err
    if status:
        assert re.search(words, err), err
        assert not (folder / "model").exists()
        assert not (folder / "metrics.jsonl").exists()
        return
    assert out == f"{folder}\n"
    texts = [_left(some, policy) for some in TEXTS] if words else TEXTS
    assert _kept(folder) == [some for some in texts if some]
    assert _facts_seen_by_the_witness(folder) == {2.0}
    record = json.loads((folder / "run.json").read_text())
    assert all(re.search(words, reason) for reason in record["scoring"]["failures"])
    assert len(record["scoring"]["failures"]) == bool(words)
    if kind != "none":  # whose completion has another reward, that of the witness
        key = str(texts)
        if key not in sound_logits:
            sound_logits[key] = _logits(world.run("sound", "stop", "without", texts)[-1])
        trained = _logits(folder)
        assert {prompt: trained[prompt] for prompt in sound_logits[key]} == sound_logits[key]


def test_a_process_that_a_source_forks_does_not_go_on_with_the_run(world):
    assert world.run("forks", "stop")[0] == 0
    (plugin,) = (module for name, module in sys.modules.items() if name.startswith("copgkit_file_bad_rewards"))
    assert plugin.FORKED
    for child in plugin.FORKED:
        assert os.waitstatus_to_exitcode(_ended(child)) == 1


def _ended(child):
    """The status of a child that ends; one that goes on is killed, so that the tests do not run twice."""
    for _ in range(100):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def _left(some, policy):
    if "bx" not in some:
        return some
    return [] if policy == "drop-group" else [text for text in some if text != "bx"]


def _facts_seen_by_the_witness(folder):
    groups = read_groups(folder / "groups/round-0000.jsonl")
    return {score.value for scored in groups for score in scored.scores["witness"]}


def _kept(folder):
    return [
        [one.text for one in scored.group.completions] for scored in read_groups(folder / "groups/round-0000.jsonl")
    ]


def _logits(folder):
    """Every bit of the trained policy, by prompt."""
    return {
        state["prompt"]: state["logits"] for state in json.loads((folder / "model/tabular.json").read_text())["states"]
    }
