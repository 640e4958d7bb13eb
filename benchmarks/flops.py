"""Floating-point operations that a training step needs, counted from the shapes. Pure arithmetic.

What is counted: the products of matrices, 2 operations for each multiply-add; 2 more such products for each in the
backward pass. A token counts where it must be fed (the last one of a completion only has to be predicted), the output
head and the last layer's feed-forward part only where a completion token is predicted, attention only where a token may
look. What is not: embeddings, norms,
softmax, rotations, the optimiser, and whatever a program computes twice or in vain. So operations a second by this
count are the useful ones, and a program that recomputes has fewer of them.
"""

from __future__ import annotations

from benchmarks.cells import Cell, Shape


def shared_prompt_flops(cell: Cell) -> int:
    """Of a step in which each prompt is computed once for all its completions."""
    fed = cell.prompt + cell.completions_per_prompt * (cell.completion - 1)
    seen = _seen_within(cell.prompt) + cell.completions_per_prompt * _seen_by_completion(cell)
    read = 1 + cell.completions_per_prompt * (cell.completion - 1)  # the prompt's last token, and those of completions
    return 3 * cell.groups * (_trunk(cell.shape, fed, seen, read) + _head(cell))


def repeated_prompt_flops(cell: Cell) -> int:
    """Of a step in which every completion is a sequence of its own, its prompt in front."""
    fed = cell.prompt + cell.completion - 1
    seen = _seen_within(cell.prompt) + _seen_by_completion(cell)
    trunk = cell.completions_per_prompt * _trunk(cell.shape, fed, seen, read=cell.completion)
    return 3 * cell.groups * (trunk + _head(cell))


def _trunk(shape: Shape, fed: int, seen: int, read: int) -> int:
    """Forward pass of all layers: fed tokens, seen pairs of a token and one that it looks at, and tokens whose last
    hidden state is read."""
    spared = 2 * 3 * shape.hidden * shape.intermediate * (fed - read)
    return shape.layers * (2 * shape.layer_weights * fed + 4 * shape.hidden * seen) - spared


def _head(cell: Cell) -> int:
    """Forward pass of the output head for one group's completions."""
    return 2 * cell.shape.hidden * cell.shape.vocabulary * cell.completions_per_prompt * cell.completion


def _seen_within(tokens: int) -> int:
    """Each token of a causal block looks at itself and at those before it."""
    return tokens * (tokens + 1) // 2


def _seen_by_completion(cell: Cell) -> int:
    fed = cell.completion - 1
    return fed * cell.prompt + _seen_within(fed)
