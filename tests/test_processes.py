"""Several processes: together they do what one does, once."""

import pytest
from process_world import in_processes

from copgkit import CopgkitError
from copgkit.engine import ranks


def _everything():
    return {
        "rank": ranks.rank(),
        "own": ranks.share_of("abcde"),
        "out": ranks.share_out([1, 2, 3], lambda own: [(one, ranks.rank()) for one in own]),
        "like": ranks.share_out(["b", "a", "b", "c"], lambda own: [(one, ranks.rank()) for one in own], like=str),
        "empty": ranks.share_out([], lambda own: [1 / 0]),
        "gathered": ranks.gathered(ranks.rank() * 10),
        "from_main": ranks.from_main(lambda: f"made by {ranks.rank()}"),
        "summed": ranks.summed({"both": 1, f"only-{ranks.rank()}": 2}),
    }


def test_one_process_gets_back_what_it_gives():
    assert ranks.share_of("abcde") == list("abcde")
    assert ranks.share_out([1, 2], lambda own: [10 * one for one in own], like=str) == [10, 20]
    assert ranks.gathered(3) == [3]
    assert ranks.from_main(lambda: 4) == 4
    assert ranks.summed({"a": 1.5}) == {"a": 1.5}
    ranks.require_same("recipe", "anything")


def test_two_processes_share_the_work_and_both_get_all_of_it_in_order():
    one, other = in_processes(2, _everything)
    assert (one.pop("rank"), other.pop("rank")) == (0, 1)
    assert one.pop("own") + other.pop("own") == ["a", "c", "e", "b", "d"]
    assert one == other == {
        "out": [(1, 0), (2, 1), (3, 0)],
        "like": [("b", 0), ("a", 1), ("b", 0), ("c", 0)],
        "empty": [],
        "gathered": [0, 10],
        "from_main": "made by 0",
        "summed": {"both": 2, "only-0": 2, "only-1": 2},
    }  # fmt: skip


def _require(*values):
    ranks.require_same("recipe", values[ranks.rank()])


def test_what_differs_between_processes_is_named():
    with pytest.raises(CopgkitError, match=r"process 1 of 2: its recipe .*'seed: 0' against 'seed: 1'"):
        in_processes(2, _require, "a: 1\nseed: 0", "a: 1\nseed: 1")
