"""Ternary tensors and their 2-bit packing, as model files and the weight store hold them.

The code is the one the array reads: ``00`` is 0, ``01`` is +1, ``11`` is -1 (the low two bits of the two's complement), and ``10`` is
none of them. Four trits share a byte, the first in the low bits, and every row starts at a byte, so that a row can be cut out
of a memory-mapped matrix without touching its neighbours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tritloom.host.errors import UsageError

__all__ = ["Ternary", "has_invalid_code", "is_scale", "pack_trits", "packed_row_bytes", "unpack_trits"]

# Row b holds the four trits of byte b; an invalid code decodes to 0 here, readers refuse it with `has_invalid_code`.
_CODES = np.array([0, 1, 0, -1], dtype=np.int8)
_BYTE_TO_TRITS = _CODES[(np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3]


@dataclass(frozen=True)
class Ternary:
    """A BitLinear's weights: the real-valued matrix is about ``trits * scale``.

    Parameters
    ----------
    trits
        ``(N, K)`` int8 in {-1, 0, 1}; ``N`` out features, ``K`` in features.
    scale
        What a result is multiplied by; positive, and finite as a float32.

    Raises
    ------
    UsageError
        (a ``ValueError``) naming shape and value when it is anything else.
    """

    trits: np.ndarray
    scale: float

    def __post_init__(self) -> None:
        trits = self.trits
        if not isinstance(trits, np.ndarray) or trits.dtype != np.int8 or trits.ndim != 2 or trits.size == 0:
            given = f"{trits.dtype} {trits.shape}" if isinstance(trits, np.ndarray) else type(trits).__name__
            raise UsageError(f"`trits` must be a non-empty int8 matrix (N, K), not {given}")
        if trits.min() < -1 or trits.max() > 1:
            worst = trits.min() if trits.min() < -1 else trits.max()
            raise UsageError(f"`trits` must hold only -1, 0 and 1, not {worst} (in a matrix {trits.shape})")
        if not is_scale(self.scale):
            raise UsageError(f"`scale` must be a positive number that float32 holds, not {self.scale!r}")


def is_scale(value: object) -> bool:
    """Whether `value` can scale a BitLinear: a number, positive and finite in float32."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    limits = np.finfo(np.float32)
    return math.isfinite(value) and float(limits.tiny) <= value <= float(limits.max)


def packed_row_bytes(k: int) -> int:
    """Bytes of one packed row of `k` trits."""
    return -(-k // 4)


def pack_trits(trits: np.ndarray) -> np.ndarray:
    """Pack a ternary matrix.

    Parameters
    ----------
    trits
        ``(N, K)`` int8 in {-1, 0, 1}.

    Returns
    -------
    np.ndarray
        ``(N, ceil(K / 4))`` uint8; codes past ``K`` are 0.
    """
    n, k = trits.shape
    codes = np.zeros((n, packed_row_bytes(k) * 4), dtype=np.uint8)
    codes[:, :k] = trits & 3
    return codes[:, 0::4] | codes[:, 1::4] << 2 | codes[:, 2::4] << 4 | codes[:, 3::4] << 6


def unpack_trits(packed: np.ndarray, k: int) -> np.ndarray:
    """The ``(N, k)`` int8 matrix that `pack_trits` packed."""
    return np.ascontiguousarray(_BYTE_TO_TRITS[packed].reshape(packed.shape[0], -1)[:, :k])


def has_invalid_code(packed: np.ndarray, k: int) -> bool:
    """Whether a packed matrix holds the code ``10``, or anything but 0 past its last column."""
    high_only = (packed >> 1) & ~packed & 0x55
    if high_only.any():
        return True
    used = (k - 1) % 4 + 1
    return bool((packed[:, -1] >> (2 * used)).any()) if used < 4 else False
