"""Matrices and vectors as the device's memories hold them, and results as it sends them.

How the words of the weight store are arranged is decided by the array's timing (`tritloom.rtl.array`): column c of the array runs c
beats behind column 0 and takes the chunk of activations that is passing by, so a tile's words are a rotation, not a slice, of the matrix.
"""

from __future__ import annotations

import numpy as np

from tritloom.host.trits import pack_trits, unpack_trits
from tritloom.rtl.geometry import Geometry

__all__ = ["pack_acts", "pack_weights", "result_bytes", "unpack_results", "unpack_weights"]


def pack_weights(geometry: Geometry, w: np.ndarray) -> bytes:
    """Pack a matrix into words of the weight store.

    With B beats a tile (`Geometry.beats`), trit lane l of column c in word t is ``w[tile * cols + c, chunk * lanes + l]`` with
    ``tile = (t - c) // B`` and ``chunk = (t - c // col_pitch) % B``, and 0 outside the matrix. It sits at bits
    ``2 * (c * lanes + l)`` of the word: 00 is 0, 01 is +1, 11 is -1.

    Parameters
    ----------
    geometry : Geometry
    w : np.ndarray
        (N, K) int8 in {-1, 0, 1}.

    Returns
    -------
    bytes
        ``geometry.words(N, K) * geometry.word_bytes`` bytes.
    """
    n, k = w.shape
    cols, lanes, beats, tiles = geometry.cols, geometry.lanes, geometry.beats(k), geometry.tiles(n)
    if w.shape != (tiles * cols, beats * lanes):
        whole = np.zeros((tiles * cols, beats * lanes), np.int8)
        whole[:n, :k] = w
        w = whole
    packed = lanes % 4 == 0    # a chunk is whole bytes: four trits are moved at a time
    chunks = (pack_trits(w) if packed else w).reshape(tiles, cols, beats, -1)
    words = np.zeros((geometry.words(n, k), cols, chunks.shape[3]), chunks.dtype)
    for col in range(cols):
        turned, late = _place(geometry, words, col, tiles, beats)
        turned[:, :beats - late] = chunks[:, col, late:]
        turned[:, beats - late:] = chunks[:, col, :late]
    return (words if packed else pack_trits(words.reshape(len(words), -1))).tobytes()


def unpack_weights(geometry: Geometry, words: np.ndarray, n: int, k: int) -> np.ndarray:
    """The matrix that `pack_weights` packed.

    Parameters
    ----------
    geometry : Geometry
    words : np.ndarray
        ``geometry.words(n, k) * geometry.word_bytes`` uint8.
    n, k : int
        Its shape.

    Returns
    -------
    np.ndarray
        (n, k) int8.
    """
    cols, lanes, beats, tiles = geometry.cols, geometry.lanes, geometry.beats(k), geometry.tiles(n)
    packed = lanes % 4 == 0
    by_word = words.reshape(geometry.words(n, k), geometry.word_bytes)
    by_column = (by_word if packed else unpack_trits(by_word, cols * lanes)).reshape(len(by_word), cols, -1)
    chunks = np.empty((tiles, cols, beats, by_column.shape[2]), by_column.dtype)
    for col in range(cols):
        turned, late = _place(geometry, by_column, col, tiles, beats)
        chunks[:, col, late:] = turned[:, :beats - late]
        chunks[:, col, :late] = turned[:, beats - late:]
    rows = chunks.reshape(tiles * cols, -1)[:n]
    return unpack_trits(rows, k) if packed else np.ascontiguousarray(rows[:, :k])


def _place(geometry: Geometry, words: np.ndarray, col: int, tiles: int, beats: int) -> tuple[np.ndarray, int]:
    """A column's part of the words, (tiles, beats, ...), and the chunk with which its tiles begin.

    It begins with word `col`, and there meets the chunk of activations that has come that far.
    """
    return words[col:col + tiles * beats, col].reshape(tiles, beats, -1), (col - col // geometry.col_pitch) % beats


def pack_acts(geometry: Geometry, x: np.ndarray) -> list[bytes]:
    """Pack vectors into words of the activation buffer, each row padded with zeros to whole words.

    Parameters
    ----------
    geometry : Geometry
    x : np.ndarray
        (rows, K) int8.

    Returns
    -------
    list of bytes
        One for each row of the buffer.
    """
    padding = bytes(-x.shape[1] % geometry.lanes)
    return [row.tobytes() + padding for row in x]


def result_bytes(k: int) -> int:
    """Bytes that hold every possible result of K products: the smallest b with ``128 * K < 2**(8 * b - 1)``.

    The largest result, ``128 * K``, comes from -128 times -1 throughout.
    """
    return (128 * k).bit_length() // 8 + 1


def unpack_results(data: bytes, rows: int, size: int) -> np.ndarray:
    """Unpack a job's results.

    Parameters
    ----------
    data : bytes
        Output by output, and row by row within one; `size` bytes each, two's complement.
    rows : int
        Vectors of the job.
    size : int
        Bytes a result, 1 to 4.

    Returns
    -------
    np.ndarray
        (rows, N) int32.
    """
    if size == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        results = wide.view("<i4")[:, 0] >> 8    # the arithmetic shift brings the sign down
    else:
        results = np.frombuffer(data, f"<i{size}")
    return results.reshape(-1, rows).T.astype(np.int32, order="C")
