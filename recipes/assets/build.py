"""Builds the practice world's files from nothing: tokenizer, policy, reward model, posts, and their model cards.

    python recipes/assets/build.py                      # writes into recipes/assets, about half an hour on 2 cores
    python recipes/assets/build.py --out /tmp/world --scale 0.01    # a rehearsal in a minute; the models are useless

1. A byte-level BPE tokenizer is trained on the world's text.
2. A small Llama learns to write faithful summaries (stage 1), then imitates a mix of good and bad ones (stage 2): that
   is `tldr-policy`, an ordinary supervised model with something left to align.
3. `tldr-reward` starts from the policy and learns preferences (Bradley-Terry) among summaries of a post, written by the
   world or sampled from the policy, ranked by `world.judge`. It stays imperfect.
4. Every figure in the model cards is measured here, on posts that no model was trained on.

All randomness comes from `--seed`: the same machine, thread count and library versions give the same files.
"""

import argparse
import json
import platform
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import fragments
import torch
import transformers
import world
from modelling import Encoded, encode, language_loss, preference_loss, sample, score, train
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
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


# ---- tokenizer


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with bos in front and no eos; every name of the world is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    names = " ".join(("", *fragments.NAMES, *world.RELATIONS)) * len(texts)
    tokenizer.train_from_iterator([*texts, names], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


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
    return encode(tokenizer, [post.prompt for post in posts], summaries, ranks)


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
    folder.mkdir(parents=True, exist_ok=True)
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
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")


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


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows))


def cost(name: str, figures: dict[str, float]) -> str:
    return (
        f"{name}: {figures['steps']} steps, {figures['seconds']:.0f} s, {figures['tokens_per_second']:.0f} tokens/s, "
        f"last loss {figures['loss']:.3f}"
    )


def parameters(model: torch.nn.Module) -> str:
    return f"{sum(weights.numel() for weights in model.parameters()):,}"


POLICY_CARD = """# tldr-policy

A Llama of {parameters} parameters (4 layers, width 128, tied embeddings, float32) that summarises posts of the practice
world. It imitates good and bad summaries alike, on purpose: it is a starting point for alignment, and of no other use.

**Format.** Prompt: the post and `"\\n\\nTL;DR:"`. Completion: a space, the summary, eos. The tokenizer puts bos in
front and adds no eos; it pads on the left. All text is lower-case.

**How it was made.** `python recipes/assets/build.py --seed {seed}`: trained from scratch on {stage_1} posts with three
faithful summaries each, then on {stage_2} posts with three summaries each of this mix: {mix}.

- {first}; mean loss of a summary token {first_figure:.3f}
- {second}; mean loss of a summary token {second_figure:.3f}
- {machine}

**Samples** on {measured} posts no model was trained on, four each, judged by `world.judge`:

{figures}
"""

REWARD_CARD = """# tldr-reward

A Bradley-Terry reward model of {parameters} parameters for summaries of the practice world's posts
(`LlamaForSequenceClassification`, one label, float32). Learned and imperfect, on purpose: enough optimisation will find
its mistakes.

**Format.** One text: prompt + `" "` + summary + `"</s>"`, where the prompt is the post and `"\\n\\nTL;DR:"`. The
tokenizer puts bos in front and pads on the right; the score is read at the last token that is not padding, so **the
text must end with eos**. Higher is better.

**How it was made.** `python recipes/assets/build.py --seed {seed}`: starts from the policy; Bradley-Terry on all
pairs of different rank (faithful > incomplete, long-winded > any other fault) among seven summaries by the world for
{written} posts, then among three samples of the policy at temperature 1.0 and two by the world for {sampled} posts.

- {third}; pairs in the right order in the last 50 steps {third_figure:.1%}
- {fourth}; pairs in the right order in the last 50 steps {fourth_figure:.1%}
- {machine}

**On {measured} posts no model was trained on**, how often the faithful summary scores higher, and the scores of the
policy's samples:

{figures}
"""

POSTS_CARD = """# tldr-posts

{train} training and {validation} validation posts of the practice world, disjoint from each other and from every post
that a model here was trained on. Written by `python recipes/assets/build.py --seed {seed}` from `fragments.py`.

`id`; `prompt`: the post and `"\\n\\nTL;DR:"`; `facts`: name, relation, place, problem, outcome, question and domain, as
`world.judge(summary, facts)` takes them; `answer`: one faithful summary.
"""


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
    tokenizer = train_tokenizer(texts)
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


def scaled(count: int, scale: float) -> int:
    return max(int(count * scale), 64)


def common_to_cards(posts: dict[str, list[world.Post]], seed: int, started: float) -> dict[str, str]:
    counts = {name.replace("-", "_"): f"{len(part):,}" for name, part in posts.items()}
    machine = (
        f"{(time.time() - started) / 60:.1f} minutes in all with {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}"
    )
    return {**counts, "seed": str(seed), "machine": machine}


def write_card(folder: Path, card: str) -> None:
    (folder / "README.md").write_text(card, encoding="utf-8")
    print(card)


def policy_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
    )


def reward_config(config: LlamaConfig) -> LlamaConfig:
    kept = {
        key: value for key, value in config.to_dict().items() if key not in ("id2label", "label2id", "architectures")
    }
    return LlamaConfig(**kept, num_labels=1, attn_implementation="eager")


def save(
    folder: Path,
    model: LlamaForCausalLM | LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    padding_side: str,
) -> None:
    tokenizer.padding_side = padding_side
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="where the four folders go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the training to do (default: 1.0)")
    parser.add_argument(
        "--only", choices=("policy", "reward"), help="half of the build; `reward` needs a policy in --out"
    )
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only != "reward":
        build_posts_and_policy(options.out, options.seed, options.scale)
    if options.only != "policy":
        build_reward(options.out, options.seed, options.scale)


if __name__ == "__main__":
    main()
