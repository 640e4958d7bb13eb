"""A plugin of one file with a reward source that goes wrong in every way: `options: {kind: ...}` chooses how.

It scores a completion by its first letter (a: 1, b: 2, ...) and goes wrong where it meets an x, or as a whole.
"""

import os
import time

from copgkit import RewardSource, Score, hookimpl


def value(completion):
    return float(ord(completion.text[0]) - ord("a") + 1)


def at_x(bad):
    """Sound scores but for completions that hold an x, for which bad() is the value."""
    return lambda given: [Score(bad() if "x" in one.text else value(one)) for one in given]


def raises(fault):
    def raised():
        raise fault

    return raised


def mutates(given):
    for one in given:
        one.prompt.facts["note"].append("changed")
        one.prompt.facts["new"] = True
    return [Score(value(one)) for one in given]


def prints(given):
    for one in given:
        print(f"scoring {one.text}\n" * 1000)
    return [Score(value(one)) for one in given]


def prints_without_end(given):
    print("x" * 100_000_000)
    return [Score(value(one)) for one in given]


FORKED = []  # the children


def forks(given):
    child = os.fork()  # and goes on in both processes
    if child:
        FORKED.append(child)
    return [Score(value(one)) for one in given]


def tensors(device):
    def scored(given):
        import torch

        return [Score(torch.tensor(value(one), device=device)) for one in given]

    return scored


def one_text_one_score(given):
    return [Score(value(given[0]))]


KINDS = {
    "sound": lambda given: [Score(value(one)) for one in given],
    "raises": at_x(raises(KeyError("x"))),
    "exits": at_x(raises(SystemExit(0))),
    "nan": at_x(lambda: float("nan")),
    "infinite": at_x(lambda: float("inf")),
    "huge": at_x(lambda: 1e30),
    "none": at_x(lambda: None),
    "hangs": lambda given: time.sleep(30),
    "slow": lambda given: time.sleep(0.01) or [Score(value(one)) for one in given],
    "too few": lambda given: [Score(value(one)) for one in given[1:]],
    "too many": lambda given: [Score(value(one)) for one in given] + [Score(0.0)],
    "one for all": one_text_one_score,
    "a dict": lambda given: {one.text: value(one) for one in given},
    "text": lambda given: [Score(str(value(one))) for one in given],
    "bools": lambda given: [Score(value(one) > 1) for one in given],
    "bare numbers": lambda given: [value(one) for one in given],
    "empties its list": lambda given: given.clear() or [],
    "mutates": mutates,
    "prints": prints,
    "prints without end": prints_without_end,
    "forks": forks,
    "tensors": tensors("cpu"),
    "tensors elsewhere": tensors("meta"),
    "all none": lambda given: [None for _ in given],
    "all abstain": lambda given: [Score.abstain() for _ in given],
    "all raise": lambda given: raises(RuntimeError("always"))(),
    "crashes": lambda given: os.kill(os.getpid(), 11),
    "ends the process": lambda given: os._exit(0),
}


class Bad(RewardSource):
    """Goes wrong as its options say."""

    class Options(RewardSource.Options):
        kind: str = "sound"

    def score(self, completions):
        return KINDS[self.options.kind](completions)


class Witness(RewardSource):
    """Says how many facts it sees: nothing that another source does may change that. Adds nothing to differences."""

    def score(self, completions):
        return [Score(float(len(one.prompt.facts) + len(one.prompt.facts["note"]))) for one in completions]


@hookimpl
def register_reward_sources(register):
    register("bad", Bad)
    register("witness", Witness)
