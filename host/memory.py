"""Is what lies in the weight store what was put there? The array itself computes the checksums.

The store cannot be read back, but multiplied: with vectors of random int8 that are never 0, the sum of each output changes whenever one of
its trits does, by once or twice that trit's activation. Where several trits of one output changed, their changes cancel in one vector with a
probability of at most 1 / 255 (whatever the others add up to, one of 255 values of the last activation would have to fit), so in `VECTORS`
independent ones with at most ``255**-VECTORS``. A bit flip that leaves the weight as it is, 00 to 10 or back, changes no sum, here or anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from tritloom.host.command import Command, write_commands
from tritloom.host.errors import UsageError
from tritloom.host.packing import pack_acts, pack_weights, result_bytes, unpack_results, unpack_weights
from tritloom.host.records import job_payload
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import PAYLOAD_BYTES, WRITE, Memory, Op

if TYPE_CHECKING:
    from tritloom.host.driver import Accelerator

__all__ = ["VECTORS", "BadOutput", "MemoryTest", "check_sums", "check_vectors"]

#: Vectors of a check: what changed in more than one trit of an output escapes with a probability of at most ``255**-4``, 2.4 * 10**-10.
VECTORS = 4

#: Seed of the vectors that loaded matrices are checked with. No adversary writes to the store, so it need not be secret.
_SEED = 0x7417

#: Outputs of one job of a test: few enough that a repeat costs little on a bad line.
_OUTPUTS = 1024


@lru_cache(maxsize=16)
def check_vectors(k: int, seed: int = _SEED) -> np.ndarray:
    """Vectors without zeros: (VECTORS, k) int8. Those for fewer columns are the first columns of those for more.

    Parameters
    ----------
    k : int
    seed : int
    """
    x = np.random.default_rng(seed).integers(-128, 127, (k, VECTORS), np.int8).T
    x = np.where(x >= 0, x + 1, x).astype(np.int8)    # -128 to -1, and 1 to 127
    x.setflags(write=False)
    return x


def check_sums(geometry: Geometry, words: bytes, n: int, k: int) -> np.ndarray:
    """What the array makes of a matrix and `check_vectors`: (VECTORS, n) int32.

    Parameters
    ----------
    geometry : Geometry
    words : bytes
        As the weight store holds it.
    n, k : int
        Its shape.
    """
    return _multiply(unpack_weights(geometry, np.frombuffer(words, np.uint8), n, k), check_vectors(k))


def _multiply(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    # Exact in float32, and many times as fast as integers: the sums stay below 128 * 65,535 < 2**24.
    return (x.astype(np.float32) @ w.T.astype(np.float32)).astype(np.int32)


@dataclass(frozen=True)
class BadOutput:
    """An output whose sums are wrong: one or more trits of a column of these words are not what was written.

    Parameters
    ----------
    pattern : int
        Which pass showed it.
    first, last : int
        Words.
    column : int
        Of the array, and so of the word.
    """

    pattern: int
    first: int
    last: int
    column: int

    def __str__(self) -> str:
        return f"words {self.first:,} to {self.last:,}, column {self.column}, pattern {self.pattern}"


class MemoryTest:
    """A test of the whole weight store, the streaming window included.

    All words are written with random trits, and then all are multiplied; three times, so that each trit is -1, 0 and +1 once. Any bit
    that is stuck at 0 or 1 then is wrong at least once in a way that changes a weight, and as the patterns are random, so is a word that
    another's address reaches too. What no job can reach is not tested: of the first ``cols - 1`` words column c below word c, and as many at
    the end; and fewer than that many more, where the depth is less than twice what the columns need.

    Parameters
    ----------
    acc : Accelerator
        With nothing loaded: what is in the store is overwritten.
    seed : int

    Members
    -------
    trits : int
        Trits that are tested.
    words : int
        Words of the store.

    Raises
    ------
    UsageError
        If a matrix is loaded, or the geometry's depth holds fewer words of activations than the array has columns.
    """

    #: Passes: each trit has three values.
    PATTERNS = 3

    def __init__(self, acc: Accelerator, seed: int) -> None:
        if acc.resident_parts:
            raise UsageError(f"the memory test overwrites the weight store, and {acc.resident_parts} matrices lie there: "
                             "run it on a device of its own, or unload them")
        self._link, self._geometry, self._seed = acc.link, acc.geometry, seed
        geometry = self._geometry
        self.words = geometry.weight_words
        self._pieces = _pieces(geometry)
        self.trits = sum(tiles * beats for _, beats, tiles in self._pieces) * geometry.cols * geometry.lanes

    def run(self, update: Callable[[int, int], None] = lambda done, total: None) -> list[BadOutput]:
        """Run it.

        Parameters
        ----------
        update : callable
            Told after each pass how many of how many are done.

        Raises
        ------
        DeviceError
            If the device, or the way to it, fails.
        """
        bad: list[BadOutput] = []
        for pattern in range(self.PATTERNS):
            sums = self._write(pattern)
            for (start, beats, tiles), expected in zip(self._pieces, sums, strict=True):
                got = self._sums(start, beats, tiles)
                for output in np.flatnonzero((got != expected).any(axis=0)):
                    tile, column = divmod(int(output), self._geometry.cols)
                    first = start + tile * beats + column
                    bad.append(BadOutput(pattern, first, first + beats - 1, column))
            update(pattern + 1, self.PATTERNS)
        return bad

    def _write(self, pattern: int) -> list[np.ndarray]:
        """Fill the store; return the sums that each piece must have."""
        geometry = self._geometry
        rng = np.random.default_rng(self._seed)    # the same in each pass, so that each trit has each value once
        image = np.zeros((geometry.weight_words, geometry.word_bytes), np.uint8)
        sums = []
        for start, beats, tiles in self._pieces:
            shape = tiles * geometry.cols, beats * geometry.lanes
            w = (rng.integers(0, 3, shape, np.int8) + np.int8(pattern)) % np.int8(3) - np.int8(1)
            packed = np.frombuffer(pack_weights(geometry, w), np.uint8).reshape(-1, geometry.word_bytes)
            image[start:start + len(packed)] |= packed    # where pieces meet, they have different columns
            sums.append(_multiply(w, check_vectors(shape[1], self._seed)))
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.word_bytes
        self._link.execute(write_commands(Memory.WEIGHTS, 0, 0, image.tobytes(), geometry.word_bytes, per_frame, "filling the weight store"))
        return sums

    def _sums(self, start: int, beats: int, tiles: int) -> np.ndarray:
        """What the array makes of a piece: (VECTORS, tiles * cols) int32."""
        geometry, link = self._geometry, self._link
        k, size = beats * geometry.lanes, result_bytes(beats * geometry.lanes)
        step = max(1, _OUTPUTS // geometry.cols)
        sums = np.empty((VECTORS, tiles * geometry.cols), np.int32)
        for vector in range(0, VECTORS, geometry.rows):
            x = check_vectors(k, self._seed)[vector:vector + geometry.rows]
            per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.lanes
            for row, data in enumerate(pack_acts(geometry, x)):
                link.execute(write_commands(Memory.ACTS, row, 0, data, geometry.lanes, per_frame, "writing vectors"))
            for tile in range(0, tiles, step):
                n = min(step, tiles - tile) * geometry.cols
                at = start + tile * beats
                job = Command(Op.JOB, job_payload(at, k, n, len(x), 0, size, False), f"multiplying word {at:,}", n * len(x) * size,
                              cycles=geometry.words(n, k))
                link.execute([job])
                sums[vector:vector + len(x), tile * geometry.cols:][:, :n] = unpack_results(job.reply, len(x), size)
        return sums


def _pieces(geometry: Geometry) -> list[tuple[int, int, int]]:
    """First word, beats a tile and tiles of the matrices that lie side by side in all of the store.

    Tiles as deep as the array has activations for, and shorter ones for what is left, none with fewer beats than the array has columns.
    """
    longest, least = geometry.depth // geometry.lanes, geometry.cols
    if longest < least:
        raise UsageError(f"the memory test needs a depth of {least * geometry.lanes} or more for {least} columns of {geometry.lanes} lanes, "
                         f"not {geometry.depth}")
    cells = geometry.weight_words - geometry.ramp    # of each column
    tiles, rest = divmod(cells, longest)
    pieces = []
    if rest and rest < least and tiles:    # too little for a tile: the last whole one gives some
        tiles, rest = tiles - 1, rest + longest
    if tiles:
        pieces.append((0, longest, tiles))
    start = tiles * longest
    while rest >= least:
        beats = rest if rest <= longest else max(least, (rest + 1) // 2)
        pieces.append((start, beats, 1))
        start, rest = start + beats, rest - beats
    if not pieces:
        raise UsageError(f"the memory test needs {least + geometry.ramp} words or more for {least} columns, not {geometry.weight_words}")
    return pieces
