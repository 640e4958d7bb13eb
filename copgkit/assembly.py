"""The parts of a recipe, put to work: what running, sampling and scoring have in common.

assembly = Assembly(resolved, progress)
prompts = assembly.prompts(resolved.parts.prompts)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from copgkit.components import Context
from copgkit.errors import CopgkitError, DataError
from copgkit.progress import Progress
from copgkit.recipe import Part, ResolvedRecipe
from copgkit.samplers import Generator, Sampler, SamplerContext
from copgkit.starting import collection_paused
from copgkit.types import Prompt

if TYPE_CHECKING:
    from copgkit.engine.causal_lm import CausalLMPolicy
    from copgkit.engine.kept import KeptBatches
    from copgkit.engine.on_demand import OnDemand
    from copgkit.engine.policy import Policy
    from copgkit.recipe.schema import CausalLMSettings


@dataclass(frozen=True)
class Assembly:
    """Makes the components of a recipe. device: where those that own a model run. kept: where completions of the policy
    and of the reference are kept, if they are."""

    resolved: ResolvedRecipe
    progress: Progress
    device: str = "cpu"
    kept: Mapping[str, KeptBatches] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with collection_paused():  # they are imported here, if they were not before
            _silence_progress_of_libraries()

    def context(self, part: Part) -> Context:
        """What a component is told of the run."""
        return Context(
            name=part.label,
            folder=self.resolved.folder,
            seed=self.resolved.recipe.seed,
            device=self.device,
            progress=self.progress,
        )

    def prompts(self, part: Part | None) -> list[Prompt]:
        """Every prompt of a source; none where the recipe names no source. Raises DataError for one that is empty."""
        if part is None:
            return []
        prompts = list(part.make(self.context(part)).load())
        if not prompts:
            raise DataError(f"{part.key}: '{part.label}' gave no prompts. Look at its path, split and limit.")
        return prompts

    def sampler(
        self, part: Part, prompts: Sequence[Prompt], policy: Generator | None, reference: Generator | None
    ) -> Sampler:
        """A sampler over these prompts and models."""
        plain = self.context(part)
        sampler: Sampler = part.make(SamplerContext(**vars(plain), prompts=prompts, policy=policy, reference=reference))
        return sampler

    def reference(self, policy: Policy) -> OnDemand:
        """The frozen reference of a policy that is still untrained. A language model with weights of its own can be
        released; one that shares the policy's weights stays, and so does a table, which knows the policy's prompts."""
        from copgkit.engine.on_demand import OnDemand

        frozen = policy.frozen_copy()
        self._keep_what_is_written(frozen, "reference")
        shared = next(frozen.parameters()) is next(policy.parameters())
        stays = shared or self.resolved.recipe.policy.use == "tabular"
        return OnDemand(frozen, None if stays else partial(self.policy, frozen=True))

    def policy(self, frozen: bool = False) -> Policy:
        """The policy that the recipe's `policy` section describes, untrained. frozen: without gradients."""
        settings = self.resolved.recipe.policy
        if settings.use == "tabular":
            from copgkit.engine.tabular import TabularPolicy

            return TabularPolicy(settings.arms, settings.reference)
        from copgkit.engine.causal_lm import CausalLMPolicy

        policy = CausalLMPolicy.load(
            device=self.device,
            seed=self.resolved.recipe.seed,
            gradient_checkpointing=self.resolved.recipe.train.gradient_checkpointing and not frozen,
            compile_layers=self.resolved.recipe.train.compile and not frozen,
            tokens_per_forward=self.resolved.recipe.train.tokens_per_forward,
            **self._model_options(settings),
        )
        self._keep_what_is_written(policy, "reference" if frozen else "policy")
        if frozen:
            policy.module.requires_grad_(False)
        else:
            self._tell_what_was_found(policy)
        return policy

    def _keep_what_is_written(self, policy: Policy, name: str) -> None:
        """A table writes so fast that nothing is worth keeping."""
        if name in self.kept and self.resolved.recipe.policy.use == "causal-lm":
            policy.kept = self.kept[name]  # type: ignore[attr-defined]

    def _tell_what_was_found(self, policy: CausalLMPolicy) -> None:
        """Which ways of generating and of computing log-probabilities the model allows."""
        tell = self.progress.warning if policy.way.disagrees else self.progress.message
        tell(str(policy.way))
        for finding in policy.findings:
            say = self.progress.warning if finding.disagrees else self.progress.message
            say(f"policy: {finding.text}.")

    def vllm(self) -> Generator:
        """The same model behind vLLM, which only writes."""
        settings = self.resolved.recipe.policy
        if settings.use == "tabular":
            raise CopgkitError(
                "--generator vllm: the policy is tabular, which vLLM does not know. Leave the option out."
            )
        from copgkit.engine.vllm_generator import VllmGenerator

        options = self._model_options(settings)
        for ours in ("attention", "lora", "quantise"):  # vLLM chooses its own, and an adapter changes nothing yet
            del options[ours]
        return VllmGenerator.load(**options)

    def _model_options(self, settings: CausalLMSettings) -> dict[str, Any]:
        """The `policy` section with its paths resolved."""
        where = Context(folder=self.resolved.folder)
        return settings.model_dump(exclude={"use"}) | {
            "model": where.model(settings.model),
            "tokenizer": settings.tokenizer and where.model(settings.tokenizer),
            "chat_template": settings.chat_template and str(where.path(settings.chat_template)),
        }


def _silence_progress_of_libraries() -> None:
    """One program, one progress bar: ours."""
    import datasets
    from transformers.utils import logging

    logging.disable_progress_bar()
    datasets.disable_progress_bars()
