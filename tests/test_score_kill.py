"""Killed while scoring, at random moments: nothing is lost, and nothing is scored twice but what was in flight."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from copgkit.store import ScoreStore, exported

SCORER = Path(__file__).with_name("score_to_the_end.py")
REWARD = """
import time
def score(completion):
    with open({journal!r}, "a") as file:
        file.write(completion + "\\n")
    time.sleep({seconds})
    return float(completion)
"""


@dataclass
class Interrupted:
    """A recipe over numbered completions, and what became of each attempt to score them."""

    folder: Path
    completions: int
    seconds: float = 0.01
    in_flight: list[int] = field(default_factory=list)  # asked about and not kept, for every kill
    scored_twice: int = 0  # asked about although it was kept: must stay 0

    def __post_init__(self):
        texts = [str(number) for number in range(self.completions)]
        rows = [
            {"prompt": f"p{n}", "completions": [{"text": t} for t in texts[n : n + 4]]} for n in range(0, len(texts), 4)
        ]
        (self.folder / "numbers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        reward = REWARD.format(journal=str(self.journal), seconds=self.seconds)
        (self.folder / "reward.py").write_text(reward)
        (self.folder / "recipe.yaml").write_text(
            "policy: {use: tabular, arms: [a, b]}\nprompts: {use: jsonl, options: {path: numbers.jsonl}}\n"
            "sampler: {use: recorded}\nrewards: [{use: python, options: {file: reward.py}}]\n"
            "objective: {beta: 0.1}\nscoring: {store: scores.sqlite}\n"
        )
        self.journal.touch()

    @property
    def journal(self) -> Path:
        return self.folder / "calls.txt"

    @property
    def output(self) -> Path:
        return self.folder / "rewards.json"

    def calls(self) -> list[int]:
        return [int(line) for line in self.journal.read_text().splitlines() if line]

    def kept(self) -> set[int]:
        store = ScoreStore(self.folder / "scores.sqlite", pytest.fail)
        values = [int(row["scores"][0]["value"]) for row in exported(store)]
        store.close()
        assert len(set(values)) == len(values)
        return set(values)

    def attempt(self, kill_after: float | None) -> None:
        """Scores until the end, or is killed so many seconds after its first call."""
        kept, before = self.kept(), len(self.calls())
        process = subprocess.Popen(
            [sys.executable, str(SCORER), "recipe.yaml", "rewards.json"], cwd=self.folder, stderr=subprocess.PIPE
        )
        if kill_after is not None:
            while len(self.calls()) == before and process.poll() is None:
                time.sleep(0.002)
            time.sleep(kill_after)
            process.send_signal(signal.SIGKILL)
        _, words = process.communicate(timeout=120)
        assert process.returncode in (0, -signal.SIGKILL), words.decode()
        asked = self.calls()[before:]
        self.scored_twice += len(asked) - len(set(asked) - kept)
        if process.returncode:
            self.in_flight.append(len(set(asked) - self.kept()))


@pytest.mark.parametrize(
    ("kills", "completions", "seed"),
    [pytest.param(5, 200, 0), *(pytest.param(20, 600, seed, marks=pytest.mark.slow) for seed in (1, 2, 3))],
)
def test_killed_at_random_moments_it_scores_everything_once(tmp_path, kills, completions, seed):
    draw, work = random.Random(seed), Interrupted(tmp_path, completions)
    for _ in range(kills):
        work.attempt(kill_after=draw.uniform(0, 0.45))
    work.attempt(kill_after=None)
    calls = work.calls()
    print(
        f"{kills} kills, {len(work.in_flight)} of them before the end: {completions} completions, {len(calls)} calls,"
        f" {work.scored_twice} scored twice, in flight at the kills {work.in_flight}"
    )
    assert work.kept() == set(range(completions)), "nothing is lost"
    assert work.scored_twice == 0
    assert len(calls) == completions + sum(work.in_flight), "only what was in flight was asked about again"
    assert max(work.in_flight) <= 64, "and that is what a second or so takes"
    assert json.loads(work.output.read_text()) == [float(number) for number in range(completions)]
