"""The recipe as typed data: every section, every key, every default, with the help that `check` and editors show.

No torch. Options of plugins stay plain mappings here; `copgkit.recipe.resolve` checks them against their owners.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag


class Section(BaseModel):
    """Base of all sections: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Use(Section):
    """A component by name, with its options."""

    use: str = Field(description="The component's name; `copgkit plugins` lists them.")
    options: dict[str, Any] = Field(default_factory=dict, description="Its options; `copgkit describe NAME`.")


class RewardUse(Use):
    """A reward source by name, with its weight in the reward."""

    name: str | None = Field(None, description="How metrics call it; needed when one source is used twice.")
    weight: float = Field(1.0, allow_inf_nan=False, description="Its factor in the reward, applied at training time.")
    clip: tuple[float, float] | None = Field(
        None, description="Raw scores are brought between these two: [low, high]; null leaves them."
    )
    scale: float = Field(
        1.0,
        allow_inf_nan=False,
        description="What follows the clip: scale * score + shift, the same for every group. Nothing is divided by a"
        " group's standard deviation: each prompt would then have a beta of its own, and another optimum.",
    )
    shift: float = Field(
        0.0, allow_inf_nan=False, description="See scale. A source that abstains adds nothing, not its shift."
    )

    @property
    def label(self) -> str:
        return self.name or self.use


class LoraSettings(Section):
    """Low-rank adapters: few weights are trained, and the model without them is the reference, at no further memory.

    Needs the extra copgkit[peft]. Adapters have no dropout: noise would not cancel between policy and reference.
    """

    rank: PositiveInt = Field(16, description="Of each update: a layer of n by m gets rank * (n + m) trained weights.")
    alpha: PositiveFloat = Field(32.0, description="Updates are scaled by alpha / rank.")
    target: Literal["all-linear"] | list[str] = Field(
        "all-linear", description="The layers that get one, by the ends of their names; all-linear: all but the head."
    )


class CausalLMSettings(Section):
    """A causal language model in Hugging Face format."""

    use: Literal["causal-lm"] = "causal-lm"
    model: str = Field(description="A folder relative to the recipe, or a hub name. It is also the frozen reference.")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub model.")
    tokenizer: str | None = Field(None, description="Where the tokenizer is, if not with the model.")
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="The type that the weights are loaded in. With bfloat16 the optimiser steps along float32 copies.",
    )
    lora: LoraSettings | None = Field(
        None, description="Train adapters instead of all weights: `copgkit describe lora`."
    )
    quantise: Literal["4bit"] | None = Field(
        None, description="4bit keeps the frozen weights in four bits (QLoRA; needs lora and the package bitsandbytes)."
    )
    attention: str | None = Field(None, description="transformers' attn_implementation; null lets it choose.")
    chat_template: str | None = Field(None, description="A Jinja file that replaces the tokenizer's template.")
    max_prompt_tokens: PositiveInt = Field(512, description="Longer prompts are left out, counted and reported.")
    max_completion_tokens: PositiveInt = Field(
        64, description="Generation stops here; longer recorded completions are left out and counted."
    )
    stop: list[Annotated[str, Field(min_length=1)]] = Field(
        default_factory=list,
        description="Texts that end a completion, in training and evaluation, as end-of-sequence does. Their tokens"
        " count in its log-probability; its text ends before them.",
    )
    trust_remote_code: bool = Field(
        False,
        description="Run code that comes with the checkpoint. Off unless you mean it; of a hub model it needs the"
        " commit as revision.",
    )


class TabularSettings(Section):
    """A softmax over a few named completions: the policy of a bandit."""

    use: Literal["tabular"]
    arms: list[str] = Field(min_length=2, description="The completions there are.")
    reference: list[PositiveFloat] | None = Field(None, description="Reference probabilities; uniform if not given.")


def _policy_kind(value: Any) -> Any:
    """Which policy is meant; a policy without `use` is a causal language model."""
    return value.get("use", "causal-lm") if isinstance(value, dict) else getattr(value, "use", "causal-lm")


PolicySettings = Annotated[
    Annotated[CausalLMSettings, Tag("causal-lm")] | Annotated[TabularSettings, Tag("tabular")],
    Discriminator(_policy_kind),
]


class ScoringSettings(Section):
    """How scores become rewards."""

    on_failure: Literal["stop", "drop-completion", "drop-group"] = Field(
        "stop",
        description="What a failed score does: stop the run, or leave out its completion or its whole group, counted."
        " A source fails where it says so, raises, or gives NaN or infinity. A failure is never a zero.",
    )
    max_failed_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Where failures are left out: the share of a source's scores in one round that may fail before the"
        " run stops and says why.",
    )
    timeout_seconds: PositiveFloat | None = Field(
        None,
        description="How long a source may take for one call, a few seconds' worth of completions; then the run stops."
        " Sources are then called in a thread of their own, outside autocast. null waits for ever.",
    )
    store: str | None = Field(
        "cache",
        pattern=r"^cache$|\.sqlite$",
        description="Where scores, and the log-probabilities of the reference, are kept so that nothing is computed"
        " twice: cache (a file in your cache folder that all recipes share), a .sqlite file relative to the recipe, or"
        " null for nowhere.",
    )
    unfinished_penalty: float | None = Field(
        None, description="Added to the reward of a completion without end-of-sequence, for instance -1."
    )


class ObjectiveSettings(Section):
    """The loss that is minimised."""

    use: Literal["copg", "ipo", "dpo", "policy-gradient"] = "copg"
    beta: float = Field(0.1, ge=0, description="Weight of KL(policy || reference), in units of reward per nat.")
    clip: PositiveFloat | None = Field(
        None,
        description="copg only: gap of regularised rewards beyond which the loss is linear (Huber). Keeps the optimum.",
    )
    baseline: Literal["none", "value", "regularised-value", "leave-one-out"] = Field(
        "leave-one-out", description="policy-gradient only."
    )
    sft_weight: float = Field(
        0.0, ge=0, description="Weight of -ln pi of each group's best completion, per token. Moves the optimum."
    )


class ReferenceSettings(Section):
    """What the policy is kept near to: the frozen start, or a reference that follows the policy.

    A reference that follows moves the target: T refreshes, with training to the end in between and after, are one
    alignment at beta / (T + 1). A moving average that keeps the share `decay` makes each refresh count for 1 - decay of
    one. The KL that evaluation reports stays the one to the start.
    """

    refresh_every: PositiveInt | None = Field(
        None,
        description="Optimiser steps after which the reference becomes the policy; null: never. After T refreshes the"
        " target is that of beta / (T + 1).",
    )
    decay: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Share of its own weights that the reference keeps at a refresh; 0.99 with refresh_every: 1 is an"
        " exponential moving average.",
    )


class TrainSettings(Section):
    """How the loss is minimised."""

    epochs: PositiveInt = Field(1, description="Passes over the groups of a round.")
    steps: PositiveInt | None = Field(
        None, description="Stop after so many optimiser steps; needed for samplers that draw fresh rounds."
    )
    groups_per_step: PositiveInt = Field(32, description="Groups in one optimiser step, over all processes.")
    tokens_per_forward: PositiveInt | None = Field(
        None,
        description="Tokens in one forward pass, a prompt counted once for its whole group; fewer use less memory and"
        " give the same step, also where a group is longer than that. null: 4,096 on a CPU, 16,384 elsewhere.",
    )
    learning_rate: PositiveFloat = Field(1e-5, description="The highest one, after the warm-up.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the learning rate falls after the warm-up."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    betas: tuple[float, float] = Field((0.9, 0.999), description="AdamW's memory of gradients and of their squares.")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's pull of every weight towards 0.")
    max_grad_norm: PositiveFloat | None = Field(
        1.0, description="Gradients are scaled down to this norm; null leaves them."
    )
    max_bad_steps: NonNegativeInt = Field(
        3,
        description="How many steps whose loss or gradient is not finite are left out, counted and kept in bad-steps/"
        " before the run stops; 0 stops at the first.",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="bf16 runs forward and backward under autocast."
    )
    shard: bool = Field(
        False,
        description="Divide weights, gradients and optimiser among the processes (FSDP2): less memory, more sending.",
    )
    gradient_checkpointing: bool = Field(
        False, description="Recomputes activations in the backward pass: less memory, more time."
    )
    compile: bool = Field(
        False,
        description="Compiles the model's layers for training (torch.compile): minutes at the start, for faster steps.",
    )
    log_every: PositiveInt = Field(1, description="Steps between lines of metrics.")
    log_entropy: bool = Field(
        False, description="Adds train/entropy/mean: of the policy's next-token distributions, in nats a token."
    )
    checkpoint_every: PositiveInt | None = Field(
        None,
        description="Steps between checkpoints, from which `copgkit run` goes on when it was broken off; null: after a"
        " minute at the earliest, and so rarely that they take at most 1 % of the time.",
    )
    on_failed_checkpoint: Literal["go-on", "stop"] = Field(
        "go-on", description="What a checkpoint that cannot be written does: cost a warning, or stop the run."
    )
    trackers: list[str] = Field(
        default_factory=list, description="accelerate trackers: tensorboard, wandb, mlflow, trackio, ..."
    )


class EvaluateSettings(Section):
    """How the policy is measured, before, during and after training."""

    every: PositiveInt | None = Field(None, description="Steps between evaluations; null: before and after only.")
    prompts: Use | None = Field(None, description="Held-out prompts; null: no evaluation by generation.")
    max_prompts: PositiveInt | None = Field(None, description="Only the first so many.")
    samples_per_prompt: PositiveInt = Field(
        1, description="Completions drawn for each prompt. Figures use the first; pass-at-k uses all of them."
    )
    temperature: float = Field(1.0, ge=0, description="0 is greedy; KL is then not estimated.")
    evaluators: list[Use] = Field(default_factory=list, alias="with", description="Evaluators.")
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Recipe(Section):
    """One run."""

    version: Literal[1] = Field(1, description="Of the recipe format.")
    seed: int = Field(0, description="Of sampling, shuffling and evaluation.")
    output: str | None = Field(
        None,
        description="The run folder, relative to the recipe, below its folder or the current one; default"
        " runs/<recipe> where you are.",
    )
    plugins: list[str] = Field(default_factory=list, description="One-file plugins, relative to the recipe.")
    policy: PolicySettings = Field(description="What is trained: causal-lm or tabular, described by those names.")
    prompts: Use = Field(description="Where the prompts come from.")
    sampler: Use = Field(description="How groups of completions come about.")
    rewards: list[RewardUse] = Field(
        min_length=1, description="What scores completions; the reward is their weighted sum."
    )
    scoring: ScoringSettings = ScoringSettings()
    objective: ObjectiveSettings = ObjectiveSettings()
    reference: ReferenceSettings = ReferenceSettings()
    train: TrainSettings = TrainSettings()
    evaluate: EvaluateSettings = EvaluateSettings()


SECTIONS: dict[str, type[BaseModel]] = {
    "recipe": Recipe,
    "causal-lm": CausalLMSettings,
    "tabular": TabularSettings,
    "lora": LoraSettings,
    "rewards": RewardUse,
    "scoring": ScoringSettings,
    "objective": ObjectiveSettings,
    "reference": ReferenceSettings,
    "train": TrainSettings,
    "evaluate": EvaluateSettings,
}
"""The parts of a recipe that belong to copgkit itself, by the names that `copgkit describe` takes."""
