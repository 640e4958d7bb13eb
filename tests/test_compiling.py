"""Compiled layers: the same loss and gradients, graphs that serve every length, and everything else as it was."""

from __future__ import annotations

import pytest
import torch

from copgkit import Completion, GenerationSettings, Group, ModelError, Prompt
from copgkit.engine import compiling
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.objectives import Objective, all_pairs

GREEDY = GenerationSettings(temperature=0.0)


def _load(folder, **options):
    return CausalLMPolicy.load(str(folder), max_prompt_tokens=48, max_completion_tokens=12, **options)


def _groups(number):
    """Two groups of three completions, of other lengths for another number."""
    groups = []
    for start in (4, 9):
        prompt = Prompt(" ".join(["the cat sat on the mat and then it ran :"] * (1 + number % 3)))
        ids = [[4 + (start * k + n) % 20 for n in range(3 + (k + number) % 5)] for k in range(3)]
        groups.append(Group(prompt, tuple(Completion(prompt, "", token_ids=(*row, 2)) for row in ids)))
    return groups


def _loss_and_gradients(policy, groups):
    policy.module.zero_grad()
    logp_GK = policy.log_probs(groups)
    valid_GK = torch.ones_like(logp_GK)
    reward_GK, tokens_GK = torch.arange(6.0).reshape(2, 3), policy.num_tokens(groups).float()
    objective = Objective("copg", beta=0.5)
    loss = objective(logp_GK, logp_GK.detach() - 0.1, reward_GK, valid_GK, all_pairs(valid_GK), tokens_GK).mean()
    loss.backward()
    return loss.detach(), {name: one.grad.clone() for name, one in policy.model.named_parameters()}


def _assert_parity(folder):
    eager, compiled = _load(folder), _load(folder, compile_layers=True)
    told = compiled.findings[-1]
    assert not told.disagrees, told.text
    graphs = int(told.text.split()[-2])
    assert told.text == f"its layers are compiled for training, into {graphs} graphs"
    assert 1 <= graphs <= 6, "the layers share their graphs"
    before = compiling.graphs()
    for number in range(5):
        loss, gradients = _loss_and_gradients(eager, _groups(number))
        other, others = _loss_and_gradients(compiled, _groups(number))
        torch.testing.assert_close(other, loss, rtol=1e-5, atol=0)
        for name, gradient in gradients.items():
            assert (others[name] - gradient).norm() <= 1e-5 * gradient.norm(), name
    with torch.no_grad():
        assert torch.equal(compiled.log_probs(_groups(0)), eager.log_probs(_groups(0))), "what is not trained on"
    prompt = _groups(0)[0].prompt
    assert compiled.generate([prompt], 2, GREEDY) == eager.generate([prompt], 2, GREEDY)
    assert compiling.graphs() == before, "nothing is compiled for another length, nor for generation"


def test_compiled_layers_give_the_loss_and_gradients_of_eager_ones(tiny_policy_folder, monkeypatch):
    monkeypatch.setattr(compiling, "_BACKEND", "aot_eager")  # captures the graphs; the slow test compiles them as well
    _assert_parity(tiny_policy_folder)


@pytest.mark.slow
def test_layers_compiled_to_machine_code_give_the_loss_and_gradients_of_eager_ones(tiny_policy_folder):
    _assert_parity(tiny_policy_folder)


def test_a_compilation_that_gives_other_numbers_is_undone_and_told(tiny_policy_folder, monkeypatch):
    def wrong(graph, inputs):
        return lambda *given: [out * 1.01 if torch.is_tensor(out) else out for out in graph(*given)]

    monkeypatch.setattr(compiling, "_BACKEND", wrong)
    policy = _load(tiny_policy_folder, compile_layers=True)
    told = policy.findings[-1]
    assert told.disagrees
    assert told.text.startswith("train.compile: 'blocks' gives other numbers than the plain way")
    torch.testing.assert_close(policy.log_probs(_groups(0)), _load(tiny_policy_folder).log_probs(_groups(0)))


def test_a_machine_without_a_compiler_is_told_what_to_do(tiny_policy_folder, monkeypatch):
    from torch._inductor import cpp_builder
    from torch._inductor.exc import InvalidCxxCompiler

    def none():
        raise InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(ModelError, match=r"train\.compile: it needs a C\+\+ compiler, such as g\+\+\. Install one"):
        _load(tiny_policy_folder, compile_layers=True)
