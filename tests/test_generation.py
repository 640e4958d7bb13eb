"""Generation: token by token what transformers writes, and nothing that depends on the batch."""

import collections
import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_causal_lm import ARCHITECTURES, EOS, make_module, make_policy, slow_log_prob
from transformers import MistralConfig, MistralForCausalLM

from copgkit import GenerationSettings, Group, ModelError, Prompt
from copgkit.engine import causal_lm
from copgkit.engine.causal_lm import CausalLMPolicy
from copgkit.engine.codec import IntegerCodec
from copgkit.engine.generation import rows_at_once
from copgkit.engine.sampling import choose, stream_names, uniforms

GREEDY = GenerationSettings(temperature=0)
PROMPTS = [Prompt("2 3 4"), Prompt("8"), Prompt("5 6 7 9 10 11 12"), Prompt("13 14")]
REDDIT = Path(__file__).parent.parent.parent / "shared" / "models" / "reddit-policy"


def ids(completions):
    return [[completion.token_ids for completion in row] for row in completions]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_generation_is_that_of_transformers_token_by_token(architecture):
    policy = make_policy(architecture)
    for prompt, row in zip(PROMPTS, policy.generate(PROMPTS, 1, GREEDY), strict=True):
        prompt_ids = torch.tensor([[int(word) for word in prompt.text.split()]])
        wanted = make_module(architecture).eval().generate(
            prompt_ids, attention_mask=torch.ones_like(prompt_ids), do_sample=False, max_new_tokens=20,
            eos_token_id=EOS, pad_token_id=0,
        )  # fmt: skip
        assert row[0].token_ids == tuple(wanted[0, prompt_ids.shape[1] :].tolist())


def test_greedy_generation_with_a_sliding_window_is_that_of_transformers():
    torch.manual_seed(0)
    sizes = {"vocab_size": 23, "num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16}
    config = MistralConfig(
        **sizes, intermediate_size=24, num_key_value_heads=2, sliding_window=4, initializer_range=0.4,
        max_position_embeddings=40,
    )  # fmt: skip
    module = MistralForCausalLM(config).eval()
    policy = CausalLMPolicy(module, IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=15)
    for prompt in (PROMPTS[0], PROMPTS[2]):
        prompt_ids = torch.tensor([[int(word) for word in prompt.text.split()]])
        wanted = module.generate(prompt_ids, do_sample=False, max_new_tokens=15, eos_token_id=EOS, pad_token_id=0)
        assert policy.generate([prompt], 1, GREEDY)[0][0].token_ids == tuple(wanted[0, prompt_ids.shape[1] :].tolist())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_samples_depend_on_neither_batch_size_nor_order(architecture):
    policy = make_policy(architecture)
    settings = GenerationSettings(temperature=1.0, top_p=0.95, seed=5)
    together = ids(policy.generate(PROMPTS, 5, settings))
    policy.rows_per_batch = 1
    assert ids(policy.generate(PROMPTS, 5, settings)) == together
    assert ids(policy.generate(PROMPTS[::-1], 5, settings)) == together[::-1]
    assert ids(policy.generate(PROMPTS[1:2], 2, settings))[0] == together[1][:2]


def test_a_batch_has_more_rows_the_less_their_keys_and_values_take():
    config = SimpleNamespace(num_hidden_layers=4, hidden_size=128)
    # Keys and values of a token: 2 * 4 * 128 numbers. 2**28 bytes / (1,024 * 4 * 128) = 512 rows of 128 tokens.
    assert rows_at_once(config, 4, 128.0) == 512
    assert rows_at_once(config, 2, 128.0) == 1024
    assert rows_at_once(config, 4, 1.0) == 1024
    assert rows_at_once(config, 4, 10_000.0) == 256
    assert rows_at_once(SimpleNamespace(), 4, 1.0) == 256


def test_rows_per_batch_is_found_by_the_model_unless_it_is_given(monkeypatch):
    policy = make_policy(max_completion_tokens=1)
    sizes, complete = [], policy._complete

    def spy(prompts, *rest):
        sizes.append(len(prompts))
        return complete(prompts, *rest)

    monkeypatch.setattr(policy, "_complete", spy)
    policy.generate(PROMPTS * 150, 2, GREEDY)
    policy.rows_per_batch = 500
    policy.generate(PROMPTS * 150, 2, GREEDY)
    assert sizes == [512, 88, 250, 250, 100]


# --- log-probabilities ----------------------------------------------------------------------------------------------


def written_and_passed(policy, settings):
    rows = policy.generate(PROMPTS, 5, settings)
    groups = [Group(prompt, tuple(row)) for prompt, row in zip(PROMPTS, rows, strict=True)]
    with torch.no_grad():
        return [[one.log_prob for one in row] for row in rows], policy.log_probs(groups).tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_completion_knows_the_log_probability_with_which_it_was_written(architecture, temperature):
    policy = make_policy(architecture)
    written, passed = written_and_passed(policy, GenerationSettings(temperature, 0.9, seed=4))
    torch.testing.assert_close(torch.tensor(written), torch.tensor(passed), rtol=1e-5, atol=1e-5)
    policy.rows_per_batch = 7  # rows end, prompts are dropped, and the rest goes on
    fewer, _ = written_and_passed(policy, GenerationSettings(temperature, 0.9, seed=4))
    torch.testing.assert_close(torch.tensor(fewer), torch.tensor(passed), rtol=1e-5, atol=1e-5)


def test_a_log_probability_that_a_pass_does_not_give_is_not_known(monkeypatch):
    policy = make_policy()
    passes, graphs = causal_lm.in_passes, []

    def known_beside_a_pass_that_is_off_by(share, prompts=PROMPTS[:2]):
        def off(*given):
            logp = passes(*given)
            graphs.append(logp.requires_grad)
            return logp * (1 + share)

        monkeypatch.setattr(causal_lm, "in_passes", off)
        return {one.log_prob is not None for row in policy.generate(prompts, 3, GenerationSettings()) for one in row}

    assert known_beside_a_pass_that_is_off_by(5e-4) == {False}
    assert known_beside_a_pass_that_is_off_by(5e-6) == {True}
    assert graphs == [False, False]  # with a graph, processes would wait for each other
    assert known_beside_a_pass_that_is_off_by(5e-4) == {True}  # no longer than what was found to agree
    assert len(graphs) == 2
    assert known_beside_a_pass_that_is_off_by(5e-4, [Prompt(" ".join(["3"] * 20))]) == {False}


def test_what_is_written_with_sixteen_bits_is_read_again_for_its_log_probability():
    policy = make_policy()
    with torch.autocast("cpu", torch.bfloat16):
        assert policy.generate(PROMPTS[:1], 2, GenerationSettings())[0][0].log_prob is None
    coarse = CausalLMPolicy(
        make_module().bfloat16(), IntegerCodec((EOS,)), max_prompt_tokens=20, max_completion_tokens=20
    )
    assert coarse.generate(PROMPTS[:1], 2, GenerationSettings())[0][0].log_prob is None


def test_another_seed_or_number_gives_other_samples_and_a_repeated_prompt_goes_on():
    policy = make_policy()
    settings = GenerationSettings(seed=1)
    (row,) = ids(policy.generate(PROMPTS[:1], 6, settings))
    assert len(set(row)) > 3
    assert ids(policy.generate(PROMPTS[:1], 6, GenerationSettings(seed=2)))[0] != row
    assert [one for (one,) in ids(policy.generate([PROMPTS[0]] * 6, 1, settings))] == row


def test_the_global_random_state_is_not_touched():
    policy = make_policy()
    random.seed(3), torch.manual_seed(3)
    before = random.getstate(), torch.get_rng_state()
    policy.generate(PROMPTS, 2, GenerationSettings())
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_first_tokens_come_as_often_as_the_softmax_says(temperature):
    policy = make_policy()
    policy.max_completion_tokens = 1
    number = 20_000
    (row,) = policy.generate(PROMPTS[:1], number, GenerationSettings(temperature=temperature))
    counts = collections.Counter(completion.token_ids[0] for completion in row)
    logits = policy.model(torch.tensor([[2, 3, 4]])).logits[0, -1].double()
    for token_id, probability in enumerate((logits / temperature).softmax(-1).tolist()):
        deviation = (probability * (1 - probability) / number) ** 0.5
        assert counts[token_id] / number == pytest.approx(probability, abs=4.5 * deviation + 1e-9)


def test_log_probs_of_samples_average_to_minus_the_entropy():
    policy = make_policy(max_completion_tokens=1)
    (row,) = policy.generate(PROMPTS[:1], 4000, GenerationSettings())
    mean = policy.log_probs([Group(PROMPTS[0], tuple(row))]).mean().item()
    probabilities = policy.model(torch.tensor([[2, 3, 4]])).logits[0, -1].double().softmax(-1)
    assert mean == pytest.approx((probabilities * probabilities.log()).sum().item(), abs=0.1)


def test_a_completion_ends_with_the_first_stop_id_or_at_the_limit():
    policy = CausalLMPolicy(make_module(), IntegerCodec((EOS, 4, 9)), max_prompt_tokens=20, max_completion_tokens=12)
    completions = [c for row in policy.generate(PROMPTS, 40, GenerationSettings()) for c in row]
    assert {c.finished for c in completions} == {True, False}
    for completion in completions:
        *inside, last = completion.token_ids
        assert not {EOS, 4, 9} & set(inside)
        assert completion.finished == (last in {EOS, 4, 9})
        assert completion.finished or len(completion.token_ids) == 12
        assert completion.text == " ".join(str(i) for i in completion.token_ids if i not in {EOS, 4, 9})


def test_generated_completions_are_encoded_as_they_are_and_their_log_probs_are_exact():
    policy = make_policy(max_completion_tokens=8)
    rows = policy.generate(PROMPTS, 3, GenerationSettings())
    groups = [Group(prompt, tuple(row)) for prompt, row in zip(PROMPTS, rows, strict=True)]
    encoded, _ = policy.encode(groups)
    assert encoded == groups
    logp = policy.log_probs(encoded)
    prompt_ids = [8]
    wanted = [slow_log_prob(policy.model, prompt_ids, c.token_ids).item() for c in groups[1].completions]
    assert logp[1].tolist() == pytest.approx(wanted, abs=1e-4)


def test_settings_may_shorten_completions_but_not_lengthen_them():
    policy = make_policy(max_completion_tokens=6)
    lengths = [
        max(len(c.token_ids) for row in policy.generate(PROMPTS, 8, GenerationSettings(max_tokens=limit)) for c in row)
        for limit in (2, None, 15)
    ]
    assert lengths == [2, 6, 6]


def test_a_prompt_that_is_too_long_gets_no_completion():
    policy = make_policy(max_prompt_tokens=3)
    assert [len(row) for row in policy.generate(PROMPTS, 2, GREEDY)] == [2, 2, 0, 2]
    assert [policy.fits(prompt) for prompt in PROMPTS] == [True, True, False, True]


def test_generation_leaves_gradient_checkpointing_and_gradients_as_they_were():
    plain, checkpointed = make_policy(), make_policy(gradient_checkpointing=True)
    settings = GenerationSettings(seed=9)
    assert ids(checkpointed.generate(PROMPTS, 2, settings)) == ids(plain.generate(PROMPTS, 2, settings))
    assert checkpointed.module.training
    assert all(parameter.grad is None for parameter in checkpointed.parameters())


def test_a_model_without_a_cache_is_refused():
    policy = make_policy()
    forward = policy.model.forward

    def without_cache(*given, **options):
        output = forward(*given, **options)
        output.past_key_values = None
        return output

    policy.model.forward = without_cache
    with pytest.raises(ModelError, match="no key/value cache"):
        policy.generate(PROMPTS, 1, GREEDY)


# --- choosing a token -----------------------------------------------------------------------------------------------

LOGITS = torch.tensor([[0.5, 0.2, 0.3, 0.0]]).log()


def chosen(uniform, temperature=1.0, top_p=1.0):
    return choose(LOGITS, torch.tensor([uniform], dtype=torch.float64), temperature, top_p)[0].item()


def test_a_uniform_number_is_looked_up_in_the_cumulated_probabilities():
    assert [chosen(u) for u in (0.0, 0.499, 0.501, 0.699, 0.701, 0.999999)] == [0, 0, 1, 1, 2, 2]


def test_temperature_zero_is_the_likeliest_token_whatever_the_number():
    assert [chosen(u, temperature=0) for u in (0.0, 0.9)] == [0, 0]


def test_temperature_sharpens():
    # At temperature 1/2 the weights are the squares: 25, 4 and 9 of 38.
    assert [chosen(u, temperature=0.5) for u in (0.657, 0.659, 0.762, 0.764)] == [0, 1, 1, 2]


def test_top_p_keeps_the_likeliest_tokens_that_hold_the_mass():
    # Sorted: 0.5 (token 0), 0.3 (token 2), 0.2 (token 1). Mass 0.6 needs the first two, of weights 5/8 and 3/8.
    assert [chosen(u, top_p=0.6) for u in (0.0, 0.624, 0.626, 0.999)] == [0, 0, 2, 2]
    assert {chosen(u / 100, top_p=0.4) for u in range(100)} == {0}
    assert {chosen(u / 100, top_p=0.9) for u in range(100)} == {0, 1, 2}


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.0, 0.6), (0.5, 1.0), (2.0, 0.9), (0.0, 1.0)])
def test_a_token_s_log_probability_is_the_model_s_own_however_it_is_drawn(temperature, top_p):
    logits = torch.randn(50, 9, generator=torch.Generator().manual_seed(1)) * 3
    uniform = torch.rand(50, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    token, logp = choose(logits, uniform, temperature, top_p)
    wanted = logits.double().log_softmax(-1)[torch.arange(50), token]
    torch.testing.assert_close(logp, wanted, rtol=1e-12, atol=1e-12)


def test_streams_are_named_by_seed_content_and_number():
    a, b = Prompt("a", id="1"), Prompt("b")
    names = stream_names([a, b, a], 2, seed=0)
    assert len({name for row in names for name in row}) == 6
    assert stream_names([a], 4, seed=0)[0] == names[0] + names[2]
    assert stream_names([Prompt("a", id="2")], 2, seed=0)[0] == names[0]
    assert stream_names([a], 2, seed=1)[0] != names[0]
    assert uniforms("name", 3) == uniforms("name", 5)[:3]
    assert uniforms("name", 1) != uniforms("other", 1)


# --- a real small model ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reddit():
    if not REDDIT.is_dir():
        pytest.skip("real data, where present")
    return CausalLMPolicy.load(str(REDDIT), max_prompt_tokens=200, max_completion_tokens=24)


POSTS = [
    Prompt(f"SUBREDDIT: r/{name}\n\nTITLE: {title}\n\nPOST: {post}\n\nTL;DR:")
    for name, title, post in (
        ("hacking", "Where do I start?", "I am a noob. How do I learn to hack?"),
        ("AskReddit", "My boss is rude", "He shouted at me in public. Should I quit my job?"),
        ("treedibles", "Moderator opportunity!", "I need someone capable of making this look good."),
    )
]


def test_a_real_model_reads_its_prompts_as_its_card_says(reddit):
    prompt_ids = reddit.codec.prompt_ids(POSTS[0])
    assert prompt_ids[0] == 2
    assert prompt_ids[-1] != 3
    assert reddit.codec.stop_ids == (3,)


def test_a_real_model_gives_its_samples_the_log_probs_of_the_slow_computation(reddit):
    rows = reddit.generate(POSTS, 2, GenerationSettings(seed=4))
    groups, _ = reddit.encode([Group(prompt, tuple(row)) for prompt, row in zip(POSTS, rows, strict=True)])
    with torch.no_grad():
        logp_GK = reddit.log_probs(groups)
        for row, one in zip(logp_GK.tolist(), groups, strict=True):
            prompt_ids = reddit.codec.prompt_ids(one.prompt)
            wanted = [slow_log_prob(reddit.model, prompt_ids, c.token_ids).item() for c in one.completions]
            assert row == pytest.approx(wanted, abs=1e-3)
