"""From a metric's name to a metric of the `evaluate` library: ours, a script beside the recipe, or one of the hub.

A metric is code that runs with your rights. Ours come with copgkit and a script beside the recipe is the user's own;
of the hub, only the metrics that the library's makers publish are loaded without `trust_remote_code`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from copgkit import Component, Context, PluginError, bounded_map

OURS = {"rouge": "rouge.LocalRouge", "bleu": "bleu.LocalBleu", "exact_match": "exact_match.LocalExactMatch"}
_PUBLISHERS = ("evaluate-metric", "evaluate-measurement", "evaluate-comparison")
_YES = {"1", "true", "yes", "on"}


class MetricChoice(Component.Options):
    """The options that say which metric."""

    metric: str = Field(
        description="rouge, bleu and exact_match come with copgkit and need no network; else the path of a metric"
        " script relative to the recipe, or a hub name such as sacrebleu or owner/metric."
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="Keyword arguments of its compute().")
    revision: str | None = Field(None, description="Branch, tag or commit of a hub metric.")
    trust_remote_code: bool = Field(
        False, description="Run a hub metric's code although the makers of `evaluate` do not publish it."
    )
    load_timeout: float = Field(300.0, gt=0, description="Seconds in which a metric must have loaded.")


class MetricLoader:
    """One metric, loaded at its first use. where: how messages name the component that uses it."""

    def __init__(self, choice: Any, context: Context, where: str) -> None:
        self.choice, self.context, self.where = choice, context, where
        self.name: str = choice.metric
        self._metric: Any = None
        self._check_name()

    @property
    def is_ours(self) -> bool:
        """Ours give lists: one value for each text."""
        return self.name in OURS

    def metric(self) -> Any:
        """The metric. Raises PluginError with the remedy if it cannot be had, and never waits longer than agreed."""
        if self._metric is None:
            try:
                (self._metric,) = bounded_map(self._load, [self.name], workers=1, deadline=self.choice.load_timeout)
            except Exception as fault:  # a metric is anybody's code and raises anything
                raise self._refusal(fault) from fault
        return self._metric

    def release(self) -> None:
        """Lets go of a metric that may hold a model: any but ours."""
        if not self.is_ours:
            self._metric = None

    @property
    def is_loaded(self) -> bool:
        return self._metric is not None

    def compute(self, texts: Sequence[str], answers: Sequence[str]) -> Mapping[str, Any]:
        """Its result for texts and their answers. Raises PluginError with the metric's own words."""
        metric = self.metric()
        try:
            result = metric.compute(predictions=list(texts), references=list(answers), **self.choice.arguments)
        except Exception as fault:
            raise PluginError(f"{self.where}: the metric '{self.name}' raised {reason_of(fault)}.") from fault
        if not isinstance(result, Mapping):
            raise PluginError(f"{self.where}: the metric '{self.name}' gave {type(result).__name__}, not its values.")
        return result

    def version(self) -> str:
        """What tells this metric's code from another version's: the hash of its script; empty for ours."""
        return "" if self.is_ours else str(self.metric()._hash)

    def _load(self, name: str) -> Any:
        import evaluate

        if name in OURS:
            module, _, cls = OURS[name].partition(".")
            ours = __import__(f"copgkit_metrics.{module}", fromlist=[cls])
            return getattr(ours, cls)(keep_in_memory=True, seed=self.context.seed)
        if _offline():
            evaluate.config.HF_EVALUATE_OFFLINE = True  # the library does not know the hub's own variable
        path = self.context.path(name)
        where = str(path) if path.exists() else self._hub_name
        return evaluate.load(where, revision=self.choice.revision, keep_in_memory=True, seed=self.context.seed)

    @property
    def _hub_name(self) -> str:
        """The full name: a short one could be that of a folder in which copgkit happens to be started."""
        return self.name if "/" in self.name else f"{_PUBLISHERS[0]}/{self.name}"

    def _check_name(self) -> None:
        """Refuses what can be refused before any work: a missing script, and code of a stranger."""
        if self.is_ours or self.context.path(self.name).exists():
            return
        if self.name.endswith(".py") or self.name.startswith((".", "/", "~")) or self.name.count("/") > 1:
            raise PluginError(f"{self.where}: there is no metric '{self.name}'. Paths are relative to the recipe.")
        publisher = self._hub_name.partition("/")[0]
        if publisher not in _PUBLISHERS and not self.choice.trust_remote_code:
            raise PluginError(
                f"{self.where}: the metric '{self.name}' is code of '{publisher}' on the hub, and would run with your"
                " rights. Read it, then say `trust_remote_code: true`, best with a `revision`."
            )

    def _refusal(self, fault: Exception) -> PluginError:
        words = f"{self.where}: the metric '{self.name}' cannot be loaded"
        if self.context.path(self.name).exists() or not isinstance(fault, OSError):
            return PluginError(f"{words}: {reason_of(fault)}. --debug shows where.")
        remedy = "Load it once with a network, give the path of its script, or use one that needs none"
        if _offline():
            why = "HF_HUB_OFFLINE is set, and it was not loaded on this machine before"
        else:
            why = f"{reason_of(fault)}. A hub metric needs a network the first time"
        return PluginError(f"{words}: {why}. {remedy}: {', '.join(OURS)}.")


def _offline() -> bool:
    return any(
        os.environ.get(name, "").lower() in _YES
        for name in ("HF_HUB_OFFLINE", "HF_EVALUATE_OFFLINE", "TRANSFORMERS_OFFLINE")
    )


def reason_of(fault: BaseException) -> str:
    """An exception in one line."""
    line = next((line.strip() for line in str(fault).splitlines() if line.strip()), "")
    return f"{type(fault).__name__}: {line}".rstrip(".: ")


def numbers_in(value: Any) -> list[float] | None:
    """The numbers of one entry of a result: a number or a list of them, numpy's included; None for anything else."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    values = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(each, bool) or not isinstance(each, int | float) for each in values):
        return None
    return [float(each) for each in values]
