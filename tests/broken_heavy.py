"""A broken plugin in a module of its own: importing it imports a library that takes a second."""

import datasets

from copgkit import RewardSource, Score


class Heavy(RewardSource):
    """Imports at the top of its module what only a method needs."""

    def score(self, completions):
        return [Score(float(len(datasets.__version__)) - len(one.text)) for one in completions]
