"""What is measured: the shape of a model, and how many tokens of which kind a step holds. Plain data, no torch.

cell = Cell(SHAPES["small"], prompt=384, completion=48, completions_per_prompt=8, groups=4)
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """A Llama with untied embeddings and as many key as query heads."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int

    @property
    def layer_weights(self) -> int:
        """Weights of one layer's seven matrices; its two norms are left out."""
        return 4 * self.hidden**2 + 3 * self.hidden * self.intermediate

    @property
    def weights(self) -> int:
        """Weights of all matrices, embeddings and output head included."""
        return self.layers * self.layer_weights + 2 * self.hidden * self.vocabulary


SHAPES = {
    "tiny": Shape(layers=2, hidden=32, heads=4, intermediate=64, vocabulary=96),
    "small": Shape(layers=8, hidden=512, heads=8, intermediate=1376, vocabulary=32_000),
    "1b": Shape(layers=16, hidden=2048, heads=32, intermediate=8192, vocabulary=32_000),
}


@dataclass(frozen=True)
class Cell:
    """One point of a table. All prompts have the same length, and all completions, so that nothing is ever padded.

    prompt, completion: tokens; a completion's end-of-sequence is among them. groups: prompts of one optimiser step.
    groups_per_forward: groups that copgkit takes into one pass; None is all of them.
    """

    shape: Shape
    prompt: int
    completion: int
    completions_per_prompt: int
    groups: int
    groups_per_forward: int | None = None
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def group_tokens(self) -> int:
        """Tokens of a group whose prompt is fed once; the last of a completion is never fed."""
        return self.prompt + self.completions_per_prompt * (self.completion - 1)

    @property
    def completions(self) -> int:
        """Completions of one optimiser step."""
        return self.groups * self.completions_per_prompt

    @property
    def pairs(self) -> int:
        """Pairs that hold the completions of one optimiser step, each completion once."""
        return self.completions // 2
