"""A causal language model as policy: any Hugging Face checkpoint that writes tokens from left to right.

The plain path: one right-padded sequence per completion. Log-probabilities are sums over the completion's tokens,
end-of-sequence included, prompt and padding excluded, in float32 whatever the weights are.

Shapes: B sequences (all completions of a batch), T tokens, V vocabulary; G groups, K completions per group.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from copgkit.engine.generation import sample
from copgkit.engine.policy import EncodingReport
from copgkit.errors import DataError, ModelError
from copgkit.types import Completion, GenerationSettings, Group, Prompt

_TOKENS_PER_FORWARD = 16_384  # without gradient: enough to keep a CPU or GPU busy, little memory
_ROWS_PER_GENERATION = 128


@dataclass(frozen=True)
class Limits:
    """What fits. Longer prompts and completions are left out, never cut; generation stops at completion_tokens."""

    prompt_tokens: int = 512
    completion_tokens: int = 64


class CausalLMPolicy:
    """Wraps a transformers model.

    prompt_ids and completion_ids turn text into token ids (the latter without end-of-sequence), text turns ids back;
    `load` takes all three from a tokenizer. end_ids: the tokens that end a completion, the first of which is written
    behind a recorded one.
    """

    def __init__(
        self,
        module: nn.Module,
        prompt_ids: Callable[[Prompt], list[int]],
        completion_ids: Callable[[str], list[int]],
        text: Callable[[Sequence[int]], str],
        end_ids: Sequence[int],
        limits: Limits | None = None,
        tokenizer: Any = None,
    ) -> None:
        self.module = _without_dropout(module)
        self.limits = limits or Limits()
        self.tokenizer = tokenizer
        self.end_ids = tuple(end_ids)
        self._prompt_ids, self._completion_ids, self._text = prompt_ids, completion_ids, text
        self._ids_of_prompt: dict[object, list[int]] = {}

    @classmethod
    def load(
        cls,
        model: str,
        tokenizer: str | None = None,
        revision: str | None = None,
        dtype: str = "float32",
        attention: str | None = None,
        chat_template: str | None = None,
        max_prompt_tokens: int = 512,
        max_completion_tokens: int = 64,
        device: str = "cpu",
        gradient_checkpointing: bool = False,
        trust_remote_code: bool = False,
    ) -> CausalLMPolicy:
        """Loads a folder or hub checkpoint (safetensors). Raises ModelError saying what is missing."""
        from copgkit.engine.loading import load_model, load_tokenizer

        module = load_model(model, revision, dtype, attention, trust_remote_code).to(device)
        if gradient_checkpointing:
            module.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            module.train()  # transformers checkpoints only in training mode; there is no dropout to switch on
        text = load_tokenizer(tokenizer or model, revision, chat_template, trust_remote_code)
        end_ids = _end_ids(module, text)
        limits = Limits(max_prompt_tokens, max_completion_tokens)
        return cls(module, text.prompt_ids, text.completion_ids, text.decode, end_ids, limits, text.tokenizer)

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """The prompt as token ids, begin-of-sequence included where the model has one. Raises DataError if empty."""
        key = prompt.content if isinstance(prompt.content, str) else repr(prompt.content)
        if key not in self._ids_of_prompt:
            ids = self._prompt_ids(prompt)
            if not ids:
                raise DataError(f"{prompt.place}: the prompt has no tokens. A model needs at least one to start from.")
            self._ids_of_prompt[key] = ids
        return self._ids_of_prompt[key]

    def encode(self, groups: Sequence[Group]) -> tuple[list[Group], EncodingReport]:
        """The groups with token ids on every completion, without those that do not fit (`Limits`)."""
        kept, prompts_out, completions_out, groups_out = [], 0, 0, 0
        for group in groups:
            if len(self.prompt_ids(group.prompt)) > self.limits.prompt_tokens:
                prompts_out += 1
                continue
            encoded = [self._with_ids(completion) for completion in group.completions]
            fits = [k for k, one in enumerate(encoded) if len(one.token_ids or ()) <= self.limits.completion_tokens]
            completions_out += len(encoded) - len(fits)
            if len(fits) < 2:
                groups_out += 1
                continue
            kept.append(replace(group, completions=tuple(encoded)).only(fits))
        return kept, EncodingReport(prompts_out, completions_out, groups_out)

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """ln pi(y|x) of each completion [G, K]; 0 without gradient beyond a group's own K.

        With gradient all sequences share one forward pass; without, they go in chunks of similar length.
        """
        sequences = [
            (self.prompt_ids(group.prompt), list(completion.token_ids or ()))
            for group in groups
            for completion in group.completions
        ]
        chunks = [list(range(len(sequences)))] if torch.is_grad_enabled() else _chunks_by_length(sequences)
        order = [index for chunk in chunks for index in chunk]
        logp_B = torch.cat([self._forward([sequences[index] for index in chunk]) for chunk in chunks])
        back_B = torch.tensor(order, device=logp_B.device).argsort()
        return _by_group(logp_B[back_B], groups)

    def num_tokens(self, groups: Sequence[Group]) -> Tensor:
        """Tokens of each completion, end-of-sequence included [G, K]; 0 beyond a group's own K."""
        lengths = [float(len(one.token_ids or ())) for group in groups for one in group.completions]
        return _by_group(torch.tensor(lengths), groups)

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws completions_per_prompt completions for each prompt; the batch they are drawn in makes no difference.

        Prompts that do not fit are completed too: `encode` leaves their groups out and counts them.
        """
        ids = [self.prompt_ids(prompt) for prompt in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(ids[index]))
        per_batch = max(1, _ROWS_PER_GENERATION // completions_per_prompt)
        drawn: dict[int, list[Completion]] = {}
        for start in range(0, len(order), per_batch):
            batch = order[start : start + per_batch]
            written = sample(
                self.module,
                [ids[index] for index in batch],
                [_chances(prompts[index], completions_per_prompt, settings.seed) for index in batch],
                settings,
                settings.max_tokens or self.limits.completion_tokens,
                self.end_ids,
            )
            for n, index in enumerate(batch):
                rows = written[n * completions_per_prompt : (n + 1) * completions_per_prompt]
                drawn[index] = [self._completion(prompts[index], row) for row in rows]
        return [drawn[index] for index in range(len(prompts))]

    def parameters(self) -> Iterator[nn.Parameter]:
        """What is trained."""
        return (parameter for parameter in self.module.parameters() if parameter.requires_grad)

    def frozen_copy(self) -> CausalLMPolicy:
        """The reference: a copy of the weights without gradient."""
        module = deepcopy(self.module).eval().requires_grad_(False)
        copy = CausalLMPolicy(
            module, self._prompt_ids, self._completion_ids, self._text, self.end_ids, self.limits, self.tokenizer
        )
        copy._ids_of_prompt = self._ids_of_prompt
        return copy

    def save(self, folder: Path) -> None:
        """Writes a folder that `AutoModelForCausalLM.from_pretrained` and `AutoTokenizer` read."""
        model: Any = getattr(self.module, "module", self.module)  # accelerate may have wrapped it
        model.save_pretrained(folder)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)

    def _forward(self, sequences: Sequence[tuple[list[int], list[int]]]) -> Tensor:
        """ln pi of each completion [B]: one forward pass over right-padded rows."""
        device = next(self.module.parameters()).device
        longest = max(len(prompt) + len(completion) for prompt, completion in sequences)
        ids_BT, mask_BT, target_BT = (torch.zeros(len(sequences), longest, dtype=torch.long) for _ in range(3))
        for row, (prompt, completion) in enumerate(sequences):
            end = len(prompt) + len(completion)
            ids_BT[row, :end] = torch.tensor(prompt + completion)
            mask_BT[row, :end] = 1
            target_BT[row, len(prompt) : end] = 1
        # The logits at position t predict token t + 1; nothing before the shortest prompt's last token is needed.
        first = min(len(prompt) for prompt, _ in sequences) - 1
        ids_BT, mask_BT, target_BT = (each.to(device) for each in (ids_BT, mask_BT, target_BT))
        logits_BTV = self._logits(ids_BT, mask_BT, first)[:, :-1].float()
        wanted_BT = ids_BT[:, first + 1 :]
        logp_BT = -functional.cross_entropy(logits_BTV.transpose(1, 2), wanted_BT, reduction="none")
        return (logp_BT * target_BT[:, first + 1 :]).sum(-1)

    def _logits(self, ids_BT: Tensor, mask_BT: Tensor, first: int) -> Tensor:
        """The logits from position `first` on; the output head works on those alone where the model allows it."""
        inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "position_ids": (mask_BT.cumsum(-1) - 1).clamp(min=0)}
        if self._keeps_logits:
            logits: Tensor = self.module(**inputs, use_cache=False, logits_to_keep=ids_BT.shape[1] - first).logits
            return logits
        logits = self.module(**inputs, use_cache=False).logits
        return logits[:, first:]

    @property
    def _keeps_logits(self) -> bool:
        model: Any = getattr(self.module, "module", self.module)
        return "logits_to_keep" in inspect.signature(model.forward).parameters

    def _with_ids(self, completion: Completion) -> Completion:
        """The completion with token ids; generated ones keep theirs."""
        if completion.token_ids is not None:
            return completion
        ids = self._completion_ids(completion.text)
        if completion.finished and (not ids or ids[-1] not in self.end_ids):
            ids = [*ids, self.end_ids[0]]
        return replace(completion, token_ids=tuple(ids))

    def _completion(self, prompt: Prompt, ids: Sequence[int]) -> Completion:
        finished = bool(ids) and ids[-1] in self.end_ids
        return Completion(prompt, self._text(ids), tuple(ids), finished)


def _without_dropout(module: nn.Module) -> nn.Module:
    """Switches every dropout off for good: policy and reference must be the same network, also in training mode."""
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        for name, value in list(vars(part).items()):
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.0)  # attention dropout is a number that the layer reads, not a module
    return module


def _end_ids(module: Any, text: Any) -> list[int]:
    """The tokens that end a completion: the tokenizer's first, then those of the generation settings."""
    configured = getattr(module.generation_config, "eos_token_id", None)
    others = configured if isinstance(configured, list) else [configured]
    found = [text.tokenizer.eos_token_id, *others]
    ids = list(dict.fromkeys(token for token in found if token is not None))
    if not ids:
        raise ModelError(
            f"{module.name_or_path}: neither tokenizer nor model names an end-of-sequence token. Set eos_token in the"
            " tokenizer's tokenizer_config.json."
        )
    return ids


def _chunks_by_length(sequences: Sequence[tuple[list[int], list[int]]]) -> list[list[int]]:
    """Indices of the sequences in chunks of similar length and at most _TOKENS_PER_FORWARD tokens, padding included."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index][0]) + len(sequences[index][1]))
    chunks: list[list[int]] = [[]]
    for index in order:
        length = len(sequences[index][0]) + len(sequences[index][1])
        if chunks[-1] and (len(chunks[-1]) + 1) * length > _TOKENS_PER_FORWARD:
            chunks.append([])
        chunks[-1].append(index)
    return chunks


def _by_group(value_B: Tensor, groups: Sequence[Group]) -> Tensor:
    """Puts the values of all completions in rows by group [G, K], 0 beyond a group's own K."""
    rows = torch.split(value_B, [len(group.completions) for group in groups])
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True)


def _chances(prompt: Prompt, completions: int, seed: int) -> list[random.Random]:
    """A source of chance for each completion of a prompt, the same in every batch and process."""
    return [random.Random(f"{seed}|{prompt.id}|{prompt.text}|{number}") for number in range(completions)]
