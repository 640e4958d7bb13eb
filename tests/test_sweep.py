"""A sweep does everything but training once, and each of its rows is the run that it stands for, byte for byte."""

import json

import pytest
import yaml

import copgkit
import copgkit.runner.phases
from copgkit import CopgkitError, RecipeError
from copgkit.engine import causal_lm
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.sweeping import read_grid

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
REWARD = """
from pathlib import Path

def score(completion):
    with Path(__file__).with_name("asked.txt").open("a") as file:
        file.write("asked\\n")
    return float(completion.count('cat')) - 0.1 * len(completion.split())
"""


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Drawing them takes longer than all the rest of a small sweep."""
    monkeypatch.setattr("copgkit.report.figures.svg_image", lambda *given, **options: "data:,")


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder, write_jsonl):
    """Writes a small recipe, changed as the test asks, and gives its path."""

    def write(**sections):
        write_jsonl("posts.jsonl", POSTS)
        (tmp_path / "reward.py").write_text(REWARD)
        prompts = {"use": "jsonl", "options": {"path": "posts.jsonl"}}
        data = {
            "policy": {"model": str(tiny_policy_folder), "max_prompt_tokens": 16, "max_completion_tokens": 6},
            "prompts": prompts,
            "sampler": {"use": "reference", "options": {"completions_per_prompt": 3}},
            "rewards": [
                {"use": "python", "options": {"file": "reward.py"}},
                {"use": "length", "options": {"maximum": 2}},
            ],
            "objective": {"use": "copg", "beta": 0.5},
            "train": {"epochs": 2, "groups_per_step": 2, "learning_rate": 0.003},
            "evaluate": {"prompts": prompts, "with": [{"use": "reward-summary"}, {"use": "kl"}, {"use": "win-rate"}]},
        } | sections
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


def asked(tmp_path):
    return len((tmp_path / "asked.txt").read_text().splitlines())


@pytest.fixture
def done(monkeypatch):
    """Counts what a model does: {"completions": written, "sequences": read by a frozen model}."""
    counts = {"completions": 0, "sequences": 0, "loads": 0}
    complete, log_probs, load = causal_lm.complete, CausalLMPolicy.log_probs, CausalLMPolicy.load

    def counting_complete(start, streams, *rest):
        counts["completions"] += len(streams)
        return complete(start, streams, *rest)

    def counting_log_probs(self, groups):
        if not next(self.parameters()).requires_grad:
            counts["sequences"] += sum(len(group.completions) for group in groups)
        return log_probs(self, groups)

    def counting_load(*given, **options):
        counts["loads"] += 1
        return load(*given, **options)

    monkeypatch.setattr(causal_lm, "complete", counting_complete)
    monkeypatch.setattr(CausalLMPolicy, "log_probs", counting_log_probs)
    monkeypatch.setattr(CausalLMPolicy, "load", counting_load)
    return counts


@pytest.mark.parametrize("store", ["cache", None])
def test_a_row_is_the_run_it_stands_for_and_nothing_but_training_is_done_twice(recipe, tmp_path, done, store):
    path = recipe(scoring={"store": store, "unfinished_penalty": -0.5})
    result = copgkit.sweep(path, ["objective.beta=0.5,0.1", "rewards[0].weight=1,2"], tmp_path / "sweep")
    assert [run.label for run in result.comparison.runs] == [
        "beta=0.5,weight=1", "beta=0.5,weight=2", "beta=0.1,weight=1", "beta=0.1,weight=2",
    ]  # fmt: skip
    once, last = 4 * 3 + 4, 4 * 4  # groups and the reference's evaluation, and each row's last evaluation
    assert done["completions"] == once + last
    assert done["sequences"] == 4 * 4  # the KL of each row's last evaluation; groups are known as they are written
    assert done["loads"] == 1
    scored = asked(tmp_path)
    assert scored <= 4 * 3 + 4 + last
    alone = copgkit.run(path, {"objective.beta": 0.1, "rewards[0].weight": 2}, tmp_path / "alone")
    row = tmp_path / "sweep" / "rows" / "beta=0.1,weight=2"
    for name in ("model/model.safetensors", "metrics.jsonl", "samples.jsonl", "groups/round-0000.jsonl"):
        assert (row / name).read_bytes() == (alone.folder / name).read_bytes(), name


def test_a_sweep_goes_on_where_it_was_stopped(recipe, tmp_path, done, monkeypatch):
    path, folder = recipe(), tmp_path / "sweep"
    train = copgkit.runner.phases.Run._train
    monkeypatch.setattr(copgkit.runner.phases.Run, "_train", _stopped_at(train, 2))
    with pytest.raises(KeyboardInterrupt):
        copgkit.sweep(path, ["objective.beta=0.5,0.3,0.1"], folder)
    monkeypatch.setattr(copgkit.runner.phases.Run, "_train", train)
    before = dict(done)
    result = copgkit.sweep(path, ["objective.beta=0.5,0.3,0.1"], folder)
    assert (result.found, result.ran) == (("beta=0.5",), ("beta=0.3", "beta=0.1"))
    assert done["completions"] - before["completions"] == 2 * 4  # two rows' last evaluations: nothing is drawn again
    again = copgkit.sweep(path, ["objective.beta=0.5,0.3,0.1"], folder)
    assert again.ran == ()
    model = (folder / "rows" / "beta=0.1" / "model" / "model.safetensors").read_bytes()
    whole = copgkit.sweep(path, ["objective.beta=0.1,0.5"], tmp_path / "other")
    assert model == (whole.folder / "rows" / "beta=0.1" / "model" / "model.safetensors").read_bytes()


def _stopped_at(train, row):
    rows = []

    def stopping(self, saved):
        rows.append(self)
        if len(rows) == row:
            raise KeyboardInterrupt
        return train(self, saved)

    return stopping


def test_a_row_of_another_recipe_is_not_taken_for_one_of_this(recipe, tmp_path):
    row = tmp_path / "sweep" / "rows" / "beta=0.5"
    row.mkdir(parents=True)
    (row / "run.json").write_text("{}")
    (row / "resolved.yaml").write_text("objective: {beta: 0.5}\n")
    with pytest.raises(CopgkitError, match="was run with another recipe"):
        copgkit.sweep(recipe(), ["objective.beta=0.5,0.3"], tmp_path / "sweep")
    assert not (tmp_path / "sweep" / "rows" / "beta=0.3").exists()


def test_the_report_of_a_bandits_sweep_names_the_best_with_its_caveats(tmp_path, copgkit_command):
    (tmp_path / "value.py").write_text("def score(completion):\n    return {'a': 2.0, 'b': 1.0}[completion]\n")
    (tmp_path / "prompts.jsonl").write_text("".join(f'{{"prompt": "p{n}"}}\n' for n in range(30)))
    prompts = {"use": "jsonl", "options": {"path": "prompts.jsonl"}}
    (tmp_path / "r.yaml").write_text(
        yaml.safe_dump(
            {
                "policy": {"use": "tabular", "arms": ["a", "b"]},
                "prompts": prompts,
                "sampler": {"use": "reference"},
                "rewards": [{"use": "python", "options": {"file": "value.py"}}],
                "train": {"epochs": 20, "groups_per_step": 30, "learning_rate": 0.1},
                "evaluate": {"prompts": prompts, "with": [{"use": "reward-summary"}, {"use": "kl"}]},
            }
        )
    )
    arguments = ("sweep", tmp_path / "r.yaml", "--set", "objective.beta=0.3,30", "-o", tmp_path / "s")
    status, out, _ = copgkit_command(*arguments)
    assert status == 0
    assert "Highest reward of 2: beta=0.3" in out
    assert out.splitlines()[-1] == str(tmp_path / "s")
    page = (tmp_path / "s" / "report.html").read_text()
    assert "beta=30" in page
    assert "The best of 2 is chosen by the prompts" in page
    data = json.loads(copgkit_command(*arguments, "--json")[1])
    assert (data["ran"], data["found"]) == ([], ["beta=0.3", "beta=30"])
    assert data["best"]["label"] == "beta=0.3"
    warnings = {run["label"]: run["warnings"] for run in data["runs"]}
    assert any("Lower beta" in warning for warning in warnings["beta=30"])
    assert not any("Lower beta" in warning for warning in warnings["beta=0.3"])  # each row has its own


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("seed=1,2", "draws other completions"),
        ("policy.model=a,b", "a model of its own"),
        ("prompts.options.limit=1,2", "other prompts"),
        ("sampler.options.temperature=1,2", "other groups"),
        ("sampler=reference,policy", "other groups"),
        ("evaluate.max_prompts=1,2", "measured in different ways"),
        ("rewards[0].use=a,b", "another source"),
        ("rewards[0].options.head=1,2", "another source"),
        ("scoring.on_failure=stop,drop-group", "other groups"),
        ("train.precision=bf16,float32", "the model is loaded with it"),
        ("output=a,b", "cannot vary"),
        ("objective.beta=1,1", "comes twice"),
        ("objective.beta=1", "nothing varies"),
    ],
)
def test_what_cannot_vary_is_refused_with_the_reason(change, why):
    with pytest.raises(RecipeError, match=why):
        read_grid([change])


@pytest.mark.parametrize(
    "key",
    ["objective.beta", "objective.use", "train.learning_rate", "train.epochs", "reference.refresh_every",
     "scoring.unfinished_penalty", "rewards[1].weight", "rewards.0.scale", "rewards[0].clip"],
)  # fmt: skip
def test_what_comes_after_the_groups_may_vary(key):
    assert len(read_grid([f"{key}=1,2"]).rows) == 2


def test_every_combination_is_a_row_and_single_values_hold_for_all():
    grid = read_grid(["objective.beta=0.1,0.3", "train.epochs=2", "objective.use=copg,ipo"])
    assert grid.fixed == ("train.epochs=2",)
    assert [row.label for row in grid.rows] == [
        "beta=0.1,use=copg", "beta=0.1,use=ipo", "beta=0.3,use=copg", "beta=0.3,use=ipo",
    ]  # fmt: skip
    assert grid.rows[1].changes == ("objective.beta=0.1", "objective.use=ipo")


def test_commas_within_brackets_and_quotes_part_nothing_and_folders_take_any_label():
    grid = read_grid(["rewards[0].clip=[-4,4],[-2,2]", "rewards[1].clip=null,[0,1]", "prompts.options.template='a, b'"])
    assert grid.fixed == ("prompts.options.template='a, b'",)
    assert grid.rows[0].label == "rewards[0].clip=[-4,4],rewards[1].clip=null"
    folders = [row.folder for row in grid.rows]
    assert len(set(folders)) == 4
    assert not any(set(folder) & set("[]/ ") for folder in folders)


def test_a_sampler_that_draws_while_training_cannot_be_swept(recipe):
    online = recipe(sampler={"use": "policy"}, train={"steps": 2})
    with pytest.raises(RecipeError, match="draws fresh groups while it trains"):
        copgkit.sweep(online, ["objective.beta=0.5,0.3"])


def test_a_row_that_no_recipe_allows_is_refused_before_anything_runs(recipe, tmp_path):
    with pytest.raises(RecipeError, match=r"objective\.clip"):
        copgkit.sweep(recipe(), ["objective.use=copg,ipo", "objective.clip=1"], tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
