"""What the README shows is what works: its recipe, its rewards, its commands, its two set-up commands."""

import re
from pathlib import Path

import pytest

import copgkit
from copgkit.cli import main
from copgkit.testing import rules_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def _blocks(language):
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", README, flags=re.S)


def _titled(title):
    return re.search(rf'```\w+ title="{title}"\n(.*?)```', README, flags=re.S)[1]


def test_exactly_two_commands_do_all_the_set_up():
    commands = _blocks("bash")
    assert len(commands) == 2
    assert "copgkit run recipes/tldr.yaml" in commands[0]
    assert "pytest" in commands[1]
    assert all("-c constraints.txt" in command for command in commands)


def test_the_scored_groups_recipe_trains_on_the_row_it_shows(tmp_path, tiny_policy_folder):
    (tmp_path / "scored.jsonl").write_text(_titled("scored.jsonl"))
    (tmp_path / "mine.yaml").write_text(_titled("mine.yaml").replace("owner/name", str(tiny_policy_folder)))
    result = copgkit.run(tmp_path / "mine.yaml", output=tmp_path / "out", set={"policy.max_prompt_tokens": 32})
    assert result.steps == 1


def test_the_several_rewards_that_it_shows_are_a_recipes(tmp_path):
    recipe, rewards, *_ = _blocks("yaml")
    (tmp_path / "several.yaml").write_text(re.sub(r"rewards: .*\n", rewards, recipe))
    resolved = copgkit.load_recipe(tmp_path / "several.yaml").recipe
    assert [reward.clip for reward in resolved.rewards] == [(-4.0, 4.0), None]
    assert resolved.scoring.on_failure == "drop-group"


def test_both_rewards_that_it_shows_score(tmp_path, tiny_policy_folder):
    for file in ("reward.py", "brevity.py"):
        (tmp_path / file).write_text(_titled(file))
    (tmp_path / "posts.jsonl").write_text('{"prompt": "the cat", "answer": "sat on the mat"}\n')
    (tmp_path / "r.yaml").write_text(
        "plugins: [brevity.py]\n"
        f"policy: {{model: {tiny_policy_folder}, max_prompt_tokens: 8, max_completion_tokens: 6}}\n"
        "prompts: {use: jsonl, options: {path: posts.jsonl}}\nsampler: {use: reference}\n"
        "rewards: [{use: python, options: {file: reward.py}}, {use: brevity}]\n"
    )
    result = copgkit.run(tmp_path / "r.yaml", output=tmp_path / "out")
    assert any("reward/brevity/raw-mean" in row and "reward/python/raw-mean" in row for row in result.rows)


def test_the_contract_that_it_shows_is_kept_by_the_plugin_that_it_shows(tmp_path, monkeypatch):
    contract = _blocks("python")[-1]
    (tmp_path / "brevity.py").write_text(_titled("brevity.py"))
    monkeypatch.syspath_prepend(tmp_path)
    names = {}
    exec(contract, names)
    case = names["TestBrevity"]()
    for rule in rules_of(type(case)):
        if "process" not in rule and "imports" not in rule:  # the file is on this process's path alone
            getattr(case, rule)()


@pytest.mark.parametrize("command", re.findall(r"`copgkit (\w+)", README))
def test_every_command_it_names_exists(command, capsys):
    with pytest.raises(SystemExit) as left:
        main([command, "--help"])
    assert left.value.code == 0
    assert command in capsys.readouterr().out


@pytest.mark.parametrize("recipe", re.findall(r"^\| `(\S+\.yaml)` \|", README.split("## Recipes")[1], flags=re.M))
def test_every_recipe_it_names_is_there(recipe):
    assert (ROOT / "recipes" / recipe).is_file()


def test_a_newcomer_sees_the_start_a_result_and_a_plugin_before_anything_else():
    """What it is, the command, the picture of a real run, a plugin and where to go on: before the first heading."""
    first = README.split("\n## ")[0]
    for needed in ("copgkit run recipes/tldr.yaml", "pictures/front.png", "@hookimpl", "tutorials/first-run.md"):
        assert needed in first
    assert len(first.splitlines()) < 75
