"""Float matrices to trits and scales: exactly, where they are ternary already, and by absmean, where that was asked for.

A matrix is worked on in blocks of rows, so that besides its trits little memory is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tritloom.host.trits import Ternary

__all__ = ["NotTernaryError", "absmean", "exact_ternary", "widen"]

#: Values in a block.
_BLOCK = 1 << 20

_FLOOR = np.float32(1e-5)

#: Columns of a group of its own scale that are looked for besides whole rows: TQ1_0's and TQ2_0's, Q1_0's, Q2_0's.
_GROUPS = (256, 128, 64)

Rows = Callable[[int, int], np.ndarray]
"""Rows ``[start, stop)`` of a matrix as float32."""


class NotTernaryError(Exception):
    """A float matrix does not hold exactly one magnitude besides 0, or is not finite; the text says what it holds."""


def widen(values: np.ndarray, dtype: str) -> np.ndarray:
    """Floats as float32; exact.

    Parameters
    ----------
    values
        Any shape: uint16 bit patterns for ``BF16``, else float16 or float32.
    dtype
        ``"F32"``, ``"F16"`` or ``"BF16"``, as safetensors and GGUF call them.
    """
    if dtype == "BF16":
        # A bfloat16 is the upper half of a float32.
        wide = values.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return values.astype(np.float32)


def absmean(shape: tuple[int, int], rows: Rows) -> Ternary:
    """Quantise master weights: ``s = 1 / max(mean|W|, 1e-5)``, ``trits = clamp(rint(W s), -1, 1)``, ``scale = 1 / s``.

    The mean is summed in float64 and rounded to float32 once; the rest is float32, rounding half to even, as in training.

    Parameters
    ----------
    shape
        ``(N, K)``.
    rows
        Gives the matrix.

    Raises
    ------
    NotTernaryError
        When a weight is infinite or NaN.
    """
    total = sum(float(np.abs(block).sum(dtype=np.float64)) for _, block in _blocks(shape, rows))
    if not np.isfinite(total):
        raise NotTernaryError("infinities or NaN")
    s = np.float32(1) / max(np.float32(total / (shape[0] * shape[1])), _FLOOR)
    trits = np.empty(shape, np.int8)
    for at, block in _blocks(shape, rows):
        scaled = block * s
        np.rint(scaled, out=scaled)
        np.clip(scaled, -1, 1, out=scaled)
        trits[at : at + len(block)] = scaled
    return Ternary(trits, float(np.float32(1) / s))


def _one_magnitude(shape: tuple[int, int], rows: Rows) -> tuple[np.ndarray, float]:
    """A matrix that holds -m, 0 and m and nothing else, for one m.

    Returns
    -------
    trits
        ``shape`` int8.
    magnitude
        m; 0 when the matrix holds only zeros.

    Raises
    ------
    NotTernaryError
        When it holds another value.
    """
    trits = np.empty(shape, np.int8)
    magnitude = np.float32(0)
    for at, block in _blocks(shape, rows):
        here = np.abs(block)
        top = here.max()
        if not np.isfinite(top):
            raise NotTernaryError("infinities or NaN")
        magnitude = magnitude or top
        other = here[(here != 0) & (here != magnitude)]
        if other.size:
            raise NotTernaryError(f"the magnitudes {magnitude:g} and {other[0]:g}")
        trits[at : at + len(block)] = np.sign(block)
    return trits, float(magnitude)


def exact_ternary(shape: tuple[int, int], rows: Rows) -> Ternary:
    """A matrix that holds -m, 0 and m and nothing else: for one m or, failing that, for one m in each row or in each group of a row.

    Where there is only 0, the scale is 1.

    Raises
    ------
    NotTernaryError
        When it does not, in groups of any known size.
    """
    try:
        trits, magnitude = _one_magnitude(shape, rows)
        return Ternary(trits, magnitude or 1.0)
    except NotTernaryError as error:
        if "infinities" in str(error):
            raise
        for group in (shape[1], *(size for size in _GROUPS if size < shape[1] and shape[1] % size == 0)):
            found = _grouped(shape, rows, group)
            if found is not None:
                return found
        raise


def _grouped(shape: tuple[int, int], rows: Rows, group: int) -> Ternary | None:
    """The matrix with one magnitude in each group of columns, or ``None`` when it holds others."""
    trits = np.empty(shape, np.int8)
    scales = np.empty((shape[0], shape[1] // group), np.float32)
    for at, block in _blocks(shape, rows):
        here = np.abs(block).reshape(len(block), -1, group)
        tops = here.max(axis=2)
        if not np.isfinite(tops).all():
            raise NotTernaryError("infinities or NaN")
        if not ((here == 0) | (here == tops[:, :, None])).all():
            return None
        trits[at : at + len(block)] = np.sign(block)
        scales[at : at + len(block)] = np.where(tops == 0, np.float32(1), tops)
    return Ternary(trits, scales)


def _blocks(shape: tuple[int, int], rows: Rows) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, _BLOCK // shape[1])
    for at in range(0, shape[0], step):
        yield at, rows(at, min(at + step, shape[0]))
