"""What attention remembers: the keys and values of the tokens taken in, in float32, float16 or int8."""

from __future__ import annotations

import numpy as np

from tritloom.host.errors import ContextError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.floats import widen_halves

__all__ = ["CACHE_KINDS", "KeyValueCache", "cache_bytes"]

CACHE_KINDS = ("float32", "float16", "int8")
"""How keys and values may be kept."""

#: Positions there is room for at first. The room doubles when it is used up: a model's whole context may be 600 MB, most runs use little of it, and an
#: array made at once is not only promised but filled, where the system gives memory in pages of 2 MB.
_FIRST_POSITIONS = 64


def cache_bytes(config: ModelConfig, positions: int, kind: str = "float32") -> int:
    """Bytes that the keys and values of so many positions take.

    Parameters
    ----------
    config
        The model's shape.
    positions
        Tokens.
    kind
        One of `CACHE_KINDS`.
    """
    vector = {"float32": 4 * config.head_dim, "float16": 2 * config.head_dim, "int8": config.head_dim + 4}[kind]
    return 2 * config.num_hidden_layers * config.num_key_value_heads * positions * vector


class KeyValueCache:
    """Keys and values of one sequence.

    ``"float32"`` gives back what it was given. ``"float16"`` rounds each number to 11 bits; one above 65,504 becomes an infinity, and the
    logits say so. ``"int8"`` keeps a float32 scale for each token and head, its absolute maximum divided by 127, and rounds to multiples of it.
    What comes back was rounded once, also for the tokens that have just come, so it does not matter in which pieces they do.

    Parameters
    ----------
    config
        The model's shape.
    context
        Most positions.
    kind
        One of `CACHE_KINDS`.

    Attributes
    ----------
    kind : str
        As given.

    Raises
    ------
    UsageError
        (a ``ValueError``) when there is no such kind.
    """

    def __init__(self, config: ModelConfig, context: int, kind: str = "float32") -> None:
        if kind not in CACHE_KINDS:
            raise UsageError(f"`kv_cache` must be one of {', '.join(map(repr, CACHE_KINDS))}, not {kind!r}")
        self._config, self._context, self.kind = config, context, kind
        heads, width = config.num_key_value_heads, config.head_dim
        self._layers = [(_KINDS[kind](heads, width), _KINDS[kind](heads, width)) for _ in range(config.num_hidden_layers)]

    @property
    def nbytes(self) -> int:
        """Bytes it takes now; up to twice what its positions need."""
        return sum(part.nbytes for pair in self._layers for part in pair)

    def extend(self, layer: int, start: int, keys: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Keep a layer's keys and values of the positions from `start`, in the place of what was there.

        Parameters
        ----------
        layer
            Its number.
        start
            Position of the first of them; all before it are there.
        keys, values
            ``(T, kv_heads, head_dim)`` float32.

        Returns
        -------
        keys, values : np.ndarray
            ``(kv_heads, start + T, head_dim)`` float32, of all positions so far; valid until the next call.

        Raises
        ------
        ContextError
            When there is not enough memory.
        """
        end = start + len(keys)
        key_part, value_part = self._layers[layer]
        if end > key_part.room or end > value_part.room:
            room = min(self._context, max(_FIRST_POSITIONS, 1 << (end - 1).bit_length()))
            try:
                key_part.grow(room, start)
                value_part.grow(room, start)
            except MemoryError as error:
                size = cache_bytes(self._config, room, self.kind)
                smaller = "" if self.kind == "int8" else ", or `kv_cache` as 'int8'"
                raise ContextError(f"the cache for {room} positions takes {size} bytes, more than there are: give a smaller `context`{smaller}") from error
        return key_part.put(keys, start, end), value_part.put(values, start, end)


class _Float32:
    """One layer's keys or values, as they are."""

    dtype: type = np.float32

    def __init__(self, heads: int, width: int) -> None:
        self._rows = np.empty((heads, 0, width), self.dtype)

    @property
    def room(self) -> int:
        return self._rows.shape[1]

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def grow(self, room: int, used: int) -> None:
        self._rows = _grown(self._rows, room, used)

    def put(self, new: np.ndarray, start: int, end: int) -> np.ndarray:
        self._rows[:, start:end] = new.transpose(1, 0, 2)
        return self._rows[:, :end]


class _Float16(_Float32):
    """Rounded to half precision."""

    dtype = np.float16

    def put(self, new: np.ndarray, start: int, end: int) -> np.ndarray:
        return widen_halves(super().put(new, start, end))


class _Int8(_Float32):
    """Rounded to 8 bits, with a scale for each token and head."""

    dtype = np.int8

    def __init__(self, heads: int, width: int) -> None:
        super().__init__(heads, width)
        self._scales = np.empty((heads, 0, 1), np.float32)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes + self._scales.nbytes

    def grow(self, room: int, used: int) -> None:
        super().grow(room, used)
        self._scales = _grown(self._scales, room, used)

    def put(self, new: np.ndarray, start: int, end: int) -> np.ndarray:
        scales = np.abs(new).max(axis=-1, keepdims=True)
        scales /= np.float32(127)
        # Where all are 0, any divisor will do.
        rounded = np.rint(new / np.where(scales == 0, np.float32(1), scales)).astype(np.int8)
        self._scales[:, start:end] = scales.transpose(1, 0, 2)
        return super().put(rounded, start, end) * self._scales[:, :end]


_KINDS = {"float32": _Float32, "float16": _Float16, "int8": _Int8}


def _grown(rows: np.ndarray, room: int, used: int) -> np.ndarray:
    """The same with room for more positions."""
    grown = np.empty((rows.shape[0], room, rows.shape[2]), rows.dtype)
    grown[:, :used] = rows[:, :used]
    return grown
