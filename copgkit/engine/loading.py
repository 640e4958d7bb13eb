"""Models and tokenizers as a policy needs them: complete, causal, without dropout. Every fault is a ModelError."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from copgkit.engine.codec import TokenizerCodec
from copgkit.errors import ModelError

_LOADING_FAULTS = (Exception,)
"""What transformers raises for a missing file, an unknown architecture or a missing package is known; what it raises
for a damaged file is not: a division by zero for no heads, exceptions of three libraries for a header."""


def load_module(
    model: str,
    revision: str | None,
    dtype: str,
    attention: str | None,
    trust_remote_code: bool,
    device: str = "cpu",
    quantise: str | None = None,
) -> torch.nn.Module:
    """A causal language model from a folder or the hub, safetensors only, in evaluation mode, on the device.
    Raises ModelError.

    attention None leaves the choice to transformers, which takes SDPA where the architecture has it. Measured in
    float32 on 1 CPU thread (2.2 M-parameter Llama, 135 tokens, forward and backward, tokens/s eager | SDPA): 16 rows
    3,970 | 4,330, 64 rows 3,540 | 4,080, 128 rows 3,460 | 4,030. SDPA also needs less memory.
    """
    if attention == "flex_attention" and torch.device(device).type == "cpu":
        raise ModelError("policy.attention: flex_attention gives no gradients on a CPU. Leave it out, or use a GPU.")
    try:
        module, loading = AutoModelForCausalLM.from_pretrained(
            model,
            revision=revision,
            dtype=getattr(torch, dtype),
            attn_implementation=attention,
            use_safetensors=True,
            **({} if quantise is None else _in_four_bits(dtype, device)),
            trust_remote_code=trust_remote_code,
            output_loading_info=True,
        )
    except _LOADING_FAULTS as fault:
        raise ModelError(_not_loaded("policy.model", model, fault)) from fault
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ModelError(
            f"policy.model: {model!r} lacks {len(missing)} weights of a causal language model ({missing[0]}, ...)."
            " They would be random; give a model that was saved with its output head."
        )
    loaded: torch.nn.Module = module
    return loaded if quantise else loaded.to(device)  # weights of four bits are made where they stay


def load_codec(
    tokenizer: str, module: torch.nn.Module, revision: str | None, chat_template: str | None, trust_remote_code: bool
) -> TokenizerCodec:
    """The tokenizer with its end-of-sequence, and the further stop ids of the model's generation config.

    chat_template: a Jinja file that replaces the tokenizer's template.
    """
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer, revision=revision, trust_remote_code=trust_remote_code)
    except _LOADING_FAULTS as fault:
        raise ModelError(_not_loaded("policy.tokenizer", tokenizer, fault)) from fault
    if loaded.eos_token_id is None:
        raise ModelError(
            f"policy.tokenizer: {tokenizer!r} has no end-of-sequence token, so no completion could ever end."
            " Set `eos_token` in its tokenizer_config.json."
        )
    if chat_template is not None:
        loaded.chat_template = _read_template(chat_template)
    return TokenizerCodec(loaded, _stop_ids(loaded.eos_token_id, module))


def remove_dropout(module: torch.nn.Module) -> None:
    """Sets every dropout probability to 0, in the layers and in the configuration that some of them read.

    The loss compares ln pi with ln pi_ref, so both must be the same network at the start. Evaluation mode alone is not
    enough: gradient checkpointing of transformers works in training mode only. A saved model keeps the zeros.
    """
    for part in module.modules():
        _zero_dropout(part)
    _zero_dropout(getattr(module, "config", None))


def checkpoint_gradients(module: Any) -> None:
    """Recomputes activations in the backward pass: less memory, more time, the same numbers. Raises ModelError where
    the architecture cannot."""
    if not getattr(module, "supports_gradient_checkpointing", False):
        raise ModelError("train.gradient_checkpointing: this architecture does not support it. Set it to false.")
    # transformers 5 renamed the method on its way; the old name warns where the new one exists.
    enable = getattr(module, "activation_checkpointing_enable", None) or module.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    module.train()  # transformers ignores the setting in evaluation mode; there is no dropout to switch on


def takes_positions(module: torch.nn.Module, device: torch.device) -> bool:
    """Whether `logits_to_keep` takes a boolean mask [B, T] and gives exactly the logits of the true positions; tried
    out on three tokens. Where it does not, full logits are computed."""
    tokens = [[0, 1, 1], [1, 0, 1]]
    mask = torch.tensor([[True, False, True], [False, False, True]], device=device)
    wanted = _probe(module, device, tokens)[mask]
    try:
        chosen = _probe(module, device, tokens, logits_to_keep=mask)
    except (TypeError, IndexError, RuntimeError, ValueError):
        return False
    return chosen.shape == wanted.shape and _same(chosen, wanted, module)


def layers(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of a transformers model, by the names that it gives for what must not be split. None is in another."""
    names = {name for part in module.modules() for name in getattr(part, "_no_split_modules", None) or ()}
    found = [part for part in module.modules() if type(part).__name__ in names]
    inner = {id(part) for layer in found for part in layer.modules() if part is not layer}
    return [layer for layer in found if id(layer) not in inner]


def is_coarse(module: torch.nn.Module) -> bool:
    """Whether the weights have 16 bits, so that two ways to compute the same number differ visibly."""
    return next(module.parameters()).dtype in (torch.bfloat16, torch.float16)


def require_causal(module: torch.nn.Module, device: torch.device) -> None:
    """Raises ModelError if a later token changes an earlier prediction, as in an encoder that was loaded by mistake."""
    one, other = (_probe(module, device, [[0, 1, last]])[:, :2] for last in (0, 1))
    if not _same(one, other, module):
        raise ModelError(
            "policy.model: not a causal language model: a later token changes what is predicted before it. For a"
            " BERT-like decoder, set `is_decoder: true` in its config.json."
        )


def require_room(module: torch.nn.Module, max_prompt_tokens: int, max_completion_tokens: int) -> None:
    """Raises ModelError if prompt and completion together may exceed the positions that the model has."""
    positions = getattr(getattr(module, "config", None), "max_position_embeddings", None)
    if positions is not None and max_prompt_tokens + max_completion_tokens > positions:
        raise ModelError(
            f"policy.max_prompt_tokens: {max_prompt_tokens} and max_completion_tokens {max_completion_tokens} exceed"
            f" together the {positions} positions of the model. Lower one of them."
        )


def _in_four_bits(dtype: str, device: str) -> dict[str, Any]:
    """How transformers is told to keep weights as QLoRA does (Dettmers et al., arXiv:2305.14314): normal floats of
    four bits whose scales are quantised again, and matrix products in `dtype`. Raises ModelError, on a CPU always:
    bitsandbytes 0.50 packs weights there for inference, and gradients through them were wrong by their own size.
    """
    if torch.device(device).type == "cpu":
        raise ModelError("policy.quantise: gradients through weights of four bits need a GPU. Leave it out on a CPU.")
    if find_spec("bitsandbytes") is None:
        raise ModelError("policy.quantise: it needs the package bitsandbytes. Install it: pip install bitsandbytes.")
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, dtype),
    )
    return {"quantization_config": quantisation, "device_map": {"": device}}


@torch.no_grad()
def _probe(module: torch.nn.Module, device: torch.device, tokens: list[list[int]], **more: Any) -> Tensor:
    output = module(input_ids=torch.tensor(tokens, device=device), use_cache=False, **more)
    logits: Tensor = output.logits
    return logits.float()


def _same(one: Tensor, other: Tensor, module: torch.nn.Module) -> bool:
    """Equal up to the rounding of the weights' type, relative to how much the logits vary."""
    largest_gap, spread = (one - other).abs().max().item(), other.std().item()
    return largest_gap <= (5e-2 if is_coarse(module) else 1e-4) * spread


def _zero_dropout(holder: object) -> None:
    for name, value in list(vars(holder).items()) if holder is not None else []:
        if "drop" in name and isinstance(value, float):
            setattr(holder, name, 0.0)
    if isinstance(holder, torch.nn.Dropout):
        holder.p = 0.0


def _stop_ids(eos: int, module: torch.nn.Module) -> tuple[int, ...]:
    further = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    others = further if isinstance(further, list) else [further]
    return (eos, *(int(other) for other in others if other is not None and other != eos))


def _read_template(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except OSError as fault:
        raise ModelError(
            f"policy.chat_template: {file!r} cannot be read ({fault.strerror}). Give a Jinja file."
        ) from fault


def _not_loaded(place: str, name: str, fault: Exception) -> str:
    reason = " ".join(str(fault).split())[:300]
    hint = "Give a folder in Hugging Face format with safetensors weights, or the name of a hub model."
    if not Path(name).is_dir():
        return f"{place}: {name!r} is not a folder here and could not be had from the hub. {hint} ({reason})"
    return f"{place}: {name!r} could not be loaded. {hint} ({reason})"
