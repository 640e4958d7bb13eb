"""The paper's bandit (arXiv:2406.19185, section 5) as a one-file plugin: one state, skewed pairs, and the exact regret.

Three arms worth 2.5, 2 and 1; pairs of arms drawn from mu1 x mu2, both of which prefer the worst arm. Used by
`bandit.yaml`; nothing in the training loop knows that it is not training a language model.
"""

import math
import random
from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from copgkit import (
    Completion,
    Curves,
    Estimate,
    Evaluation,
    Evaluator,
    Group,
    Prompt,
    PromptSource,
    RewardSource,
    Sampler,
    SamplingPlan,
    Score,
    hookimpl,
)

VALUES = {"first": 2.5, "second": 2.0, "third": 1.0}
FIRST, SECOND = (0.1, 0.2, 0.7), (0.05, 0.05, 0.9)


class OneState(PromptSource):
    """The only state there is, as often as asked."""

    class Options(PromptSource.Options):
        copies: int = Field(1, ge=1, description="How many samples an evaluation draws.")

    def load(self) -> Iterable[Prompt]:
        return [Prompt("Choose an arm.")] * self.options.copies

    def count(self) -> int:
        return self.options.copies


class SkewedPairs(Sampler):
    """Pairs of arms from mu1 x mu2, drawn once; their densities are never used again."""

    class Options(Sampler.Options):
        pairs: int = Field(10_000, ge=1, description="How many pairs.")

    def draw(self, num_groups: int | None) -> list[Group]:
        chance = random.Random(self.context.seed)
        arms, prompt = list(VALUES), self.context.prompts[0]
        first = chance.choices(arms, FIRST, k=self.options.pairs)
        second = chance.choices(arms, SECOND, k=self.options.pairs)
        pairs = [
            Group(prompt, (Completion(prompt, one), Completion(prompt, other)))
            for one, other in zip(first, second, strict=True)
        ]
        return pairs[:num_groups]

    @classmethod
    def plan(cls, options: "SkewedPairs.Options") -> SamplingPlan:
        return SamplingPlan(completions_per_prompt=2, generations_per_group=0, generator="none", groups=options.pairs)


class ArmValue(RewardSource):
    """What an arm is worth."""

    def score(self, completions: Sequence[Completion]) -> Sequence[Score]:
        return [Score(VALUES[completion.text]) for completion in completions]


class Regret(Evaluator):
    """J(pi*) - J(pi) = beta KL(pi || pi*), exact: a sample's log-ratio to the uniform reference gives its probability.

    An arm that no sample shows has what the others leave. The report also gets the paper's regret curves.
    """

    class Options(Evaluator.Options):
        beta: float = Field(0.5, gt=0, description="The beta of the objective.")
        curve_seeds: int = Field(10, ge=0, description="Seeds of the regret curves in the report; 0 leaves them out.")

    def evaluate(self, evaluation: Evaluation) -> Mapping[str, Estimate]:
        beta, uniform = self.options.beta, 1 / len(VALUES)
        policy = {one.completion.text: uniform * math.exp(one.log_ratio) for one in evaluation.samples}
        unseen = [arm for arm in VALUES if arm not in policy]
        policy |= {arm: max(1 - sum(policy.values()), 1e-12) / len(unseen) for arm in unseen}
        log_z = math.log(sum(uniform * math.exp(value / beta) for value in VALUES.values()))
        optimum = {arm: uniform * math.exp(value / beta - log_z) for arm, value in VALUES.items()}
        regret = beta * sum(policy[arm] * math.log(policy[arm] / optimum[arm]) for arm in VALUES)
        return {"regret/exact": Estimate(regret, regret, regret, len(evaluation.samples))}

    def figures(self) -> Sequence[Curves]:
        if not self.options.curve_seeds:
            return ()
        from copgkit.theory.bandit import regret_curves

        return (regret_curves(range(self.options.curve_seeds)),)


@hookimpl
def register_prompt_sources(register):
    register("one-state", OneState)


@hookimpl
def register_samplers(register):
    register("skewed-pairs", SkewedPairs)


@hookimpl
def register_reward_sources(register):
    register("arm-value", ArmValue)


@hookimpl
def register_evaluators(register):
    register("regret", Regret)
