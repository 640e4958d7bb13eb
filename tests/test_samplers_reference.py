"""A reference that follows the policy: T refreshes are one alignment at beta / (T + 1); evaluation keeps the start."""

import math

import pytest
from sampler_world import PROMPT, REFERENCE, REWARDS, World

from copgkit import RecipeError, SamplerUse
from copgkit.engine.reference import Reference
from copgkit_samplers import PolicySampler, RecordedSampler, ReplaySampler

of = SamplerUse.of


@pytest.mark.parametrize("refreshes", [0, 1, 3])
def test_exact_solves_with_a_refresh_after_each_are_one_solve_at_a_smaller_beta(refreshes):
    solve = 250
    world = World(of(RecordedSampler), beta=1.5, refresh_every=solve)
    steps = solve * (refreshes + 1)
    world.train(steps - 1, epochs=steps, rate=0.1, schedule="constant")  # the last refresh would change nothing
    assert world.reference.refreshes == refreshes
    assert world.kl(beta=1.5 / (refreshes + 1)) < 1e-4
    assert world.kl(beta=1.5 / (refreshes + 2)) > 1e-3


def test_a_moving_average_makes_a_refresh_count_for_the_share_that_is_new():
    solve = 250
    world = World(of(RecordedSampler), beta=1.5, refresh_every=solve, decay=0.75)
    world.train(3 * solve - 1, epochs=3 * solve, rate=0.1, schedule="constant")
    assert world.reference.refreshes == 2
    # A quarter of the way twice: the reference is at exp(R / beta) to .25 and to .25 + .25 * (1 + .25 - .25) = .5.
    assert world.kl(beta=1.5 / 1.5) < 1e-4


def test_a_reference_that_is_the_policy_at_every_step_is_a_mirror_descent_that_goes_on():
    fixed = World(of(PolicySampler), groups_per_step=4).train(120)
    moving = World(of(PolicySampler), groups_per_step=4, refresh_every=10).train(120)
    assert moving.policy.probabilities(PROMPT)[0] > fixed.policy.probabilities(PROMPT)[0] + 0.05


def test_the_log_probs_of_held_groups_are_computed_once_until_the_reference_moves():
    world = World(of(ReplaySampler, share=0.75, sampler=of(PolicySampler, completions_per_prompt=8)))
    asked = []
    log_probs = world.reference.policy.log_probs
    world.reference.policy.log_probs = lambda groups: asked.extend(groups) or log_probs(groups)
    rounds = iter(world.rounds)
    first, second = next(rounds), next(rounds)
    again = [example for example in second if example.scored in [one.scored for one in first]]
    assert again
    assert len(asked) == len({tuple(one.text for one in group.completions) for group in asked})
    computed = len(asked)
    world.policy.module.logits_SA.data[0, 0] += 1
    world.reference.every = 5
    world.reference.follow(world.policy, 4)
    assert world.reference.now(second) == second
    world.reference.follow(world.policy, 5)
    moved = world.reference.now(second)
    assert len(asked) > computed
    assert all(one.ref_log_probs != other.ref_log_probs for one, other in zip(moved, second, strict=True))


def test_the_average_of_tabular_logits_is_taken_state_by_state_whatever_was_met_first():
    world = World(of(RecordedSampler))
    policy, reference = world.policy, Reference(world.policy.frozen_copy(), every=1, decay=0.5)
    other = type(PROMPT)("Met by the reference first.")
    reference.policy.probabilities(other)
    policy.probabilities(PROMPT)
    policy.module.logits_SA.data[policy._state(PROMPT), 0] += 2
    reference.follow(policy, 1)
    weights = [REFERENCE[0] * math.e, *REFERENCE[1:]]
    assert reference.policy.probabilities(PROMPT).tolist() == pytest.approx([w / sum(weights) for w in weights])
    assert reference.policy.probabilities(other).tolist() == pytest.approx(REFERENCE)


# Through recipes ------------------------------------------------------------------------------------------------------

RECIPE = """
policy: {{use: tabular, arms: [a, b, c], reference: [0.2, 0.5, 0.3]}}
prompts: {{use: jsonl, options: {{path: p.jsonl}}}}
sampler: {sampler}
rewards: [{{use: python, options: {{file: worth.py}}}}]
objective: {{beta: 0.5}}
train: {{steps: 60, groups_per_step: 4, learning_rate: 0.1, max_grad_norm: null, log_every: 10}}
evaluate: {{prompts: {{use: jsonl, options: {{path: p.jsonl}}}}, with: [{{use: kl}}]}}
{more}
"""


@pytest.fixture
def recipe(tmp_path, write_jsonl):
    def write(sampler, more=""):
        write_jsonl("p.jsonl", [{"prompt": f"Choose {n}."} for n in range(4)])
        (tmp_path / "worth.py").write_text(f"def score(completion):\n    return {REWARDS}[completion]\n")
        path = tmp_path / "r.yaml"
        path.write_text(RECIPE.format(sampler=sampler, more=more))
        return path

    return write


def test_a_run_replays_refreshes_and_still_reports_the_kl_to_the_start(recipe, tmp_path):
    import copgkit

    sampler = "{use: best-vs-worst, options: {sampler: {use: replay, options: {sampler: {use: policy}}}}}"
    result = copgkit.run(recipe(sampler, "reference: {refresh_every: 1}"), output=tmp_path / "out")
    kl = [row["eval/kl/mean"] for row in result.rows if "eval/kl/mean" in row]
    assert kl[0] == 0.0
    assert kl[-1] > 0.05  # to the reference of the loss it would be 0
    last = [row for row in result.rows if "reference/refreshes/count" in row][-1]
    assert last["reference/refreshes/count"] == 60
    assert any("best-vs-worst': completions that are neither best nor worst" in warning for warning in result.warnings)
    replayed = [row["sampler/replayed/groups"] for row in result.rows if "sampler/replayed/groups" in row]
    assert replayed[0] == 0
    assert replayed[-1] == 2
    resolved = (result.folder / "resolved.yaml").read_text()
    assert "max_age: null" in resolved  # the inner sampler's defaults are written out


def test_a_plan_counts_what_replay_generates_and_scores(recipe):
    from copgkit.recipe import load_recipe, make_plan

    sampler = "{use: replay, options: {share: 0.75, sampler: {use: policy, options: {completions_per_prompt: 8}}}}"
    plan = make_plan(load_recipe(recipe(sampler)))
    assert plan["groups"] == 240
    assert plan["generation"] == 60 * 8
    assert plan["scores: python"] == 60 * 8 + 4 + 4
    assert plan["reference"] == 240 * 8


def test_a_decay_without_a_refresh_is_refused(recipe):
    from copgkit.recipe import load_recipe

    with pytest.raises(RecipeError, match=r"reference\.decay: it says how a refresh is done, and there is none"):
        load_recipe(recipe("{use: policy}", "reference: {decay: 0.9}"))


def test_replay_of_a_single_draw_is_a_fault_with_its_line(recipe):
    from copgkit.recipe import load_recipe

    path = recipe("{use: replay, options: {sampler: {use: reference}}}")
    with pytest.raises(RecipeError, match=r"r\.yaml:4: sampler\.options: 'replay' needs a sampler that draws round"):
        load_recipe(path)
