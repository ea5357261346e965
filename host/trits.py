"""Ternary tensors and their packings: two bits a weight, as model files and the weight store hold them, and five weights a byte, for model files only.

A tensor has one scale, or one for each group of columns of each row.

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

__all__ = [
    "BASE3",
    "PACKINGS",
    "TWO_BIT",
    "Packing",
    "Ternary",
    "are_scales",
    "base3_to_two_bit",
    "has_invalid_code",
    "is_scale",
    "pack_trits",
    "packed_row_bytes",
    "two_bit_to_base3",
    "unpack_trits",
]

# Row b holds the four trits of byte b; an invalid code decodes to 0 here, readers refuse it with `has_invalid_code`.
_CODES = np.array([0, 1, 0, -1], dtype=np.int8)
_BYTE_TO_TRITS = _CODES[(np.arange(256)[:, None] >> np.array([0, 2, 4, 6])) & 3]
# The same as one number, which is looked up four times as fast as four.
_BYTE_TO_WORD = _BYTE_TO_TRITS.view("<u4")[:, 0].copy()


@dataclass(frozen=True)
class Ternary:
    """A BitLinear's weights: the real-valued matrix is about ``trits * scale``.

    Parameters
    ----------
    trits
        ``(N, K)`` int8 in {-1, 0, 1}; ``N`` out features, ``K`` in features.
    scale
        What a result is multiplied by: one number, or ``(N, K / group)`` float32, one for each `group` columns of each row. Positive, and finite
        as a float32.

    Raises
    ------
    UsageError
        (a ``ValueError``) naming shape and value when it is anything else.
    """

    trits: np.ndarray
    scale: float | np.ndarray

    def __post_init__(self) -> None:
        trits = self.trits
        if not isinstance(trits, np.ndarray) or trits.dtype != np.int8 or trits.ndim != 2 or trits.size == 0:
            given = f"{trits.dtype} {trits.shape}" if isinstance(trits, np.ndarray) else type(trits).__name__
            raise UsageError(f"`trits` must be a non-empty int8 matrix (N, K), not {given}")
        if trits.min() < -1 or trits.max() > 1:
            worst = trits.min() if trits.min() < -1 else trits.max()
            raise UsageError(f"`trits` must hold only -1, 0 and 1, not {worst} (in a matrix {trits.shape})")
        if isinstance(self.scale, np.ndarray):
            self._check_groups(self.scale)
        elif not is_scale(self.scale):
            raise UsageError(f"`scale` must be a positive number that float32 holds, not {self.scale!r}")

    @property
    def group(self) -> int | None:
        """Columns that share a scale; ``None`` when there is one scale for all of the matrix."""
        return self.trits.shape[1] // self.scale.shape[1] if isinstance(self.scale, np.ndarray) else None

    def _check_groups(self, scale: np.ndarray) -> None:
        n, k = self.trits.shape
        if scale.dtype != np.float32 or scale.ndim != 2 or scale.shape[0] != n or scale.shape[1] < 1 or k % scale.shape[1]:
            raise UsageError(f"`scale` must be one number or a float32 array ({n}, {k} / group) for trits {self.trits.shape}, not {scale.dtype} {scale.shape}")
        if not are_scales(scale):
            row, place = np.argwhere(~_fit(scale))[0]
            raise UsageError(f"`scale` must hold positive numbers that float32 holds, not {float(scale[row, place])!r} (at row {row}, group {place})")


def is_scale(value: object) -> bool:
    """Whether `value` can scale a BitLinear: a number, positive and finite in float32."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    limits = np.finfo(np.float32)
    return math.isfinite(value) and float(limits.tiny) <= value <= float(limits.max)


def are_scales(values: np.ndarray) -> bool:
    """Whether every one of some float32 values can scale a BitLinear's columns: positive and finite, and not below the least normal number."""
    return bool(_fit(values).all())


def _fit(values: np.ndarray) -> np.ndarray:
    limits = np.finfo(np.float32)
    return (values >= limits.tiny) & (values <= limits.max)    # NaN is neither


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
    if k % 4:
        whole = np.zeros((n, packed_row_bytes(k) * 4), np.int8)
        whole[:, :k] = trits
        trits = whole
    # Four codes at once: those of bytes 1 and 3 move down behind those of 0 and 2, then both pairs together.
    codes = np.ascontiguousarray(trits).view("<u4") & np.uint32(0x03030303)
    codes |= codes >> 6
    codes |= codes >> 12
    return codes.astype(np.uint8)


def unpack_trits(packed: np.ndarray, k: int) -> np.ndarray:
    """The ``(N, k)`` int8 matrix that `pack_trits` packed."""
    return np.ascontiguousarray(_BYTE_TO_WORD[packed].view(np.int8).reshape(packed.shape[0], -1)[:, :k])


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
    return np.ascontiguousarray(np.take(_BASE3_TO_TRITS, packed, axis=0).reshape(packed.shape[0], -1)[:, :k])


def _has_invalid_base3(packed: np.ndarray, k: int) -> bool:
    if (packed > 242).any():
        return True
    used = (k - 1) % 5 + 1
    return bool(_BASE3_TO_TRITS[packed[:, -1], used:].any())


# Two bytes in base 3 as twenty bits of 2-bit codes, the first byte's in the low ten; what is no byte in base 3 decodes to anything.
_BASE3_TO_CODES = ((_BASE3_TO_TRITS & 3).astype(np.uint32) << np.arange(0, 10, 2, dtype=np.uint32)).sum(axis=1, dtype=np.uint32)
_PAIR_TO_CODES = (_BASE3_TO_CODES[None, :] | _BASE3_TO_CODES[:, None] << np.uint32(10)).reshape(-1)


def two_bit_to_base3(packed: np.ndarray) -> np.ndarray:
    """Bytes of four 2-bit codes, ``(n,)`` uint8 without the code ``10``, as ``(ceil(4 n / 5),)`` bytes of five trits; trits behind the last are 0."""
    return _pack_base3(unpack_trits(packed[None], 4 * packed.size))[0]


def base3_to_two_bit(coded: np.ndarray) -> np.ndarray:
    """The way back, five bytes for every four: ``(m,)`` uint8 to ``(5 * ceil(m / 4),)``; codes past the last byte's trits are 0."""
    if coded.size % 4:
        coded = np.concatenate([coded, np.full(-coded.size % 4, 121, np.uint8)])
    pairs = _PAIR_TO_CODES[np.ascontiguousarray(coded).view("<u2")].reshape(-1, 2).astype(np.uint64)
    codes = pairs[:, 0] | pairs[:, 1] << np.uint64(20)
    return codes.view(np.uint8).reshape(-1, 8)[:, :5].reshape(-1)


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
