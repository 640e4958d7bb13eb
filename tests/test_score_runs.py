"""Scoring through whole runs: what is scored once is never scored again, and what is logged is what is optimised."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from recipe_world import write_run

import copgkit
from copgkit import RewardError
from copgkit.cli import main
from copgkit.engine import accumulation
from copgkit.engine.objectives import Objective
from copgkit.store import ScoreStore, default_store_path, read_groups, stored_sources

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]

COUNTING = '''
from pathlib import Path
from copgkit import RewardSource, Score, hookimpl

class Counting(RewardSource):
    """Counts a word, and writes down every completion it is asked about."""
    class Options(RewardSource.Options):
        word: str = "cat"
        journal: str = "calls.txt"
        fails_on: str = ""
    def score(self, completions):
        with self.context.path(self.options.journal).open("a") as file:
            file.writelines(f"{self.context.name} {one.text!r}\\n" for one in completions)
        return [self._score(one.text) for one in completions]
    def _score(self, text):
        if self.options.fails_on and self.options.fails_on in text.split():
            return Score.failed("a bad word")
        if not text and self.options.word == "dog":
            return Score.abstain("nothing to read")
        return Score(float(text.count(self.options.word)) - 0.1 * len(text.split()))

class Ranking(RewardSource):
    """The place of a completion among those of its group."""
    def score_groups(self, groups):
        with self.context.path("calls.txt").open("a") as file:
            file.writelines(f"ranking {[one.text for one in group.completions]}\\n" for group in groups)
        return [[Score(float(k)) for k in range(len(group.completions))] for group in groups]

class Exits(RewardSource):
    def score(self, completions):
        raise SystemExit(0)

@hookimpl
def register_reward_sources(register):
    register("counting", Counting)
    register("ranking", Ranking)
    register("exits", Exits)
'''


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder):
    """Writes a recipe over the counting source, changed as the test asks, and gives its path."""

    def write(**sections):
        prompts = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
        usual = {
            "plugins": ["counting.py"],
            "policy": {"max_prompt_tokens": 16},
            "rewards": [{"use": "counting"}, {"use": "counting", "name": "other", "options": {"word": "dog"}}],
            "train": {"epochs": 1, "groups_per_step": 4, "learning_rate": 1e-9},  # so that evaluations write the same
            "evaluate": {"prompts": prompts, "with": [{"use": "reward-summary"}]},
        }
        return write_run(tmp_path, tiny_policy_folder, POSTS, {"counting.py": COUNTING}, **usual | sections)

    return write


@pytest.fixture
def calls(tmp_path):
    """calls() -> the sources and completions asked for since the last time, in order."""
    file, read = tmp_path / "calls.txt", [0]

    def since():
        lines = file.read_text().splitlines() if file.exists() else []
        new, read[0] = lines[read[0] :], len(lines)
        return new

    return since


def test_no_completion_is_scored_twice_within_a_run(recipe, tmp_path, calls):
    result = copgkit.run(recipe(), output=tmp_path / "out")
    asked = calls()
    assert len(set(asked)) == len(asked) > 0
    hits = sum(row.get("reward/counting/store-hits", 0) for row in result.timings)
    misses = sum(row.get("reward/counting/store-misses", 0) for row in result.timings)
    assert misses == sum(line.startswith("counting ") for line in asked)
    assert hits + misses == 16 + 4 + 4  # the groups, the reference's samples, the policy's
    scoring = json.loads((result.folder / "run.json").read_text())["scoring"]
    assert scoring["scores"]["counting"] == {"from-store": hits, "asked": misses}


CHANGES = {
    "a weight": {"rewards[0].weight": 3.0},
    "beta": {"objective.beta": 0.05},
    "the objective": {"objective.use": "ipo"},
    "a map": {"rewards[1].clip": [0, 1], "rewards[1].scale": 2.0, "rewards[1].shift": -1.0},
    "the penalty": {"scoring.unfinished_penalty": -1.0},
    "what failures do": {"scoring.on_failure": "drop-group"},
    "a name": {"rewards[1].name": "another"},
}


def test_changing_what_is_done_with_scores_causes_no_reward_call(recipe, tmp_path, calls):
    path = recipe()
    copgkit.run(path, output=tmp_path / "one")
    assert calls()
    for what, change in CHANGES.items():
        again = copgkit.run(path, set=change, output=tmp_path / "again")
        assert calls() == [], what
        assert any(row.get("reward/counting/store-hits") == 16 for row in again.timings), what
        assert all(row.get("reward/counting/store-misses", 0) == 0 for row in again.timings), what


def test_changing_one_option_of_one_source_rescores_that_source_alone(recipe, tmp_path, calls):
    copgkit.run(recipe(), output=tmp_path / "one")
    before = calls()
    copgkit.run(recipe(), set={"rewards[1].options.word": "hill"}, output=tmp_path / "two")
    after = calls()
    assert {line.split()[0] for line in after} == {"other"}
    assert sorted(after) == sorted(line for line in before if line.startswith("other "))


def test_changing_the_code_of_a_source_rescores_it(recipe, tmp_path, calls):
    path = recipe()
    copgkit.run(path, output=tmp_path / "one")
    before = calls()
    plugin = tmp_path / "counting.py"
    plugin.write_text(plugin.read_text().replace("0.1 *", "0.2 *"))
    copgkit.run(path, output=tmp_path / "two")
    assert sorted(calls()) == sorted(before)


def test_scores_of_the_store_train_to_the_same_model_as_fresh_ones(recipe, tmp_path, calls):
    train = {"epochs": 2, "groups_per_step": 2, "learning_rate": 0.003}
    fresh = copgkit.run(recipe(train=train), output=tmp_path / "fresh")
    stored = copgkit.run(recipe(train=train), output=tmp_path / "stored")
    without = copgkit.run(recipe(train=train, scoring={"store": None}), output=tmp_path / "without")
    models = [(result.folder / "model/model.safetensors").read_bytes() for result in (fresh, stored, without)]
    assert models[0] == models[1] == models[2]
    groups = [(result.folder / "groups/round-0000.jsonl").read_bytes() for result in (fresh, stored, without)]
    assert groups[0] == groups[1] == groups[2]
    assert not any("store" in name for row in without.rows for name in row)


def test_a_store_may_lie_beside_the_recipe(recipe, tmp_path, calls):
    copgkit.run(recipe(scoring={"store": "scores.sqlite"}), output=tmp_path / "one")
    assert (tmp_path / "scores.sqlite").exists()
    assert not default_store_path().exists()
    calls()
    copgkit.run(recipe(scoring={"store": "scores.sqlite"}), output=tmp_path / "two")
    assert calls() == []


def test_recorded_scores_are_not_kept(recipe, tmp_path, write_jsonl):
    rows = [
        {"prompt": "the cat :", "completions": [{"text": t, "scores": {"x": n}} for n, t in enumerate(("sat", "ran"))]}
    ]
    path = recipe(sampler={"use": "recorded"}, rewards=[{"use": "recorded", "options": {"column": "x"}}], evaluate={})
    write_jsonl("posts.jsonl", rows)
    copgkit.run(path, output=tmp_path / "out")
    kept = stored_sources(ScoreStore(default_store_path(), pytest.fail))
    assert [source.name for source in kept] == ["reference:policy"]


def test_failures_are_not_kept_and_are_asked_for_again(recipe, tmp_path, calls):
    scoring = {"on_failure": "drop-completion", "max_failed_share": 1.0}
    rewards = [{"use": "counting", "options": {"fails_on": "mat"}}]
    first = copgkit.run(recipe(rewards=rewards, scoring=scoring, evaluate={}), output=tmp_path / "one")
    asked = calls()
    failed = [line for line in asked if "mat" in line.split("'")[1].split()]
    assert 0 < len(failed) < len(asked)
    copgkit.run(recipe(rewards=rewards, scoring=scoring, evaluate={}), output=tmp_path / "two")
    assert calls() == failed
    record = json.loads((first.folder / "run.json").read_text())["scoring"]
    assert record["completions_dropped"] == record["failures"]["'counting' failed: a bad word"] > 0


def test_too_many_failures_stop_a_run_with_the_reasons(recipe, tmp_path):
    rewards = [{"use": "counting", "options": {"fails_on": "mat"}}]
    with pytest.raises(
        RewardError, match=r"scores failed, more than scoring\.max_failed_share = 0\.02 allows: a bad word"
    ):
        copgkit.run(
            recipe(rewards=rewards, scoring={"on_failure": "drop-group", "max_failed_share": 0.02}),
            output=tmp_path / "out",
        )


def test_what_was_optimised_is_what_was_logged(recipe, tmp_path, monkeypatch):
    """The rewards in groups/, those in the metrics and the tensor that the objective is given are the same numbers."""
    batches, given = [], []
    collate, objective = accumulation.collate, Objective.__call__

    def noted_collate(*arguments):
        batches.append(collate(*arguments))
        return batches[-1]

    def noted_objective(self, logp_GK, ref_logp_GK, reward_GK, *rest):
        given.append(reward_GK)
        return objective(self, logp_GK, ref_logp_GK, reward_GK, *rest)

    monkeypatch.setattr(accumulation, "collate", noted_collate)
    monkeypatch.setattr(Objective, "__call__", noted_objective)
    rewards = [
        {"use": "counting", "weight": 0.7, "clip": [-0.45, 0.25], "scale": 1 / 3, "shift": 0.1},
        {"use": "counting", "name": "other", "options": {"word": "dog"}, "weight": -1.3},
    ]
    result = copgkit.run(
        recipe(rewards=rewards, scoring={"unfinished_penalty": -0.3}, train={"epochs": 1, "groups_per_step": 4}),
        output=tmp_path / "out",
    )
    scored = list(read_groups(result.folder / "groups/round-0000.jsonl"))
    by_texts = {_texts(group): group for group in scored}
    (batch,), (reward_GK,) = batches, given
    assert reward_GK is batch.reward_GK
    for row_K, group in zip(reward_GK, batch.groups, strict=True):
        assert torch.equal(row_K, torch.tensor(by_texts[_texts(group)].rewards, dtype=torch.float32))
    for group in scored:
        for k, completion in enumerate(group.group.completions):
            terms = [term for name in group.scores if (term := group.terms(name)[k]) is not None]
            assert group.rewards[k] == math.fsum([*terms, *([] if completion.finished else [-0.3])])
            raw, mapped = group.scores["counting"][k].value, group.mapped["counting"][k]
            assert mapped == (None if raw is None else (1 / 3) * min(max(raw, -0.45), 0.25) + 0.1)
            assert group.weighted["counting"][k] == (None if mapped is None else 0.7 * mapped)
    (row,) = [row for row in result.rows if "round/reward/mean" in row]
    flat = [reward for group in scored for reward in group.rewards]
    assert row["round/reward/mean"] == math.fsum(flat) / len(flat)
    for name in ("counting", "other"):
        terms = [term for group in scored for term in group.terms(name) if term is not None]
        assert row[f"reward/{name}/weighted-mean"] == math.fsum(terms) / len(terms)
    assert row["reward/counting/clipped"] > 0
    (step,) = [row for row in result.rows if "train/reward/mean" in row]
    assert step["train/reward/mean"] == pytest.approx(row["round/reward/mean"], rel=1e-6)


def _texts(scored):
    return scored.group.prompt.text, tuple(completion.text for completion in scored.group.completions)


def test_a_source_that_exits_ends_the_command_with_status_2(recipe, tmp_path, capsys):
    path = recipe(rewards=[{"use": "exits"}])
    with pytest.raises(SystemExit) as end:
        main(["run", str(path), "--output", str(tmp_path / "out")])
    assert end.value.code == 2
    words = capsys.readouterr().err
    assert "reward source 'exits', posts.jsonl:1, completion 1" in words
    assert "SystemExit: 0" in words


def test_check_counts_the_scores_that_are_still_missing(recipe, tmp_path, write_jsonl, capsys):
    completions = [{"text": "sat", "scores": {"x": 1}}, {"text": "ran", "scores": {"x": 0}}]
    rows = [{"prompt": "the cat :", "completions": completions}] * 3
    recorded = {"use": "recorded", "options": {"column": "x"}}
    counting = [{"use": "counting", "name": name, "options": {"word": name}} for name in ("sat", "ran")]
    path = recipe(sampler={"use": "recorded"}, rewards=[*counting, recorded], evaluate={})
    write_jsonl("posts.jsonl", rows)

    def missing(*changes):
        with pytest.raises(SystemExit):
            main(["check", str(path), "--missing", "--json", *changes])
        plan = json.loads(capsys.readouterr().out)["plan"]
        return {row["name"]: row["value"] for row in plan if row["name"].startswith("missing")}

    counts = {"missing: sat": 2, "missing: ran": 2, "missing: recorded": 6, "missing: reference": 2}
    assert missing() == counts, "three times the same prompt"
    assert not default_store_path().exists(), "looking makes no store"
    copgkit.run(path, output=tmp_path / "out")
    counts |= {"missing: sat": 0, "missing: ran": 0, "missing: reference": 0}
    assert missing() == counts
    assert missing("--set", "rewards[1].options.word=cat") == counts | {"missing: ran": 2}
    with_sampler = missing("--set", "sampler.use=reference")
    assert set(with_sampler.values()) == {None}, "what is yet to be generated is not known"


def test_a_source_over_whole_groups_is_kept_by_whole_groups(recipe, tmp_path, write_jsonl, calls):
    def rows(*texts):
        return [{"prompt": "the cat :", "completions": [{"text": text} for text in texts]}] * 2

    path = recipe(sampler={"use": "recorded"}, rewards=[{"use": "ranking"}], evaluate={})
    write_jsonl("posts.jsonl", rows("sat", "ran"))
    copgkit.run(path, output=tmp_path / "one")
    assert calls() == ["ranking ['sat', 'ran']"]
    copgkit.run(path, output=tmp_path / "two")
    assert calls() == []
    write_jsonl("posts.jsonl", rows("sat", "ran", "and"))
    copgkit.run(path, output=tmp_path / "three")
    assert calls() == ["ranking ['sat', 'ran', 'and']"]


def test_a_damaged_store_costs_a_warning_and_is_filled_again(recipe, tmp_path, calls):
    first = copgkit.run(recipe(), output=tmp_path / "one")
    asked = calls()
    store = default_store_path()
    store.write_bytes(b"garbage" + store.read_bytes()[7:])
    second = copgkit.run(recipe(), output=tmp_path / "two")
    assert sorted(calls()) == sorted(asked)
    assert any("score store" in warning and "damaged" in warning for warning in second.warnings)
    assert Path(f"{store}.damaged-1").exists()
    assert [row["eval/reward/mean"] for row in first.rows if "eval/reward/mean" in row] == [
        row["eval/reward/mean"] for row in second.rows if "eval/reward/mean" in row
    ]


def test_the_reward_model_is_not_loaded_for_scores_that_are_kept(recipe, tmp_path, tiny_reward_folder, monkeypatch):
    from copgkit_reward_model import RewardModel

    path = recipe(rewards=[{"use": "reward-model", "options": {"model": str(tiny_reward_folder)}}])
    copgkit.run(path, output=tmp_path / "one")
    digests = []
    whole = RewardModel.fingerprint
    monkeypatch.setattr(RewardModel, "fingerprint", lambda self: digests.append(1) or whole(self))
    monkeypatch.setattr(RewardModel, "_load", lambda self: pytest.fail("the model was loaded"))
    copgkit.run(path, set={"rewards[0].weight": 2.0}, output=tmp_path / "two")
    assert digests == [1], "the checkpoint is read once a run"


def test_a_run_uses_the_scores_of_others_that_run_beside_it(recipe, tmp_path, calls):
    """A store that another process has open and writes to serves this run, too."""
    copgkit.run(recipe(), output=tmp_path / "one")
    calls()
    other = ScoreStore(default_store_path(), print)
    with other.file._open() as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM scores").fetchall()
        copgkit.run(recipe(), output=tmp_path / "two")
    other.close()
    assert calls() == []
