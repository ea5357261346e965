"""Matrices in an array's words: cut, coded, read in blocks, sent without packing."""

import mmap

import numpy as np
import pytest

from tritloom.host.driver import Accelerator
from tritloom.host.errors import UsageError
from tritloom.host.framing import Decoder
from tritloom.host.link import Link
from tritloom.host.packing import pack_weights, unpack_weights
from tritloom.host.words import ArrayMatrix, ArrayOrder, Words
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import Op
from tritloom.sim.model_device import ModelDevice

GEOMETRIES = [
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=64),
    Geometry(rows=2, cols=8, lanes=4, col_pitch=4, depth=20),
    Geometry(rows=3, cols=5, lanes=3, col_pitch=2, depth=64, weight_words=512, stream_words=64),
    Geometry(rows=1, cols=7, lanes=12, col_pitch=7, depth=33, weight_words=512, stream_words=64),
]
SHAPES = [(1, 1), (1, 37), (29, 1), (8, 32), (17, 31), (70, 66)]


def lying(geometry: Geometry, w: np.ndarray, packing: str) -> ArrayMatrix:
    """A matrix in words."""
    order = ArrayOrder.of(geometry)
    stored = order.pack(w, None, packing)
    return ArrayMatrix(w.shape, order, [
        (first, k, Words(words, order.word_bytes(len(w), k), packing)) for (first, k), words in zip(order.cuts(w.shape[1], None), stored, strict=True)])


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_unpacking_is_the_way_back(geometry, shape):
    w = np.random.default_rng(shape[0]).integers(-1, 2, shape, np.int8)
    words = np.frombuffer(pack_weights(geometry, w), np.uint8)
    np.testing.assert_array_equal(unpack_weights(geometry, words, *shape), w, err_msg=f"seed {shape[0]}")


@pytest.mark.parametrize("packing", ["2bit", "base3"])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_device_multiplies_what_lies_in_its_words(geometry, shape, packing):
    rng = np.random.default_rng(31)
    w, x = rng.integers(-1, 2, shape, np.int8), rng.integers(-128, 128, (3, shape[1]), np.int8)
    matrix = lying(geometry, w, packing)
    np.testing.assert_array_equal(matrix.trits(), w)
    acc = Accelerator(Link(ModelDevice(geometry)))
    loaded, packed = acc.load_words(matrix), acc.load(w)
    assert loaded.parts == packed.parts or not packed.resident    # the store may be full by now
    for _ in range(2):    # streamed words are read again
        np.testing.assert_array_equal(acc.matmul(loaded, x), x.astype(np.int32) @ w.T.astype(np.int32), err_msg="seed 31")


def test_both_ways_send_the_same_frames():
    class Sent(ModelDevice):
        def __init__(self, geometry):
            super().__init__(geometry)
            self.sent = []
            self.watch = Decoder()

        def write(self, data):
            self.sent += [(op, payload) for op, _, payload in self.watch.feed(data)]
            super().write(data)

    geometry = Geometry(rows=2, cols=16, lanes=8, depth=300, weight_words=256)
    rng = np.random.default_rng(32)
    w, x = rng.integers(-1, 2, (333, 500), np.int8), rng.integers(-128, 128, (2, 500), np.int8)
    sent = []
    for load in (Accelerator.load, lambda acc, w: acc.load_words(lying(geometry, w, "2bit")), lambda acc, w: acc.load_words(lying(geometry, w, "base3"))):
        device = Sent(geometry)
        acc = Accelerator(Link(device))
        matrix = load(acc, w)
        assert not matrix.resident
        device.sent.clear()
        acc.matmul(matrix, x)
        sent.append(device.sent)
    assert sent[0] == sent[1] == sent[2]
    assert sum(len(payload) for op, payload in sent[0] if op == Op.STREAM) >= 333 * 500 / 4


@pytest.mark.parametrize("packing", ["2bit", "base3"])
@pytest.mark.parametrize("size", [1, 7, 224, 240])
def test_frames_are_the_words_cut(packing, size):
    """Longer than what is decoded at a time, and no multiple of a piece."""
    rng = np.random.default_rng(33)
    order = ArrayOrder(cols=4, lanes=8, col_pitch=4, depth=4096)
    w = rng.integers(-1, 2, (300, 4000), np.int8)
    (stored,) = order.pack(w, None, packing)
    expected = pack_weights(order.geometry, w)
    words = Words(stored, len(expected), packing)
    frames = words.frames(size)
    cut = [expected[at:at + size] for at in range(0, len(expected), size)]
    assert len(frames) == len(cut)
    assert list(frames) == cut
    assert list(frames) == cut, "a second time"
    for at in (0, 1, len(cut) // 2, -1):
        assert frames[at] == cut[at]
    assert frames[3:6] == cut[3:6]
    with pytest.raises(IndexError):
        frames[len(cut)]
    for start, stop in ((0, 3), (4, 5), (123, 456), (len(expected) - 2, len(expected) + 9)):
        assert words.read(start, stop).tobytes() == expected[start:stop]


def test_nothing_is_kept_of_words_in_a_file(tmp_path):
    """Two-bit words are views of the map, before they are sent and after."""
    order = ArrayOrder(cols=4, lanes=8, col_pitch=4, depth=4096)
    w = np.random.default_rng(34).integers(-1, 2, (64, 512), np.int8)
    (tmp_path / "words").write_bytes(pack_weights(order.geometry, w))
    with (tmp_path / "words").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    words = Words(np.frombuffer(mapped, np.uint8), len(mapped))
    part = words.read(10, 90)
    assert not part.flags.owndata
    assert not part.flags.writeable


@pytest.mark.parametrize(("k", "group", "cuts"), [
    (10, None, [(0, 4), (4, 4), (8, 2)]),
    (4, None, [(0, 4)]),
    (12, 6, [(0, 4), (4, 2), (6, 4), (10, 2)]),
    (9, 3, [(0, 3), (3, 3), (6, 3)]),
])
def test_cuts_never_cross_a_group(k, group, cuts):
    order = ArrayOrder(cols=2, lanes=4, col_pitch=1, depth=4)
    assert order.cuts(k, group) == cuts
    w = np.random.default_rng(35).integers(-1, 2, (5, k), np.int8)
    for packing in ("2bit", "base3"):
        assert sum(map(len, order.pack(w, group, packing))) == order.nbytes(5, k, group, packing)


def test_words_of_another_array_are_refused():
    geometry = Geometry(rows=2, cols=8, lanes=4, col_pitch=4, depth=64)
    w = np.ones((9, 60), np.int8)
    for other, fits in [
        ({"rows": 5, "tree_pitch": 1, "depth": 100, "weight_words": 512}, True),    # both depths hold the matrix
        ({"depth": 59}, False), ({"cols": 4}, False), ({"lanes": 8}, False), ({"col_pitch": 8}, False),
    ]:  # fmt: skip
        matrix = lying(Geometry(**{"rows": 1, "cols": 8, "lanes": 4, "col_pitch": 4, "depth": 64, **other}), w, "2bit")
        assert matrix.fits(geometry) == fits, other
        acc = Accelerator(Link(ModelDevice(geometry)))
        if fits:
            assert acc.load_words(matrix).shape == (9, 60)
        else:
            with pytest.raises(UsageError, match=r"must be in the words of this device's array \(.*\), not in those of .*: load its trits instead"):
                acc.load_words(matrix)


@pytest.mark.parametrize(("numbers", "message"), [
    ({"cols": 0}, "`cols` must be an integer from 1 to 255, not 0"),
    ({"lanes": "4"}, "`lanes` must be an integer"),
    ({"cols": 255, "lanes": 200}, "at most 960 trits"),
])
def test_an_order_that_no_array_has(numbers, message):
    with pytest.raises(UsageError, match=message):
        ArrayOrder(**{"cols": 4, "lanes": 4, "col_pitch": 1, "depth": 64, **numbers})
