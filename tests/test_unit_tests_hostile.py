"""Hostile programs: none gets a wrong verdict, touches a canary, outlives its run or disturbs the others."""

import socket

import hostile_world as world
import pytest

from copgkit_unit_tests.sandbox import at_least, probe

STRONGEST = probe().profile
INSIDE = ("exit", "forging", "equality", "patching", "output", "source")  # what the weak profile is claimed to hold
OUTSIDE = ("files", "secrets", "network", "processes", "tests_read", "disk", "memory")

isolated = pytest.mark.skipif(not at_least(STRONGEST, "container"), reason="this machine gives no isolation")


@pytest.fixture
def loose():
    """A world of canaries; afterwards nothing may have been touched and nothing may live on."""
    made = world.World()
    yield made
    harm, survivors = made.harm(), made.survivors()
    made.close()
    assert harm == []
    assert survivors == []


def _set_loose(loose, profile, style, *categories):
    """Scores hostile programs with a right one before every third, and checks every verdict."""
    queue = []
    for number, (name, source) in enumerate(world.programs(*categories).items()):
        queue += [] if number % 3 else [("right", world.right(loose.token))]
        queue.append((name, loose.fill(source)))
    source = world.scorer(profile)
    try:
        scores = source.score([world.completion(style, loose.token, text) for _, text in queue])
    finally:
        source.close()
    named = zip(queue, scores, strict=True)
    assert {name: score for (name, _), score in named if score.value != float(name == "right")} == {}


def test_there_are_programs_of_every_kind():
    assert len(world.programs()) > 180
    assert len(world.programs(*INSIDE, *OUTSIDE, "time")) == len(world.programs())


@isolated
def test_in_the_strongest_profile_no_program_gets_a_wrong_verdict_or_does_harm(loose):
    _set_loose(loose, STRONGEST, "checks")


@isolated
def test_without_namespaces_nothing_outside_is_reached_either(loose):
    _set_loose(loose, "container", "calls", "files", "secrets", "network", "processes")


def test_in_the_weak_profile_no_program_talks_itself_into_a_reward(loose):
    _set_loose(loose, "weak", "checks", "exit", "forging", "equality", "patching")


@pytest.mark.slow
@isolated
@pytest.mark.parametrize("style", world.STYLES)
@pytest.mark.parametrize("profile", ["container", "full"])
def test_every_program_in_every_style_of_tests(loose, profile, style):
    if not at_least(STRONGEST, profile):
        pytest.skip(f"this machine gives '{STRONGEST}'")
    _set_loose(loose, profile, style)


@pytest.mark.slow
@pytest.mark.parametrize("style", world.STYLES)
def test_in_the_weak_profile_no_style_of_tests_can_be_talked_over(loose, style):
    _set_loose(loose, "weak", style, *INSIDE)


def test_the_canaries_notice_who_comes():
    made = world.World()
    try:
        assert made.harm() == []
        with socket.create_connection(("127.0.0.1", made.port)) as link:
            assert link.recv(100).decode() == made.token
        (made.folder / "token").chmod(0o600)
        visit, change = made.harm()
        assert visit.startswith("a visit at")
        assert change.startswith("the canary's folder is now")
    finally:
        made.close()


def test_a_program_that_knows_the_token_would_pass_in_every_style():
    source = world.scorer("weak")
    told = [world.completion(style, "token", world.right("token")) for style in world.STYLES]
    try:
        assert [score.value for score in source.score(told)] == [1.0] * len(world.STYLES)
    finally:
        source.close()
