"""Products with packed words: exact, whatever the geometry, and without a matrix in memory."""

import tracemalloc

import numpy as np
import pytest

from tritloom.host.driver import connect
from tritloom.host.packing import pack_weights
from tritloom.rtl.geometry import Geometry
from tritloom.sim import model_device, packed_product
from tritloom.sim.packed_product import KNOWN_CODES, multiply, unpack

#: Weights that share a byte within a column, weights that do not, and words with bits to spare.
LANES = (1, 2, 3, 4, 5, 8, 12, 20, 60)


def packed(geometry, w, x):
    """Words and activations as the device has them."""
    words = np.frombuffer(pack_weights(geometry, w), np.uint8).reshape(-1, geometry.word_bytes)
    acts = np.zeros((len(x), geometry.beats(w.shape[1]) * geometry.lanes), np.int8)
    acts[:, :x.shape[1]] = x
    return words, acts.reshape(len(x), -1, geometry.lanes)


def product(w, x):
    return w.astype(np.int64) @ x.T.astype(np.int64)


@pytest.mark.parametrize("lanes", LANES)
@pytest.mark.parametrize("block, factors", [(1, 1), (1000, 300), (1 << 17, 1 << 22)], ids=["a tile", "a few", "many"])
def test_products(lanes, block, factors, monkeypatch):
    monkeypatch.setattr(packed_product, "_BLOCK_BYTES", block)
    monkeypatch.setattr(packed_product, "_FACTORS", factors)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        geometry = Geometry(rows=3, cols=int(rng.integers(1, 960 // lanes // 4 + 2)) % 20 + 1, lanes=lanes, col_pitch=int(rng.integers(1, 9)), depth=400)
        n, k, rows = int(rng.integers(1, 150)), int(rng.integers(1, 400)), int(rng.integers(1, 4))
        w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (rows, k), np.int8)
        words, acts = packed(geometry, w, x)
        sums = multiply(geometry, words, n, acts)
        assert sums.dtype == np.int32 and np.array_equal(sums, product(w, x)), (seed, geometry, n, k, rows)
        assert np.array_equal(unpack(geometry, words, n, k)[:, :k], w), (seed, geometry, n, k)


@pytest.mark.parametrize("lanes", [3, 8])
@pytest.mark.parametrize("value", [-128, 127])
def test_extremes_over_the_greatest_depth(lanes, value):
    """Every field of a matrix of -1 is the largest, 2: its sums come next to the integers that float32 does not hold."""
    geometry = Geometry(rows=2, cols=3, lanes=lanes, depth=65535)
    w = np.repeat(np.array([[-1], [1], [0], [-1]], np.int8), 65535, axis=1)
    w[3, ::2] = 1
    x = np.full((2, 65535), value, np.int8)
    x[1, ::2] = ~x[1, ::2]
    words, acts = packed(geometry, w, x)
    assert np.array_equal(multiply(geometry, words, 4, acts), product(w, x))


def test_known_codes():
    for byte in range(256):
        codes = [byte >> at & 3 for at in (0, 2, 4, 6)]
        assert [KNOWN_CODES[byte] >> at & 3 for at in (0, 2, 4, 6)] == [0 if code == 2 else code for code in codes]


@pytest.mark.parametrize("geometry", [Geometry(), Geometry(rows=2, cols=16, lanes=20), Geometry(lanes=3)], ids=repr)
def test_no_matrix_is_made(geometry):
    rng = np.random.default_rng(1)
    words = rng.integers(0, 256, (geometry.words(4000, 3000), geometry.word_bytes), np.uint8)
    acts = rng.integers(-128, 128, (1, geometry.beats(3000), geometry.lanes), np.int8)
    multiply(geometry, words, 4000, acts)
    tracemalloc.start()
    try:
        multiply(geometry, words, 4000, acts)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < words.nbytes < 4 * 4000 * 3000 / 15    # float32 takes 16 times as much as the words


def test_a_large_model_s_matrices_stay_packed_in_the_device(monkeypatch):
    """As many as the budget holds are kept wide, and all give the same."""
    monkeypatch.setattr(model_device, "_DENSE_BYTES", 2 * 4 * 64 * 64)
    rng = np.random.default_rng(2)
    matrices = [rng.integers(-1, 2, (64, 64), np.int8) for _ in range(4)]
    x = rng.integers(-128, 128, (3, 64), np.int8)
    with connect("model", geometry=Geometry(cols=16, lanes=4)) as acc:
        device = acc.link._transport
        loaded = [acc.load(w) for w in matrices]
        for _ in range(2):
            for w, matrix in zip(matrices, loaded, strict=True):
                assert np.array_equal(acc.matmul(matrix, x), product(w, x).T)
            assert len(device._dense) == 2 and device._dense_bytes == sum(dense.nbytes for dense in device._dense.values())
        loaded[3].unload()
        loaded[3] = acc.load(-matrices[3])    # a write: what was kept wide is out of date
        assert not device._dense and not device._dense_bytes
        assert np.array_equal(acc.matmul(loaded[3], x), product(-matrices[3], x).T)


@pytest.mark.parametrize("budget", [0, 1 << 26], ids=["packed", "wide"])
def test_a_matrix_over_the_store_s_end_goes_on_at_its_start(budget, monkeypatch):
    from .test_model_device import SMALL, Host, Memory, Op, job, results

    monkeypatch.setattr(model_device, "_DENSE_BYTES", budget)
    rng = np.random.default_rng(3)
    host = Host()
    at = SMALL.weight_words - 5
    w, x = rng.integers(-1, 2, (9, 10), np.int8), host.acts(1, 10, rng)
    data = pack_weights(SMALL, w)
    host.write(Memory.WEIGHTS, at, data[:5 * SMALL.word_bytes])
    host.write(Memory.WEIGHTS, 0, data[5 * SMALL.word_bytes:])
    assert np.array_equal(results(host.good(Op.JOB, job(weights_at=at))).T, product(w, x))


@pytest.mark.parametrize("streamed", [False, True], ids=["store", "stream"])
def test_the_fourth_code_counts_as_zero_where_a_matrix_stays_packed(streamed, monkeypatch):
    from .test_model_device import Host, Memory, Op, Weights, job, results, write

    monkeypatch.setattr(model_device, "_DENSE_BYTES", 0)
    host = Host(Geometry(rows=1, cols=1, lanes=4, col_pitch=1, depth=4))
    host.good(Op.WRITE, write(Memory.ACTS, data=bytes([100, 10, 1, 50])))
    words = bytes([0b10_11_01_00])
    if streamed:
        host.good(Op.JOB, job(k=4, n=1, weights=Weights.STREAM))
        frames = host.good(Op.STREAM, words)[1:]
    else:
        host.good(Op.WRITE, write(data=words))
        frames = host.good(Op.JOB, job(k=4, n=1))
    assert results(frames).tolist() == [[9]]
