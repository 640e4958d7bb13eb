"""A causal language model as a policy: log-probabilities of completions, generation, a frozen copy, saving.

    policy = CausalLMPolicy.load("assets/tldr-policy", max_prompt_tokens=192, max_completion_tokens=48)
    policy = CausalLMPolicy(module, IntegerCodec(stop_ids=(1,)))          # sequences of numbers, no tokenizer

A group's prompt is computed once for all its completions where the architecture can, which is tried out at load time.
Legend: G groups, K completions of the largest group, B completions of all groups.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from copgkit.engine import compiling, loading, ranks, sharding
from copgkit.engine import lora as adapters
from copgkit.engine.codec import Codec, completion_ids
from copgkit.engine.decoding import CopyingDecoder, Decoder, find_way
from copgkit.engine.generation import complete, rows_at_once
from copgkit.engine.kept import KeptBatches, Written
from copgkit.engine.log_probs import CompletionLogProbs, Forms, in_passes
from copgkit.engine.packing import TokenGroup
from copgkit.engine.policy import EncodingReport
from copgkit.engine.probing import choose_forms, try_compiled
from copgkit.engine.sampling import stream_names
from copgkit.engine.saving import save_weights
from copgkit.engine.shared_decoding import SharedDecoder
from copgkit.engine.stop_strings import StopStrings
from copgkit.types import Completion, GenerationSettings, Group, Prompt

_AS_WRITTEN = 1e-4  # in nats, and of the log-probability: as far as writing a completion and a pass over it may differ


class CausalLMPolicy:
    """A transformers causal language model with what turns text into its ids.

    module: gives log-probabilities; may be replaced by accelerate's wrapped version, as training goes through its
    forward. model: the transformers model inside. findings: what was found out about its fast ways at load time.
    tokens_per_forward: size of a forward pass; None is 4,096 on a CPU, where 16,384 measured a third slower, and 16,384
    elsewhere.
    rows_per_batch: completions that are generated together; None is 256, and up to 1,024 of a model whose keys and
    values for them stay below 256 MiB. kept: where they are kept. stop: texts that end one.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        codec: Codec,
        *,
        max_prompt_tokens: int = 512,
        max_completion_tokens: int = 64,
        gradient_checkpointing: bool = False,
        compile_layers: bool = False,
        tokens_per_forward: int | None = None,
        rows_per_batch: int | None = None,
        stop: Sequence[str] = (),
    ) -> None:
        """Takes the module as it is, but for its dropout, which is switched off. Raises ModelError if it is not causal
        or has too few positions for the two limits."""
        self.codec = codec
        self.device = next(module.parameters()).device
        self.max_prompt_tokens, self.max_completion_tokens = max_prompt_tokens, max_completion_tokens
        usual = 4_096 if self.device.type == "cpu" else 16_384
        self.tokens_per_forward = tokens_per_forward or max(usual, max_prompt_tokens + max_completion_tokens)
        self.rows_per_batch = rows_per_batch
        self.stops = StopStrings(tuple(stop), codec)
        self.kept = KeptBatches()
        loading.remove_dropout(module)
        module.eval()
        loading.require_room(module, max_prompt_tokens, max_completion_tokens)
        loading.require_causal(module, self.device)
        self._agreed_tokens = 0  # of the longest completion and its prompt that a pass gave the same log-probability
        self._is_base = False  # a reference that is the module without its adapters
        self._narrow = loading.takes_positions(module, self.device)
        self.way = find_way(module, self.device, self._narrow)
        forms, self.findings = choose_forms(module, self.device, max_prompt_tokens, max_completion_tokens)
        self.module: torch.nn.Module = CompletionLogProbs(module, forms)
        self._compiled = False
        if gradient_checkpointing:
            loading.checkpoint_gradients(module)
            self.module.layers_as_they_are = True
        if compile_layers:
            self.compile_layers()

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
        trust_remote_code: bool = False,
        gradient_checkpointing: bool = False,
        compile_layers: bool = False,
        tokens_per_forward: int | None = None,
        stop: Sequence[str] = (),
        lora: Mapping[str, Any] | None = None,
        quantise: str | None = None,
        seed: int = 0,
    ) -> CausalLMPolicy:
        """The policy of a folder or hub model; the keys are those of a recipe's `policy` section, explained there.

        tokenizer and revision: a tokenizer of its own comes without the model's revision. seed: of what an adapter
        starts with. Raises ModelError.
        """
        module = loading.load_module(model, revision, dtype, attention, trust_remote_code, device, quantise)
        codec = loading.load_codec(
            tokenizer or model, module, None if tokenizer else revision, chat_template, trust_remote_code
        )
        if lora is not None:
            adapters.attach(module, **lora, base=model, seed=seed)
        return cls(
            module,
            codec,
            max_prompt_tokens=max_prompt_tokens,
            max_completion_tokens=max_completion_tokens,
            gradient_checkpointing=gradient_checkpointing,
            compile_layers=compile_layers,
            tokens_per_forward=tokens_per_forward,
            stop=stop,
        )

    @property
    def model(self) -> torch.nn.Module:
        """The transformers model, without the wrappers around it."""
        return self._unwrapped().model

    @property
    def forms(self) -> Forms:
        """How log-probabilities are computed."""
        return self._unwrapped().forms

    @forms.setter
    def forms(self, forms: Forms) -> None:
        self._unwrapped().forms = forms

    def fits(self, prompt: Prompt) -> bool:
        """Whether the prompt has at most max_prompt_tokens tokens. Raises DataError if it has none."""
        return len(self.codec.prompt_ids(prompt)) <= self.max_prompt_tokens

    def encode(self, groups: Sequence[Group]) -> tuple[list[Group], EncodingReport]:
        """The groups with token ids on every completion. Nothing is cut: a group with too long a prompt is left out,
        too long a completion is left out of its group, and a group of fewer than two is left out; all are counted.

        Pair weights lose the rows and columns of the completions that are left out.
        """
        kept: list[Group] = []
        prompts_too_long = completions_too_long = groups_too_small = 0
        for group in groups:
            if not self.fits(group.prompt):
                prompts_too_long += 1
                continue
            encoded = self._encode_completions(group)
            completions_too_long += len(group.completions) - len(encoded.completions)
            if len(encoded.completions) < 2:
                groups_too_small += 1
            else:
                kept.append(encoded)
        return kept, EncodingReport(prompts_too_long, completions_too_long, groups_too_small)

    def log_probs(self, groups: Sequence[Group]) -> Tensor:
        """ln pi(y|x) in nats [G, K], end-of-sequence included, prompt and padding excluded; float32 at least.

        Entries beyond a group's own K are 0 and carry no gradient.
        """
        packed = [self._tokens(group) for group in groups]
        with self._weights():
            if torch.is_grad_enabled():  # one pass: the caller decides the memory by the groups that it gives
                logp_B: Tensor = self.module(self.forms.pack(packed, self.device))[0]
            else:
                with self._as_loaded():
                    logp_B = in_passes(self.module, self.forms, packed, self.device, self.tokens_per_forward)
        return _scatter(logp_B, groups)

    def log_probs_and_entropies(self, groups: Sequence[Group]) -> tuple[Tensor, Tensor]:
        """`log_probs`, and from the same pass the entropies of the next-token distributions in nats, summed over each
        completion's tokens [G, K], without gradient."""
        with self._weights():
            pack = self.forms.pack([self._tokens(group) for group in groups], self.device)
            logp_B, entropy_B = self.module(pack, True)
        return _scatter(logp_B, groups), _scatter(entropy_B, groups)

    def forward_tokens(self, groups: Sequence[Group]) -> int:
        """Tokens that the groups take in one forward pass, padding included."""
        return self.forms.tokens([self._tokens(group) for group in groups])

    def num_tokens(self, groups: Sequence[Group]) -> Tensor:
        """Tokens of each completion, end-of-sequence included [G, K]; 0 beyond a group's own K."""
        counts = [len(completion_ids(self.codec, completion)) for group in groups for completion in group.completions]
        return _scatter(torch.tensor(counts, device=self.device), groups)

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws completions_per_prompt completions for each prompt, at most max_completion_tokens long.

        A completion depends on the seed, the prompt's content and its number among those of the same content in this
        call, not on its batch. A prompt longer than max_prompt_tokens gets none: its list is empty. Several processes
        share the prompts and each gets all completions. They know their log-probability where writing them gives what
        `log_probs` would, in float32.
        """
        with self.whole():
            written = ranks.share_out(
                prompts,
                lambda own: self._generate(own, completions_per_prompt, settings),
                like=lambda prompt: prompt.content_key,
            )
        return [[self._completion(prompt, one) for one in rows] for prompt, rows in zip(prompts, written, strict=True)]

    def _generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Written]]:
        """What is written for each prompt."""
        streams = stream_names(prompts, completions_per_prompt, settings.seed)
        lengths = [len(self.codec.prompt_ids(prompt)) for prompt in prompts]
        fitting = [index for index in range(len(prompts)) if lengths[index] <= self.max_prompt_tokens]
        fitting.sort(key=lengths.__getitem__)  # prompts of similar length share a batch, so that little is padding
        answers: list[list[Written]] = [[] for _ in prompts]
        size = max(1, self._rows_at_once(completions_per_prompt) // completions_per_prompt)
        for start in range(0, len(fitting), size):
            chunk = fitting[start : start + size]
            written = self._complete([prompts[i] for i in chunk], [streams[i] for i in chunk], settings)
            for index, rows in zip(chunk, written, strict=True):
                answers[index] = rows
        return answers

    def parameters(self) -> Iterator[torch.nn.Parameter]:
        """What is trained."""
        return self.module.parameters()

    def compile_layers(self) -> None:
        """Compiles the layers for passes that are trained on; everything else stays as it is. findings says what came
        of it. Raises ModelError where nothing can be compiled."""
        limits = (self.max_prompt_tokens, self.max_completion_tokens)
        self.findings.append(try_compiled(self.model, self.forms, self.device, *limits))
        self._compiled = not self.findings[-1].disagrees
        if self._compiled:
            self._unwrapped().layers_as_they_are = True

    def frozen_copy(self) -> CausalLMPolicy:
        """The reference: the weights as they are now, without gradients. Prompts stay tokenised for both.

        Beside adapters that are yet to be trained it is the same model with these switched off, and takes no memory.
        """
        frozen = copy.copy(self)
        if self._is_base or (adapters.is_attached(self.model) and adapters.changes_nothing(self.model)):
            frozen.module, frozen._is_base = self._unwrapped(), True
        else:
            frozen.module = copy.deepcopy(self._unwrapped()).eval().requires_grad_(False)
        return frozen

    def whole(self) -> AbstractContextManager[None]:
        """While it lasts, this process has all weights and may use them without the others: `sharding.whole`."""
        return sharding.whole(self._unwrapped())

    def save(self, folder: Path) -> None:
        """Writes model (safetensors) and tokenizer so that transformers' `from_pretrained` reads them back. Every
        process calls it, since each may have a part of the weights; the main one writes.

        With adapters the model is written with their updates added, and they alone in a folder within. Beside weights
        of four bits, to which nothing can be added, the adapter is all there is: `from_pretrained` finds its base.
        """
        save_weights(self.model, folder)
        if ranks.is_main():
            self.codec.save(folder)

    def state(self) -> dict[str, Any]:
        """The size of a forward pass, which a lack of memory may have changed."""
        return {"tokens_per_forward": self.tokens_per_forward}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on with forward passes of that size."""
        self.tokens_per_forward = state["tokens_per_forward"]

    def release(self) -> None:
        """Frees the memory of the weights; the policy cannot be used any more. Those of a reference that shares the
        policy's stay."""
        if self._is_base:
            return
        self.model.to("meta")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _weights(self) -> AbstractContextManager[None]:
        """While it lasts, the module has this policy's weights: of a reference that shares it, the base model's."""
        return adapters.switched_off(self.model) if self._is_base else nullcontext()

    def _as_loaded(self) -> AbstractContextManager[object]:
        """While it lasts, nothing compiled is used."""
        return compiling.eager() if self._compiled else nullcontext()

    def _unwrapped(self) -> CompletionLogProbs:
        # accelerate's own unwrapping goes through all modules, and this is called for every group.
        return cast(CompletionLogProbs, getattr(self.module, "module", self.module))

    def _tokens(self, group: Group) -> TokenGroup:
        return TokenGroup(
            self.codec.prompt_ids(group.prompt), [completion_ids(self.codec, one) for one in group.completions]
        )

    def _encode_completions(self, group: Group) -> Group:
        ids = [completion_ids(self.codec, completion) for completion in group.completions]
        fitting = [k for k in range(len(ids)) if len(ids[k]) <= self.max_completion_tokens]
        weights = group.pair_weights
        return replace(
            group,
            completions=tuple(replace(group.completions[k], token_ids=ids[k]) for k in fitting),
            pair_weights=weights and tuple(tuple(weights[k][other] for other in fitting) for k in fitting),
        )

    def _complete(
        self, prompts: Sequence[Prompt], streams: Sequence[Sequence[str]], settings: GenerationSettings
    ) -> list[list[Written]]:
        """A batch of completions. Caches need evaluation mode, which gradient checkpointing leaves."""
        module = self.model
        was_training = module.training
        max_tokens = min(settings.max_tokens or self.max_completion_tokens, self.max_completion_tokens)
        names, per_prompt = [name for row in streams for name in row], len(streams[0])

        def write() -> list[Written]:
            ids = [self.codec.prompt_ids(prompt) for prompt in prompts]
            written = complete(
                lambda: self._decoder(module, ids, per_prompt, max_tokens),
                names,
                self.codec.stop_ids,
                max_tokens,
                settings,
                self.device,
                self.stops.end if self.stops.strings else None,
            )
            known = self._gives_log_probs(ids, written)
            return written if known else [one._replace(log_prob=None) for one in written]

        module.eval()
        try:
            with self._weights(), self._as_loaded():
                written = self.kept.rows(names, max_tokens, settings, write)
        finally:
            module.train(was_training)
        return [written[start : start + per_prompt] for start in range(0, len(written), per_prompt)]

    @torch.no_grad()
    def _gives_log_probs(self, prompts: Sequence[Sequence[int]], written: Sequence[Written]) -> bool:
        """Whether completions, equally many after each prompt, were written with the log-probabilities that a pass
        gives. With 16 bits they never are; else the longest is read, if it is longer than what was found to agree
        before: where positions are scaled by the length of what is read, a pass over the whole sees others."""
        if loading.is_coarse(self.model) or torch.is_autocast_enabled(self.device.type):
            return False
        per_prompt = len(written) // len(prompts)
        lengths = (len(prompts[row // per_prompt]) + len(one.token_ids) for row, one in enumerate(written))
        tokens, longest = max((length, row) for row, length in enumerate(lengths))
        if tokens > self._agreed_tokens:
            group = TokenGroup(prompts[longest // per_prompt], [written[longest].token_ids])
            logp_1 = in_passes(self._unwrapped(), self.forms, [group], self.device, self.tokens_per_forward)
            written_1 = logp_1.new_tensor([written[longest].log_prob])
            if not torch.allclose(written_1, logp_1, rtol=_AS_WRITTEN, atol=_AS_WRITTEN):
                return False
            self._agreed_tokens = tokens
        return True

    def _rows_at_once(self, per_prompt: int) -> int:
        """How many completions make a batch."""
        if self.rows_per_batch is not None:
            return self.rows_per_batch
        prompt_share = self.max_prompt_tokens / (per_prompt if self.way.shared else 1)
        bytes_per_number = next(self.model.parameters()).element_size()
        return rows_at_once(
            getattr(self.model, "config", None), bytes_per_number, self.max_completion_tokens + prompt_share
        )

    def _decoder(
        self, module: torch.nn.Module, prompts: Sequence[Sequence[int]], per_prompt: int, room: int
    ) -> tuple[Decoder, Tensor]:
        """What writes per_prompt rows for each prompt, after the prompts were read, and the logits of first tokens."""
        counts = [per_prompt] * len(prompts)
        if self.way.shared:
            budget, last = self.tokens_per_forward, self.forms.last
            return SharedDecoder.after(module, prompts, counts, self.device, self._narrow, budget, last)
        return CopyingDecoder.after(module, prompts, counts, room, self.device, self._narrow)

    def _completion(self, prompt: Prompt, written: Written) -> Completion:
        ids = written.token_ids
        text, stopped = self.stops.before(self.codec.text(ids))
        finished = stopped or ids[-1] in self.codec.stop_ids
        return Completion(prompt, text, token_ids=ids, finished=finished, log_prob=written.log_prob)


def _scatter(value_B: Tensor, groups: Sequence[Group]) -> Tensor:
    """Values in the order of the completions as [G, K], 0 where a group has no further completion."""
    sizes = torch.tensor([len(group.completions) for group in groups], device=value_B.device)
    present_GK = torch.arange(int(sizes.max()), device=value_B.device) < sizes[:, None]
    return value_B.new_zeros(present_GK.shape).masked_scatter(present_GK, value_B)
