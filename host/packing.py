"""Matrices and vectors as the device's memories hold them, and results as it sends them.

How the words of the weight store are arranged is decided by the array's timing (`tritloom.rtl.array`): column c of the array runs c
beats behind column 0 and takes the chunk of activations that is passing by, so a tile's words are a rotation, not a slice, of the matrix.
"""

from __future__ import annotations

import numpy as np

from tritloom.host.trits import pack_trits
from tritloom.rtl.geometry import Geometry

__all__ = ["pack_acts", "pack_weights", "result_bytes", "unpack_results"]

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
    cols, lanes = geometry.cols, geometry.lanes
    beats, tiles = geometry.beats(k), geometry.tiles(n)

    # One tile more than the matrix has, all zeros: where a column has nothing to do in a word, it looks there.
    padded = np.zeros((tiles + 1, cols, beats, lanes), np.int8)
    whole = np.zeros((tiles * cols, beats * lanes), np.int8)
    whole[:n, :k] = w
    padded[:tiles] = whole.reshape(tiles, cols, beats, lanes)

    word = np.arange(geometry.words(n, k))[:, None]
    col = np.arange(cols)[None, :]
    tile = (word - col) // beats
    tile[(tile < 0) | (tile >= tiles)] = tiles
    trits = padded[tile, col, (word - col // geometry.col_pitch) % beats]    # (words, cols, lanes)

    return pack_trits(trits.reshape(len(word), cols * lanes)).tobytes()


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
