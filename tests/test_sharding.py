"""Divided weights (FSDP2): each process has its part, and all of them where processes work at their own pace."""

from __future__ import annotations

import pytest
import torch
from process_world import in_processes

from copgkit import Completion, GenerationSettings, Group, Prompt, TrainingError
from copgkit.engine import ranks, sharding
from copgkit.engine.causal_lm import CausalLMPolicy

PROMPT = Prompt("the cat sat :")
GROUP = Group(PROMPT, tuple(Completion(PROMPT, "", token_ids=ids) for ids in ((5, 6, 2), (7, 8, 9, 2))))
GREEDY = GenerationSettings(temperature=0.0)


def _load(folder):
    return CausalLMPolicy.load(str(folder), max_prompt_tokens=16, max_completion_tokens=8)


def _divided(folder):
    """What a process sees of a policy before and after its weights are divided."""
    policy = _load(folder)
    before, numbers = policy.log_probs([GROUP]).detach(), sum(one.numel() for one in policy.parameters())
    written = policy.generate([PROMPT], 2, GREEDY)
    sharding.shard(policy.module, torch.device("cpu"))
    own = sum(one.to_local().numel() for one in policy.parameters())
    layers = sum(isinstance(part, sharding.FSDPModule) for part in policy.module.modules())
    assert policy.generate([PROMPT], 2, GREEDY) == written, "before any pass of training"
    torch.testing.assert_close(policy.log_probs([GROUP]).detach(), before)
    with policy.whole(), torch.no_grad():
        whole = sum(one.numel() for one in policy.parameters())
        for _ in range(ranks.rank()):  # one process asks, the other does not
            torch.testing.assert_close(policy.log_probs([GROUP]), before)
    again = sum(one.to_local().numel() for one in policy.parameters())
    return own / numbers, whole / numbers, again == own, layers


def test_a_process_has_its_part_and_the_whole_where_it_works_alone(tiny_policy_folder):
    for share, whole, again, layers in in_processes(2, _divided, tiny_policy_folder):
        assert 0.4 < share < 0.6
        assert whole == 1
        assert again, "the whole is let go of"
        assert layers == 3, "two layers, and what is left of the model"


def _mixed(folder):
    policy = _load(folder)
    policy.model.model.norm.to(torch.bfloat16)
    sharding.shard(policy.module, torch.device("cpu"))


def test_weights_of_several_types_are_refused(tiny_policy_folder):
    with pytest.raises(TrainingError, match=r"several types \(bfloat16, float32\), which cannot be divided together"):
        in_processes(2, _mixed, tiny_policy_folder)


def test_one_process_divides_nothing(monkeypatch):
    assert not sharding.wanted(True)
    monkeypatch.setenv(sharding.ASKED, "true")
    monkeypatch.setenv("FSDP_VERSION", "2")
    assert not sharding.wanted(False)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"FSDP_VERSION": "1"}, r"FSDP of version 1 is not supported\. Set fsdp_version: 2"),
        ({"FSDP_VERSION": "2", "FSDP_OFFLOAD_PARAMS": "true"}, "fsdp_offload_params is not supported"),
        ({"FSDP_VERSION": "2", "FSDP_ACTIVATION_CHECKPOINTING": "true"}, r"train\.gradient_checkpointing is the same"),
        ({"FSDP_VERSION": "2", "ACCELERATE_USE_PARALLELISM_CONFIG": "true"}, "parallelism_config is not supported"),
    ],
)
def test_what_is_not_taken_of_an_accelerate_configuration_is_refused(monkeypatch, variables, said):
    for name, value in (variables | {sharding.ASKED: "true"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match=said):
        sharding.wanted(False)


def _unevenly(folder):
    """The gradient after one of the processes has written completions alone."""
    policy = _load(folder)
    sharding.shard(policy.module, torch.device("cpu"))
    policy.generate([PROMPT], 2, GREEDY)
    policy.log_probs([GROUP]).sum().backward()
    return sum(float(one.grad.full_tensor().square().sum()) for one in policy.parameters())


def test_passes_that_one_process_makes_alone_do_not_have_the_others_wait_for_ever(tiny_policy_folder):
    policy = _load(tiny_policy_folder)
    policy.log_probs([GROUP]).sum().backward()
    alone = sum(float(one.grad.square().sum()) for one in policy.parameters())
    assert in_processes(2, _unevenly, tiny_policy_folder) == pytest.approx([alone, alone], rel=1e-5)
