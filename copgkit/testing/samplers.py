"""What a sampler must keep: groups of two and more, as many as asked for, and a state that goes on exactly."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from copgkit.samplers import Sampler, SamplerContext
from copgkit.testing.rules import Broken, Contract, Finding, as_recipes_give, check
from copgkit.testing.stand_ins import WordGenerator, scored, some_prompts
from copgkit.types import Group, Prompt, ScoredGroup

ROUND = 2
"""Groups in a draw of a sampler that makes rounds."""


class SamplerContract(Contract):
    """What a sampler must keep.

    prompts: those of the run; stand-ins with recorded completions if not given. Policy and reference are
    `WordGenerator`s, so that no model is needed.
    """

    component: type[Sampler]
    prompts: Sequence[Prompt] = ()
    seed: int = 0

    def context(self) -> SamplerContext:
        """The prompts, and two models that write words by chance."""
        return SamplerContext(
            name=self.name or self.component.__name__.lower(),
            folder=Path(self.folder),
            seed=self.seed,
            prompts=list(self.prompts) or some_prompts(),
            policy=WordGenerator("policy"),
            reference=WordGenerator("reference"),
        )

    def work(self, component: Any) -> Any:
        """Draws once."""
        return self._draw(component)

    def test_every_group_has_at_least_two_completions(self) -> None:
        with self.made() as sampler:
            groups = self._draw(sampler)
        if not groups:
            raise Broken("it drew no group at all from prompts that have recorded completions and models.")
        for group in groups:
            if len(group.completions) < 2:
                raise Broken(f"{group.prompt.place}: {len(group.completions)} completions contrast with nothing.")

    def test_every_completion_answers_the_prompt_of_its_group(self) -> None:
        with self.made() as sampler:
            known = {prompt.text for prompt in sampler.context.prompts}
            for group in self._draw(sampler):
                if group.prompt.text not in known:
                    raise Broken(f"{group.prompt.place} is none of the run's prompts.")
                if any(completion.prompt != group.prompt for completion in group.completions):
                    raise Broken(f"{group.prompt.place}: a completion of another prompt stands in its group.")

    def test_it_draws_as_many_groups_as_asked_for(self) -> None:
        for wanted in (1, 3):
            with self.made() as sampler:
                drawn = len(sampler.draw(wanted))
                short = sampler.steps_per_round is not None and drawn < wanted
            if drawn > wanted or short:
                raise Broken(f"{drawn} groups where {wanted} were asked for. draw(num_groups) must respect it.")

    def test_no_groups_are_drawn_when_none_are_asked_for(self) -> None:
        with self.made() as sampler:
            groups = self.unless_it_raises("draw(0)", lambda: sampler.draw(0))
        if groups:
            raise Broken(f"draw(0) gave {len(groups)} groups. 0 is not None: give an empty list.")

    def test_the_same_seed_draws_the_same_groups(self) -> None:
        with self.made() as sampler, self.made() as other:
            if self._draw(sampler) != self._draw(other):
                raise Broken("two instances with the same seed draw differently. Take chance from context.seed alone.")

    def test_pair_weights_are_square_symmetric_and_not_negative(self) -> None:
        with self.made() as sampler:
            for group in self._draw(sampler):
                fault = _weight_fault(group)
                if fault:
                    raise Broken(f"{group.prompt.place}: {fault}.")

    def test_its_plan_says_what_it_draws(self) -> None:
        with self.made() as sampler:
            plan = type(sampler).plan(sampler.options)
            sizes = {len(group.completions) for group in self._draw(sampler)}
        if plan.completions_per_prompt is not None and sizes != {plan.completions_per_prompt}:
            raise Broken(f"plan() says {plan.completions_per_prompt} completions in a group; drawn were {sizes}.")
        if not set(plan.generator.split(" and ")) <= {"none", "reference", "policy"}:
            raise Broken(f"plan() names the generator {plan.generator!r}. Say none, reference, policy, or 'a and b'.")

    def test_its_state_is_plain_json(self) -> None:
        with self.made() as sampler:
            self._round(sampler)
            state = sampler.state()
        try:
            again = json.loads(json.dumps(state, allow_nan=False))
        except (TypeError, ValueError) as fault:
            raise Broken(f"state() does not go into JSON ({fault}). Give dicts, lists, texts and numbers.") from fault
        if again != state:
            raise Broken("state() comes back from JSON as something else. Give dicts with text keys, and lists.")

    def test_a_restored_sampler_goes_on_exactly(self) -> None:
        with self.made() as sampler, self.made() as fresh:
            self._round(sampler)
            fresh.restore(json.loads(json.dumps(sampler.state())))
            wanted, given = self._round(sampler), self._round(fresh)
        if wanted != given:
            raise Broken("after restore(state()) it draws other groups. Put all that the next draw needs in state().")

    def test_it_leaves_the_prompts_alone(self) -> None:
        with self.made() as sampler:
            before = copy.deepcopy(sampler.context.prompts)
            self._round(sampler)
            if sampler.context.prompts != before:
                raise Broken("it changed the run's prompts, which others read too. Copy before changing.")

    def test_what_it_selects_can_be_trained_on(self) -> None:
        with self.made() as sampler:
            for one in sampler.select(scored(self._draw(sampler))):
                size = len(one.group.completions)
                if size < 2 or len(one.rewards) != size or any(len(row) != size for row in one.scores.values()):
                    raise Broken(
                        f"{one.group.prompt.place}: select() gave {size} completions, and not as many rewards."
                    )
                fault = _weight_fault(one.group)
                if fault:
                    raise Broken(f"{one.group.prompt.place}: of what select() gave, {fault}.")

    def test_selecting_changes_no_group_in_place(self) -> None:
        with self.made() as sampler:
            groups = scored(self._draw(sampler))
            before = copy.deepcopy(groups)
            sampler.select(groups)
        if groups != before:
            raise Broken("select() changed the groups that were scored, which are stored as they are. Give new ones.")

    def test_what_it_says_of_itself_needs_no_setup(self) -> None:
        told = self.component.unmade(as_recipes_give(self.component, self.options))
        for name in ("on_policy", "steps_per_round", "caveat"):
            self.unless_it_raises(f"reading {name} before setup()", partial(getattr, told, name))

    def test_its_figures_are_finite_numbers(self) -> None:
        with self.made() as sampler:
            self._round(sampler)
            for name, value in sampler.statistics().items():
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    raise Broken(f"statistics() gives {name!r} as {value!r}. Give finite numbers.")

    def _draw(self, sampler: Sampler) -> list[Group]:
        """What a run would ask for: everything, or one round."""
        return sampler.draw(None if sampler.steps_per_round is None else ROUND)

    def _round(self, sampler: Sampler) -> list[ScoredGroup]:
        """A whole round: drawn, scored, selected and observed; what is trained on."""
        groups = scored(self._draw(sampler))
        selected = list(sampler.select(groups))
        sampler.observe(groups)
        return selected


def check_sampler(
    component: type[Sampler], options: Mapping[str, Any] | None = None, prompts: Sequence[Prompt] = (), **more: Any
) -> list[Finding]:
    """The rules that a sampler breaks. more: other attributes of the contract."""
    members = {"component": component, "options": options or {}, "prompts": prompts, **more}
    return check(type("Checked", (SamplerContract,), members))


def _weight_fault(group: Group) -> str:
    size, weights = len(group.completions), group.pair_weights
    if weights is None:
        return ""
    if len(weights) != size or any(len(row) != size for row in weights):
        return f"pair_weights is not {size} by {size}"
    pairs = [(i, j) for i in range(size) for j in range(size)]
    if any(not math.isfinite(weights[i][j]) or weights[i][j] < 0 for i, j in pairs):
        return "a pair weight is negative or not finite"
    return "pair_weights is not symmetric" if any(weights[i][j] != weights[j][i] for i, j in pairs) else ""
