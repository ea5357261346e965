"""Ternary tensors and their packings: two bits a weight, as model files and the weight store hold them, and five weights a byte, for model files only.

The 2-bit code is the one the array reads: ``00`` is 0, ``01`` is +1, ``11`` is -1 (the low two bits of the two's complement), and ``10`` is
none of them. Four trits share a byte, the first in the low bits, and every row starts at a byte, so that a row can be cut out
of a memory-mapped matrix without touching its neighbours.

In base 3 a byte is the sum of ``(trit + 1) * 3**i`` over its five trits, the first with ``i = 0``; from 243 up a byte is none. The same holds
for rows, and past a row's end trits are 0, so that all-zero is 121 and not 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tritloom.host.errors import UsageError

__all__ = ["BASE3", "PACKINGS", "TWO_BIT", "Packing", "Ternary", "has_invalid_code", "is_scale", "pack_trits", "packed_row_bytes", "unpack_trits"]

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


_POWERS = np.array([1, 3, 9, 27, 81], np.uint8)
_BASE3_TO_TRITS = (np.arange(256)[:, None] // _POWERS % 3 - 1).astype(np.int8)


def _base3_row_bytes(k: int) -> int:
    return -(-k // 5)


def _pack_base3(trits: np.ndarray) -> np.ndarray:
    n, k = trits.shape
    digits = np.ones((n, _base3_row_bytes(k) * 5), np.uint8)
    digits[:, :k] = (trits + 1).view(np.uint8)
    packed = digits[:, 0::5].copy()
    for i in range(1, 5):
        packed += digits[:, i::5] * _POWERS[i]
    return packed


def _unpack_base3(packed: np.ndarray, k: int) -> np.ndarray:
    return np.ascontiguousarray(_BASE3_TO_TRITS[packed].reshape(packed.shape[0], -1)[:, :k])


def _has_invalid_base3(packed: np.ndarray, k: int) -> bool:
    if (packed > 242).any():
        return True
    used = (k - 1) % 5 + 1
    return bool(_BASE3_TO_TRITS[packed[:, -1], used:].any())


@dataclass(frozen=True)
class Packing:
    """One way to store a ternary matrix.

    Parameters
    ----------
    name
        As files and the command line call it.
    per_byte
        Trits in a byte.
    row_bytes
        Bytes of one row of so many trits.
    pack
        ``(N, K)`` int8 in {-1, 0, 1} to ``(N, row_bytes(K))`` uint8.
    unpack
        The way back, given K.
    has_invalid_code
        Whether a packed matrix of K columns holds what no ternary matrix is packed to.
    invalid
        What such a thing is, for a person.
    """

    name: str
    per_byte: int
    row_bytes: Callable[[int], int]
    pack: Callable[[np.ndarray], np.ndarray]
    unpack: Callable[[np.ndarray, int], np.ndarray]
    has_invalid_code: Callable[[np.ndarray, int], bool]
    invalid: str

    def zeros(self, packed: np.ndarray, k: int) -> int:
        """How many of a packed matrix's trits are 0, without unpacking it."""
        by_byte = (self.unpack(np.arange(256, dtype=np.uint8)[:, None], self.per_byte) == 0).sum(axis=1)
        behind = packed.shape[0] * (packed.shape[1] * self.per_byte - k)
        return int(np.bincount(packed.reshape(-1), minlength=256) @ by_byte) - behind


TWO_BIT = Packing("2bit", 4, packed_row_bytes, pack_trits, unpack_trits, has_invalid_code, "the code 10")
BASE3 = Packing("base3", 5, _base3_row_bytes, _pack_base3, _unpack_base3, _has_invalid_base3, "a byte above 242 or trits behind a row's end")
PACKINGS = {packing.name: packing for packing in (BASE3, TWO_BIT)}
"""By name."""
