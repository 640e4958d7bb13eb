"""Hostile programs: none gets a wrong verdict, touches a canary, outlives its run or disturbs the others."""

import hostile_world as world
import pytest

from copgkit_unit_tests.sandbox import probe

STRONGEST = probe().profile
INSIDE = ("exit", "forging", "equality", "patching", "output", "source")  # what the weak profile is claimed to hold


@pytest.fixture
def loose():
    """A world of canaries; afterwards nothing may have been touched and nothing may live on."""
    made = world.World()
    yield made
    harm, survivors = made.harm(), made.survivors()
    made.close()
    assert not harm
    assert not survivors


def _set_loose(loose, profile, style, programs, **options):
    """Scores hostile programs with a right one after every third, and checks every verdict."""
    sources = [(name, loose.fill(source)) for name, source in programs.items()]
    queue = [
        item
        for n, one in enumerate(sources)
        for item in ([one] if n % 3 else [("right", world.right(loose.token)), one])
    ]
    source = world.scorer(profile, **options)
    try:
        scores = source.score([world.completion(style, loose.token, text) for _, text in queue])
    finally:
        source.close()
    wrong = {
        name: score for (name, _), score in zip(queue, scores, strict=True) if score.value != float(name == "right")
    }
    assert not wrong


@pytest.mark.parametrize("style", ["checks", "calls"])
def test_in_the_weak_profile_no_program_talks_itself_into_a_reward(loose, style):
    _set_loose(loose, "weak", style, world.programs(*INSIDE))
