"""Float matrices as checkpoints keep them: stored narrow, widened to float32 where they are used.

float32, bfloat16 and float16 are widened exactly. int8 is a quantised matrix, with one float32 scale a row, and stands for ``values * scale``.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from tritloom.host.errors import UsageError

__all__ = ["FLOAT_TYPES", "FloatTensor", "widen_halves"]

FLOAT_TYPES: dict[str, np.dtype] = {
    "float32": np.dtype("<f4"), "bfloat16": np.dtype("<u2"), "float16": np.dtype("<f2"), "int8": np.dtype("i1"),
}  # fmt: skip
"""What an element is in memory, by name. numpy has no bfloat16: its bit patterns are uint16."""

#: Values looked at, widened or quantised at a time.
_BLOCK = 1 << 20


def widen_halves(halves: np.ndarray) -> np.ndarray:
    """float16 as float32, exactly: a look-up of its bits takes a quarter of the time of numpy's cast.

    Parameters
    ----------
    halves
        float16.

    Returns
    -------
    np.ndarray
        float32 of the same shape, a new array.
    """
    return np.take(_widened(), halves.view(np.uint16))


@cache
def _widened() -> np.ndarray:
    """Every float16 by its bits."""
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)


class FloatTensor:
    """A float tensor as it is stored.

    Parameters
    ----------
    stored
        The values, of the type that `FLOAT_TYPES` has for `dtype`. It may be a view of a mapped file: nothing is copied.
    dtype
        ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``.
    scales
        For ``"int8"`` only: ``(N,)`` float32, positive; what the values of a row are multiplied by.

    Attributes
    ----------
    stored, dtype, scales
        As given.

    Raises
    ------
    UsageError
        (a ``ValueError``) when they do not fit together.
    """

    def __init__(self, stored: np.ndarray, dtype: str = "float32", scales: np.ndarray | None = None) -> None:
        if dtype not in FLOAT_TYPES:
            raise UsageError(f"`dtype` must be one of {', '.join(FLOAT_TYPES)}, not {dtype!r}")
        if not isinstance(stored, np.ndarray) or stored.dtype != FLOAT_TYPES[dtype]:
            given = stored.dtype if isinstance(stored, np.ndarray) else type(stored).__name__
            raise UsageError(f"a {dtype} tensor must be stored as {FLOAT_TYPES[dtype]}, not {given}")
        if dtype == "int8":
            if stored.ndim != 2 or not isinstance(scales, np.ndarray) or scales.dtype != np.float32 or scales.shape != stored.shape[:1]:
                given = "none" if scales is None else f"{getattr(scales, 'dtype', type(scales).__name__)} {getattr(scales, 'shape', '')}"
                raise UsageError(f"an int8 tensor must be a matrix (N, K) with N float32 scales, not {stored.shape} with {given}")
        elif scales is not None:
            raise UsageError(f"a {dtype} tensor must have no scales")
        self.stored = stored
        self.dtype = dtype
        self.scales = scales

    def __repr__(self) -> str:
        return f"<FloatTensor {self.dtype} {self.shape}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return self.stored.shape

    @property
    def nbytes(self) -> int:
        """Bytes that it takes stored, scales included."""
        return self.stored.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Chosen rows.

        Parameters
        ----------
        ids
            ``(T,)`` integers.

        Returns
        -------
        np.ndarray
            ``(T, ...)`` float32, a new array.
        """
        return self._widen(self.stored[ids], None if self.scales is None else self.scales[ids])

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows ``[start, stop)`` as float32: a view where it is stored so, else a new array."""
        part = self.stored[start:stop]
        return part if self.dtype == "float32" else self._widen(part, None if self.scales is None else self.scales[start:stop])

    def array(self) -> np.ndarray:
        """All of it as float32: a view where it is stored so, else a new array, made block by block."""
        if self.dtype == "float32":
            return self.stored
        wide = np.empty(self.shape, np.float32)
        for start, stop in self.blocks():
            wide[start:stop] = self.block(start, stop)
        return wide

    def blocks(self) -> list[tuple[int, int]]:
        """Ranges of rows, of about a million values each, that cover the tensor."""
        step = max(1, _BLOCK // max(1, math.prod(self.shape[1:])))
        return [(start, min(start + step, self.shape[0])) for start in range(0, self.shape[0], step)]

    def is_finite(self) -> bool:
        """Whether no value is infinite or NaN."""
        if self.dtype == "int8":
            return True
        if self.dtype == "bfloat16":    # all bits of the exponent are 1
            return not any(((self.stored[start:stop] & 0x7F80) == 0x7F80).any() for start, stop in self.blocks())
        return all(np.isfinite(self.stored[start:stop]).all() for start, stop in self.blocks())

    def to_int8(self) -> FloatTensor:
        """The matrix quantised, every row by its absolute maximum: ``scale = |x|max / 127``, ``values = rint(x / scale)``. Lossy.

        A row of zeros has the scale 1; none is below float32's least normal number.
        """
        values, scales = np.empty(self.shape, np.int8), np.empty(len(self.stored), np.float32)
        for start, stop in self.blocks():
            x = self.block(start, stop)
            top = np.abs(x).max(axis=1)
            scale = np.maximum(top / np.float32(127), np.finfo(np.float32).tiny)
            scale[top == 0] = 1
            scales[start:stop] = scale
            values[start:stop] = np.rint(x / scale[:, None])
        return FloatTensor(values, "int8", scales)

    def _widen(self, part: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
        if self.dtype == "bfloat16":    # the upper half of a float32
            wide = part.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        floats = widen_halves(part) if self.dtype == "float16" else part.astype(np.float32)
        if scales is not None:
            floats *= scales[:, None]
        return floats
