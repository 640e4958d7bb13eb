"""Builds the code world's files from nothing: tasks, tokenizer, policy, and their cards.

Run it by `build.py`.

1. `code-tasks` holds the tasks of the recipes. Validation has parameters that nothing else here has.
2. A byte-level BPE tokenizer is trained on the world's prompts and code.
3. A small Llama imitates code that is right in about half of the cases, less in the end, and has one slip otherwise:
   `code-policy`, an ordinary supervised model with something left to align.

What the policy writes is compared as text with the code that the world has for a task. Nothing it writes runs here.
"""

import time
from collections import Counter
from pathlib import Path
from random import Random

import torch
from cards import CODE_POLICY_CARD, CODE_TASKS_CARD
from code_world.tasks import FAMILIES, Task, make_tasks
from modelling import encode, language_loss, sample, train
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
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 800
# Stages of the policy's training: tasks, share of their completions that are right, learning rate.
STAGES = {"stage-1": (24_000, 0.55, 3e-3), "stage-2": (16_000, 0.40, 1e-3)}
SIZES = {"train": 1_500, "validation": 300}
COMPLETIONS = 4  # of each task that the policy learns from
LAYERS = 3
GROUPS_PER_STEP = 8
MEASURED = 8  # samples of each validation task


def build_tasks(out: Path, seed: int, scale: float) -> None:
    """Writes `code-tasks`, card included; the scale changes nothing here."""
    started = time.time()
    tasks = draw_tasks(seed)
    for split, part in tasks.items():
        rows = [{"id": f"{split}-{index:04d}", **task.row} for index, task in enumerate(part)]
        write_rows(out / "code-tasks" / f"{split}.jsonl", rows)
    card = CODE_TASKS_CARD.format(**common_to_cards(tasks, seed, started), families=len(FAMILIES))
    write_card(out / "code-tasks", card)


def build_policy(out: Path, seed: int, scale: float) -> None:
    """Writes `code-policy`, card included."""
    started = time.time()
    torch.manual_seed(seed)
    random = Random(seed + 1)
    drawn = {stage: draw_imitated(scaled(count, scale), right, random) for stage, (count, right, _) in STAGES.items()}
    tokenizer = train_tokenizer([prompt + code[0] for prompt, code in drawn["stage-1"][:6000]], VOCABULARY)
    policy = LlamaForCausalLM(policy_config(tokenizer, LAYERS))
    costs = []
    for stage, examples in drawn.items():
        prompts, code = zip(*examples, strict=True)
        groups = encode(tokenizer, list(prompts), list(code), [[0] * COMPLETIONS for _ in code])
        rate = STAGES[stage][2]
        figures = train(policy, language_loss, groups, name=stage, learning_rate=rate, seed=seed, size=GROUPS_PER_STEP)
        costs.append(f"- {cost(stage, figures)}; mean loss of a completion's token {figures['figure']:.3f}")
    save(out / "code-policy", policy, tokenizer, "left")

    tasks = draw_tasks(seed)
    shares = [f"{right:.0%}" for _, right, _ in STAGES.values()]
    card = CODE_POLICY_CARD.format(
        **common_to_cards({**tasks, **drawn}, seed, started),
        parameters=parameters(policy),
        layers=policy.config.num_hidden_layers,
        completions=COMPLETIONS,
        right=" and ".join(shares),
        costs="\n".join(costs),
        samples=MEASURED,
        figures=measure(policy, tokenizer, tasks["validation"]),
    )
    write_card(out / "code-policy", card)


def draw_tasks(seed: int) -> dict[str, list[Task]]:
    """The tasks that are shipped, all with prompts of their own."""
    random, taken = Random(seed), set[str]()
    return {
        split: make_tasks(count, random, held_out=split == "validation", taken=taken) for split, count in SIZES.items()
    }


def draw_imitated(count: int, right: float, random: Random) -> list[tuple[str, list[str]]]:
    """Prompts with training parameters, each with completions of which a share is right."""
    tasks = make_tasks(count, random, held_out=False, asserts=False)
    return [(task.prompt, [draw_code(task, right, random) for _ in range(COMPLETIONS)]) for task in tasks]


def draw_code(task: Task, right: float, random: Random) -> str:
    """The solution with probability `right`, or else code with one of the slips."""
    return task.solution if random.random() < right else random.choice(list(task.wrong.values()))


def measure(policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, tasks: list[Task]) -> str:
    """How much of what the policy writes is the solution, code with a slip of some kind, or anything else."""
    columns = {}
    for temperature in (1.0, 0.7):
        samples = sample(policy, tokenizer, [task.prompt for task in tasks], MEASURED, temperature)
        kinds = [kind_of(text, task) for task, group in zip(tasks, samples, strict=True) for text in group]
        columns[f"T = {temperature}"] = Counter(kinds)
    rows = [
        [kind, *(f"{column[kind] / column.total():.1%}" for column in columns.values())] for kind in columns["T = 1.0"]
    ]
    return table(["code", *columns], sorted(rows))


def kind_of(text: str, task: Task) -> str:
    """Gives "solution", the kind of the slip, or "other": neither, which may pass or fail."""
    known = {code: told.partition(":")[0] for told, code in task.wrong.items()} | {task.solution: "solution"}
    return known.get(text, "other")
