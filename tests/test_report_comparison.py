"""Runs beside each other: where they stand, whether they differ clearly, and why; from folders as runs leave them."""

import json
import math

import pytest
import yaml

from copgkit import CopgkitError
from copgkit.report import Comparison, comparison_data, require_several, write_comparison
from copgkit.report.front import places

RECORD = {
    "seed": 0, "versions": {"torch": "2.13"}, "machine": {"cores": 2}, "device": "cpu", "processes": 1, "warnings": [],
    "hashes": {"recipe": "f" * 64, "prompts.options.path: a.jsonl": "a" * 64, "plugins[0]: mine.py": "b" * 64},
}  # fmt: skip


@pytest.fixture
def finished(tmp_path):
    """finished("a", reward, kl, rewards=...) -> a folder as a run leaves it, with 0.1 on either side of its means."""

    def write(name, reward, kl, rewards=(), beta=0.1, record=None, recipe=None):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        row = {"step": 10}
        for figure, value in (("reward/mean", reward), ("kl/mean", kl), ("judge/raw-mean", reward)):
            row |= {f"eval/{figure}": value, f"eval/{figure}/low": value - 0.1, f"eval/{figure}/high": value + 0.1}
        start = {"step": 0, "eval/reward/mean": 0.0, "eval/kl/mean": 0.0}
        (folder / "metrics.jsonl").write_text(f"{json.dumps(start)}\n{json.dumps(row)}\n")
        samples = [
            {"step": step, "id": str(n), "prompt": f"<b>p{n}", "completion": f"{name} {n}", "finished": True,
             "reference_completion": "ref", "scores": {}, "reference_scores": {}, "reward": value if step else 0.0,
             "reference_reward": 0.0, "log_ratio": 0.0}
            for step in (0, 10) for n, value in enumerate(rewards)
        ]  # fmt: skip
        (folder / "samples.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in samples))
        data = {"objective": {"beta": beta}, "rewards": [{"use": "judge", "weight": 1.0}], "output": name} | (
            recipe or {}
        )
        (folder / "resolved.yaml").write_text(yaml.safe_dump(data))
        (folder / "run.json").write_text(json.dumps(RECORD | (record or {})))
        return folder

    return write


def compared(*folders):
    return Comparison(require_several(folders))


def standings(*folders):
    return {place.label: place.standing for place in places(require_several(folders))}


def test_a_run_is_on_the_front_unless_another_has_as_much_reward_at_no_more_kl(finished):
    folders = [
        finished("near", 1.0, 1.0), finished("far", 2.0, 3.0), finished("close", 1.95, 3.5), finished("lost", 0.5, 2.0),
    ]  # fmt: skip
    assert standings(*folders) == {"near": "front", "far": "front", "close": "within noise", "lost": "beaten"}


def test_two_equal_runs_are_both_on_the_front(finished):
    assert set(standings(finished("a", 1.0, 1.0), finished("b", 1.0, 1.0)).values()) == {"front"}


def test_a_difference_is_taken_prompt_by_prompt(finished):
    """Gains of 1, 1, 1, 0.6: a mean of 0.9, a standard error of 0.1; the means themselves spread far more."""
    one = finished("one", 1.0, 1.0, rewards=(0.0, 10.0, 20.0, 30.0))
    other = finished("other", 1.9, 1.0, rewards=(1.0, 11.0, 21.0, 30.6))
    ((label, to, gain),) = compared(one, other).pairs
    assert (label, to) == ("other", "one")
    assert gain.value == pytest.approx(0.9)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * 0.1)


def test_several_samples_of_a_prompt_are_compared_in_their_order(finished):
    """Gains of 1, 1, 0.4: each sample against the other run's sample of the same number, not against its last."""
    folders = [
        finished("one", 1.0, 1.0, rewards=(0.0, 10.0, 20.0)),
        finished("other", 1.8, 1.0, rewards=(1.0, 11.0, 20.4)),
    ]
    for folder in folders:
        path = folder / "samples.jsonl"
        rows = [json.loads(line) | {"id": "", "prompt": "the same"} for line in path.read_text().splitlines()]
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    ((*_, gain),) = compared(*folders).pairs
    assert gain.value == pytest.approx(0.8)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * 0.2)


def test_the_best_is_named_with_what_its_lead_is_worth(finished):
    one = finished("one", 1.0, 1.0, rewards=(1.0, 1.0, 1.0))
    level = finished("level", 1.01, 2.0, rewards=(0.0, 3.0, 1.0))
    lost = finished("lost", 0.0, 1.0, rewards=(0.0, 0.1, 0.0))
    best = compared(one, level, lost).best
    lead, optimism, seed = best.caveats
    assert best.label == "level"
    assert "within the noise over one (+0.333" in lead
    assert "lost" not in lead.partition("over")[0]
    expected = 0.1 / 1.96 * 0.8461  # the highest of three normals is 0.8463 deviations up
    assert float(optimism.split("up to ")[1].split(" ")[0]) == pytest.approx(expected, rel=0.05)
    assert "one seed (0)" in seed


def test_a_clear_lead_is_said_and_warnings_are_passed_on(finished):
    a = finished("a", 1.0, 1.0, rewards=(0.0, 0.1, 0.0), record={"seed": 1, "warnings": ["KL: far"]})
    b = finished("b", 2.0, 1.0, rewards=(2.0, 2.2, 2.1))
    caveats = compared(a, b).best.caveats
    assert "clearly higher than that of every other" in caveats[0]
    assert caveats[-1].startswith("Warnings were given by a")
    assert not any("one seed" in caveat for caveat in caveats)


def test_everything_that_differs_is_named_and_nothing_else(finished):
    changed = {
        "versions": {"torch": "2.14"},
        "hashes": {"recipe": "0" * 64, "prompts.options.path: b.jsonl": "c" * 64, "plugins[0]: mine.py": "d" * 64},
        "device": "cuda",
    }
    found = compared(finished("a", 1.0, 1.0), finished("b", 1.0, 1.0, beta=0.2, record=changed)).differences
    assert [(one.kind, one.what, one.values) for one in found] == [
        ("recipe", "objective.beta", ("0.1", "0.2")),
        ("data", "prompts.options.path", ("a" * 12, "c" * 12)),
        ("code", "plugins[0]", ("b" * 12, "d" * 12)),
        ("versions", "torch", ("2.13", "2.14")),
        ("machine", "device", ("cpu", "cuda")),
    ]
    assert compared(finished("c", 1.0, 1.0), finished("d", 3.0, 1.0)).differences == []


def test_different_sums_of_sources_are_not_ranked_without_saying_so(finished):
    other = finished("b", 1.0, 1.0, recipe={"rewards": [{"use": "judge", "weight": 2.0}]})
    comparison = compared(finished("a", 1.0, 1.0), other)
    assert not comparison.same_reward
    assert "different sums" in comparison.best.caveats[0]


def test_runs_of_the_same_name_are_told_apart_by_their_folders(finished, tmp_path):
    folders = [finished("x/run", 1.0, 1.0), finished("y/run", 2.0, 1.0)]
    assert [run.label for run in require_several(folders)] == ["x/run", "y/run"]


def test_an_unfinished_run_and_a_single_one_are_refused(finished, tmp_path):
    folder = finished("a", 1.0, 1.0)
    with pytest.raises(CopgkitError, match="at least two"):
        require_several([folder, folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(CopgkitError, match=r"not the folder of a finished run \(run.json: No such file"):
        require_several([folder, tmp_path / "empty"])


def test_the_page_shows_plane_table_differences_and_samples_and_escapes_them(finished, tmp_path):
    a, b = finished("a", 1.0, 1.0, rewards=(1.0, 2.0)), finished("b", 2.0, 2.0, rewards=(2.0, 3.0), beta=0.2)
    page = write_comparison(tmp_path / "c.html", "a and b", compared(a, b)).read_text()
    assert page.count("<img") == 2
    assert "objective.beta" in page
    assert "&lt;b&gt;p0" in page
    assert "<b>p0" not in page
    assert page.count('<span class="label">reference</span>') == 2


def test_the_command_prints_and_gives_json(copgkit_command, finished):
    a, b = finished("a", 1.0, 1.0, rewards=(1.0, 2.0)), finished("b", 2.0, 2.0, rewards=(2.0, 3.0), beta=0.2)
    status, out, _ = copgkit_command("compare", a, b)
    assert status == 0
    assert "recipe  objective.beta  0.1 | 0.2" in out
    data = json.loads(copgkit_command("compare", a, b, "--json")[1])
    assert data == json.loads(json.dumps(comparison_data(compared(a, b))))
    assert data["best"]["label"] == "b"
    assert data["reward_differences"][0]["difference"]["value"] == pytest.approx(1.0)


def test_runs_whose_reward_was_not_measured_show_what_was(copgkit_command, finished):
    folders = finished("a", 1.0, 1.0), finished("b", 2.0, 2.0)
    for folder, share in zip(folders, (0.25, 0.75), strict=True):
        (folder / "metrics.jsonl").write_text(json.dumps({"step": 9, "eval/kl/mean": 1.5, "eval/true/share": share}))
    out = copgkit_command("compare", *folders)[1]
    assert "the reward was not measured in any of them" in out
    assert "25.0 %" in out
    assert "75.0 %" in out


def test_a_run_without_evaluation_has_no_place(finished, tmp_path):
    a, b = finished("a", 1.0, 1.0), finished("b", 1.0, 1.0)
    (b / "metrics.jsonl").write_text('{"step": 1, "train/loss/mean": 1.0}\n')
    comparison = compared(a, b)
    assert [place.standing for place in comparison.places] == ["front", "unknown"]
    assert write_comparison(tmp_path / "c.html", "t", comparison).exists()
    assert math.isclose(comparison.best.reward.value, 1.0)
