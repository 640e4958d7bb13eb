"""A key/value cache that has its room from the start.

transformers' DynamicLayer copies all keys and values at every token. On a CPU that copying was 84 % of the time of
generation (2.2 M-parameter Llama, 64 rows); writing into room made once takes it away.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers.cache_utils import DynamicLayer


def spread(cache: Any, index_R: Tensor, room: int) -> None:
    """Gives row r of the cache what row index_R[r] held, with room for so many more tokens.

    Layers of another kind than transformers' plain one (sliding windows, state spaces) are reordered as they are.
    """
    layers = getattr(cache, "layers", None)
    if layers is None or any(type(layer) is not DynamicLayer for layer in layers):
        cache.reorder_cache(index_R)
    else:
        cache.layers = [RoomyLayer(layer, index_R, room) for layer in layers]


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


def _with_room(states: Tensor, room: int) -> Tensor:
    """A buffer [rows, heads, length + room, width] that begins with these states."""
    rows, heads, length, width = states.shape
    buffer = states.new_zeros(rows, heads, length + room, width)
    buffer[:, :, :length] = states
    return buffer
