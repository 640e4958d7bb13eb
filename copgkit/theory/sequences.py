"""Claim 23 and the end-to-end check: a tiny transformer over sequences that can all be counted.

Six tokens, four positions: 1,296 sequences, each with a random reward. The real engine (causal-LM policy, training
loop, objective) trains on groups drawn uniformly, off-policy; then KL(pi* || pi) is computed over all of them.
A random reward has no pattern to generalise from, so the transformer must hold each of the 1,296 log-ratios by itself:
what limits the figure is how long it trains, not the objective.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec
from copgkit.engine.objectives import Objective, all_pairs, copg
from copgkit.engine.reference import Example
from copgkit.engine.training import TrainingSettings, align
from copgkit.theory.exact import Problem, kl, minimum, problem
from copgkit.theory.finding import EXACT, Finding
from copgkit.types import Completion, Group, Prompt, ScoredGroup

TOKENS, LENGTH, BETA = 6, 4, 0.5
LONGEST_PROMPT = 3
PROMPT = Prompt("0")


@dataclass
class World:
    """All sequences, their rewards and the policy that learns them."""

    policy: CausalLMPolicy
    completions: list[Completion]
    exact: Problem

    @classmethod
    def make(cls, seed: int = 0) -> World:
        """A transformer of two layers with random weights as policy and reference, and rewards uniform on [0, 1]."""
        config = GPT2Config(
            vocab_size=TOKENS,
            n_positions=LONGEST_PROMPT + LENGTH,
            n_embd=64,
            n_layer=2,
            n_head=4,
            initializer_range=0.08,
            bos_token_id=0,
            eos_token_id=0,
            tie_word_embeddings=False,
        )
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = GPT2LMHeadModel(config)
        # No sequence stops early: the stop id is none of the tokens.
        policy = CausalLMPolicy(
            module, IntegerCodec((TOKENS,)), max_prompt_tokens=LONGEST_PROMPT, max_completion_tokens=LENGTH
        )
        sequences = itertools.product(range(TOKENS), repeat=LENGTH)
        completions = [Completion(PROMPT, " ".join(map(str, ids)), ids, finished=False) for ids in sequences]
        generator = torch.Generator().manual_seed(seed)
        reward = torch.rand(len(completions), generator=generator, dtype=torch.float64)
        reference = cls(policy, completions, Problem(reward, reward, BETA)).probabilities()
        return cls(policy, completions, Problem(reward, reference, BETA))

    def probabilities(self) -> Tensor:
        """pi of every sequence under the policy as it is now [1296]; they sum to 1."""
        with torch.no_grad():
            logp_GK = self.policy.log_probs([Group(PROMPT, tuple(self.completions))])
        return logp_GK[0].double().exp()

    def rounds(self, groups: int, size: int, seed: int) -> Iterator[list[Example]]:
        """Round after round of groups of `size` different sequences, drawn uniformly."""
        generator = torch.Generator().manual_seed(seed)
        rewards, references = self.exact.reward.tolist(), self.exact.reference.log().tolist()
        while True:
            drawn = [torch.randperm(len(rewards), generator=generator)[:size].tolist() for _ in range(groups)]
            yield [
                Example(
                    ScoredGroup(
                        Group(PROMPT, tuple(self.completions[i] for i in row)), {}, tuple(rewards[i] for i in row)
                    ),
                    tuple(references[i] for i in row),
                )
                for row in drawn
            ]


def end_to_end(steps: int = 750, groups: int = 2, size: int = 128, tolerance: float = 1e-3) -> Finding:
    """KL(pi* || pi) after training by the real engine on uniformly drawn groups."""
    world = World.make()
    settings = TrainingSettings(
        learning_rate=3e-3, groups_per_step=groups, warmup=0.05, max_grad_norm=None, log_every=steps
    )
    before = kl(world.exact.optimum, world.probabilities()).item()
    align(world.policy, world.rounds(groups, size, seed=1), Objective("copg", BETA), settings, steps)
    after = kl(world.exact.optimum, world.probabilities()).item()
    detail = f"1,296 sequences, {steps} steps of {groups} groups of {size}; {before:.2f} nats before training"
    return Finding("E", "a transformer reaches pi* over all sequences", after, tolerance, detail)


def sums_not_means() -> Finding:
    """Two sequences of different length: the sum of token log-probabilities reaches pi*, the mean another policy."""
    case = problem(4, seed=11)
    lengths, group = torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64), torch.arange(4)[None]

    def loss(theta: Tensor, per_token: bool) -> Tensor:
        scale = 1 / lengths if per_token else torch.ones(4, dtype=torch.float64)
        logp_GK, ref_logp_GK = theta.log_softmax(0)[group] * scale, case.reference.log()[group] * scale
        return copg(logp_GK, ref_logp_GK, case.reward[group], all_pairs(torch.ones_like(logp_GK)), case.beta).sum()

    summed, averaged = (minimum(partial(loss, per_token=mean), 4) for mean in (False, True))
    away = kl(case.optimum, averaged).item()
    value = kl(case.optimum, summed).item() if away > 0.01 else float("inf")
    return Finding("23", "sums of token log-probs reach pi*, means do not", value, EXACT, f"mean: {away:.3f} nats off")


def only_completion_tokens_are_trained() -> Finding:
    """The gradient of the loss with respect to what is fed is 0 at padding, where every completion has a row; the
    log-probability equals the sum over the completion's tokens, token by token."""
    world = World.make()
    world.policy.forms = replace(world.policy.forms, attention="separate")
    seen: list[Tensor] = []
    groups = _uneven_groups(world)
    model: Any = world.policy.model
    hook = model.get_input_embeddings().register_forward_hook(lambda *parts: seen.append(parts[-1]))
    try:
        logp_GK = world.policy.log_probs(groups)
    finally:
        hook.remove()
    gradient_BTD = torch.autograd.grad(logp_GK.sum(), seen)[0]
    # Rows are padded to the longest; what is fed ends one before a sequence's last token.
    fed = [
        len(world.policy.codec.prompt_ids(g.prompt)) + len(c.token_ids or ()) - 1 for g in groups for c in g.completions
    ]
    padding = max(gradient_BTD[row, length:].abs().sum().item() for row, length in enumerate(fed))
    by_hand = [[_token_by_token(world, g.prompt, c) for c in g.completions] for g in groups]
    error = (logp_GK.detach().double() - torch.tensor(by_hand, dtype=torch.float64)).abs().max().item()
    return Finding("23", "prompt and padding are not predicted", max(padding, error), 1e-5, "float32 model")


def shared_prompts_change_nothing() -> Finding:
    """A group whose prompt is computed once has the loss and the gradients of one row for each completion."""
    world = World.make()
    groups = _uneven_groups(world)
    found = []
    for attention in (world.policy.forms.attention, "separate"):
        world.policy.forms = replace(world.policy.forms, attention=attention)
        logp_GK = world.policy.log_probs(groups)
        reward_GK = torch.linspace(0, 1, logp_GK.numel()).reshape(logp_GK.shape)
        loss = copg(logp_GK, logp_GK.detach() - 0.1, reward_GK, all_pairs(torch.ones_like(logp_GK)), BETA).sum()
        gradients = torch.autograd.grad(loss, list(world.policy.parameters()), allow_unused=True)
        found.append(torch.cat([one.double().flatten() for one in (loss, *gradients) if one is not None]))
    error = ((found[0] - found[1]).abs().max() / found[1].abs().max()).item()
    return Finding("23", "shared prompts change nothing", error, 1e-5, "loss and gradients, float32")


def _uneven_groups(world: World) -> list[Group]:
    return [
        Group(Prompt("0 1 2"), tuple(world.completions[:2])),
        Group(Prompt("3"), (world.completions[7], _short())),
    ]


def _short() -> Completion:
    return Completion(PROMPT, "5", (5,), finished=False)


def _token_by_token(world: World, prompt: Prompt, completion: Completion) -> float:
    """ln pi(y|x) by its definition: one forward pass a token, without padding."""
    ids, total = list(world.policy.codec.prompt_ids(prompt)), 0.0
    for token in completion.token_ids or ():
        with torch.no_grad():
            logits = world.policy.model(input_ids=torch.tensor([ids])).logits[0, -1].double()
        total += logits.log_softmax(-1)[token].item()
        ids.append(token)
    return total
