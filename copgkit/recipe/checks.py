"""Settings that are sound alone and wrong together, all in one place. Each says why it is refused."""

from __future__ import annotations

from dataclasses import dataclass

from copgkit.recipe.faults import Faults
from copgkit.recipe.schema import CausalLMSettings, Recipe
from copgkit.samplers import SamplingPlan

ONLY_WITH = {"clip": "copg", "baseline": "policy-gradient"}
"""Settings that belong to one objective."""


@dataclass(frozen=True)
class SamplerFacts:
    """What sound combinations depend on: see `Sampler` and `SamplingPlan`."""

    name: str
    on_policy: bool
    steps_per_round: int | None
    plan: SamplingPlan


def check_combinations(recipe: Recipe, sampler: SamplerFacts, faults: Faults) -> None:
    """Notes a fault for every combination of settings that cannot work, at the value that should change."""
    _rewards(recipe, faults)
    _beta(recipe, sampler, faults)
    _objective(recipe, faults)
    _policy(recipe, faults)
    _reference(recipe, faults)
    _sampling(recipe, sampler, faults)
    _evaluation(recipe, faults)


def _rewards(recipe: Recipe, faults: Faults) -> None:
    seen: dict[str, int] = {}
    for index, reward in enumerate(recipe.rewards):
        key = "name" if reward.name else "use"
        if reward.label in seen:
            other = f"rewards[{seen[reward.label]}]"
            words = f"'{reward.label}' is also the name of {other}. Give one of them another `name`."
            faults.add(("rewards", index, key), words)
        elif "/" in reward.label or reward.label != "".join(reward.label.split()):
            faults.add(("rewards", index, key), "it becomes part of a metric's name. Leave out spaces and slashes.")
        seen.setdefault(reward.label, index)
        if reward.clip is not None and not reward.clip[0] < reward.clip[1]:
            words = f"{list(reward.clip)} leaves no room between its ends. Write [low, high]."
            faults.add(("rewards", index, "clip"), words)
    if all(reward.weight * reward.scale == 0 for reward in recipe.rewards):
        faults.add(("rewards",), "every weight is 0, so that there is nothing to learn. Give one a weight.")


def _beta(recipe: Recipe, sampler: SamplerFacts, faults: Faults) -> None:
    objective = recipe.objective
    if objective.beta > 0:
        return
    path = ("objective", "beta")
    if objective.use in ("ipo", "dpo"):
        faults.add(path, f"{objective.use} measures margins in 1/beta, so that 0 means nothing. Use more.")
    elif not (sampler.on_policy and sampler.steps_per_round == 1 and recipe.train.epochs == 1):
        words = (
            "0 needs groups drawn from the current policy at every step and used once; sampler"
            f" '{sampler.name}' with {recipe.train.epochs} epochs gives others. Without the KL term the loss then has"
            " no minimum, and the logits drift. Use a positive value."
        )
        faults.add(path, words)


def _objective(recipe: Recipe, faults: Faults) -> None:
    objective = recipe.objective
    for key, owner in ONLY_WITH.items():
        given = key in objective.model_fields_set and getattr(objective, key) is not None
        if given and objective.use != owner:
            words = f"it belongs to {owner}, and the objective is {objective.use}. Remove the line."
            faults.add(("objective", key), words)


def _policy(recipe: Recipe, faults: Faults) -> None:
    policy = recipe.policy
    if isinstance(policy, CausalLMSettings) and policy.quantise and policy.lora is None:
        words = "weights of four bits cannot be trained. Give policy.lora, whose adapters are, or leave this out."
        faults.add(("policy", "quantise"), words)
    if recipe.train.shard and not isinstance(policy, CausalLMSettings):
        faults.add(("train", "shard"), "a tabular policy is one small table. Leave it out.")
    if recipe.train.compile and (recipe.train.shard or recipe.train.gradient_checkpointing):
        other = "shard" if recipe.train.shard else "gradient_checkpointing"
        faults.add(("train", "compile"), f"it was not tried beside train.{other}. Set one of them to false.")


def _reference(recipe: Recipe, faults: Faults) -> None:
    reference = recipe.reference
    if reference.refresh_every is not None and getattr(recipe.policy, "lora", None) is not None:
        words = "with policy.lora the reference is the model without its adapters, which stays. Leave one of them out."
        faults.add(("reference", "refresh_every"), words)
    if reference.decay and reference.refresh_every is None:
        words = "it says how a refresh is done, and there is none. Give reference.refresh_every."
        faults.add(("reference", "decay"), words)


def _sampling(recipe: Recipe, sampler: SamplerFacts, faults: Faults) -> None:
    train = recipe.train
    if train.steps is None and sampler.steps_per_round is not None:
        faults.add(("train",), f"sampler '{sampler.name}' draws for ever. Say when to stop: train.steps.")
    if isinstance(recipe.policy, CausalLMSettings) and train.tokens_per_forward is not None:
        longest = recipe.policy.max_prompt_tokens + recipe.policy.max_completion_tokens
        if train.tokens_per_forward < longest:
            words = f"{train.tokens_per_forward} is less than a prompt with one completion may take: {longest},"
            remedy = "policy.max_prompt_tokens and max_completion_tokens together. Raise it, or lower those."
            faults.add(("train", "tokens_per_forward"), f"{words} {remedy}")
    if sampler.plan.completions_per_prompt is not None and sampler.plan.completions_per_prompt < 2:
        words = "one completion per prompt contrasts with nothing. Draw at least 2."
        faults.add(("sampler", "options"), words)


def _evaluation(recipe: Recipe, faults: Faults) -> None:
    evaluate = recipe.evaluate
    for index, use in enumerate(evaluate.evaluators):
        if use.use in [other.use for other in evaluate.evaluators[:index]]:
            words = f"'{use.use}' is listed twice, and its figures would collide. Remove one."
            faults.add(("evaluate", "with", index, "use"), words)
    if evaluate.prompts is None:
        for key in ("with", "every", "max_prompts"):
            given = {"with": evaluate.evaluators, "every": evaluate.every, "max_prompts": evaluate.max_prompts}[key]
            if given:
                faults.add(("evaluate", key), "there is nothing to evaluate on. Give evaluate.prompts, or remove it.")
