"""Matrices in the words that an array reads, wherever those lie: in memory or in a mapped file, two bits a weight or in base 3.

What is in a word depends on four of a geometry's numbers (`tritloom.host.packing.pack_weights`), so what was packed for one geometry may be sent as it is to
any other that agrees in those.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np

from tritloom.host.errors import UsageError
from tritloom.host.packing import pack_weights, unpack_weights
from tritloom.host.trits import BASE3, TWO_BIT, base3_to_two_bit, two_bit_to_base3
from tritloom.rtl.geometry import Geometry

__all__ = ["ArrayMatrix", "ArrayOrder", "Frames", "Words"]

#: Bytes read from where words lie, and decoded, at a time: a multiple of five, because five bytes of 2-bit codes are four in base 3.
_BLOCK = 5 << 14


@dataclass(frozen=True, kw_only=True)
class ArrayOrder:
    """The numbers of a geometry that say how a matrix lies in words.

    Parameters
    ----------
    cols, lanes, col_pitch, depth
        As `Geometry` has them.

    Raises
    ------
    UsageError
        (a ``ValueError``) when no geometry has such numbers.
    """

    cols: int
    lanes: int
    col_pitch: int
    depth: int

    def __post_init__(self) -> None:
        try:
            Geometry(rows=1, **asdict(self))
        except ValueError as error:
            raise UsageError(str(error)) from error

    @classmethod
    def of(cls, geometry: Geometry) -> ArrayOrder:
        """That of a geometry."""
        return cls(cols=geometry.cols, lanes=geometry.lanes, col_pitch=geometry.col_pitch, depth=geometry.depth)

    @property
    def geometry(self) -> Geometry:
        """A geometry with these numbers."""
        return Geometry(rows=1, **asdict(self))

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    def cuts(self, k: int, group: int | None) -> list[tuple[int, int]]:
        """How K columns are cut for the array: ``(first, columns)`` of each part, no deeper than `depth` and never across two groups."""
        step = group or k
        return [(start + first, columns) for start in range(0, k, step) for first, columns in self.geometry.cuts(step)]

    def word_bytes(self, n: int, k: int) -> int:
        """Bytes of a part's words, two bits a weight."""
        return self.geometry.words(n, k) * self.geometry.word_bytes

    def nbytes(self, n: int, k: int, group: int | None, packing: str) -> int:
        """Bytes of a matrix's words, all parts together, in base 3 or not."""
        sizes = [self.word_bytes(n, columns) for _, columns in self.geometry.cuts(group or k)]
        return k // (group or k) * sum(size if packing == TWO_BIT.name else BASE3.row_bytes(4 * size) for size in sizes)

    def pack(self, trits: np.ndarray, group: int | None, packing: str) -> list[np.ndarray]:
        """A matrix's words part by part, as `ArrayMatrix.parts` are stored: uint8, in base 3 where `packing` says so."""
        parts = [np.frombuffer(pack_weights(self.geometry, trits[:, first:first + k]), np.uint8) for first, k in self.cuts(trits.shape[1], group)]
        return parts if packing == TWO_BIT.name else [two_bit_to_base3(part) for part in parts]


class Words:
    """Words of two bits a weight that are read in order, from whatever holds them.

    Parameters
    ----------
    stored
        uint8, one dimension: the words themselves, or their codes in base 3, five to a byte.
    nbytes
        Bytes of the words.
    packing
        ``"2bit"`` or ``"base3"``.
    """

    def __init__(self, stored: np.ndarray, nbytes: int, packing: str = TWO_BIT.name) -> None:
        self._stored = stored
        self._nbytes = nbytes
        self._coded = packing == BASE3.name

    def __len__(self) -> int:
        return self._nbytes

    def read(self, start: int, stop: int) -> np.ndarray:
        """Bytes ``[start, stop)`` of the words, uint8: a view where they are stored so."""
        stop = min(stop, self._nbytes)
        if not self._coded:
            return self._stored[start:stop]
        first = start // 5
        decoded = base3_to_two_bit(self._stored[4 * first:4 * -(-stop // 5)])
        return decoded[start - 5 * first:stop - 5 * first]

    def frames(self, size: int) -> Frames:
        """The words cut into pieces of `size` bytes."""
        return Frames(self, size)


class Frames(Sequence[bytes]):
    """Words cut into pieces, the last one maybe shorter. They are read and decoded a block at a time as they are gone through, and not kept.

    Parameters
    ----------
    words
        What is cut.
    size
        Bytes of a piece.
    """

    def __init__(self, words: Words, size: int) -> None:
        self._words = words
        self._size = size
        self._step = -(-_BLOCK // (5 * size)) * 5 * size    # whole pieces, and whole fives of bytes

    def __len__(self) -> int:
        return -(-len(self._words) // self._size)

    def __iter__(self) -> Iterator[bytes]:
        size = self._size
        for start in range(0, len(self._words), self._step):
            data = self._words.read(start, start + self._step).tobytes()
            for at in range(0, len(data), size):
                yield data[at:at + size]

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = range(0, len(self._words), self._size)[index]
        return self._words.read(start, start + self._size).tobytes()


@dataclass(frozen=True, eq=False)
class ArrayMatrix:
    """A matrix in an array's words.

    Parameters
    ----------
    shape
        ``(N, K)``.
    order
        For which arrays.
    parts
        What each job multiplies, in order: the first column, how many columns, and their words.
    """

    shape: tuple[int, int]
    order: ArrayOrder
    parts: list[tuple[int, int, Words]]

    def fits(self, geometry: Geometry) -> bool:
        """Whether these are the words that an array of this geometry reads."""
        own = ArrayOrder.of(geometry)
        return (own.cols, own.lanes, own.col_pitch) == (self.order.cols, self.order.lanes, self.order.col_pitch) and [
            (first, k) for first, k, _ in self.parts] == geometry.cuts(self.shape[1])

    def trits(self) -> np.ndarray:
        """The matrix unpacked: ``(N, K)`` int8."""
        trits = np.empty(self.shape, np.int8)
        for first, k, words in self.parts:
            trits[:, first:first + k] = unpack_weights(self.order.geometry, words.read(0, len(words)), self.shape[0], k)
        return trits
