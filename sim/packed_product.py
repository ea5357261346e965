"""Products with a matrix that stays packed: what the model device does with the words of its weight store.

Two bits a weight are a sixteenth of the float32 that BLAS takes: 0.5 GB instead of 8.3 for a model of two billion weights. So a matrix is widened
a block of tiles at a time, in memory that the processor's cache holds, and never as a whole.
"""

from __future__ import annotations

import numpy as np

from tritloom.rtl.geometry import Geometry

__all__ = ["KNOWN_CODES", "multiply", "unpack"]

#: Two bits to a weight: 00 is 0, 01 is +1, 11 is -1, and 10 counts as 0.
_WEIGHT = np.array([0, 1, 0, -1], np.int8)

#: For ``bytes.translate``: 00 in the place of every 10, which the products here do not expect.
KNOWN_CODES = bytes(sum(code << at for at in (0, 2, 4, 6) if (code := byte >> at & 3) != 2) for byte in range(256))

#: Bytes of packed weights that are widened at a time. With their float32 they fill about 0.8 MB, which a core's second cache holds.
_BLOCK_BYTES = 1 << 17

#: Activations laid out as float32 at a time, for as many columns of the array as that are.
_FACTORS = 1 << 22


def multiply(geometry: Geometry, words: np.ndarray, n: int, acts: np.ndarray) -> np.ndarray:
    """Multiply as the array does, without a matrix: exact for every input.

    Column c of the array takes its part of a tile from as many words as the tile has beats, beginning c words late. The first of them
    meets the chunk of activations that has come that far, ``c - c // col_pitch`` chunks into the vector. So each column's activations
    are turned by so many chunks, and its weights are taken as they come.

    A weight's two bits with the lower one inverted are 1 minus the weight: 1, 0 and 2 for 0, 1 and -1. So its sum is that of the activations less that
    of inverted bits times activations. A mask takes the bits of one weight in four out of their bytes and leaves them at their place; the
    activation is divided by what they are worth there (1, 4, 16 or 64), exactly. No partial sum reaches ``2 * 128 * 65535 < 2**24``, up
    to which float32 is exact: that is for the greatest depth of any geometry.

    Parameters
    ----------
    geometry : Geometry
    words : np.ndarray
        ``(geometry.words(n, k), geometry.word_bytes)`` uint8, contiguous, with `KNOWN_CODES` only.
    n : int
        Outputs.
    acts : np.ndarray
        ``(rows, geometry.beats(k), geometry.lanes)`` int8.

    Returns
    -------
    np.ndarray
        (n, rows) int32.
    """
    cols, lanes, tiles = geometry.cols, geometry.lanes, geometry.tiles(n)
    rows, beats, _ = acts.shape
    fields = 4 if lanes % 4 == 0 else 1    # weights in a byte; where columns would share one, each weight gets its own
    size = lanes // fields                 # bytes of a column in a word
    length = beats * size                  # bytes of an output
    places = np.float32(4) ** -np.arange(fields, dtype=np.float32)
    sums = np.empty((tiles, cols, rows), np.float32)
    group = max(1, min(cols, _FACTORS // (beats * lanes * rows)))
    step = max(1, _BLOCK_BYTES // (group * length))
    for first in range(0, cols, group):
        columns = np.arange(first, min(first + group, cols))
        turned = (np.arange(beats) + (columns - columns // geometry.col_pitch)[:, None]) % beats
        factors = acts[:, turned].reshape(rows, len(columns), length, fields).transpose(3, 1, 2, 0).astype(np.float32, order="C")
        factors *= places[:, None, None, None]
        for tile in range(0, tiles, step):
            count = min(step, tiles - tile)
            block = words[tile * beats:(tile + count) * beats + cols - 1]
            if fields == 1:
                block = _apart(block, cols * lanes)
            line = block.shape[1]
            passing = np.ndarray((len(columns), count * beats), f"V{size}", block, first * (line + size), (line + size, line))
            part = _inverted(passing.copy().view(np.uint8).reshape(len(columns), count, length), factors)
            sums[tile:tile + count, first:first + group] = part.transpose(1, 0, 2)
    return acts.sum(axis=(1, 2), dtype=np.int32) - sums.reshape(tiles * cols, rows)[:n].astype(np.int32)


def _inverted(packed: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Bits, the lower of each two inverted, times activations.

    Parameters
    ----------
    packed : np.ndarray
        ``(columns, tiles, bytes)`` uint8, overwritten.
    factors : np.ndarray
        ``(weights in a byte, columns, bytes, rows)`` float32.

    Returns
    -------
    np.ndarray
        ``(columns, tiles, rows)`` float32.
    """
    packed ^= np.uint8(0x55)
    sums = np.zeros((*packed.shape[:2], factors.shape[3]), np.float32)
    bits = np.empty_like(packed)
    wide = np.empty(packed.shape, np.float32)
    for field, factor in enumerate(factors):
        np.bitwise_and(packed, np.uint8(3 << 2 * field), out=bits)
        wide[:] = bits
        sums += np.matmul(wide, factor)
    return sums


def _apart(words: np.ndarray, trits: int) -> np.ndarray:
    """Words with a byte for each of their two bits: ``(len(words), trits)`` uint8."""
    codes = np.empty((*words.shape, 4), np.uint8)
    for at in range(4):    # broadcasting over them instead takes ten times as long
        np.bitwise_and(words >> 2 * at, 3, out=codes[:, :, at])
    return np.ascontiguousarray(codes.reshape(len(words), -1)[:, :trits])


def unpack(geometry: Geometry, words: np.ndarray, n: int, k: int) -> np.ndarray:
    """The matrix that the array sees in words: ``(n, beats * lanes)`` float32.

    float32 is exact here too: a sum of int8 times {-1, 0, 1} stays below ``2**24``, whatever the geometry's depth.
    """
    cols, lanes, beats, tiles = geometry.cols, geometry.lanes, geometry.beats(k), geometry.tiles(n)
    trits = _WEIGHT[_apart(words, cols * lanes)].reshape(len(words), cols, lanes)
    matrix = np.empty((tiles, cols, beats, lanes), np.float32)
    for col in range(cols):
        passing = trits[col:col + tiles * beats, col].reshape(tiles, beats, lanes)
        matrix[:, col] = np.roll(passing, col - col // geometry.col_pitch, axis=1)
    return matrix.reshape(tiles * cols, beats * lanes)[:n]
