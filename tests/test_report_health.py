"""Each rule warns where it should; a sound run has no warning."""

import pytest

from copgkit import Completion, Prompt, Sample
from copgkit.report import diagnose

SOUND = [
    {"reward/mean": (0.0, 0.1), "kl/mean": (0.0, 0.0), "faithful/share": (0.43, 0.05), "rouge/rouge1": (0.3, 0.01),
     "length/mean": (20.0, 1.0), "finished/share": (0.95, 0.02)},
    {"reward/mean": (0.5, 0.1), "kl/mean": (3.0, 0.3), "faithful/share": (0.46, 0.05), "rouge/rouge1": (0.31, 0.01),
     "length/mean": (21.0, 1.0), "finished/share": (0.94, 0.02)},
    {"reward/mean": (0.8, 0.1), "kl/mean": (6.0, 0.5), "faithful/share": (0.45, 0.05), "rouge/rouge1": (0.31, 0.01),
     "length/mean": (22.0, 1.0), "finished/share": (0.93, 0.02)},
]  # fmt: skip


def metrics(*changes, norms=lambda step: 1.0, residual=lambda step: 1.0 - step / 100):
    """Rows of a sound run of 40 steps with evaluations at 0, 20 and 40; changes[i] alter the i-th evaluation."""
    rows = []
    for step in range(41):
        if step:
            rows.append({"step": step, "train/gradient-norm/value": norms(step), "train/residual/rms": residual(step)})
        if step % 20 == 0:
            figures = SOUND[step // 20] | (changes[step // 20] if step // 20 < len(changes) else {})
            row = {"step": step}
            for name, (value, half) in figures.items():
                row |= {f"eval/{name}": value, f"eval/{name}/low": value - half, f"eval/{name}/high": value + half}
            rows.append(row)
    return rows


def rules(warnings):
    return [warning.partition(":")[0] for warning in warnings]


def samples(*texts):
    return [Sample(Completion(Prompt(f"prompt {i}"), text), {}, 0.0, 0.0) for i, text in enumerate(texts)]


def test_a_sound_run_has_no_warning():
    various = samples(*(f"completion {i % 9}" for i in range(20)))
    assert diagnose(metrics(), various, various) == []


def test_no_rows_and_one_evaluation_give_no_warning():
    assert diagnose([]) == []
    assert diagnose(metrics()[:1]) == []


def test_a_reward_below_the_references_is_a_collapse_that_the_loss_does_not_show():
    rows = metrics({}, {"reward/mean": (-0.5, 0.1)}, {"reward/mean": (-1.0, 0.1)})
    assert rules(diagnose(rows)) == ["collapse", "past the peak", "the loss does not show it"]


def test_a_collapse_that_the_residual_shows_is_told_once():
    rows = metrics({}, {"reward/mean": (-0.5, 0.1)}, {"reward/mean": (-0.55, 0.1)}, residual=lambda step: 1 + step)
    assert rules(diagnose(rows)) == ["collapse"]


def test_a_fall_within_the_noise_is_no_collapse():
    rows = metrics({}, {"reward/mean": (0.0, 0.1)}, {"reward/mean": (-0.15, 0.1)})
    assert diagnose(rows) == []


def test_a_reward_past_its_peak_is_named_with_both_numbers():
    rows = metrics({}, {"reward/mean": (1.5, 0.1)}, {}, residual=lambda step: 1 + step)
    (warning,) = diagnose(rows)
    assert "past the peak" in warning
    assert "1.500" in warning
    assert "0.800" in warning


@pytest.mark.parametrize("name", ["faithful/share", "rouge/rouge1"])
def test_a_measure_that_no_reward_sees_falls_while_the_reward_rises(name):
    value, half = SOUND[0][name]
    (warning,) = diagnose(metrics({}, {}, {name: (value / 2, half)}))
    assert warning.startswith(f"over-optimisation: '{name}'")


def test_the_same_fall_without_a_rise_of_the_reward_is_not_over_optimisation():
    flat = {"reward/mean": (0.0, 0.1)}
    assert diagnose(metrics({}, flat, flat | {"faithful/share": (0.2, 0.05)})) == []


@pytest.mark.parametrize(("kl", "warned"), [(24.9, False), (25.1, True)])
def test_a_policy_far_away_is_told(kl, warned):
    assert rules(diagnose(metrics({}, {}, {"kl/mean": (kl, 0.1)}))) == (["KL"] if warned else [])


def test_a_distance_that_brought_nothing_is_told():
    rows = metrics({}, {"kl/mean": (6.0, 0.1)}, {"kl/mean": (11.5, 0.1), "reward/mean": (0.45, 0.1)})
    assert rules(diagnose(rows)) == ["KL without gain"]


@pytest.mark.parametrize(("length", "warned"), [(29.0, False), (31.0, True), (14.0, False), (13.0, True)])
def test_a_length_that_drifts_by_half_is_told(length, warned):
    assert rules(diagnose(metrics({}, {}, {"length/mean": (length, 1.0)}))) == (["length"] if warned else [])


@pytest.mark.parametrize(("share", "warned"), [(0.86, False), (0.84, True)])
def test_completions_that_no_longer_end_are_told(share, warned):
    assert rules(diagnose(metrics({}, {}, {"finished/share": (share, 0.02)}))) == (["endings"] if warned else [])


def test_gradients_that_explode_are_told_and_single_spikes_are_not():
    assert rules(diagnose(metrics(norms=lambda step: 1.1**step))) == ["gradients"]
    assert diagnose(metrics(norms=lambda step: 1000.0 if step % 15 == 0 else 1.0)) == []


def test_one_completion_for_all_prompts_is_told_unless_the_reference_did_the_same():
    same = samples(*["yes"] * 8, *(f"other {i}" for i in range(12)))
    various = samples(*(f"completion {i}" for i in range(20)))
    assert rules(diagnose([], same, various)) == ["repetition"]
    assert diagnose([], same, same) == []


def test_a_bandit_with_one_prompt_may_repeat_itself():
    prompt = Prompt("one")
    arms = [Sample(Completion(prompt, "a"), {}, 0.0, 0.0)] * 40
    assert diagnose([], arms, samples(*map(str, range(40)))) == []
