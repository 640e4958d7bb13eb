"""A reward source that a third party ships: text that does not shout."""

from collections.abc import Sequence

from pydantic import Field

from copgkit import Completion, RewardSource, Score, hookimpl


class Calm(RewardSource):
    """Minus the share of capital letters, beyond what is tolerated."""

    class Options(RewardSource.Options):
        tolerated: float = Field(0.1, ge=0, le=1, description="Share of capitals that costs nothing.")

    def score(self, completions: Sequence[Completion]) -> list[Score]:
        return [Score(-max(0.0, _capitals(completion.text) - self.options.tolerated)) for completion in completions]


def _capitals(text: str) -> float:
    letters = [letter for letter in text if letter.isalpha()]
    return sum(letter.isupper() for letter in letters) / max(len(letters), 1)


@hookimpl
def register_reward_sources(register):
    register("calm", Calm)
