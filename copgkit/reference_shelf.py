"""Where a recipe's reference keeps its log-probabilities: who it is, and on what it computes.

    shelf = reference_shelf(resolved, store, policy, device)
    Reference(policy.frozen_copy(), shelf=shelf)

They lie in the file that `scoring.store` names, under everything that a number's last digit depends on: the weights,
how the recipe loads and runs them, the engine's code, machine and libraries, and the token ids of prompt and
completions. Beta, weights of rewards, objective and epochs are no part of it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import copgkit.engine
from copgkit.components import Context
from copgkit.plugin_code import files_digest
from copgkit.recipe import ResolvedRecipe
from copgkit.recipe.schema import CausalLMSettings
from copgkit.store import LogProbShelf, ScoreStore, SourceIdentity, file_hash, installed_versions

if TYPE_CHECKING:
    from copgkit.engine.causal_lm import CausalLMPolicy
    from copgkit.engine.policy import Policy

_NOT_NUMBERS = {
    "use", "model", "revision", "tokenizer", "chat_template", "stop", "max_prompt_tokens", "max_completion_tokens",
    "lora",
}  # fmt: skip
"""Settings of a policy that say which weights and which tokens there are: the key has those themselves."""


def reference_shelf(
    resolved: ResolvedRecipe, store: ScoreStore | None, policy: Policy, device: str
) -> LogProbShelf | None:
    """The shelf of the recipe's reference; None without a store, and for a model that has no name by content."""
    from copgkit.engine.causal_lm import CausalLMPolicy

    if store is None or not isinstance(policy, CausalLMPolicy):
        return None
    identity = reference_identity(resolved)
    if identity is None:
        return None
    return LogProbShelf(store, identity, _computed_on(policy, device), policy.codec.prompt_ids)


def reference_identity(resolved: ResolvedRecipe) -> SourceIdentity | None:
    """Who the reference is to the store, found without loading it: None for a tabular policy, and for a model that is
    neither a folder nor known to the hub or its cache. Reads a whole checkpoint."""
    settings = resolved.recipe.policy
    if not isinstance(settings, CausalLMSettings):
        return None
    weights = _weights(settings, Context(folder=resolved.folder))
    if weights is None:
        return None
    runs = settings.model_dump(mode="json", exclude=_NOT_NUMBERS) | {"precision": resolved.recipe.train.precision}
    return SourceIdentity(
        distribution="copgkit",
        name=f"reference:{Path(settings.model).name}",
        version=installed_versions().get("copgkit", ""),
        fingerprint=json.dumps({"weights": weights, **runs}, sort_keys=True),
        code=files_digest(Path(str(copgkit.engine.__file__)).parent.glob("*.py")),
    )


def _weights(settings: CausalLMSettings, context: Context) -> str | None:
    """A name for the checkpoint by its content."""
    folder = context.path(settings.model)
    if folder.is_dir() and settings.trust_remote_code:
        return file_hash(folder)  # its Python files count as well
    return context.digest(settings.model) or context.commit(settings.model, settings.revision)


def _computed_on(policy: CausalLMPolicy, device: str) -> str:
    """What last digits depend on beside the model: libraries, processor, threads, and how rows share a pass."""
    import torch

    where = torch.device(device)
    versions = installed_versions()
    return json.dumps(
        {
            "torch": versions["torch"],
            "transformers": versions["transformers"],
            "device": torch.cuda.get_device_name(where) if where.type == "cuda" else where.type,
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "tokens_per_forward": policy.tokens_per_forward,
        }
    )
