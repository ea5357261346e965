"""Packing against the definition, one trit at a time."""

import numpy as np
import pytest

from tritloom.host.packing import pack_acts, pack_weights, result_bytes, unpack_results
from tritloom.rtl.geometry import Geometry

GEOMETRIES = [
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=64),
    Geometry(rows=2, cols=8, lanes=4, col_pitch=4, depth=64),
    Geometry(rows=3, cols=5, lanes=3, col_pitch=2, depth=64),
    Geometry(rows=1, cols=7, lanes=2, col_pitch=7, depth=64),
    Geometry(rows=4, cols=4, lanes=5, col_pitch=1, depth=64),
    Geometry(rows=1, cols=3, lanes=1, col_pitch=2, depth=64),
]
CODES = {0: 0b00, 1: 0b01, -1: 0b11}


def naive_words(geometry, w):
    """The words as the contract says, as integers."""
    n, k = w.shape
    beats = max(-(-k // geometry.lanes), geometry.cols)
    tiles = -(-n // geometry.cols)
    words = []
    for t in range(tiles * beats + geometry.cols - 1):
        word = 0
        for c in range(geometry.cols):
            if t < c or (t - c) // beats >= tiles:
                continue
            output = (t - c) // beats * geometry.cols + c
            chunk = (t - c // geometry.col_pitch) % beats
            for lane in range(geometry.lanes):
                column = chunk * geometry.lanes + lane
                if output < n and column < k:
                    word |= CODES[int(w[output, column])] << 2 * (c * geometry.lanes + lane)
        words.append(word)
    return words


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (1, 37), (29, 1), (8, 32), (17, 31), (33, 64)])
def test_weights(geometry, shape):
    seed = shape[0] * 1000 + shape[1]
    w = np.random.default_rng(seed).integers(-1, 2, shape, np.int8)
    data = pack_weights(geometry, w)
    size = geometry.word_bytes
    assert len(data) == geometry.words(*shape) * size
    words = [int.from_bytes(data[at:at + size], "little") for at in range(0, len(data), size)]
    assert words == naive_words(geometry, w), f"seed {seed}"


def test_weights_of_a_view_that_is_not_contiguous():
    geometry = GEOMETRIES[1]
    w = np.random.default_rng(1).integers(-1, 2, (40, 60), np.int8)
    view = w[::2, 5:50]
    assert pack_weights(geometry, view) == pack_weights(geometry, view.copy())


def test_acts_are_padded_to_whole_words():
    x = np.array([[1, -128, 127], [-1, 0, 5]], np.int8)
    assert pack_acts(Geometry(lanes=4), x) == [b"\x01\x80\x7f\x00", b"\xff\x00\x05\x00"]
    assert pack_acts(Geometry(lanes=3), x) == [b"\x01\x80\x7f", b"\xff\x00\x05"]


@pytest.mark.parametrize("k", [1, 255, 256, 65535, 65536, 6912, (1 << 24) - 1])
def test_result_bytes_hold_the_extremes_and_are_the_fewest(k):
    size = result_bytes(k)
    assert 128 * k < 1 << 8 * size - 1
    assert size == 1 or 128 * k >= 1 << 8 * (size - 1) - 1


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 3])
def test_results(size, rows):
    low, high = -(1 << 8 * size - 1), (1 << 8 * size - 1) - 1
    expected = np.random.default_rng(size).integers(low, high, (rows, 50), np.int64, endpoint=True).astype(np.int32)
    expected[0, :2] = low, high
    data = b"".join(int(value).to_bytes(size, "little", signed=True) for value in expected.T.ravel())
    results = unpack_results(data, rows, size)
    assert results.dtype == np.int32 and results.shape == expected.shape
    assert np.array_equal(results, expected)
