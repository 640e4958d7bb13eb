"""A world of three arms in which a sampler can be followed to the exact optimum, through the engine's own loop."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from copgkit import Completion, Progress, Prompt, Recorded, RewardSource, Sampler, SamplerContext, SamplerUse, Score
from copgkit.engine.judge import Judge
from copgkit.engine.objectives import Objective
from copgkit.engine.reference import Reference
from copgkit.engine.rounds import Rounds
from copgkit.engine.scoring import Panel
from copgkit.engine.tabular import TabularPolicy
from copgkit.engine.training import TrainingSettings, align
from copgkit_samplers.mixture import Share

ARMS = ("a", "b", "c")
REWARDS = {"a": 2.5, "b": 2.0, "c": 1.0}
REFERENCE = (0.2, 0.5, 0.3)
PROMPT = Prompt("Choose.", id="0", recorded=(Recorded("c"), Recorded("a"), Recorded("b")))


def share(part: float, sampler: type[Sampler], /, **options) -> SamplerUse:
    """A sampler of a mixture."""
    return Share.of(sampler, **options).model_copy(update={"share": part})


class Worth(RewardSource):
    """What an arm is worth."""

    class Options(RewardSource.Options):
        rewards: dict[str, float] = REWARDS

    def score(self, completions: list[Completion]) -> list[Score]:
        return [Score(self.options.rewards[completion.text]) for completion in completions]


@dataclass
class World:
    """A tabular policy, its reference and a sampler, ready to run."""

    use: SamplerUse
    prompts: tuple[Prompt, ...] = (PROMPT,)
    rewards: dict[str, float] = field(default_factory=lambda: REWARDS)
    beta: float = 0.5
    groups_per_step: int = 16
    refresh_every: int | None = None
    decay: float = 0.0

    def __post_init__(self) -> None:
        self.policy = TabularPolicy(list(self.rewards), REFERENCE if len(self.rewards) == 3 else None)
        self.start = self.policy.frozen_copy()
        self.reference = Reference(self.policy.frozen_copy(), self.refresh_every, self.decay)
        self.progress = Progress()
        self.rows: list[dict[str, float]] = []
        self.kept: list = []
        context = SamplerContext(
            name="s", prompts=self.prompts, policy=self.policy, reference=self.start, progress=self.progress
        )
        self.sampler = context.make(self.use)
        panel = Panel([Judge("worth", Worth(Worth.Options(rewards=self.rewards)))])
        self.rounds = Rounds(
            sampler=self.sampler,
            policy=self.policy,
            reference=self.reference,
            panel=panel,
            groups_per_step=self.groups_per_step,
            keep=lambda number, groups: self.kept.append(groups),
            log=lambda figures: self.rows.append(dict(figures)),
            progress=self.progress,
        )

    def train(self, steps: int, rate: float = 0.05, **settings) -> World:
        """Runs so many steps of the real loop; the learning rate falls to 0."""
        given = {"learning_rate": rate, "groups_per_step": self.groups_per_step, "warmup": 0.0, "max_grad_norm": None}
        align(
            self.policy,
            self.rounds,
            Objective("copg", self.beta),
            TrainingSettings(**given | {"log_every": steps} | settings),
            steps,
            reference=self.reference,
        )
        return self

    def optimum(self, beta: float | None = None) -> torch.Tensor:
        """pi_ref exp(R / beta) / Z."""
        reference_A = self.start.probabilities(self.prompts[0])
        reward_A = torch.tensor(list(self.rewards.values()), dtype=torch.float64)
        return (reference_A.log() + reward_A / (beta or self.beta)).softmax(0)

    def kl(self, beta: float | None = None, prompt: Prompt | None = None) -> float:
        """KL(pi* || pi), in nats."""
        optimum_A, policy_A = self.optimum(beta), self.policy.probabilities(prompt or self.prompts[0])
        return math.fsum((optimum_A * (optimum_A / policy_A).log()).tolist())
