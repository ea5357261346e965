"""The driver over the model device: every shape, exactly, and a sentence for every mistake."""

import numpy as np
import pytest

from tritloom.host import connect
from tritloom.host.counters import Counters
from tritloom.host.driver import Accelerator
from tritloom.host.errors import DeviceResetError, DisconnectedError, IncompatibleDeviceError, TritloomError, UnknownNameError
from tritloom.host.framing import Decoder
from tritloom.host.link import Link
from tritloom.host.space import Space
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, JOB, WRITE, Memory, Op
from tritloom.sim.model_device import ModelDevice

GEOMETRIES = [
    Geometry(),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=300, weight_words=1 << 17),
    Geometry(rows=3, cols=5, lanes=3, col_pitch=2, depth=100),
    Geometry(rows=5, cols=7, lanes=2, col_pitch=7, depth=33, weight_words=2048, stream_words=64, queue=3),
    Geometry(rows=4, cols=16, lanes=8, col_pitch=4, depth=512, weight_words=512, stream_words=64, queue=1),
    Geometry(rows=2, cols=12, lanes=2, col_pitch=3, depth=5),
]


class Watched(ModelDevice):
    """The model device, with a record of the commands it got."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.seen = []
        self.watch = Decoder()

    def write(self, data):
        self.seen += [(op, payload) for op, _, payload in self.watch.feed(data)]
        super().write(data)

    def take(self, op):
        """Records of the commands of one kind since the last call."""
        record = {Op.JOB: JOB, Op.WRITE: WRITE}[op]
        found = [record.unpack(payload) for its_op, payload in self.seen if its_op == op]
        self.seen = [entry for entry in self.seen if entry[0] != op]
        return found


def watched(geometry):
    device = Watched(geometry)
    return device, Accelerator(Link(device))


def trits(rng, n, k):
    return rng.integers(-1, 2, (n, k), np.int8)


def vectors(rng, m, k):
    return rng.integers(-128, 128, (m, k), np.int8)


def exact(w, x):
    return x.astype(np.int64) @ w.T.astype(np.int64)


def check(acc, w, x, loaded=None, note=""):
    y = acc.matmul(w if loaded is None else loaded, x)
    assert y.dtype == np.int32 and y.shape == (len(x), len(w)), note
    assert np.array_equal(y, exact(w, x)), note


# Shapes and values

@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
def test_random_shapes(geometry):
    with connect("model", geometry=geometry) as acc:
        assert acc.geometry == geometry
        for seed in range(25):
            rng = np.random.default_rng(seed)
            n, k, m = (int(value) for value in rng.integers(1, 301, 3))
            note = f"seed {seed}: N={n}, K={k}, M={m}"
            w, x = trits(rng, n, k), vectors(rng, m // 6 + 1, k)
            if seed % 2:
                matrix = acc.load(w)
                check(acc, w, x, matrix, note)
                matrix.unload()
            else:
                check(acc, w, x, note=note)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=repr)
@pytest.mark.parametrize("weight", [-1, 0, 1])
@pytest.mark.parametrize("act", [-128, 127])
def test_extremes(geometry, weight, act):
    with connect("model", geometry=geometry) as acc:
        for k in (1, geometry.lanes, geometry.depth, geometry.depth + 1):
            check(acc, np.full((3, k), weight, np.int8), np.full((2, k), act, np.int8))


def test_integer_dtypes_and_layouts_of_the_matrix():
    with connect("model") as acc:
        rng = np.random.default_rng(1)
        w, x = trits(rng, 20, 30), vectors(rng, 3, 30)
        for dtype in (np.int8, np.int16, np.int32, np.int64):
            check(acc, w.astype(dtype), x)
        check(acc, np.abs(w).astype(np.uint8), x)
        check(acc, np.asfortranarray(w), np.asfortranarray(x))
        check(acc, w[::2, ::-1], x[::-1, ::-1])


def test_the_result_belongs_to_the_caller():
    with connect("model") as acc:
        y = acc.matmul(np.ones((3, 4), np.int8), np.ones((1, 4), np.int8))
        y += 1
        assert y.flags.c_contiguous and y.tolist() == [[5, 5, 5]]


def test_deeper_than_the_device_is_split():
    device, acc = watched(Geometry(rows=2, cols=4, lanes=4, depth=50, weight_words=4096))
    rng = np.random.default_rng(2)
    w, x = trits(rng, 17, 130), vectors(rng, 3, 130)
    matrix = acc.load(w)
    assert matrix.shape == (17, 130)
    check(acc, w, x, matrix)
    assert [job["k"] for job in device.take(Op.JOB)] == [50, 50, 30] * 2


# The weight store

def test_space_is_first_fit_and_merges():
    space = Space(100)
    starts = [space.take(size) for size in (30, 30, 40)]
    assert starts == [0, 30, 60] and space.take(1) is None
    space.give(30, 30)
    assert space.take(31) is None and space.take(10) == 30
    space.give(30, 10)
    space.give(0, 30)
    assert space.take(60) == 0
    space.give(60, 40)
    space.give(0, 60)
    assert space.take(100) == 0
    assert Space(0).take(1) is None


def test_what_does_not_fit_is_streamed():
    geometry = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=512, stream_words=64)
    device, acc = watched(geometry)
    rng = np.random.default_rng(3)
    loads = [trits(rng, 60, 60) for _ in range(3)]
    assert geometry.words(60, 60) == 228 and geometry.resident_words == 448
    matrices = [acc.load(w) for w in loads]
    assert [matrix.resident for matrix in matrices] == [True, False, False]
    x = vectors(rng, 5, 60)
    for w, matrix in zip(loads, matrices, strict=True):
        check(acc, w, x, matrix)
    jobs = device.take(Op.JOB)
    assert [job["weights"] for job in jobs] == [0] * 3 + [1] * 6
    small = acc.load(loads[1][:40])
    assert small.resident
    check(acc, loads[1][:40], x, small)
    assert all(write["at"] < geometry.resident_words for write in device.take(Op.WRITE) if write["memory"] == Memory.WEIGHTS)


def test_larger_than_the_store_in_both_directions():
    with connect("model", geometry=Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=128, stream_words=64)) as acc:
        rng = np.random.default_rng(4)
        w, x = trits(rng, 100, 200), vectors(rng, 3, 200)
        check(acc, w, x)


def test_unloading_makes_room_and_ends_use():
    device, acc = watched(Geometry(rows=1, cols=4, lanes=4, depth=64, weight_words=512, stream_words=64))
    rng = np.random.default_rng(5)
    for _ in range(20):
        w = trits(rng, 60, 60)
        matrix = acc.load(w)
        assert matrix.resident
        check(acc, w, vectors(rng, 1, 60), matrix)
        matrix.unload()
        matrix.unload()
    with pytest.raises(ValueError, match="the 60 x 60 matrix was unloaded: load it again"):
        acc.matmul(matrix, vectors(rng, 1, 60))
    for _ in range(5):
        acc.matmul(trits(rng, 60, 60), vectors(rng, 1, 60))    # each makes room for the next
    assert {job["weights"] for job in device.take(Op.JOB)} == {0}


def test_reuse_does_not_disturb_neighbours():
    with connect("model", geometry=Geometry(rows=1, cols=4, lanes=4, depth=64, weight_words=2048, stream_words=64)) as acc:
        rng = np.random.default_rng(6)
        kept = {}
        for step in range(60):
            if len(kept) > 5:
                matrix = list(kept)[int(rng.integers(len(kept)))]
                matrix.unload()
                del kept[matrix]
            w = trits(rng, int(rng.integers(1, 80)), int(rng.integers(1, 64)))
            kept[acc.load(w)] = w
            for matrix, w in kept.items():
                check(acc, w, vectors(rng, 1, w.shape[1]), matrix, f"seed 6, step {step}")


# Queues

def test_more_vectors_than_rows_are_queued_together():
    device, acc = watched(Geometry(rows=2, cols=4, lanes=4, depth=64, queue=4))
    rng = np.random.default_rng(7)
    w, x = trits(rng, 9, 16), vectors(rng, 11, 16)
    check(acc, w, x, acc.load(w))
    jobs = device.take(Op.JOB)
    assert [job["hold"] for job in jobs] == [1, 1, 1, 0, 1, 0]
    assert [job["rows"] for job in jobs] == [2, 2, 2, 2, 2, 1]
    assert [job["acts_at"] for job in jobs] == [0, 4, 8, 12, 0, 4]


def test_what_does_not_fit_the_activation_buffer_comes_later():
    device, acc = watched(Geometry(rows=2, cols=4, lanes=4, depth=64))
    rng = np.random.default_rng(8)
    w, x = trits(rng, 9, 40), vectors(rng, 6, 40)
    check(acc, w, x, acc.load(w))
    assert [(job["hold"], job["acts_at"]) for job in device.take(Op.JOB)] == [(0, 0)] * 3    # 10 of 16 words each


def test_several_matrices_in_one_queue():
    device, acc = watched(Geometry())
    rng = np.random.default_rng(9)
    x, other = vectors(rng, 2, 128), vectors(rng, 1, 320)
    loads = [trits(rng, n, 128) for n in (128, 64, 64)] + [trits(rng, 128, 320)]
    matrices = [acc.load(w) for w in loads]
    device.take(Op.WRITE)
    results = acc.matmuls([*((matrix, x) for matrix in matrices[:3]), (matrices[3], other)])
    for w, its_x, y in zip(loads, (x, x, x, other), results, strict=True):
        assert np.array_equal(y, exact(w, its_x))
    assert [(job["hold"], job["acts_at"]) for job in device.take(Op.JOB)] == [(1, 0), (1, 0), (1, 0), (0, 32)]
    assert [(write["row"], write["at"]) for write in device.take(Op.WRITE)] == [(0, 0), (1, 0), (0, 32), (0, 92)]
    assert acc.matmuls([]) == []


def test_random_queues():
    geometry = Geometry(rows=3, cols=4, lanes=4, depth=64, weight_words=512, stream_words=64, queue=5)
    with connect("model", geometry=geometry) as acc:
        for seed in range(15):
            rng = np.random.default_rng(seed)
            loads = [trits(rng, int(rng.integers(1, 60)), int(rng.integers(1, 150))) for _ in range(5)]
            matrices = [acc.load(w) for w in loads]
            xs = [vectors(rng, int(rng.integers(1, 10)), w.shape[1]) for w in loads]
            picks = rng.integers(0, 5, 12)
            results = acc.matmuls([(matrices[i], xs[i]) for i in picks])
            for i, y in zip(picks, results, strict=True):
                assert np.array_equal(y, exact(loads[i], xs[i])), f"seed {seed}"
            for matrix in matrices:
                matrix.unload()


def test_a_product_goes_out_in_one_piece():
    device, acc = watched(Geometry())
    rng = np.random.default_rng(10)
    matrix = acc.load(trits(rng, 128, 320))
    sent = acc.link.bytes_sent
    writes = []
    plain = device.write
    device.write = lambda data: (writes.append(len(data)), plain(data))
    acc.matmul(matrix, vectors(rng, 1, 320))
    assert writes == [acc.link.bytes_sent - sent]


# Counters

def test_counters_are_the_wire_s():
    assert tuple(Counters.__dataclass_fields__) == tuple(field.name for field in COUNTERS.fields)


def test_counters():
    with connect("model") as acc:
        before = acc.counters()
        acc.matmul(np.ones((64, 128), np.int8), np.ones((1, 128), np.int8))
        counted = acc.counters() - before
        assert (counted.jobs, counted.results, counted.busy) == (1, 64, 256)
        assert 0.9 < counted.utilization < 1
        assert counted.drain == counted.cycles - counted.busy - counted.ramp - counted.stall_results > 0
    zero = Counters(*[0] * 8)
    assert zero.utilization == 0 and zero.drain == 0


def test_counters_wrap():
    early, late = Counters(*[0xFFFFFFF0] * 8), Counters(*[5] * 8)
    assert late - early == Counters(*[21] * 8)
    with pytest.raises(TypeError):
        late - 1


# Mistakes

def refused(message, function, *args):
    with pytest.raises(ValueError, match=message) as caught:
        function(*args)
    assert isinstance(caught.value, TritloomError)


@pytest.mark.parametrize("w, message", [
    ([[1]], "the matrix must be a numpy array, not list"),
    (np.ones((2, 3)), r"must have an integer dtype, not float64 \(shape \(2, 3\)\)"),
    (np.ones((2, 3), bool), "must have an integer dtype, not bool"),
    (np.ones(3, np.int8), r"must be 2-D \(N, K\) and not empty, not of shape \(3,\)"),
    (np.ones((1, 2, 3), np.int8), r"not of shape \(1, 2, 3\)"),
    (np.ones((0, 3), np.int8), r"not empty, not of shape \(0, 3\)"),
    (np.ones((3, 0), np.int8), r"not empty, not of shape \(3, 0\)"),
    (np.array([[0, 1, 1], [0, 2, -3]], np.int8), r"must hold -1, 0 and 1 only, not 2 \(at row 1, column 1 of shape \(2, 3\)\)"),
    (np.array([[0, -128]], np.int8), r"not -128 \(at row 0, column 1"),
    (np.array([[0, 255]], np.uint8), r"not 255 \(at row 0, column 1"),
    (np.array([[1 << 40]]), f"not {1 << 40} "),
    (np.broadcast_to(np.int8(0), (1 << 20, 1)), "must have at most 1048575 rows, as a job tells no more, not 1048576: load it in parts"),
    (np.broadcast_to(np.int8(0), (1, 1 << 24)), "must have at most 16777215 columns, so that int32 holds every result, not 16777216"),
], ids=range(13))
def test_bad_matrices(w, message):
    with connect("model") as acc:
        refused(message, acc.load, w)
        refused(message, acc.matmul, w, np.ones((1, 3), np.int8))


@pytest.mark.parametrize("x, message", [
    ([[1, 2, 3]], "`x` must be a numpy array of int8, not list"),
    (np.ones((1, 3)), r"`x` must have dtype int8, not float64 \(shape \(1, 3\)\)"),
    (np.ones((1, 3), np.int16), "must have dtype int8, not int16"),
    (np.ones((1, 3), np.uint8), "must have dtype int8, not uint8"),
    (np.ones(3, np.int8), r"must be 2-D \(M, K\), not of shape \(3,\): one vector is `x.reshape\(1, -1\)`"),
    (np.ones((1, 4), np.int8), r"must have the shape \(M, 3\) with M at least 1 for a matrix of shape \(2, 3\), not \(1, 4\)"),
    (np.ones((0, 3), np.int8), r"with M at least 1 .* not \(0, 3\)"),
    (np.ones((1, 1, 3), np.int8), r"not \(1, 1, 3\)"),
], ids=range(8))
def test_bad_vectors(x, message):
    with connect("model") as acc:
        w = np.ones((2, 3), np.int8)
        refused(message, acc.matmul, w, x)
        matrix = acc.load(w)
        refused(message, acc.matmul, matrix, x)
        refused(message, acc.matmuls, [(matrix, np.ones((1, 3), np.int8)), (matrix, x)])
        assert acc.counters().jobs == 0


def test_a_refused_product_leaves_no_matrix_behind():
    with connect("model", geometry=Geometry(weight_words=512)) as acc:
        w = np.ones((8, 4 * 200), np.int8)
        for _ in range(5):
            refused("must have the shape", acc.matmul, w, np.ones((1, 3), np.int8))
        assert acc.load(w).resident


def test_matrices_of_others():
    with connect("model") as one, connect("model") as other:
        matrix = one.load(np.ones((2, 3), np.int8))
        refused("was loaded into another device", other.matmul, matrix, np.ones((1, 3), np.int8))
        refused("must be one that `load` returned, not ndarray", one.matmuls, [(np.ones((2, 3), np.int8), np.ones((1, 3), np.int8))])
        assert repr(matrix) == "<Matrix 2 x 3>"
        matrix.unload()
        assert repr(matrix) == "<Matrix 2 x 3, unloaded>"


def test_after_close():
    acc = connect("model")
    matrix = acc.load(np.ones((2, 3), np.int8))
    acc.close()
    acc.close()
    for use in (lambda: acc.load(np.ones((2, 3), np.int8)), lambda: acc.matmul(matrix, np.ones((1, 3), np.int8)), acc.counters):
        with pytest.raises(DisconnectedError, match="model was closed here: connect again"):
            use()
    matrix.unload()


# Connecting

def test_unknown_device():
    with pytest.raises(UnknownNameError, match="no device named 'modell'. Did you mean model"):
        connect("modell")


def test_the_geometry_asked_for_is_the_one_that_answers(monkeypatch):
    from tritloom.host import driver

    monkeypatch.setattr(driver, "open_transport", lambda device, **options: ModelDevice(Geometry()))
    with pytest.raises(IncompatibleDeviceError, match="another geometry than was asked for: rows 2 instead of 4, cols 8 instead of 16"):
        connect("model", geometry=Geometry(rows=4, cols=16))
    assert repr(connect("model", geometry=Geometry())) == "<Accelerator model, geometry 2,8,4>"


def test_a_failed_load_gives_its_place_back():
    class Failing(ModelDevice):
        broken = False

        def read(self, timeout_s):
            return b"" if self.broken else super().read(timeout_s)

    device = Failing(Geometry(weight_words=512))
    acc = Accelerator(Link(device))
    w = np.ones((8, 800), np.int8)
    for _ in range(3):
        device.broken = True
        with pytest.raises(TritloomError, match=r"the device stopped answering at loading a matrix \(N=8, K=800\), after 3 attempts"):
            acc.load(w)
    device.broken = False
    assert acc.load(w).resident


def test_a_reset_device_is_not_used_on():
    """A device that was reset in between answers every SYNC, but what was loaded into it is lost."""
    device = ModelDevice(Geometry())
    acc = Accelerator(Link(device))
    matrix = acc.load(np.ones((9, 9), np.int8))
    device.__init__(Geometry())
    for _ in range(3):    # trying again does not make the weights come back
        with pytest.raises(DeviceResetError, match="was reset, or used by another program"):
            acc.matmul(matrix, np.ones((1, 9), np.int8))
        with pytest.raises(DeviceResetError):
            acc.counters()


def test_a_reset_is_noticed_even_if_the_first_identity_is_lost():
    class Lossy(ModelDevice):
        lose = 0

        def read(self, timeout_s):
            data = super().read(timeout_s)
            if data and self.lose:
                self.lose -= 1
                return b""
            return data

    device = Lossy(Geometry())
    acc = Accelerator(Link(device, timeout_s=0.01, retries=4))
    matrix = acc.load(np.ones((9, 9), np.int8))
    device.__init__(Geometry())
    device.lose = 2    # the refusal of the first command, and the first identity
    with pytest.raises(DeviceResetError):
        acc.matmul(matrix, np.ones((1, 9), np.int8))


def test_a_long_job_may_be_silent_for_long():
    """No results leave before a frame of them is full: a deep matrix with few outputs takes its time."""
    class Asked(ModelDevice):
        patience = 0.0

        def read(self, timeout_s):
            self.patience = max(self.patience, timeout_s)
            return super().read(timeout_s)

    geometry = Geometry(rows=1, cols=1, lanes=4, depth=65535, weight_words=1 << 21)
    device = Asked(geometry)
    acc = Accelerator(Link(device, timeout_s=2.0))
    matrix = acc.load(np.ones((80, 65535), np.int8))
    assert device.patience <= 2.0
    acc.matmul(matrix, np.ones((1, 65535), np.int8))
    assert 2.0 + 80 * 16384 / 100_000 - 1 < device.patience <= 2.0 + 80 * 16384 / 100_000
