"""Groups on files: sampled, scored, passed on and trained on, as if it had been one run."""

import json

import pytest
import torch
import yaml
from safetensors.torch import load_file

import copgkit
from copgkit import CopgkitError, DataError
from copgkit.store import read_groups

POSTS = [{"prompt": f"the {animal} sat on the {place} :"} for animal in ("cat", "dog") for place in ("mat", "hill")]
REWARD = """\
def score(completion):
    words = completion.split()
    return None if len(words) == 3 else float(words.count("cat")) - 0.1 * len(words)
"""
PICKY = """\
from copgkit import RewardSource, Score, hookimpl

class Picky(RewardSource):
    '''Fails on long answers, and says why.'''
    def score(self, completions):
        return [Score.failed("too long") if len(one.text) > 20 else Score(1.0, {"seen": "yes"}) for one in completions]

@hookimpl
def register_reward_sources(register):
    register("picky", Picky)
"""


@pytest.fixture
def recipe(tmp_path, tiny_policy_folder, write_jsonl):
    """Writes a small recipe, changed as the test asks, and gives its path."""
    write_jsonl("posts.jsonl", POSTS)
    (tmp_path / "reward.py").write_text(REWARD)
    (tmp_path / "picky.py").write_text(PICKY)

    def write(name="recipe.yaml", **sections):
        data = {
            "plugins": ["picky.py"],
            "policy": {"model": str(tiny_policy_folder), "max_prompt_tokens": 16, "max_completion_tokens": 8},
            "prompts": {"use": "jsonl", "options": {"path": "posts.jsonl"}},
            "sampler": {"use": "reference", "options": {"completions_per_prompt": 4}},
            "rewards": [{"use": "python", "options": {"file": "reward.py"}}],
            "objective": {"beta": 0.5},
            "train": {"epochs": 2, "groups_per_step": 2, "learning_rate": 0.003},
        } | sections
        (tmp_path / name).write_text(yaml.safe_dump(data, sort_keys=False))
        return tmp_path / name

    return write


def _of_file(recipe, file):
    kind = "parquet" if file.suffix == ".parquet" else "jsonl"
    return recipe(
        "from-file.yaml",
        prompts={"use": kind, "options": {"path": str(file)}},
        sampler={"use": "recorded"},
        rewards=[{"use": "recorded", "options": {"column": "python"}}],
        scoring={"on_failure": "drop-completion"},
    )


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_training_on_sampled_and_scored_files_is_the_run_itself_but_for_last_digits(recipe, tmp_path, ending):
    whole = copgkit.run(recipe(scoring={"on_failure": "drop-completion"}), output=tmp_path / "whole")
    sampled = copgkit.sample_groups(recipe(), tmp_path / f"sampled.{ending}")
    scored = copgkit.score_groups(sampled, recipe(), tmp_path / f"scored.{ending}")
    again = copgkit.run(_of_file(recipe, scored), output=tmp_path / "again")
    losses = [[row["train/loss/mean"] for row in r.rows if "train/loss/mean" in row] for r in (whole, again)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5, abs=1e-6)
    assert len(losses[0]) == whole.steps == 4
    weights = [load_file(result.folder / "model/model.safetensors") for result in (whole, again)]
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


def test_sampled_and_scored_files_train_as_the_groups_that_a_run_wrote_bit_for_bit(recipe, tmp_path):
    whole = copgkit.run(recipe(scoring={"on_failure": "drop-completion"}), output=tmp_path / "whole")
    sampled = copgkit.sample_groups(recipe(), tmp_path / "sampled.jsonl")
    scored = copgkit.score_groups(sampled, recipe(), tmp_path / "scored.parquet")
    one = copgkit.run(_of_file(recipe, whole.folder / "groups/round-0000.jsonl"), output=tmp_path / "one")
    two = copgkit.run(_of_file(recipe, scored), output=tmp_path / "two")
    assert one.steps == two.steps == 4
    weights = [(result.folder / "model/model.safetensors").read_bytes() for result in (one, two)]
    assert weights[0] == weights[1]


def test_pair_weights_of_a_file_are_trained_with(recipe, tmp_path):
    scored = copgkit.score_groups(copgkit.sample_groups(recipe(), tmp_path / "s.jsonl"), recipe(), tmp_path / "a.jsonl")
    rows = [json.loads(line) for line in scored.read_text().splitlines()]
    for row in rows:
        row["pair_weights"] = [[0.0 if i == j else float(i + j) for j in range(4)] for i in range(4)]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain, weighted = (
        copgkit.run(_of_file(recipe, tmp_path / name), output=tmp_path / name[0]) for name in ("a.jsonl", "b.jsonl")
    )
    first = [next(row["train/loss/mean"] for row in r.rows if "train/loss/mean" in row) for r in (plain, weighted)]
    assert first[0] != first[1]


def test_sampled_groups_hold_token_ids_and_no_scores(recipe, tmp_path):
    groups = list(read_groups(copgkit.sample_groups(recipe(), tmp_path / "groups.jsonl")))
    assert [len(scored.group.completions) for scored in groups] == [4] * 4
    assert all(one.token_ids for scored in groups for one in scored.group.completions)
    assert all(not scored.scores and not scored.rewards for scored in groups)


def test_models_are_loaded_without_the_libraries_own_progress_bars(recipe, tmp_path):
    from transformers.utils import logging

    for prepare in (
        lambda: copgkit.sample_groups(recipe(), tmp_path / "sampled.jsonl"),
        lambda: copgkit.score_groups(tmp_path / "sampled.jsonl", recipe(), tmp_path / "scored.jsonl"),
    ):
        logging.enable_progress_bar()
        prepare()
        assert not logging.is_progress_bar_enabled()


def test_a_sampler_of_rounds_gives_its_first_round(recipe, tmp_path):
    made = recipe(sampler={"use": "policy", "options": {"completions_per_prompt": 2}}, train={"steps": 5})
    file = copgkit.sample_groups(made, tmp_path / "groups.jsonl", set={"train.groups_per_step": 3})
    assert len(list(read_groups(file))) == 3


def test_scoring_adds_columns_keeps_others_and_refreshes_its_own(recipe, tmp_path, write_jsonl):
    completions = [{"text": "the cat", "scores": {"judge": 0.5, "python": 9.0}}, {"text": "a", "scores": {"judge": 0}}]
    file = write_jsonl("given.jsonl", [{"prompt": "p", "facts": {"n": [1]}, "completions": completions}])
    picky = {"use": "picky", "weight": 2.0}
    made = recipe(rewards=[{"use": "python", "options": {"file": "reward.py"}}, picky])
    (scored,) = read_groups(copgkit.score_groups(file, made, file))
    values = {name: [score.value for score in column] for name, column in scored.scores.items()}
    assert values == {"judge": [0.5, 0.0], "python": [0.8, -0.1], "picky": [1.0, 1.0]}
    assert scored.scores["picky"][0].notes == {"seen": "yes"}
    assert scored.rewards == (0.8 + 2.0, -0.1 + 2.0)
    assert dict(scored.group.prompt.facts) == {"n": [1]}


def test_a_failure_stays_a_failure_and_is_counted(recipe, tmp_path, write_jsonl, capsys):
    rows = [{"prompt": "p", "completions": ["a", "a long answer that nobody reads"]}]
    file = write_jsonl("given.jsonl", rows)
    progress = copgkit.Progress()
    made = recipe(rewards=[{"use": "picky"}])
    (scored,) = read_groups(copgkit.score_groups(file, made, tmp_path / "out.jsonl", progress=progress))
    assert [score.failure for score in scored.scores["picky"]] == [None, "too long"]
    assert scored.rewards == ()
    assert any("1 of 2 completions have no reward: 'picky' failed: too long" in told for told in progress.warnings)


def test_preference_data_is_scored_as_it_is_with_the_recipes_own_names_for_fields(recipe, tmp_path, write_jsonl):
    write_jsonl("pairs.jsonl", [{"question": "why", "good": "the cat ran", "bad": "a b c d"}])
    options = {"path": "pairs.jsonl", "prompt_field": "question", "chosen_field": "good", "rejected_field": "bad"}
    made = recipe(prompts={"use": "jsonl", "options": options}, sampler={"use": "recorded"})
    (scored,) = read_groups(copgkit.score_groups(tmp_path / "pairs.jsonl", made, tmp_path / "out.parquet"))
    assert [one.text for one in scored.group.completions] == ["the cat ran", "a b c d"]
    assert [score.value for score in scored.scores["preference"]] == [1.0, 0.0]
    assert [score.value for score in scored.scores["python"]] == [None, -0.4]  # three words: it abstains


def test_a_file_is_scored_whole_although_the_recipe_takes_a_part_of_it(recipe, tmp_path, write_jsonl):
    file = write_jsonl("given.jsonl", [{"prompt": f"p{n}", "completions": ["a", "b c"]} for n in range(5)])
    options = {"path": "given.jsonl", "limit": 2, "shuffle_seed": 1}
    made = recipe(prompts={"use": "jsonl", "options": options}, sampler={"use": "recorded"})
    copgkit.score_groups(file, made, file)
    assert [scored.group.prompt.text for scored in read_groups(file)] == [f"p{n}" for n in range(5)]


def test_a_file_with_field_names_of_its_own_is_not_replaced(recipe, tmp_path, write_jsonl):
    file = write_jsonl("given.jsonl", [{"question": "why", "completions": ["a", "b c"]}])
    before = file.read_bytes()
    options = {"path": "given.jsonl", "prompt_field": "question"}
    made = recipe(prompts={"use": "jsonl", "options": options}, sampler={"use": "recorded"})
    with pytest.raises(CopgkitError, match="field names of its own"):
        copgkit.score_groups(file, made, file)
    assert file.read_bytes() == before


FAULTS = {
    "one completion": ('{"prompt": "p", "completions": ["a"]}\n', r"given\.jsonl:1: 1 recorded completions"),
    "no completions": ('{"prompt": "p"}\n', r"given\.jsonl:1: 0 recorded completions"),
    "cut off": ('{"prompt": "p", "completions": ["a", "b"]}\n{"prompt": "q", "comp', r"given\.jsonl:2: .* cut off"),
    "NaN": (
        '{"prompt": "p", "completions": [{"text": "a", "scores": {"x": NaN}}, "b"]}\n',
        r"given\.jsonl:1, completion 1: the score 'x' is nan",
    ),
    "a number as text": (
        '{"prompt": "p", "completions": [{"text": "a", "scores": {"x": "0.50"}}, "b"]}\n',
        r"completion 1: the score 'x' is '0\.50'\. Write 0\.5, without quotes",
    ),
    "a key that is nearly right": (
        '{"prompt": "p", "completions": [{"text": "a", "score": {"x": 1}}, "b"]}\n',
        r"given\.jsonl:1, completion 1: unknown key 'score'. Did you mean 'scores'",
    ),
    "weights of the wrong size": (
        '{"prompt": "p", "completions": ["a", "b"], "pair_weights": [[0]]}\n',
        r"given\.jsonl:1: 'pair_weights' is not 2 by 2",
    ),
    "weights that differ": (
        '{"prompt": "p", "completions": ["a", "b"], "pair_weights": [[0, 1], [2, 0]]}\n',
        r"given\.jsonl:1: 'pair_weights' must be .* the same in both directions",
    ),
    "token ids as text": (
        '{"prompt": "p", "completions": [{"text": "a", "token_ids": ["5"]}, "b"]}\n',
        r"completion 1: 'token_ids' is not a list of whole numbers",
    ),
    "bytes that are no text": (b'{"prompt": "\xff"}\n', r"given\.jsonl:1: this line is not JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_row_is_named_with_the_remedy_and_nothing_is_written(recipe, tmp_path, fault):
    content, message = FAULTS[fault]
    (tmp_path / "given.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message):
        copgkit.score_groups(tmp_path / "given.jsonl", recipe(), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_marks_line_ends_sizes_and_duplicates_are_no_fault_but_duplicates_are_told(recipe, tmp_path):
    text = '\ufeff{"prompt": "p", "completions": ["a", "b", "c"]}\r\n\r\n{"prompt": "q", "completions": ["a", "a"]}\r\n'
    (tmp_path / "given.jsonl").write_bytes(text.encode())
    progress = copgkit.Progress()
    file = copgkit.score_groups(tmp_path / "given.jsonl", recipe(), tmp_path / "out.jsonl", progress=progress)
    assert [len(scored.group.completions) for scored in read_groups(file)] == [3, 2]
    assert any("1 of 2 groups hold a completion more than once (first: given.jsonl:3)" in w for w in progress.warnings)


def test_a_missing_score_is_named_where_training_asks_for_it(recipe, tmp_path, write_jsonl):
    rows = [{"prompt": "the cat", "completions": [{"text": "ran", "scores": {"judge": 1}}, {"text": "sat"}]}]
    made = recipe(
        prompts={"use": "jsonl", "options": {"path": str(write_jsonl("given.jsonl", rows))}},
        sampler={"use": "recorded"},
        rewards=[{"use": "recorded", "options": {"column": "judge"}}],
    )
    with pytest.raises(CopgkitError, match=r"given\.jsonl:1, completion 2 'sat': .*no recorded score 'judge'"):
        copgkit.run(made, output=tmp_path / "out")


def test_the_commands_do_the_same_and_print_the_file(recipe, tmp_path, copgkit_command):
    sampled, scored = tmp_path / "sampled.parquet", tmp_path / "scored.jsonl"
    status, out, _ = copgkit_command("sample", recipe(), "--output", sampled, "--quiet")
    assert (status, out) == (0, f"{sampled}\n")
    status, out, _ = copgkit_command("score", sampled, "--with", recipe(), "-o", scored, "--quiet")
    assert (status, out) == (0, f"{scored}\n")
    assert all("python" in one.scores for one in read_groups(scored))


def test_a_file_is_neither_overwritten_nor_of_another_ending(recipe, tmp_path, copgkit_command):
    (tmp_path / "groups.jsonl").write_text("kept\n")
    status, _, err = copgkit_command("sample", recipe(), "--output", tmp_path / "groups.jsonl")
    assert status == 2
    assert "there is something under this name already" in err
    assert (tmp_path / "groups.jsonl").read_text() == "kept\n"
    status, _, err = copgkit_command("sample", recipe(), "--output", tmp_path / "groups.csv")
    assert status == 2
    assert "End the name with .jsonl or .parquet." in err
