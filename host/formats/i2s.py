"""I2_S, bitnet.cpp's own GGML type: two bits a weight (trit + 1), four weights a byte, one float32 scale behind all of them.

The first of a block's four groups sits in a byte's high bits. How long a block is depends on the machine that wrote the file, and the file does not
say: 128 weights on x86 (and in Microsoft's published files), 64 on ARM.
"""

from __future__ import annotations

import numpy as np

from tritloom.host.errors import CheckpointError

__all__ = ["LAYOUTS", "TYPE", "nbytes", "unpack_i2s"]

TYPE = 36
"""Its number in a GGUF file; the `gguf` library does not have it."""

LAYOUTS = {"x86": 128, "arm": 64}
"""Weights in a block, by layout."""

_TAIL = 32


def nbytes(shape: tuple[int, ...]) -> int:
    """Bytes of a tensor, its scale and padding included."""
    return int(np.prod(shape, dtype=object)) // 4 + _TAIL


def unpack_i2s(raw: np.ndarray, shape: tuple[int, int], layout: str) -> tuple[np.ndarray, float]:
    """Trits and scale.

    Parameters
    ----------
    raw
        The tensor's ``nbytes(shape)`` bytes.
    shape
        ``(N, K)``, K a multiple of the layout's block.
    layout
        A key of `LAYOUTS`.

    Returns
    -------
    trits : np.ndarray
        ``(N, K)`` int8.
    scale : float
        What a result is multiplied by; not checked.

    Raises
    ------
    CheckpointError
        When a code is 3.
    """
    size = shape[0] * shape[1] // 4
    packed = raw[:size]
    if (packed & (packed >> 1) & 0x55).any():
        raise CheckpointError("holds the code 11, which is no ternary weight")
    group = LAYOUTS[layout] // 4
    blocks = packed.reshape(-1, 1, group) >> np.array([[6], [4], [2], [0]], np.uint8) & 3
    trits = blocks.reshape(shape).view(np.int8)
    trits -= 1
    return trits, float(raw[size : size + 4].view("<f4")[0])
