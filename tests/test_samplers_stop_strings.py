"""Stop strings end a completion, and its log-probability is that of the tokens that were generated."""

import collections
import json

import pytest
import torch
import yaml
from test_causal_lm import EOS, make_module, make_policy, slow_log_prob

import copgkit
from copgkit import GenerationSettings, Group, Prompt
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec
from copgkit.engine.stop_strings import StopStrings

PROMPTS = [Prompt("2 3 4"), Prompt("8"), Prompt("5 6 7 9 10 11 12")]


def stopping(*stop, length=12):
    return CausalLMPolicy(
        make_module(), IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=length, stop=stop
    )


def completions_of(policy, number=40, **settings):
    return [one for row in policy.generate(PROMPTS, number, GenerationSettings(**settings)) for one in row]


def test_a_completion_ends_with_the_token_that_completes_a_stop_string_and_its_text_before_it():
    policy, free = stopping("9 ", " 4"), stopping()
    stopped = 0
    for one, unstopped in zip(completions_of(policy), completions_of(free), strict=True):
        assert one.token_ids == unstopped.token_ids[: len(one.token_ids)]  # the same numbers, ended earlier
        whole, before_last = policy.codec.text(one.token_ids), policy.codec.text(one.token_ids[:-1])
        assert not any(stop in text for stop in ("9 ", " 4") for text in (one.text, before_last))
        if any(stop in whole for stop in ("9 ", " 4")):
            stopped += 1
            assert one.finished
            assert whole.startswith(one.text)
            assert EOS not in one.token_ids
        else:
            assert one.text == whole
            assert one.finished == (one.token_ids[-1] == EOS)
    assert 20 < stopped < 120


def test_the_first_of_several_stop_strings_counts():
    stops = StopStrings(("cd", "b"), IntegerCodec((EOS,)))
    assert stops.before("abcd") == ("a", True)
    assert stops.before("acdb") == ("a", True)
    assert stops.before("ace") == ("ace", False)


def test_the_log_prob_of_a_stopped_completion_is_that_of_its_tokens():
    policy = stopping("9 ", " 4")
    rows = policy.generate(PROMPTS, 4, GenerationSettings(seed=3))
    groups, _ = policy.encode([Group(prompt, tuple(row)) for prompt, row in zip(PROMPTS, rows, strict=True)])
    assert [group.completions for group in groups] == [tuple(row) for row in rows]
    for row, group in zip(policy.log_probs(groups).tolist(), groups, strict=True):
        prompt_ids = [int(word) for word in group.prompt.text.split()]
        wanted = [slow_log_prob(policy.model, prompt_ids, one.token_ids).item() for one in group.completions]
        assert row == pytest.approx(wanted, abs=1e-4)


def test_completions_come_as_often_as_their_log_probs_say():
    number, policy = 8000, stopping("4", length=2)
    (row,) = policy.generate(PROMPTS[:1], number, GenerationSettings())
    counts = collections.Counter(one.token_ids for one in row)
    some = list({one.token_ids: one for one in row}.values())
    with torch.no_grad():
        chances = policy.log_probs([Group(PROMPTS[0], tuple(some))])[0].exp().tolist()
    assert any(len(one.token_ids) == 1 and one.token_ids[0] != EOS for one in some)  # stopped at its first token
    for one, chance in zip(some, chances, strict=True):
        deviation = (chance * (1 - chance) / number) ** 0.5
        assert counts[one.token_ids] / number == pytest.approx(chance, abs=5 * deviation + 2 / number)
    assert 0.9 < sum(chances) <= 1 + 1e-4  # no event is counted twice


def test_stopping_does_not_depend_on_the_batch():
    policy = stopping("9 ", " 4")
    together = completions_of(policy, seed=5)
    policy.rows_per_batch = 1
    assert completions_of(policy, seed=5) == together


def test_without_stop_strings_nothing_changes():
    plain = [
        one for row in make_policy(max_completion_tokens=12).generate(PROMPTS, 40, GenerationSettings()) for one in row
    ]
    assert completions_of(stopping()) == plain


def test_a_recipe_gives_stop_strings_to_training_and_evaluation(tmp_path, tiny_policy_folder, write_jsonl):
    write_jsonl("posts.jsonl", [{"prompt": "the cat :"}, {"prompt": "the dog :"}])
    (tmp_path / "reward.py").write_text("def score(completion):\n    return -abs(len(completion.split()) - 3)\n")
    recipe = {
        "policy": {
            "model": str(tiny_policy_folder),
            "max_prompt_tokens": 16,
            "max_completion_tokens": 16,
            "stop": ["cat", "sat on"],
        },
        "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
        "sampler": {"use": "reference", "options": {"completions_per_prompt": 12}},
        "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
        "evaluate": {
            "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
            "with": [{"use": "reward-summary"}],
        },
    }
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(recipe))
    result = copgkit.run(path, output=tmp_path / "out")
    groups = map(json.loads, (result.folder / "groups/round-0000.jsonl").read_text().splitlines())
    rows = [one for group in groups for one in group["completions"]]
    assert not any("cat" in one["text"] or "sat on" in one["text"] for one in rows)
    assert any(one["finished"] and one["token_ids"][-1] != 2 for one in rows)
    with pytest.raises(copgkit.RecipeError, match=r"policy\.stop\[0\]"):
        copgkit.load_recipe(path, ["policy.stop=['']"])
