"""Builds the summarization world's files from nothing: tokenizer, policy, reward model, posts, and their model cards.

Run it by `build.py`.

1. A byte-level BPE tokenizer is trained on the world's text.
2. A small Llama learns to write faithful summaries (stage 1), then imitates a mix of good and bad ones (stage 2): that
   is `tldr-policy`, an ordinary supervised model with something left to align.
3. `tldr-reward` starts from the policy and learns preferences (Bradley-Terry) among summaries of a post, written by the
   world or sampled from the policy, ranked by `world.judge`. It stays imperfect.
4. Every figure in the model cards is measured here, on posts that no model was trained on.
"""

import statistics
import time
from collections import Counter
from pathlib import Path
from random import Random

import fragments
import torch
import world
from cards import POLICY_CARD, POSTS_CARD, REWARD_CARD
from modelling import Encoded, encode, language_loss, preference_loss, sample, score, train
from shipping import (
    common_to_cards,
    cost,
    parameters,
    policy_config,
    save,
    scaled,
    table,
    train_tokenizer,
    write_card,
    write_rows,
)
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

VOCABULARY = 1280
SIZES = {
    "stage-1": 40_000,
    "stage-2": 10_000,
    "sampled": 3_000,
    "train": 1_500,
    "validation": 400,
    "measured": 400,
}
WRITTEN = 14_000  # further posts, for the preferences among summaries that the world writes
# Invented details lead, as they do in summaries that people wrote (XSum: Maynez et al., arXiv:2005.00661).
STAGE_2_MIX = {
    "invented-detail": 0.62,
    "faithful": 0.20,
    "wrong-outcome": 0.04,
    "wrong-place": 0.04,
    "long-winded": 0.03,
    "incomplete": 0.03,
    "wrong-problem": 0.02,
    "wrong-person": 0.02,
}
REWARD_RATE = 1e-3
RANKS = {"faithful": 2, "incomplete": 1, "long-winded": 1}  # the reward model's preferences; any other kind is 0


def kinds_of(posts: list[world.Post], summaries: list[list[str]]) -> list[list[str]]:
    return [
        [world.judge(text, post.facts).kind for text in group] for post, group in zip(posts, summaries, strict=True)
    ]


def shares(kinds: list[list[str]]) -> dict[str, float]:
    counts = Counter(kind for group in kinds for kind in group)
    return {kind: counts[kind] / counts.total() for kind in (*world.KINDS, "degenerate")}


def pair_accuracies(kinds: list[list[str]], scores: list[list[float]]) -> dict[str, tuple[float, int]]:
    """For each faulty kind: how often a faithful summary of the same post scores higher, and over how many pairs."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for group, values in zip(kinds, scores, strict=True):
        for kind, value in zip(group, values, strict=True):
            for other, other_value in zip(group, values, strict=True):
                if kind == "faithful" and other != "faithful":
                    for key in (other, "all"):
                        right[key] += value > other_value
                        total[key] += 1
    return {
        kind: (right[kind] / total[kind], total[kind]) for kind in (*world.KINDS, "degenerate", "all") if total[kind]
    }


# ---- what the models see


def write_groups(
    tokenizer: PreTrainedTokenizerFast, posts: list[world.Post], kinds: list[list[str]], random: Random
) -> list[Encoded]:
    """Each post with a summary by the world of each of the kinds listed for it."""
    summaries = [
        [world.summarise(post, kind, random) for kind in group] for post, group in zip(posts, kinds, strict=True)
    ]
    return encode_ranked(tokenizer, posts, kinds, summaries)


def encode_ranked(
    tokenizer: PreTrainedTokenizerFast, posts: list[world.Post], kinds: list[list[str]], summaries: list[list[str]]
) -> list[Encoded]:
    """Posts with their summaries as tokens, ranked by kind."""
    ranks = [[RANKS.get(kind, 0) for kind in group] for group in kinds]
    completions = [[f" {summary}" for summary in group] for group in summaries]
    return encode(tokenizer, [post.prompt for post in posts], completions, ranks)


def draw_kinds(mix: dict[str, float], posts: list[world.Post], random: Random) -> list[list[str]]:
    """Three kinds for each post, drawn from a mix."""
    return [random.choices(list(mix), list(mix.values()), k=3) for _ in posts]


def written_preferences(tokenizer: PreTrainedTokenizerFast, posts: list[world.Post], random: Random) -> list[Encoded]:
    """Each post with a faithful and four wrong summaries in the same words, and two more in other words."""
    alike = [kind for kind in world.KINDS if kind == "faithful" or kind.startswith("wrong-")]
    others = [kind for kind in world.KINDS if kind not in alike]
    kinds = [[*alike, "faithful", random.choice(others)] for _ in posts]
    summaries = [
        world.summarise_alike(post, alike, random)
        + [world.summarise(post, kind, random) for kind in group[len(alike) :]]
        for post, group in zip(posts, kinds, strict=True)
    ]
    return encode_ranked(tokenizer, posts, kinds, summaries)


def sampled_preferences(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, posts: list[world.Post], random: Random
) -> list[Encoded]:
    """Each post with three samples of the policy and one faithful and one faulty summary by the world, all judged."""
    summaries = sample(policy, tokenizer, [post.prompt for post in posts], 3, temperature=1.0)
    for post, group in zip(posts, summaries, strict=True):
        group += [world.summarise(post, kind, random) for kind in ("faithful", random.choice(world.KINDS[1:]))]
    return encode_ranked(tokenizer, posts, kinds_of(posts, summaries), summaries)


def write_posts(folder: Path, splits: dict[str, list[world.Post]], random: Random) -> None:
    for split, posts in splits.items():
        rows = [
            {
                "id": f"{split}-{index:04d}",
                "prompt": post.prompt,
                "facts": post.facts,
                "answer": world.summarise(post, "faithful", random),
            }
            for index, post in enumerate(posts)
        ]
        write_rows(folder / f"{split}.jsonl", rows)


# ---- figures and cards


def measure_policy(policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, posts: list[world.Post]) -> str:
    """The kinds of four samples a post at temperatures 1.0 and 0.7, and the lengths at 1.0."""
    prompts = [post.prompt for post in posts]
    columns, samples = {}, {}
    for temperature in (1.0, 0.7):
        samples[temperature] = sample(policy, tokenizer, prompts, 4, temperature)
        columns[f"T = {temperature}"] = shares(kinds_of(posts, samples[temperature]))
    # bos, which a completion has not, counts for the eos that was taken off
    lengths = [len(ids) for ids in tokenizer([f" {text}" for group in samples[1.0] for text in group])["input_ids"]]
    prompt_lengths = [len(ids) for ids in tokenizer(prompts)["input_ids"]]
    rows = [[kind, *(f"{column[kind]:.1%}" for column in columns.values())] for kind in columns["T = 1.0"]]
    tokens = (
        f"Prompts have {statistics.fmean(prompt_lengths):.0f} tokens on average (at most {max(prompt_lengths)}), "
        f"samples at temperature 1.0 have {statistics.fmean(lengths):.0f} with eos (at most {max(lengths)})."
    )
    return f"{table(['kind by the judge', *columns], rows)}\n\n{tokens}"


def measure_reward(
    reward: LlamaForSequenceClassification,
    policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    posts: list[world.Post],
    random: Random,
) -> str:
    """Tables of pair accuracies by kind and of scores, on the policy's samples and on the world's own summaries."""
    prompts = [post.prompt for post in posts]
    written = [[world.summarise(post, kind, random) for kind in world.KINDS] for post in posts]
    samples = sample(policy, tokenizer, prompts, 4, temperature=1.0)
    sampled = (samples, kinds_of(posts, samples))
    sources = {"samples": sampled, "world": (written, [list(world.KINDS) for _ in posts])}
    scores = {name: score(reward, tokenizer, prompts, summaries) for name, (summaries, _) in sources.items()}
    accuracies = {name: pair_accuracies(kinds, scores[name]) for name, (_, kinds) in sources.items()}
    rows = []
    for kind in (*world.KINDS[1:], "degenerate", "all"):
        found = [accuracies[name].get(kind) for name in sources]
        rows.append(
            [kind, *(f"{share:.1%} of {total}" if total else "none" for share, total in (f or (0, 0) for f in found))]
        )
    pairs = table(["faithful against", "policy samples", "world's summaries"], rows)
    by_kind: dict[str, list[float]] = {}
    for group, values in zip(sampled[1], scores["samples"], strict=True):
        for kind, value in zip(group, values, strict=True):
            by_kind.setdefault(kind, []).append(value)
    by_kind["all"] = [value for group in scores["samples"] for value in group]
    rows = [
        [kind, str(len(values)), f"{statistics.fmean(values):.2f}", f"{statistics.pstdev(values):.2f}"]
        for kind, values in by_kind.items()
    ]
    within = statistics.fmean(statistics.stdev(group) for group in scores["samples"])
    spread = f"Mean standard deviation within a group of four samples: {within:.2f}."
    return f"{pairs}\n\n{table(['samples at T = 1.0', 'count', 'mean score', 'sd'], rows)}\n\n{spread}"


# ---- the build


def build_posts_and_policy(out: Path, seed: int, scale: float) -> None:
    """Writes `tldr-posts` and `tldr-policy`, cards included."""
    started = time.time()
    torch.manual_seed(seed)
    random = Random(seed)
    posts = draw_posts(random, scale)
    write_posts(out / "tldr-posts", {split: posts[split] for split in ("train", "validation")}, random)

    kinds = random.choices(world.KINDS, k=4000)
    texts = [
        f"{post.prompt} {world.summarise(post, kind, random)}"
        for post, kind in zip(posts["stage-1"], kinds, strict=False)
    ]
    names = " ".join(("", *fragments.NAMES, *world.RELATIONS)) * len(texts)  # so that each becomes one token
    tokenizer = train_tokenizer([*texts, names], VOCABULARY)
    policy = LlamaForCausalLM(policy_config(tokenizer))
    groups = write_groups(tokenizer, posts["stage-1"], draw_kinds({"faithful": 1.0}, posts["stage-1"], random), random)
    first = train(policy, language_loss, groups, name="stage 1", learning_rate=3e-3, seed=seed)
    groups = write_groups(tokenizer, posts["stage-2"], draw_kinds(STAGE_2_MIX, posts["stage-2"], random), random)
    second = train(policy, language_loss, groups, name="stage 2", learning_rate=1e-3, seed=seed)
    save(out / "tldr-policy", policy, tokenizer, "left")

    figures = measure_policy(policy, tokenizer, posts["measured"])
    common = common_to_cards(posts, seed, started)
    card = POLICY_CARD.format(
        **common,
        parameters=parameters(policy),
        mix=", ".join(f"{kind} {share:.0%}" for kind, share in STAGE_2_MIX.items()),
        first=cost("stage 1", first),
        first_figure=first["figure"],
        second=cost("stage 2", second),
        second_figure=second["figure"],
        figures=figures,
    )
    write_card(out / "tldr-policy", card)
    write_card(out / "tldr-posts", POSTS_CARD.format(**common))


def build_reward(out: Path, seed: int, scale: float) -> None:
    """Writes `tldr-reward`, card included, from the `tldr-policy` that lies beside it."""
    started = time.time()
    torch.manual_seed(seed)
    random = Random(seed)
    posts = draw_posts(random, scale)
    taken = {post.text for part in posts.values() for post in part}
    posts["written"] = world.make_posts(scaled(WRITTEN, scale), random, taken)
    random = Random(seed + 2)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(out / "tldr-policy")
    policy = LlamaForCausalLM.from_pretrained(out / "tldr-policy", attn_implementation="eager")
    reward = LlamaForSequenceClassification(reward_config(policy.config))
    reward.model.load_state_dict(policy.model.state_dict())

    groups = written_preferences(tokenizer, posts["written"], random)
    third = train(reward, preference_loss, groups, name="written pairs", learning_rate=REWARD_RATE, seed=seed)
    groups = sampled_preferences(policy, tokenizer, posts["sampled"], random)
    fourth = train(reward, preference_loss, groups, name="sampled pairs", learning_rate=REWARD_RATE / 2, seed=seed)
    save(out / "tldr-reward", reward, tokenizer, "right")

    figures = measure_reward(reward, policy, tokenizer, posts["measured"], random)
    card = REWARD_CARD.format(
        **common_to_cards(posts, seed, started),
        parameters=parameters(reward),
        third=cost("written pairs", third),
        third_figure=third["figure"],
        fourth=cost("sampled pairs", fourth),
        fourth_figure=fourth["figure"],
        figures=figures,
    )
    write_card(out / "tldr-reward", card)


def draw_posts(random: Random, scale: float) -> dict[str, list[world.Post]]:
    """The posts of every use, all distinct; `scale` shortens training and leaves what is shipped and measured."""
    kept, taken = ("train", "validation", "measured"), set[str]()
    sizes = {name: count if name in kept else scaled(count, scale) for name, count in SIZES.items()}
    return {name: world.make_posts(count, random, taken) for name, count in sizes.items()}


def reward_config(config: LlamaConfig) -> LlamaConfig:
    kept = {
        key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id", "architectures")
    }
    return LlamaConfig(**kept, num_labels=1, attn_implementation="eager")
