"""Groups of the completions that came with the data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from copgkit import Completion, DataError, Group, Prompt, Sampler
from copgkit_samplers.turns import Turns


class RecordedSampler(Sampler):
    """Groups of the completions that came with the data. Nothing is generated."""

    class Options(Sampler.Options):
        on_small_group: Literal["stop", "drop"] = Field(
            "stop", description="What a prompt with fewer than two completions does: stop the run, or be left out."
        )

    def setup(self) -> None:
        """Looks at nothing yet: a run that does not draw here need not have recorded completions."""
        self._turns: Turns | None = None
        self._saved: Mapping[str, Any] | None = None

    def draw(self, num_groups: int | None) -> list[Group]:
        """Every prompt's recorded completions, once and in order (None), or those of the next prompts in shuffled
        passes. Raises DataError for a group without contrast."""
        if num_groups is None:
            return [_recorded_group(prompt) for prompt in self._usable()]
        return [_recorded_group(prompt) for prompt in self._started().take(num_groups)]

    def state(self) -> dict[str, Any]:
        """How far it is in its passes."""
        return {} if self._turns is None else self._turns.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes on in the pass in which the state was saved."""
        if state:
            self._started().restore(state)

    def _started(self) -> Turns:
        if self._turns is None:
            self._turns = Turns(self._usable(), self.context.seed)
        return self._turns

    def _usable(self) -> list[Prompt]:
        """The prompts that contrast something."""
        prompts = self.context.prompts
        small = [prompt for prompt in prompts if len(prompt.recorded) < 2]
        if small and self.options.on_small_group == "stop":
            raise DataError(
                f"{small[0].place}: {len(small[0].recorded)} recorded completions; a group needs at least two"
                f" ({len(small)} of {len(prompts)} prompts have fewer). Say `on_small_group: drop` to leave them out."
            )
        if small:
            self.context.progress.warning(
                f"sampler 'recorded': {len(small)} of {len(prompts)} prompts have fewer than two completions and are"
                " left out."
            )
        usable = [prompt for prompt in prompts if len(prompt.recorded) >= 2]
        if not usable:
            raise DataError("sampler 'recorded': no prompt has two recorded completions. Generate, or give other data.")
        return usable


def _recorded_group(prompt: Prompt) -> Group:
    return Group(
        prompt,
        tuple(Completion(prompt, one.text, one.token_ids, one.finished, one.scores) for one in prompt.recorded),
        prompt.recorded_weights,
    )
