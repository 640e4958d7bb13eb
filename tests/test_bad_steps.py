"""NaN and infinity in loss, gradient, weight and optimiser state: no step is taken with them, and all are counted."""

import json
import math

import pytest
import torch

from copgkit import Completion, Group, Prompt, ScoredGroup, TrainingError
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Example, Reference
from copgkit.engine.tabular import TabularPolicy
from copgkit.engine.training import TrainingSettings, align
from copgkit.store import read_groups

ARMS = ("a", "b", "c")
REWARDS = {"a": 2.5, "b": 2.0, "c": 1.0}
BAD = 3  # the batch, from 0, that something happens to


class World:
    """A tabular policy and its optimiser, batches of one group each, and what training said and kept."""

    def __init__(self, monkeypatch):
        self.policy, self.rows, self.told, self.kept = TabularPolicy(ARMS), [], [], []
        make = torch.optim.AdamW

        def remembered(*given, **options):
            self.optimiser = make(*given, **options)
            return self.optimiser

        monkeypatch.setattr(torch.optim, "AdamW", remembered)
        prompts = [Prompt(f"Choose {n}.") for n in range(6)]
        groups = [
            Group(one, tuple(Completion(one, arm) for arm in ("a", "b", "c")[: 2 + n % 2]))
            for n, one in enumerate(prompts)
        ]
        encoded, _ = self.policy.encode(groups)
        scored = [ScoredGroup(g, {}, tuple(REWARDS[c.text] for c in g.completions)) for g in encoded]
        self.batches = [[example] for example in Reference(self.policy.frozen_copy()).examples(scored)]

    def train(self, batches, **settings):
        settings = {"learning_rate": 0.1, "schedule": "cosine", "groups_per_step": 1} | settings
        return align(
            self.policy,
            batches,
            Objective("copg", beta=0.5),
            TrainingSettings(**settings),
            total_steps=20,
            on_step=lambda step, row: self.rows.append(row),
            tell=self.told.append,
            keep_bad=lambda *kept: self.kept.append(kept),
        )

    def state(self):
        """Every bit of the weights and of what the optimiser remembers."""
        table = self.policy.module.logits_SA
        memory = self.optimiser.state[table]
        return [table.detach().clone(), *(memory[name].clone() for name in sorted(memory))]


def _nan_reference(example):
    return Example(example.scored, (math.nan, *example.ref_log_probs[1:]))


def _spoil_loss(world, value):
    world.batches[BAD] = [Example(one.scored, (value, *one.ref_log_probs[1:])) for one in world.batches[BAD]]


def _spoil_gradient(world, value):
    calls = []

    def spoiled(gradient):
        calls.append(gradient)
        return torch.full_like(gradient, value) if len(calls) == BAD + 1 else gradient

    world.policy.module.logits_SA.register_hook(spoiled)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("spoil", [_spoil_loss, _spoil_gradient])
def test_a_bad_batch_leaves_weights_and_optimiser_as_in_a_run_without_it(monkeypatch, spoil, value):
    without, world = World(monkeypatch), World(monkeypatch)
    assert without.train([batch for n, batch in enumerate(without.batches) if n != BAD]) == 5
    expected = without.state()
    spoil(world, value)
    assert world.train(world.batches) == 5
    assert all(torch.equal(one, other) for one, other in zip(world.state(), expected, strict=True))
    assert [row.get("train/bad-steps/count") for row in world.rows] == [None] * BAD + [1] * (5 - BAD)
    assert [row["train/learning-rate/value"] for row in world.rows] == [
        row["train/learning-rate/value"] for row in without.rows
    ]


def test_a_bad_batch_is_kept_and_said(monkeypatch):
    world = World(monkeypatch)
    _spoil_loss(world, math.nan)
    world.train(world.batches)
    assert world.kept == [(1, BAD + 1, world.batches[BAD])]
    (told,) = world.told
    assert told.startswith("step 4: the loss is nan")
    assert "Bad step 1 of at most 3" in told


@pytest.mark.parametrize("limit", [0, 2])
def test_more_bad_steps_than_the_limit_stop_with_advice_and_untouched_weights(monkeypatch, limit):
    world = World(monkeypatch)
    for batch in world.batches[1:]:
        batch[0] = _nan_reference(batch[0])
    world.train(world.batches[:1])
    before = [one.clone() for one in world.policy.parameters()]
    with pytest.raises(
        TrainingError, match=rf"bad step {limit + 1}, and train.max_bad_steps is {limit}.*Lower the learning rate"
    ):
        world.train(world.batches[1:], max_bad_steps=limit)
    assert all(torch.equal(one, other) for one, other in zip(world.policy.parameters(), before, strict=True))
    assert len(world.kept) == limit + 1


def _spoil_weight(world):
    world.policy.module.logits_SA.data[BAD, 0] = math.nan  # the state of batch BAD: no earlier step reads it


def _spoil_memory(world):
    world.optimiser.state[world.policy.module.logits_SA]["exp_avg"][0, 0] = math.inf


@pytest.mark.parametrize(
    ("spoil", "named"),
    [(_spoil_weight, "a weight is not finite"), (_spoil_memory, "the optimiser's memory is not finite")],
)
def test_damage_that_would_spoil_every_step_ends_the_run_before_it_spreads(monkeypatch, spoil, named):
    whole, world = World(monkeypatch), World(monkeypatch)
    whole.train(whole.batches[:BAD])

    def batches():
        yield from world.batches[:BAD]
        spoil(world)
        yield from world.batches[BAD:]

    with pytest.raises(TrainingError, match=rf"step 4: {named}; the step was not taken.*last checkpoint"):
        world.train(batches())
    untouched = torch.ones(whole.policy.module.logits_SA.shape, dtype=torch.bool)
    untouched[BAD, 0] = spoil is not _spoil_weight
    weights, expected = world.policy.module.logits_SA[untouched], whole.policy.module.logits_SA[untouched]
    assert torch.equal(weights, expected)
    assert len(world.rows) == BAD
    assert len(world.kept) == 1


def test_a_run_leaves_the_groups_of_a_bad_step_where_they_can_be_trained_on(monkeypatch, tmp_path):
    import copgkit
    from copgkit.engine import accumulation

    (tmp_path / "rows.jsonl").write_text(
        "".join(
            json.dumps({"prompt": f"Choose {n}.", "completions": ["a", "b"], "scores": {"taste": [2.0, 1.0]}}) + "\n"
            for n in range(6)
        )
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "policy: {use: tabular, arms: [a, b]}\n"
        "prompts: {use: jsonl, options: {path: rows.jsonl}}\n"
        "sampler: {use: recorded}\n"
        "rewards: [{use: recorded, options: {column: taste}}]\n"
        "train: {groups_per_step: 1, learning_rate: 0.1}\n"
    )
    collate, seen = accumulation.collate, []

    def third_is_bad(policy, examples):
        seen.extend(examples)
        batch = collate(policy, examples)
        if len(seen) == 3:
            batch.reward_GK[0, 0] = math.nan
        return batch

    monkeypatch.setattr(accumulation, "collate", third_is_bad)
    result = copgkit.run(recipe, output=tmp_path / "out")
    assert result.steps == 5
    assert result.rows[-1]["train/bad-steps/count"] == 1
    assert any("step 3: the loss is nan" in warning for warning in result.warnings)
    (file,) = (result.folder / "bad-steps").iterdir()
    assert file.name == "0001-at-step-000003.jsonl"
    (kept,) = read_groups(file)
    assert kept.group.prompt.content == seen[2].scored.group.prompt.content
    again = copgkit.run(
        recipe,
        set={"prompts.options.path": str(file), "rewards": [{"use": "recorded", "options": {"column": "recorded"}}]},
        output=tmp_path / "again",
    )
    assert again.steps == 1
    assert again.rows[-1]["train/loss/mean"] == pytest.approx(5.0)  # the variance of 2 and 1, over beta = .1
