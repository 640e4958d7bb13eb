"""What a prompt source must keep: prompts that say something, the same ones each time, and an honest count."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from copgkit.components import PromptSource
from copgkit.testing.elsewhere import ask_another_process
from copgkit.testing.rules import HEAVY, Broken, Contract, Finding, as_recipes_give, check
from copgkit.types import Prompt


class PromptSourceContract(Contract):
    """What a prompt source must keep, with options that name real data."""

    component: type[PromptSource]

    def work(self, component: Any) -> Any:
        """Loads every prompt."""
        return list(component.load())

    def test_it_gives_prompts_that_say_something(self) -> None:
        with self.made() as source:
            prompts = self.work(source)
        if not prompts:
            raise Broken("it gave no prompts. Give the contract options that name data.")
        for number, prompt in enumerate(prompts, start=1):
            if not isinstance(prompt, Prompt):
                raise Broken(f"number {number} is a {type(prompt).__name__}, not a Prompt.")
            if not prompt.text.strip():
                raise Broken(f"prompt {number} is empty. Raise DataError naming file and row.")

    def test_it_gives_the_same_prompts_in_the_same_order_again(self) -> None:
        with self.made() as source, self.made() as other:
            first = self.work(source)
            if first != self.work(source) or first != self.work(other):
                raise Broken("loading once more gives other prompts, or another order. Take chance from options only.")

    def test_its_count_covers_what_it_loads(self) -> None:
        with self.made() as source:
            count, loaded = source.count(), len(self.work(source))
        if count is not None and count < loaded:
            raise Broken(f"count() says {count} and load() gives {loaded}. Say None if it cannot be told cheaply.")

    def test_counting_imports_nothing_heavy(self) -> None:
        if "<locals>" in self.component.__qualname__:
            return  # a class made inside a function cannot be found by another process
        options = as_recipes_give(self.component, self.options).model_dump(mode="json", by_alias=True)
        _, imported = ask_another_process("count", self.component, options, Path(self.folder))
        heavy = [name for name in HEAVY if name in imported]
        if heavy:
            raise Broken(f"count() imports {', '.join(heavy)}, and `copgkit check` would wait. Give None instead.")

    def test_facts_are_plain_json_data(self) -> None:
        with self.made() as source:
            for prompt in self.work(source):
                try:
                    same = json.loads(json.dumps(dict(prompt.facts))) == prompt.facts
                except (TypeError, ValueError):
                    same = False
                if not same:
                    raise Broken(f"{prompt.place}: its facts would come back from a stored group as something else.")

    def test_recorded_scores_are_finite_numbers(self) -> None:
        with self.made() as source:
            for prompt in self.work(source):
                for name, value in ((name, value) for one in prompt.recorded for name, value in one.scores.items()):
                    if value is not None and not math.isfinite(value):
                        raise Broken(f"{prompt.place}: the recorded score {name} is {value}. Leave it out.")


def check_prompt_source(
    component: type[PromptSource], options: Mapping[str, Any] | None = None, folder: Path | str = ".", **more: Any
) -> list[Finding]:
    """The rules that a prompt source breaks. more: other attributes of the contract."""
    members = {"component": component, "options": options or {}, "folder": folder, **more}
    return check(type("Checked", (PromptSourceContract,), members))
