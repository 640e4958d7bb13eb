"""Completions by vLLM, for `copgkit sample --generator vllm`: what the recipe's policy would write before any training.

    generator = VllmGenerator.load("org/model", max_prompt_tokens=512, max_completion_tokens=256)
    rows = generator.generate(prompts, completions_per_prompt=8, settings=GenerationSettings(seed=1))

vLLM gets the ids that copgkit's tokenizer makes of a prompt, and its ids are taken as the completion: nothing is
tokenised twice, and text, end and stop strings are read off the ids as they are for copgkit's own completions. Every
prompt has a seed of its own; what vLLM makes of it is up to its version, and its samples are not those of copgkit's own
loop.

Limits: vLLM is no part of copgkit's tests, which run this against a stand-in with the same calls; it has not been run
against vLLM itself. vLLM keeps a GPU's memory until its process ends, so training runs in another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from transformers import AutoConfig, GenerationConfig

from copgkit.engine import loading
from copgkit.engine.codec import TokenizerCodec
from copgkit.engine.sampling import stream_names
from copgkit.engine.stop_strings import StopStrings
from copgkit.errors import ModelError
from copgkit.types import Completion, GenerationSettings, Prompt


class VllmGenerator:
    """A model behind vLLM that completes prompts."""

    def __init__(
        self,
        engine: Any,
        sampling_params: Any,
        codec: TokenizerCodec,
        max_prompt_tokens: int,
        max_completion_tokens: int,
        stop: Sequence[str],
    ) -> None:
        """engine: a vllm.LLM. sampling_params: the class vllm.SamplingParams."""
        self._engine, self._sampling_params, self._codec = engine, sampling_params, codec
        self._max_prompt_tokens, self._max_completion_tokens = max_prompt_tokens, max_completion_tokens
        self._stops = StopStrings(tuple(stop), codec)

    @classmethod
    def load(
        cls,
        model: str,
        tokenizer: str | None = None,
        revision: str | None = None,
        dtype: str = "float32",
        chat_template: str | None = None,
        max_prompt_tokens: int = 512,
        max_completion_tokens: int = 64,
        trust_remote_code: bool = False,
        stop: Sequence[str] = (),
    ) -> VllmGenerator:
        """The keys of a recipe's `policy` section, explained there. Raises ModelError."""
        try:
            from vllm import LLM, SamplingParams
        except ImportError as fault:
            raise ModelError(
                f"--generator vllm: vLLM cannot be imported ({fault}). Install copgkit's extra `vllm` where there is a"
                " GPU that vLLM supports, or leave the option out."
            ) from fault
        settings: Any = SimpleNamespace(generation_config=_generation_config(model, revision, trust_remote_code))
        own_revision = None if tokenizer else revision
        codec = loading.load_codec(tokenizer or model, settings, own_revision, chat_template, trust_remote_code)
        try:
            engine = LLM(
                model=model,
                tokenizer=tokenizer,
                revision=revision,
                tokenizer_revision=own_revision,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                max_model_len=max_prompt_tokens + max_completion_tokens,
            )
        except (OSError, RuntimeError, ValueError) as fault:
            raise ModelError(
                f"--generator vllm: vLLM could not load {model!r}: {fault}. See its own output."
            ) from fault
        return cls(engine, SamplingParams, codec, max_prompt_tokens, max_completion_tokens, stop)

    def generate(
        self, prompts: Sequence[Prompt], completions_per_prompt: int, settings: GenerationSettings
    ) -> list[list[Completion]]:
        """Draws completions_per_prompt completions for each prompt. A prompt that is too long gets none."""
        ids = [self._codec.prompt_ids(prompt) for prompt in prompts]
        fitting = [place for place in range(len(prompts)) if len(ids[place]) <= self._max_prompt_tokens]
        names = [streams[0] for streams in stream_names(prompts, completions_per_prompt, settings.seed)]
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(ids[place])} for place in fitting],
            [self._parameters(names[place], completions_per_prompt, settings) for place in fitting],
            use_tqdm=False,
        )
        answers: list[list[Completion]] = [[] for _ in prompts]
        for place, output in zip(fitting, outputs, strict=True):
            answers[place] = [self._completion(prompts[place], written) for written in output.outputs]
        return answers

    def _parameters(self, name: str, number: int, settings: GenerationSettings) -> Any:
        return self._sampling_params(
            n=number,
            temperature=settings.temperature,
            top_p=settings.top_p,
            max_tokens=min(settings.max_tokens or self._max_completion_tokens, self._max_completion_tokens),
            stop=list(self._stops.strings) or None,
            stop_token_ids=list(self._codec.stop_ids),
            seed=_seed(name),
        )

    def _completion(self, prompt: Prompt, written: Any) -> Completion:
        """What vLLM wrote, by its ids. Raises ModelError if it was broken off, or ended at a stop that the ids lack."""
        ids = tuple(int(token_id) for token_id in written.token_ids)
        text, stopped = self._stops.before(self._codec.text(ids))
        finished = stopped or ids[-1:] in [(stop_id,) for stop_id in self._codec.stop_ids]
        if written.finish_reason != "length" and not (finished and written.finish_reason == "stop"):
            raise ModelError(
                f"--generator vllm, {prompt.place}: a completion ended by {written.finish_reason!r}, and its ids do not"
                " end with a stop. This version of vLLM may leave stops out; generate without the option."
            )
        return Completion(prompt, text, token_ids=ids, finished=finished)


def _seed(name: str) -> int:
    """A seed of 48 bits for the completions of a prompt: vLLM adds a completion's number and takes 63."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6])


def _generation_config(model: str, revision: str | None, trust_remote_code: bool) -> GenerationConfig:
    """The model's generation config, where further stop ids stand; a model without one has that of its config."""
    try:
        return GenerationConfig.from_pretrained(model, revision=revision)
    except OSError:
        pass
    try:
        config = AutoConfig.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as fault:
        raise ModelError(f"policy.model: {model!r} could not be read. {fault}") from fault
    return GenerationConfig.from_model_config(config)
