"""The practice world under `recipes/assets`: its posts, its judge, and the models that are shipped with it."""

import json
import sys
from pathlib import Path
from random import Random

import pytest

ASSETS = Path(__file__).parent.parent / "recipes" / "assets"
sys.path.insert(0, str(ASSETS))

import fragments  # noqa: E402
import world  # noqa: E402


@pytest.fixture(scope="module")
def posts() -> list[world.Post]:
    return [world.make_post(random) for random in [Random(1)] for _ in range(3000)]


def rows(split: str) -> list[dict]:
    lines = (ASSETS / "tldr-posts" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_there_are_tens_of_thousands_of_posts_of_40_to_100_words():
    random = Random(0)
    texts = [world.make_post(random).text for _ in range(30_000)]
    assert len(set(texts)) == len(texts)
    assert all(40 <= len(text.split()) <= 100 for text in texts)


def test_a_seed_decides_posts_and_summaries():
    def write(seed: int) -> list[str]:
        random = Random(seed)
        posts = world.make_posts(20, random)
        return [world.summarise(post, kind, random) for post in posts for kind in world.KINDS]

    assert write(3) == write(3)
    assert write(3) != write(4)


def test_a_post_tells_each_of_its_facts(posts: list[world.Post]):
    for post in posts:
        for fact in ("name", "relation", "place", "question"):
            assert post.facts[fact] in post.text
        assert any(way in post.text for way in world.PROBLEMS[post.facts["problem"]].long)
        assert any(way in post.text for way in world.OUTCOMES[post.facts["outcome"]].long)


@pytest.mark.parametrize("kind", world.KINDS)
def test_the_judge_names_the_kind_of_every_summary_the_world_writes(kind: str, posts: list[world.Post]):
    random = Random(2)
    wrong = [
        (text, verdict)
        for post in posts
        for text in [world.summarise(post, kind, random)]
        for verdict in [world.judge(text, post.facts)]
        if verdict.kind != kind
    ]
    assert not wrong, f"{len(wrong)} of {len(posts)}, such as {wrong[0]}"


def test_no_name_relation_or_place_stands_inside_another_phrase():
    words = {*fragments.NAMES, *world.RELATIONS, *(place.split()[-1] for place in world.PLACES)}
    assert len(words) == len(fragments.NAMES) + len(world.RELATIONS) + len(world.PLACES)
    statements = [*world.PROBLEMS.values(), *world.OUTCOMES.values()]
    ways = [way for statement in statements for way in statement.short + statement.long]
    for phrase in (*ways, *fragments.QUESTIONS, *fragments.PADDING):
        assert not words & set(phrase.split()), phrase


FACTS = {
    "name": "anna",
    "relation": "boss",
    "place": "at the office",
    "problem": "shouted at me",
    "outcome": "quit my job",
    "question": "tell the truth",
    "domain": "work",
}


@pytest.mark.parametrize(
    ("summary", "kind"),
    [
        ("my boss anna shouted at me, so i quit my job.", "faithful"),
        ("My boss Anna yelled at me in public at the office and I handed in my notice!", "faithful"),
        ("anna shouted at me and i quit my job", "faithful"),
        ("my boss anna shouted at me, so i quit my job and i filed a complaint.", "wrong-outcome"),
        ("my boss anna or my boss ben shouted at me, so i quit my job.", "wrong-person"),
        ("i quit my job and then i shouted at me because my boss anna", "incomplete"),
        ("i shouted at me, so my boss anna quit my job.", "wrong-person"),
        ("because i quit my job my boss anna shouted at me.", "wrong-outcome"),
        ("my boss anna shouted at me at the office in the lobby, so i quit my job.", "wrong-place"),
        ("my boss anna shouted at me and deleted my files, so i quit my job.", "wrong-problem"),
        ("my boss anna shouted at me, so i quit my job. my boss anna shouted at me.", "long-winded"),
        ("my boss anna never shouted at me, so i quit my job.", "incomplete"),
        ("my boss anna shouted at me, so i did not quit my job.", "wrong-person"),
        ("my boss anna shouted at me, so i quit my job and bought a zebra.", "invented-detail"),
        ("my boss anna shouted at me, so i quit my job. should i feel guilty?", "invented-detail"),
        ("my boss anna shouted at me so so so i quit my job.", "degenerate"),
        ("and then in the end so if now i wonder if then my boss anna shouted at me, so i quit my job.", "degenerate"),
        ("shouted anna my boss at me", "degenerate"),
        ("", "incomplete"),
    ],
)  # fmt: skip
def test_the_judge_is_not_fooled(summary: str, kind: str):
    assert world.judge(summary, FACTS).kind == kind


def test_listing_every_phrase_of_the_world_is_not_faithful():
    everything = " ".join(" ".join(phrase) for phrase in world._lexicon())
    assert not world.judge(everything, FACTS).faithful


def test_shipped_posts_are_distinct_and_their_answers_faithful():
    train, validation = rows("train"), rows("validation")
    prompts = [row["prompt"] for row in train + validation]
    assert len(set(prompts)) == len(prompts) >= 1300
    for row in train + validation:
        assert row["prompt"].endswith(world.PROMPT_SUFFIX)
        assert world.judge(row["answer"], row["facts"]).faithful


@pytest.mark.parametrize(("folder", "side"), [("tldr-policy", "left"), ("tldr-reward", "right")])
def test_the_tokenizer_splits_prompt_and_completion_alike_apart_and_together(folder: str, side: str):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / folder)
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert tokenizer.padding_side == side
    random = Random(5)
    for row in rows("validation")[:200]:
        prompt, completion = row["prompt"], f" {row['answer']}{tokenizer.eos_token}"
        apart = tokenizer(prompt)["input_ids"] + tokenizer(completion, add_special_tokens=False)["input_ids"]
        assert tokenizer(prompt + completion)["input_ids"] == apart
        assert (apart[0], apart[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert tokenizer.decode(apart, skip_special_tokens=True) == f"{prompt} {row['answer']}"
    for name in random.sample(fragments.NAMES, 10):
        assert len(tokenizer(f" {name}", add_special_tokens=False)["input_ids"]) == 1


def test_the_shipped_policy_loads_and_prefers_an_answer_to_its_shuffled_words():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "tldr-policy")
    model = transformers.AutoModelForCausalLM.from_pretrained(ASSETS / "tldr-policy").float().eval()
    row = rows("validation")[0]
    words = row["answer"].split()
    shuffled = " ".join(Random(0).sample(words, len(words)))
    losses = []
    for text in (row["answer"], shuffled):
        ids = tokenizer(f"{row['prompt']} {text}", return_tensors="pt")["input_ids"]
        with torch.no_grad():
            losses.append(model(input_ids=ids, labels=ids).loss.item())
    assert losses[0] < losses[1]


def test_a_shipped_reward_does_not_depend_on_the_rest_of_its_batch():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "tldr-reward")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(ASSETS / "tldr-reward").float().eval()
    assert (model.config.num_labels, model.config.pad_token_id) == (1, tokenizer.pad_token_id)
    texts = [f"{row['prompt']} {row['answer']}{tokenizer.eos_token}" for row in rows("validation")[:12]]
    with torch.no_grad():
        together = model(**tokenizer(texts, return_tensors="pt", padding=True)).logits[:, 0]
        alone = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits[:, 0] for text in texts])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
