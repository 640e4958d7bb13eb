"""A run from prompts to report, through the public API, on tiny models: what it leaves, and what it says."""

import json

import pytest
import yaml

import copgkit
from copgkit import DataError, RecipeError, RewardError, TrainingError
from copgkit.report import model_card

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
REWARD_FILE = "def score(completion):\n    return float(completion.count('cat')) - 0.1 * len(completion.split())\n"


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder, write_jsonl):
    """Writes a small recipe, changed as the test asks, and gives its path."""

    def write(reward=REWARD_FILE, posts=POSTS, **sections):
        write_jsonl("posts.jsonl", posts)
        (tmp_path / "reward.py").write_text(reward)
        data = {
            "version": 1,
            "policy": {"model": str(tiny_policy_folder), "max_prompt_tokens": 16, "max_completion_tokens": 8},
            "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
            "sampler": {"use": "reference", "options": {"completions_per_prompt": 4}},
            "rewards": [{"use": "python", "options": {"file": "reward.py", "function": "score"}}],
            "objective": {"use": "copg", "beta": 0.5},
            "train": {"epochs": 3, "groups_per_step": 2, "learning_rate": 0.003},
            "evaluate": {
                "every": 3,
                "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
                "with": [{"use": "reward-summary"}, {"use": "kl"}, {"use": "win-rate"}],
            },
        } | sections
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


def test_a_run_leaves_everything_one_needs_to_look_at_it_and_go_on(recipe, tmp_path):
    result = copgkit.run(recipe(), output=tmp_path / "out")
    assert result.steps == 6
    names = {path.name for path in result.folder.iterdir()}
    assert names >= {
        "recipe.yaml", "resolved.yaml", "run.json", "groups", "metrics.jsonl", "samples.jsonl", "model", "report.html",
    }  # fmt: skip
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "eval/reward/mean" in row] == [0, 3, 6]
    assert [row["step"] for row in rows if "train/loss/mean" in row] == [1, 2, 3, 4, 5, 6]
    assert rows[0]["eval/kl/mean"] == 0.0


def test_the_model_folder_is_read_by_transformers(recipe, tmp_path, tiny_policy_folder):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = copgkit.run(recipe(), output=tmp_path / "out")
    after = AutoModelForCausalLM.from_pretrained(result.folder / "model")
    before = AutoModelForCausalLM.from_pretrained(tiny_policy_folder)
    assert AutoTokenizer.from_pretrained(result.folder / "model").eos_token == "<eos>"
    changed = [not torch.equal(a, b) for a, b in zip(after.parameters(), before.parameters(), strict=True)]
    assert all(changed)


def test_the_model_has_a_card_with_the_result_and_the_recipe(recipe, tmp_path, tiny_policy_folder):
    result = copgkit.run(recipe(), set={"objective.beta": 0.25}, output=tmp_path / "out")
    _, front, card = (result.folder / "model" / "README.md").read_text().split("---\n", 2)
    assert "base_model" not in yaml.safe_load(front)  # a local folder is nothing that a hub could link
    assert result.summary.headline in card
    assert "| reward |" in card
    assert yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])["objective"]["beta"] == 0.25
    named = model_card(result.summary, json.loads((result.folder / "run.json").read_text()), "owner/name", True, "")
    assert yaml.safe_load(named.split("---\n")[1])["base_model"] == "owner/name"


def test_training_raises_the_reward_that_it_optimises(recipe, tmp_path):
    train = {"epochs": 40, "groups_per_step": 4, "learning_rate": 0.01}
    result = copgkit.run(recipe(posts=POSTS * 8, train=train, objective={"beta": 0.05}), output=tmp_path / "out")
    rewards = [row["eval/reward/mean"] for row in result.rows if "eval/reward/mean" in row]
    assert rewards[-1] > rewards[0] + 0.2


def test_the_same_recipe_and_seed_give_the_same_run(recipe, tmp_path):
    one = copgkit.run(recipe(), output=tmp_path / "one")
    other = copgkit.run(recipe(), output=tmp_path / "other")

    assert one.rows == other.rows
    assert (one.folder / "metrics.jsonl").read_bytes() == (other.folder / "metrics.jsonl").read_bytes()
    hits = [sum(row.get("reward/python/store-hits", 0) for row in result.timings) for result in (one, other)]
    assert hits[0] < hits[1]  # the second run need not score again, and says so beside its metrics
    assert (one.folder / "groups/round-0000.jsonl").read_bytes() == (
        other.folder / "groups/round-0000.jsonl"
    ).read_bytes()


def test_stored_groups_train_again_without_generating_or_scoring(recipe, tmp_path):
    first = copgkit.run(recipe(), output=tmp_path / "one")
    again = recipe(
        prompts={"use": "jsonl", "options": {"path": str(first.folder / "groups/round-0000.jsonl")}},
        sampler={"use": "recorded"},
        rewards=[{"use": "recorded", "options": {"column": "python"}}],
        evaluate={},
    )
    second = copgkit.run(again, output=tmp_path / "two")

    def losses(result):
        return [row["train/loss/mean"] for row in result.rows if "train/loss/mean" in row]

    assert losses(second) == pytest.approx(losses(first), rel=1e-5, abs=1e-6)


def test_an_on_policy_run_draws_a_fresh_round_every_step(recipe, tmp_path):
    result = copgkit.run(
        recipe(
            sampler={"use": "policy", "options": {"completions_per_prompt": 4}},
            objective={"use": "copg", "beta": 0.0},
            train={"steps": 3, "groups_per_step": 2, "learning_rate": 0.003},
        ),
        output=tmp_path / "out",
    )
    assert sorted(path.name for path in (result.folder / "groups").iterdir()) == [
        f"round-{n:04d}.jsonl" for n in range(3)
    ]


@pytest.mark.parametrize("objective", ["ipo", "dpo", "policy-gradient"])
def test_the_other_objectives_run_on_the_same_groups(recipe, tmp_path, objective):
    assert copgkit.run(recipe(objective={"use": objective, "beta": 0.5}), output=tmp_path / "out").steps == 6


def test_preference_data_trains_as_it_is(recipe, tmp_path):
    rows = [{"prompt": "the cat :", "chosen": "sat on the mat", "rejected": "ran"}] * 4
    result = copgkit.run(
        recipe(
            posts=rows,
            sampler={"use": "recorded"},
            rewards=[{"use": "recorded", "options": {"column": "preference"}}],
            objective={"use": "dpo", "beta": 0.1},
            evaluate={},
        ),
        output=tmp_path / "out",
    )
    margins = [
        row["train/log-prob-best/mean"] - row["train/log-prob-worst/mean"]
        for row in result.rows
        if "train/loss/mean" in row
    ]
    assert margins[-1] > margins[0]


def test_several_rewards_are_weighted_and_each_is_logged_raw_and_weighted(recipe, tmp_path):
    python = {"use": "python", "options": {"file": "reward.py", "function": "score"}}
    result = copgkit.run(
        recipe(rewards=[python | {"name": "one", "weight": 2.0}, python | {"name": "two", "weight": -0.5}]),
        output=tmp_path / "out",
    )
    row = next(row for row in result.rows if "reward/one/raw-mean" in row)
    assert row["reward/one/raw-mean"] == row["reward/two/raw-mean"]
    assert row["reward/one/weighted-mean"] == pytest.approx(2 * row["reward/one/raw-mean"])
    assert row["round/reward/mean"] == pytest.approx(1.5 * row["reward/one/raw-mean"])


def test_bf16_and_gradient_checkpointing_run_and_stay_near_float32(recipe, tmp_path):
    train = {"epochs": 3, "groups_per_step": 2, "learning_rate": 0.003}
    plain = copgkit.run(recipe(train=train), output=tmp_path / "plain")
    lean = copgkit.run(
        recipe(train=train | {"precision": "bf16", "gradient_checkpointing": True}), output=tmp_path / "lean"
    )
    losses = [[row["train/loss/mean"] for row in r.rows if "train/loss/mean" in row] for r in (plain, lean)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_an_existing_run_folder_is_never_overwritten(recipe, tmp_path):
    first = copgkit.run(recipe(), output=tmp_path / "out")
    second = copgkit.run(recipe(), output=tmp_path / "out", fresh=True)
    assert first.folder != second.folder
    assert (first.folder / "report.html").exists()


def test_a_run_that_fails_before_its_first_result_leaves_no_folder(recipe, tmp_path):
    with pytest.raises(DataError, match="no file"):
        copgkit.run(recipe(prompts={"use": "jsonl", "options": {"path": "nowhere.jsonl"}}), output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


BAD_REWARDS = {
    "nan": ("def score(completion):\n    return float('nan')\n", "'python'.*nan for posts.jsonl:1, completion"),
    "infinite": ("def score(completion):\n    return float('inf')\n", "'python'.*inf.*posts.jsonl:1, completion"),
    "raises": (
        "def score(completion):\n    return 1 / 0\n",
        "'python'.*posts.jsonl:1, completion .*ZeroDivisionError.*line 2",
    ),
    "text": ("def score(completion):\n    return 'good'\n", "'python'.*'good' for posts.jsonl:1, completion"),
}


@pytest.mark.parametrize("fault", BAD_REWARDS)
def test_a_bad_reward_names_source_row_and_completion_and_the_completions_are_kept(recipe, tmp_path, fault):
    code, message = BAD_REWARDS[fault]
    with pytest.raises(RewardError, match=message) as caught:
        copgkit.run(recipe(reward=code, evaluate={}), output=tmp_path / "out")
    assert "posts.jsonl:1" in str(caught.value)
    rows = (tmp_path / "out/groups/round-0000.jsonl").read_text().splitlines()
    assert len(rows) == len(POSTS)
    assert len(json.loads(rows[0])["completions"]) == 4


def test_a_reward_without_any_spread_stops_with_the_reason(recipe, tmp_path):
    with pytest.raises(TrainingError, match="nothing to learn from"):
        copgkit.run(recipe(reward="def score(completion):\n    return 1\n"), output=tmp_path / "out")


def test_prompts_over_the_limit_are_left_out_counted_and_reported(recipe, tmp_path):
    posts = [*POSTS, {"prompt": "the cat " * 20}]
    result = copgkit.run(recipe(posts=posts, evaluate={}), output=tmp_path / "out")
    assert any("1 prompts are longer" in warning for warning in result.warnings)


def test_beta_zero_off_policy_is_refused_with_the_reason(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"recipe\.yaml:\d+: objective\.beta: .*"):
        copgkit.run(recipe(objective={"use": "copg", "beta": 0}), output=tmp_path / "out")


def test_one_completion_in_a_recorded_group_names_the_row(recipe, tmp_path):
    rows = [{"prompt": "the cat", "completions": [{"text": "sat", "scores": {"x": 1.0}}]}]
    with pytest.raises(DataError, match=r"posts\.jsonl:1"):
        copgkit.run(
            recipe(posts=rows, sampler={"use": "recorded"}, rewards=[{"use": "recorded", "options": {"column": "x"}}]),
            output=tmp_path / "out",
        )
