"""`copgkit verify`: every claim of the theory against the engine, each with the value found and its tolerance."""

from __future__ import annotations

import json as json_library
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict

import torch

from copgkit.theory import gradients, loops, optima, sequences
from copgkit.theory.finding import Finding


def claims() -> Iterator[Callable[[], Finding]]:
    """All claims, in the order in which they are shown."""
    yield from gradients.claims()
    yield from optima.claims()
    yield from (sequences.sums_not_means, sequences.only_completion_tokens_are_trained)
    yield sequences.shared_prompts_change_nothing
    yield from loops.claims()
    yield sequences.end_to_end


def run_all(report: Callable[[Finding], None]) -> bool:
    """Checks every claim, reports each as it is found, and tells whether all hold.

    Rewards and logits come from fixed seeds; the global random state is left as it was.
    """
    holds = True
    with torch.random.fork_rng():
        for claim in claims():
            finding = claim()
            report(finding)
            holds &= finding.holds
    return holds


def main(json: bool = False) -> int:
    """Prints the findings and gives the exit status: 0 if all claims hold, else 1."""
    started, findings = time.perf_counter(), []

    def report(finding: Finding) -> None:
        findings.append(finding)
        if not json:
            print(as_line(finding), flush=True)

    holds = run_all(report)
    seconds = time.perf_counter() - started
    if json:
        print(json_library.dumps([asdict(finding) | {"holds": finding.holds} for finding in findings], indent=2))
    else:
        failed = sum(not finding.holds for finding in findings)
        verdict = "all hold" if holds else f"{failed} FAILED"
        print(f"\n{len(findings)} checks in {seconds:.0f} s: {verdict}.")
    return 0 if holds else 1


def as_line(finding: Finding) -> str:
    """One finding as text: verdict, claim, title, value and tolerance, and what else was found."""
    verdict = "ok    " if finding.holds else "FAILED"
    line = f"{verdict} {finding.claim:>3}  {finding.title:<52} {abs(finding.value):.1e} <= {finding.tolerance:.0e}"
    return f"{line}\n            {finding.detail}" if finding.detail else line
