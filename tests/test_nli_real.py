"""`nli` and the guards on real TL;DRs with a real, small classifier; skipped where `../shared` does not have them."""

import gzip
import json
from pathlib import Path

import pytest

from copgkit import Completion, Context, Prompt
from copgkit_guards import CopyRate, Form, Length
from copgkit_nli.sentences import sentences
from copgkit_nli.source import Entailment

SHARED = Path(__file__).parent.parent.parent / "shared"
MODEL = SHARED / "models/nli-minilm"
POSTS = SHARED / "data/reddit-tldr/tldr_test.jsonl.gz"

pytestmark = pytest.mark.skipif(
    not (MODEL.is_dir() and POSTS.is_file()), reason="needs the classifier and the posts in ../shared"
)


def _posts(count, max_words=400):
    with gzip.open(POSTS, "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    return [row for row in rows if len(row["post"].split()) <= max_words][:count]


def _prompts(posts):
    return [Prompt("TL;DR:", facts={"post": post["post"]}) for post in posts]


def _values(source, posts, texts):
    pairs = zip(_prompts(posts), texts, strict=True)
    return [score.value for score in source.score([Completion(prompt, text) for prompt, text in pairs])]


def _entailment(**options):
    return Entailment(Entailment.Options(model=str(MODEL), prompt_from="facts.post", **options), Context("nli"))


def _share_of_wins(posts):
    """How often a post's own summary scores above the next post's; a tie is half a win."""
    source, own = _entailment(), [post["summary"] for post in posts]
    true, false = _values(source, posts, own), _values(source, posts, own[1:] + own[:1])
    return sum((a > b) + 0.5 * (a == b) for a, b in zip(true, false, strict=True)) / len(posts)


def test_the_true_summary_mostly_beats_another_posts():
    assert _share_of_wins(_posts(20, max_words=80)) >= 0.7


@pytest.mark.slow
def test_the_true_summary_beats_another_posts_in_four_of_five_posts():
    assert _share_of_wins(_posts(250)) >= 0.8


def test_entailment_alone_prefers_a_copied_sentence_and_the_copy_rate_turns_that_round():
    posts = _posts(16, max_words=80)
    texts = [post["summary"] for post in posts], [sentences(post["post"])[0] for post in posts]
    nli, copying = _entailment(), CopyRate(CopyRate.Options(prompt_from="facts.post", sign=-1))
    (human, lead), (human_copies, lead_copies) = (
        [_values(one, posts, text) for text in texts] for one in (nli, copying)
    )
    assert sum(a > b for a, b in zip(human, lead, strict=True)) < len(posts) / 2
    guarded = zip(human, human_copies, lead, lead_copies, strict=True)
    assert sum(a + a_copies > b + b_copies for a, a_copies, b, b_copies in guarded) > 3 / 4 * len(posts)


def test_the_guards_mind_few_human_summaries():
    posts = _posts(500)
    human = [post["summary"] for post in posts]
    loops = _values(Form(Form.Options(open=0.0)), posts, human)
    assert sum(value < 0 for value in loops) <= 5
    assert sum(value < 0 for value in _values(Length(Length.Options(minimum=5, maximum=60)), posts, human)) <= 25
    rates = _values(CopyRate(CopyRate.Options(prompt_from="facts.post")), posts, human)
    assert sum(rates) / len(rates) < 0.15
