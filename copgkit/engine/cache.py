"""Layers of a key/value cache that have room before it is written: copies for every row, or a prompt shared by many.

transformers' DynamicLayer copies all keys and values at every token. On a CPU that copying was 84 % of the time of
generation (2.2 M-parameter Llama, 64 rows); writing into room made before takes it away.
Legend: P prompts, R rows, H heads, T tokens of the longest prompt, t tokens written, D width of a head.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer

from copgkit.errors import ModelError

_GROWTH = 3  # tokens of room at a time: over wider gaps between short rows a CPU reads two to four times as slowly


def cache_of(output: Any) -> Any:
    """The cache that a forward pass leaves. Raises ModelError if there is none, or none whose rows can be reordered."""
    cache = getattr(output, "past_key_values", None)
    if not hasattr(cache, "reorder_cache"):
        raise ModelError(
            "policy.model: this architecture keeps no key/value cache, which generation needs. Use another."
        )
    return cache


def is_plain(cache: Any) -> bool:
    """Whether all layers are transformers' plain kind: every key and value of every token (no sliding window, no state
    space)."""
    layers = getattr(cache, "layers", None) or ()
    return len(layers) > 0 and all(type(layer) is DynamicLayer for layer in layers)


def spread(cache: Any, index_R: Tensor, room: int) -> None:
    """Gives row r of the cache what row index_R[r] held, with room for so many more tokens.

    Layers of another kind than transformers' plain one are reordered as they are.
    """
    if is_plain(cache):
        cache.layers = [RoomyLayer(layer, index_R, room) for layer in cache.layers]
    else:
        cache.reorder_cache(index_R)


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's keys and values: views of the filled part of two buffers."""

    def __init__(self, filled: DynamicLayer, index_R: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(filled.keys, filled.values)
        self._buffers = [_with_room(filled.keys[index_R], room), _with_room(filled.values[index_R], room)]
        self._show(filled.keys.shape[-2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes the new keys and values behind the old ones and gives all of them."""
        start = self.keys.shape[-2]
        end = start + key_states.shape[-2]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self._show(end)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps these rows, in this order."""
        self._buffers = [buffer[beam_idx] for buffer in self._buffers]
        self._show(self.keys.shape[-2])

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


class SharedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed here
    """One layer's keys and values: those of the prompts [P, H, T, D], and each row's own. `keys` and `values` are the
    filled part of the rows' own [R, H, t, D], whose room grows by a few tokens at a time."""

    def __init__(self, prompt_keys: Tensor, prompt_values: Tensor, num_rows: int) -> None:
        super().__init__()
        self.lazy_initialization(prompt_keys, prompt_values)
        # One place of all keys lies side by side in memory: a CPU takes three quarters of the time for their products.
        self.prompt_keys = prompt_keys.transpose(2, 3).contiguous().transpose(2, 3)
        self.prompt_values = prompt_values
        self._buffers = [
            states.new_empty(num_rows, states.shape[1], 0, states.shape[3]) for states in (prompt_keys, prompt_values)
        ]
        self._show(0)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes one more key and value a row and gives the rows' own."""
        end = self.keys.shape[-2]
        if end == self._buffers[0].shape[-2]:
            self._move(None)
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, end] = new[:, :, 0]
        self._show(end + 1)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens of the longest prompt and of what is written."""
        return int(self.prompt_keys.shape[-2] + self.keys.shape[-2])

    def keep(self, index_R: Tensor, index_P: Tensor | None) -> None:
        """Leaves only these rows and these prompts (None: all of them)."""
        self._move(index_R)
        if index_P is not None:
            self.prompt_keys, self.prompt_values = self.prompt_keys[index_P], self.prompt_values[index_P]

    def _move(self, index_R: Tensor | None) -> None:
        """Into buffers for these rows (None: all of them), with room for a few more tokens."""
        filled = self.keys.shape[-2]
        room = filled + max(_GROWTH, filled // 8)
        for place, states in enumerate((self.keys, self.values)):
            left = states if index_R is None else states[index_R]
            rows, heads, _, width = left.shape
            self._buffers[place] = left.new_empty(rows, heads, room, width)
            self._buffers[place][:, :, :filled] = left
        self._show(filled)

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def _with_room(states: Tensor, room: int) -> Tensor:
    """A buffer [rows, heads, length + room, width] that begins with these states."""
    rows, heads, length, width = states.shape
    buffer = states.new_zeros(rows, heads, length + room, width)
    buffer[:, :, :length] = states
    return buffer
