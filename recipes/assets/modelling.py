"""How the practice worlds' models are trained, sampled and scored; `build_summaries.py`, `build_code.py` say on what.

Training reads a prompt once for all its completions: one sequence holds the prompt and K completions that see it and
themselves, not each other. Shapes: B groups, T tokens, K completions of a group.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

PROMPT_WEIGHT = 0.2  # of a prompt's tokens in the language-modelling loss; a completion's weigh 1
MAX_COMPLETION_TOKENS = 64

# ---- groups as sequences


@dataclass(frozen=True)
class Encoded:
    """A prompt and K completions as token ids, with each completion's rank for the reward model."""

    prompt: list[int]
    completions: list[list[int]]
    ranks: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + sum(map(len, self.completions))


@dataclass(frozen=True)
class Batch:
    """Groups as padded sequences [B, T]; `parents` points at the position that predicts each token."""

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor  # additive [B, 1, T, T]
    parents: Tensor
    weights: Tensor
    segments: Tensor  # 0 in the prompt, 1 to K in the completions, -1 in padding
    ends: Tensor  # position of each completion's eos [B, K]
    ranks: Tensor  # [B, K]


def encode(
    tokenizer: PreTrainedTokenizerFast, prompts: list[str], completions: list[list[str]], ranks: list[list[int]]
) -> list[Encoded]:
    """Completions are texts that follow the prompt directly; eos is added to each."""
    prompt_ids = tokenizer(prompts)["input_ids"]
    flat = [f"{text}{tokenizer.eos_token}" for group in completions for text in group]
    completion_ids = iter(tokenizer(flat, add_special_tokens=False)["input_ids"])
    return [
        Encoded(prompt, [next(completion_ids) for _ in group], rank)
        for prompt, group, rank in zip(prompt_ids, completions, ranks, strict=True)
    ]


def collate(groups: Sequence[Encoded], pad: int) -> Batch:
    length, width = max(map(len, groups)), len(groups[0].completions)
    shape = (len(groups), length)
    ids, positions, parents = torch.full(shape, pad), torch.zeros(shape).long(), torch.zeros(shape).long()
    segments, weights = torch.full(shape, -1), torch.zeros(shape)
    ends = torch.zeros(len(groups), width).long()
    for row, group in enumerate(groups):
        start = len(group.prompt)
        ids[row, :start] = torch.tensor(group.prompt)
        positions[row, :start] = torch.arange(start)
        parents[row, 1:start] = torch.arange(start - 1)
        segments[row, :start], weights[row, 1:start] = 0, PROMPT_WEIGHT
        for index, completion in enumerate(group.completions):
            end = start + len(completion)
            ids[row, start:end] = torch.tensor(completion)
            positions[row, start:end] = torch.arange(len(group.prompt), len(group.prompt) + len(completion))
            parents[row, start:end] = torch.arange(start - 1, end - 1)
            parents[row, start] = len(group.prompt) - 1
            segments[row, start:end], weights[row, start:end] = index + 1, 1.0
            ends[row, index] = end - 1
            start = end
    queries, keys = segments[:, :, None], segments[:, None, :]
    visible = ((keys == 0) | (keys == queries)) & torch.ones(length, length).tril().bool()
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)[:, None]
    ranks = torch.tensor([group.ranks for group in groups])
    return Batch(ids, positions, mask, parents, weights, segments, ends, ranks)


def batches(groups: list[Encoded], size: int, random: Random) -> Iterator[list[Encoded]]:
    """One pass in random order, groups of like length together."""
    order = random.sample(groups, len(groups))
    pools = [sorted(order[start : start + 16 * size], key=len) for start in range(0, len(order), 16 * size)]
    parts = [pool[start : start + size] for pool in pools for start in range(0, len(pool), size)]
    return iter(random.sample(parts, len(parts)))


# ---- training


def hidden_states(model: nn.Module, batch: Batch) -> Tensor:
    inputs = {"attention_mask": batch.attention_mask, "position_ids": batch.position_ids, "use_cache": False}
    return model.model(input_ids=batch.input_ids, **inputs).last_hidden_state


def language_loss(model: LlamaForCausalLM, batch: Batch) -> tuple[Tensor, float]:
    """Weighted mean negative log-probability per token, and that of the completions' tokens alone."""
    hidden = hidden_states(model, batch)
    before = hidden.gather(1, batch.parents[..., None].expand(-1, -1, hidden.shape[-1]))
    chosen = batch.weights > 0
    losses = functional.cross_entropy(model.lm_head(before[chosen]), batch.input_ids[chosen], reduction="none")
    weights = batch.weights[chosen]
    return (losses * weights).sum() / weights.sum(), losses[weights == 1.0].mean().item()


def preference_loss(model: LlamaForSequenceClassification, batch: Batch) -> tuple[Tensor, float]:
    """Bradley-Terry loss over all pairs of a group with different ranks, and the share of them in the right order.

    The pairs are compared twice: by the scores at eos, which are the model's scores, and by the sum of what the head
    says along the whole summary, a quarter of it. The second leads the small model to the token where a fault lies.
    """
    scores_BT = model.score(hidden_states(model, batch))[..., 0]
    final_BK = scores_BT.gather(1, batch.ends)
    member_BKT = functional.one_hot(batch.segments.clamp(min=0), batch.ends.shape[1] + 1)[..., 1:].mT.float()
    along_BK = (member_BKT * scores_BT[:, None]).sum(-1) / 4
    better = batch.ranks[:, :, None] > batch.ranks[:, None, :]
    final, along = ((scores[:, :, None] - scores[:, None, :])[better] for scores in (final_BK, along_BK))
    # Preferences leave the origin of every post's scores open; a pull to zero makes scores of different posts compare.
    origin = 5e-3 * final_BK.square().mean() + 5e-2 * final_BK.mean(-1).square().mean()
    loss = origin - functional.logsigmoid(final).mean() - functional.logsigmoid(along).mean()
    return loss, (final > 0).float().mean().item()


def train(
    model: nn.Module,
    loss_of: Callable[..., tuple[Tensor, float]],
    groups: list[Encoded],
    *,
    name: str,
    learning_rate: float,
    seed: int,
    size: int = 16,
) -> dict[str, float]:
    """One pass over the groups with AdamW and a cosine; returns what it cost and the last losses."""
    started, tokens, history = time.time(), 0, []
    steps = -(-len(groups) // size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps + 1, pct_start=0.05, cycle_momentum=False, final_div_factor=1e3
    )
    model.train()
    for step, part in enumerate(batches(groups, size, Random(seed))):
        loss, figure = loss_of(model, collate(part, model.config.pad_token_id))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        tokens += sum(map(len, part))
        history.append((loss.item(), figure))
        if step % 50 == 0 or step == steps - 1:
            recent = [statistics.fmean(column) for column in zip(*history[-50:], strict=True)]
            print(
                f"{name} {step + 1}/{steps} loss {recent[0]:.3f} figure {recent[1]:.3f} {time.time() - started:.0f} s"
            )
    seconds = time.time() - started
    loss, figure = (statistics.fmean(column) for column in zip(*history[-50:], strict=True))
    return {"loss": loss, "figure": figure, "steps": steps, "seconds": seconds, "tokens_per_second": tokens / seconds}


# ---- sampling and scoring


@torch.no_grad()
def sample(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    count: int,
    temperature: float,
    size: int = 64,
) -> list[list[str]]:
    """`count` completions of each prompt as text, white space around it and the eos taken off."""
    model.eval()
    texts: list[list[str]] = []
    for start in range(0, len(prompts), size):
        inputs = tokenizer(prompts[start : start + size], return_tensors="pt", padding=True, padding_side="left")
        ids = model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            do_sample=True,
            temperature=temperature,
            top_k=0,
            top_p=1.0,
            num_return_sequences=count,
            max_new_tokens=MAX_COMPLETION_TOKENS,
        )[:, inputs["input_ids"].shape[1] :]
        decoded = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
        texts += [decoded[first : first + count] for first in range(0, len(decoded), count)]
    return texts


@torch.no_grad()
def score(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    prompts: list[str],
    summaries: list[list[str]],
    size: int = 128,
) -> list[list[float]]:
    """The reward model's scores, computed as a user of the folder would."""
    model.eval()
    texts = [
        f"{prompt} {text}{tokenizer.eos_token}"
        for prompt, group in zip(prompts, summaries, strict=True)
        for text in group
    ]
    flat: list[float] = []
    for start in range(0, len(texts), size):
        inputs = tokenizer(texts[start : start + size], return_tensors="pt", padding=True, padding_side="right")
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        flat += logits[:, 0].tolist()
    scores = iter(flat)
    return [[next(scores) for _ in group] for group in summaries]
