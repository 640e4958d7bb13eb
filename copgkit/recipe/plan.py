"""What a recipe will do, before anything runs and without torch: counts, token limits, memory and disk.

Every figure says how it comes about; what cannot be known beforehand is None and says why. Counts are upper bounds
where prompts or completions that are too long may be left out. Memory and disk are rules of thumb for one process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from copgkit.components import Context, PromptSource
from copgkit.errors import DataError
from copgkit.recipe.model_files import ModelFacts, model_facts
from copgkit.recipe.resolve import Part, ResolvedRecipe
from copgkit.recipe.schema import CausalLMSettings

BYTES = {"float32": 4, "bfloat16": 2}
COPIES = 4  # policy, gradients and the two states of AdamW
ACTIVATIONS_PER_LAYER = 34  # bytes per token and hidden unit in 16 bits, without attention weights: arXiv:2205.05198
LOGITS = 4 * (2**26 + 3 * 4_000_000)  # bytes: logits that are kept, and slices that are worked on
TOKENS_PER_FORWARD = 4_096  # on a CPU, where the recipe does not say
CHARACTERS_PER_TOKEN = 4
DIGITS_PER_TOKEN = 7  # of a token id in JSON, with its comma


@dataclass(frozen=True)
class Figure:
    """One line of a plan. value None: not known beforehand, and `how` says why. unit "bytes" is shown as GB or MB."""

    name: str
    value: int | None
    unit: str
    how: str


@dataclass(frozen=True)
class Plan:
    """The figures of a run, in the order in which it meets them."""

    figures: tuple[Figure, ...]

    def __getitem__(self, name: str) -> int | None:
        return next(figure.value for figure in self.figures if figure.name == name)


def make_plan(resolved: ResolvedRecipe) -> Plan:
    """The plan of a run. Data that is missing here is no error, since a recipe may be checked elsewhere: the plan says
    what is missing and leaves its counts open."""
    return Plan(tuple(_Planner(resolved).figures()))


def product(*factors: int | None) -> int | None:
    """The product; None if a factor is not known."""
    known = [factor for factor in factors if factor is not None]
    return math.prod(known) if len(known) == len(factors) else None


class _Planner:
    """Works out the figures in the order of a run."""

    def __init__(self, resolved: ResolvedRecipe) -> None:
        self.resolved, self.recipe = resolved, resolved.recipe
        facts = resolved.sampler_facts
        self.sampling, self.steps_per_round = facts.plan, facts.steps_per_round
        self.prompts, self.how_prompts = _count(resolved.parts.prompts, resolved)
        self.steps, self.groups = self._steps_and_groups()
        self.completions = product(self.groups, self.sampling.completions_per_prompt)
        self.drawn = _rounded_up(self.groups, self.sampling.drawn_per_group)
        self.scored = product(self.drawn, self.sampling.completions_per_prompt)

    def figures(self) -> Iterator[Figure]:
        yield self._prompts()
        yield Figure("steps", self.steps, "optimiser steps", self._how_steps())
        yield Figure("groups", self.groups, "groups", self._how_groups())
        yield self._generations()
        evaluated = self._evaluated()
        yield Figure("evaluation", evaluated, "completions", self._how_evaluated())
        for part in self.resolved.parts.rewards:
            yield Figure(f"scores: {part.label}", _sum(self.scored, evaluated), "completions", _SCORES)
        yield Figure("reference", self.completions, "sequences", f"its log-probabilities, {self._how_referred()}")
        if isinstance(self.recipe.policy, CausalLMSettings):
            yield from self._model_figures(self.recipe.policy)
        else:
            yield Figure("parameters", len(self.recipe.policy.arms), "numbers", "one for each arm")

    def _prompts(self) -> Figure:
        return Figure("prompts", self.prompts, "prompts", self.how_prompts)

    def _steps_and_groups(self) -> tuple[int | None, int | None]:
        train = self.recipe.train
        if self.steps_per_round is None:
            groups = self.prompts if self.sampling.groups is None else self.sampling.groups
            per_epoch = None if groups is None else math.ceil(groups / train.groups_per_step)
            steps = product(train.epochs, per_epoch)
            known = [limit for limit in (steps, train.steps) if limit is not None]
            return (min(known) if steps is not None else None), groups
        steps = train.steps
        rounds = None if steps is None else math.ceil(steps / (self.steps_per_round * train.epochs))
        return steps, product(rounds, self.steps_per_round, train.groups_per_step)

    def _how_steps(self) -> str:
        train = self.recipe.train
        if self.steps_per_round is not None:
            return "train.steps"
        passes = f"{train.epochs} epochs" if train.epochs > 1 else "1 epoch"
        limit = f", at most {train.steps}" if train.steps else ""
        return f"{passes} of {train.groups_per_step} groups a step{limit}"

    def _how_groups(self) -> str:
        share = self.sampling.drawn_per_group
        return self._where_groups_come_from() + (f", {self.drawn} of them drawn for it" if share != 1 else "")

    def _where_groups_come_from(self) -> str:
        if self.steps_per_round is None:
            if self.sampling.groups is not None:
                return "told by the sampler"
            return "one for each prompt" if self.groups is not None else "as many as prompts"
        rounds = "step" if self.steps_per_round == 1 else f"{self.steps_per_round} steps"
        return f"a fresh round every {rounds}"

    def _generations(self) -> Figure:
        plan = self.sampling
        if plan.generator == "none":
            return Figure("generation", 0, "completions", "the completions come with the data")
        value = _rounded_up(self.drawn, plan.generations_per_group)
        limit = getattr(self.recipe.policy, "max_completion_tokens", None)
        tokens = f" of at most {limit} tokens" if limit else ""
        return Figure("generation", value, "completions", f"drawn from the {plan.generator}{tokens}")

    def _how_referred(self) -> str:
        policy = self.recipe.policy
        exact = isinstance(policy, CausalLMSettings) and policy.dtype == "float32"
        knows = exact and self.sampling.generator == "reference" and self.resolved.reference_remembers
        return "known as it writes them" if knows else "computed once and kept"

    def _evaluated(self) -> int | None:
        """Completions generated for evaluation: those of the reference and, after step 0, of the policy each time."""
        evaluate, part = self.recipe.evaluate, self.resolved.parts.evaluation_prompts
        if part is None:
            return 0
        count, _ = _count(part, self.resolved)
        if evaluate.max_prompts is not None:
            count = evaluate.max_prompts if count is None else min(count, evaluate.max_prompts)
        if self.steps is None:
            return None
        times = 1 + (math.ceil(self.steps / evaluate.every) if evaluate.every else 1)
        return product(count, evaluate.samples_per_prompt, times)

    def _how_evaluated(self) -> str:
        evaluate = self.recipe.evaluate
        if evaluate.prompts is None:
            return "no evaluate.prompts"
        part = self.resolved.parts.evaluation_prompts
        count, how = _count(part, self.resolved) if part else (0, "")
        when = f"every {evaluate.every} steps" if evaluate.every else "before and after"
        return f"drawn and scored {when}" if count is not None else how

    def _model_figures(self, policy: CausalLMSettings) -> Iterator[Figure]:
        train, facts = self.recipe.train, model_facts(policy.model, self.resolved.folder)
        longest = policy.max_prompt_tokens + policy.max_completion_tokens
        trained = product(self.completions, longest, train.epochs)
        yield Figure("tokens", trained, "tokens", f"passed in training, at most: {longest} a completion")
        yield Figure("parameters", facts.parameters, "parameters", facts.how)
        yield self._memory(policy, facts, longest)
        yield self._disk(policy, facts)

    def _memory(self, policy: CausalLMSettings, facts: ModelFacts, longest: int) -> Figure:
        train = self.recipe.train
        # Offline the reference is released before training; one that moves is a copy of its own. Beside adapters it is
        # the policy's own weights, which have no gradients, and the adapters themselves hardly count.
        references = (self.steps_per_round is not None) + (self.recipe.reference.refresh_every is not None)
        states = product(facts.parameters, BYTES[policy.dtype], 1 if policy.lora else COPIES + references)
        tokens = self._tokens_at_once(policy)
        width = 1 if train.precision == "bf16" or policy.dtype == "bfloat16" else 2
        per_layer = 2 if train.gradient_checkpointing else ACTIVATIONS_PER_LAYER
        layers = product(facts.layers, per_layer)
        if layers is not None and train.gradient_checkpointing:
            layers += ACTIVATIONS_PER_LAYER  # the one layer that is being recomputed
        activations = product(tokens, facts.hidden, layers, width)
        how = (
            f"{_kept(policy, references)}, and at full length"
            f" {ACTIVATIONS_PER_LAYER * width} bytes a token, layer and hidden unit; logits exist a slice at a time"
        )
        logits = LOGITS if facts.vocabulary is not None else None
        total = _sum(states, activations, logits)
        return Figure("memory", total, "bytes", how if total is not None else _unknown_because(facts, "completions"))

    def _tokens_at_once(self, policy: CausalLMSettings) -> int | None:
        """Tokens of one forward pass at full length: a step's groups, or as many as the budget has room for."""
        train, completions = self.recipe.train, self.sampling.completions_per_prompt
        group = product(completions, policy.max_completion_tokens)
        step = None if group is None else train.groups_per_step * (policy.max_prompt_tokens + group)
        budget = train.tokens_per_forward or TOKENS_PER_FORWARD
        return step if step is None else min(step, budget)

    def _disk(self, policy: CausalLMSettings, facts: ModelFacts) -> Figure:
        model = product(facts.parameters, BYTES[policy.dtype])
        per_token = CHARACTERS_PER_TOKEN + DIGITS_PER_TOKEN
        length = policy.max_prompt_tokens * CHARACTERS_PER_TOKEN
        prompts = product(self.groups, length)
        completions = product(self.completions, policy.max_completion_tokens, per_token)
        total = _sum(model, prompts, completions)
        how = f"model, and groups at full length with {CHARACTERS_PER_TOKEN} characters a token"
        return Figure("disk", total, "bytes", how if total is not None else _unknown_because(facts, "groups"))


def _count(part: Part, resolved: ResolvedRecipe) -> tuple[int | None, str]:
    """The number of prompts and how it is known, or why it is not."""
    context = Context(name=part.label, folder=resolved.folder, seed=resolved.recipe.seed)
    source: PromptSource = part.make(context)
    with part.registered.blamed_for("count()"):
        try:
            count = source.count()
        except DataError as fault:
            return None, str(fault)
        finally:
            source.close()
    name = part.registered.name
    return count, f"counted by '{name}'" if count is not None else f"'{name}' cannot tell before it loads them"


def _rounded_up(count: int | None, each: float) -> int | None:
    return None if count is None else math.ceil(round(count * each, 6))  # 100 * 1.1 is a little more than 110


def _sum(*terms: int | None) -> int | None:
    known = [term for term in terms if term is not None]
    return sum(known) if len(known) == len(terms) else None


def _kept(policy: CausalLMSettings, references: int) -> str:
    """What is as large as the model."""
    if policy.lora:
        return "weights"
    return f"weights, {'reference, ' if references else ''}gradients, two AdamW states"


def _unknown_because(facts: ModelFacts, counted: str) -> str:
    return facts.how if facts.parameters is None else f"the number or length of {counted} is not known beforehand"


_SCORES = "in training and evaluation"
