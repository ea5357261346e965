"""Q1_0, llama.cpp's type of one bit a weight: 128 weights share a float16 scale d, and a bit of 1 is d, one of 0 is -d.

A block is the scale and then 16 bytes, the first weight in the lowest bit (ggml's ``block_q1_0``, pull request 21273 of llama.cpp). The `gguf` library
knows the type's number and size and does not dequantise it.
"""

from __future__ import annotations

import numpy as np

__all__ = ["BLOCK", "NAME", "dequantize_q1"]

NAME = "Q1_0"
"""As the `gguf` library calls it."""

BLOCK = 128
"""Weights that share a scale."""

_BYTES = 18


def dequantize_q1(raw: np.ndarray) -> np.ndarray:
    """Rows as float32.

    Parameters
    ----------
    raw
        ``(rows, K / 128 * 18)`` uint8.

    Returns
    -------
    np.ndarray
        ``(rows, K)``; every value is one that float16 holds.
    """
    blocks = raw.reshape(-1, _BYTES)
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    signs = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").view(np.int8)
    signs *= 2
    signs -= 1
    return (signs.reshape(-1, BLOCK) * scales).reshape(len(raw), -1)
