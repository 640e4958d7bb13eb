"""Measures copgkit beside TRL, on the machine at hand: `python -m benchmarks`. What and how: docs/benchmarks.md."""
