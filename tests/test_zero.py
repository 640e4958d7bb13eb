"""DeepSpeed's ZeRO: one step of the loop is one step of the engine, and what would go wrong silently is refused.

The engine is a stand-in that does what DeepSpeed documents; the real one runs in `test_processes_runs.py` where it is
installed.
"""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator, DistributedType

from copgkit import Completion, Group, Prompt, Score, ScoredGroup, TrainingError
from copgkit.engine import zero
from copgkit.engine.accelerating import make_accelerator
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Reference
from copgkit.engine.tabular import TabularPolicy
from copgkit.engine.training import TrainingSettings, align

ARMS = ("a", "b", "c")
SETTINGS = TrainingSettings(learning_rate=0.05, epochs=3, groups_per_step=4, max_grad_norm=0.5)


class Engine(torch.nn.Module):
    """An engine as DeepSpeed describes it: backward adds up gradients, which are complete at a boundary; step clips,
    steps and drops them, and does nothing elsewhere."""

    def __init__(self, module, optimiser, config):
        super().__init__()
        self.module, self._optimiser, self.config = module, optimiser, config
        self.optimizer = SimpleNamespace(scaled_global_norm=self._norm, optimizer=optimiser)
        self.boundaries, self.steps = [], 0

    def forward(self, *inputs):
        return self.module(*inputs)

    def set_gradient_accumulation_boundary(self, is_boundary):
        self.boundaries.append(is_boundary)

    def backward(self, loss):
        (loss / self.config["gradient_accumulation_steps"]).backward()

    def step(self):
        assert self.boundaries[-1], "a step in the middle of accumulation"
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self.config["gradient_clipping"])
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.steps += 1

    def _norm(self):
        norm = torch.nn.utils.get_total_norm([one.grad for one in self.module.parameters()])
        return norm if norm.isfinite() else torch.tensor(-1.0)


@pytest.fixture
def with_deepspeed(monkeypatch):
    """with_deepspeed(config) -> an Accelerator that thinks it has DeepSpeed, and the engines that it makes."""
    engines = []

    def prepare(self, module, optimiser):
        engines.append(Engine(module, optimiser, self.state.deepspeed_plugin.deepspeed_config))
        return engines[-1], SimpleNamespace(optimizer=optimiser)

    def make(**config):
        accelerator = make_accelerator("float32")
        plugin = SimpleNamespace(deepspeed_config={"zero_optimization": {"stage": 2}} | config)
        monkeypatch.setattr(Accelerator, "prepare", prepare)
        monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.DEEPSPEED)
        state = SimpleNamespace(deepspeed_plugin=plugin, distributed_type=DistributedType.DEEPSPEED)
        monkeypatch.setattr(accelerator, "state", state)
        accelerator.deepspeed_engine_wrapped = None
        return accelerator, engines

    return make


def _train(accelerator=None, completions_at_once=4, reward=2.0):
    prompt = Prompt("Choose.")
    policy = TabularPolicy(ARMS)
    policy.tokens_per_forward = completions_at_once
    rewards = {"a": reward, "b": 1.5, "c": 1.0}
    groups = [
        Group(prompt, tuple(Completion(prompt, arm) for arm in arms)) for arms in ("abc", "bc", "ac", "cbb", "ab")
    ]
    encoded, _ = policy.encode(groups)
    scored = [
        ScoredGroup(
            one,
            {"r": [Score(rewards[c.text]) for c in one.completions]},
            tuple(rewards[c.text] for c in one.completions),
        )
        for one in encoded
    ]
    examples, rows = Reference(policy.frozen_copy()).examples(scored), []
    steps = align(
        policy,
        [examples],
        Objective("copg", beta=0.5),
        SETTINGS,
        SETTINGS.steps_for(len(examples)),
        on_step=lambda step, row: rows.append(row),
        accelerator=accelerator,
    )
    return policy.probabilities(prompt), rows, steps


def test_a_step_in_several_passes_is_one_step_of_the_engine_and_the_same(with_deepspeed):
    probabilities, rows, _ = _train()
    accelerator, engines = with_deepspeed()
    with_engine, engine_rows, steps = _train(accelerator)
    (engine,) = engines
    assert engine.steps == steps == 6
    assert len(engine.boundaries) > steps, "steps had several passes"
    assert sum(engine.boundaries) == steps, "one pass of each step is the last"
    torch.testing.assert_close(with_engine, probabilities, atol=1e-12, rtol=0)
    for one, other in zip(engine_rows, rows, strict=True):
        for name in ("train/loss/mean", "train/gradient-norm/value", "train/learning-rate/value"):
            assert one[name] == pytest.approx(other[name], rel=1e-9), name


def test_the_recipe_decides_what_a_step_is_whatever_the_configuration_says(with_deepspeed):
    accelerator, engines = with_deepspeed(gradient_accumulation_steps=8, gradient_clipping=7.0, train_batch_size="auto")
    _train(accelerator)
    assert engines[0].config["gradient_accumulation_steps"] == 1
    assert engines[0].config["gradient_clipping"] == 0.5
    assert engines[0].config["bf16"] == {"enabled": False}


def test_what_is_not_finite_ends_the_run_since_the_engine_cannot_leave_out_a_step(with_deepspeed):
    accelerator, engines = with_deepspeed()
    with pytest.raises(TrainingError, match=r"train\.max_bad_steps: .* DeepSpeed cannot leave out a step"):
        _train(accelerator, reward=float("nan"))
    assert engines[0].steps == 0


@pytest.mark.parametrize(
    ("config", "precision", "said"),
    [
        (
            {"zero_optimization": {"stage": 3}},
            "float32",
            r"stage 3 is not supported\. Use stage 1 or 2; .* train\.shard",
        ),
        ({"zero_optimization": {"stage": 0}}, "float32", "stage 0 is not supported"),
        ({"optimizer": {"type": "Adam"}}, "float32", "optimizer of the DeepSpeed configuration is not supported"),
        ({"scheduler": {"type": "WarmupLR"}}, "float32", "scheduler of the DeepSpeed configuration is not supported"),
        ({"fp16": {"enabled": True}}, "float32", "fp16 of the DeepSpeed configuration is not supported"),
        ({}, "bf16", r"train\.precision: bf16 is not supported beside DeepSpeed\. Set policy\.dtype: bfloat16"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(with_deepspeed, config, precision, said):
    accelerator, _ = with_deepspeed(**config)
    with pytest.raises(TrainingError, match=said):
        zero.require_taken(accelerator, precision)


def test_a_configuration_with_deepspeed_where_it_is_not_installed_says_so(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr("accelerate.accelerator.is_deepspeed_available", lambda: False)
    with pytest.raises(TrainingError, match="accelerate: DeepSpeed is not installed"):
        make_accelerator("float32")
