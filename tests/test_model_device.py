"""The model device against the protocol, frame by frame, without the driver."""

from dataclasses import asdict

import numpy as np
import pytest

from tritloom.host.framing import Decoder, encode
from tritloom.host.packing import pack_weights
from tritloom.host.timing import JobShape, batch
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import (
    COUNTERS,
    ERROR,
    IDENTITY,
    JOB,
    MOST_OUTPUTS,
    PAYLOAD_BYTES,
    RATE,
    RESULT,
    RESULT_BYTES,
    RX_BYTES,
    SYNC,
    VERSION,
    WRITE,
    Error,
    Memory,
    Op,
    Weights,
)
from tritloom.sim.model_device import open_model

SMALL = Geometry(rows=2, cols=4, lanes=3, col_pitch=2, depth=40, weight_words=512, stream_words=32, queue=3)


class Host:
    """Sends frames with the right sequence numbers, unless told otherwise, and returns what comes back."""

    def __init__(self, geometry=SMALL):
        self.geometry = geometry
        self.device = open_model(geometry=geometry)
        self.decoder = Decoder()
        self.expected = 0
        self.sync(200)

    def raw(self, data):
        self.device.write(data)
        frames = self.decoder.feed(self.device.read(1.0))
        assert self.device.read(1.0) == b""
        return frames

    def send(self, op, payload=b"", seq=None):
        return self.raw(encode(op, self.expected if seq is None else seq, payload))

    def sync(self, seq, nonce=7):
        (reply,) = self.send(Op.SYNC, SYNC.pack(nonce=nonce, claim=1), seq)
        self.expected = (seq + 1) & 0xFF
        return reply

    def good(self, op, payload=b""):
        """A command that is executed; returns its replies."""
        frames = self.send(op, payload)
        assert all(frame[0] != Op.ERROR for frame in frames), [Error(frame[2][0]).name for frame in frames if frame[0] == Op.ERROR]
        self.expected = (self.expected + 1) & 0xFF
        return frames

    def refused(self, op, payload=b"", seq=None):
        """A command that is not executed; returns why."""
        (frame,) = self.send(op, payload, seq)
        assert frame[0] == Op.ERROR and frame[1] == (self.expected if seq is None else seq)
        error = ERROR.unpack(frame[2])
        assert error["expected"] == self.expected and len(frame[2]) == ERROR.size
        return Error(error["code"])

    def counters(self):
        ((op, _, payload),) = self.good(Op.COUNTERS)
        assert op == Op.COUNTS
        return COUNTERS.unpack(payload)

    def write(self, memory, at, data, row=0):
        geometry = self.geometry
        size, words = ((geometry.word_bytes, geometry.weight_words) if memory == Memory.WEIGHTS else (geometry.lanes, geometry.act_words))
        step = (PAYLOAD_BYTES - WRITE.size) // size * size
        for i in range(0, len(data), step):
            record = WRITE.pack(memory=memory, row=row, at=(at + i // size) % words)
            ((op, _, payload),) = self.good(Op.WRITE, record + data[i:i + step])
            assert (op, payload) == (Op.ACK, b"")

    def matrix(self, at, n, k, rng):
        w = rng.integers(-1, 2, (n, k), np.int8)
        self.write(Memory.WEIGHTS, at, pack_weights(self.geometry, w))
        return w

    def acts(self, rows, k, rng, at=0):
        x = rng.integers(-128, 128, (rows, k), np.int8)
        for row in range(rows):
            self.write(Memory.ACTS, at, x[row].tobytes() + bytes(-k % self.geometry.lanes), row)
        return x


def job(**changes):
    return JOB.pack(**{"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": 4, "acts_at": 0,
                       "k": 10, "n": 9, "weights_at": 0} | changes)


def write(memory=Memory.WEIGHTS, row=0, at=0, data=bytes(SMALL.word_bytes)):
    return WRITE.pack(memory=memory, row=row, at=at) + data


def results(frames, rows=1, size=4):
    """(rows, n) results of one job's frames."""
    assert [frame[0] for frame in frames] == [Op.RESULT] * len(frames)
    assert [RESULT.unpack(frame[2])["index"] for frame in frames] == list(range(len(frames)))
    data = [frame[2][RESULT.size:] for frame in frames]
    assert all(len(piece) == RESULT_BYTES for piece in data[:-1])
    joined = b"".join(data)
    values = [int.from_bytes(joined[at:at + size], "little", signed=True) for at in range(0, len(joined), size)]
    return np.array(values).reshape(-1, rows).T


def product(w, x):
    return x.astype(np.int64) @ w.T.astype(np.int64)


def test_receive_buffer_is_the_gateware_s():
    from tritloom.rtl.deframer import Deframer

    assert RX_BYTES == Deframer.RING_BYTES - 1    # a ring of that many bytes keeps one free


def test_identity():
    host = Host()
    op, seq, payload = host.sync(123, nonce=0xDEADBEEF)
    identity = IDENTITY.unpack(payload)
    assert (op, seq, len(payload)) == (Op.IDENTITY, 123, IDENTITY.size)
    assert identity["nonce"] == 0xDEADBEEF and identity["version"] == VERSION and identity["rx_bytes"] == RX_BYTES
    assert Geometry(**{name: identity[name] for name in Geometry.names()}) == SMALL
    assert identity["digest"] == SMALL.digest


def test_there_is_no_rate():
    host = Host()
    assert host.refused(Op.RATE, RATE.pack(divisor=100)) == Error.BAD_RATE
    assert host.refused(Op.RATE, RATE.pack(divisor=100) + b"a") == Error.LENGTH
    identity = IDENTITY.unpack(host.sync(9)[2])
    assert (identity["clock_hz"], identity["max_baud"], identity["board"]) == (0, 0, 0)


def test_sync_sets_the_sequence_number():
    host = Host()
    host.sync(255)
    assert host.expected == 0
    assert host.good(Op.COUNTERS)[0][1] == 0


def test_bad_frames_are_answered_and_counted():
    host = Host()
    good = encode(Op.COUNTERS, host.expected)
    flipped = bytes([good[0], good[1] ^ 0x10]) + good[2:]
    for number, bad in enumerate((flipped, good[:-3] + b"\0", b"\x05ab\0", b"\x01\0", b"\x02\x01" * 200 + b"\0"), 1):
        ((op, seq, payload),) = host.raw(bad)
        assert (op, seq) == (Op.ERROR, 0)
        assert ERROR.unpack(payload) == {"code": Error.CRC, "expected": host.expected}
        assert host.counters()["bad_frames"] == number


def test_empty_frames_are_ignored():
    host = Host()
    assert host.raw(bytes(10)) == []
    assert host.counters()["bad_frames"] == 0


@pytest.mark.parametrize("op", [0x00, 0x07, Op.ACK, 0xFF])
def test_unknown_command_whatever_its_sequence_number(op):
    host = Host()
    for seq in (host.expected, (host.expected - 1) & 0xFF, (host.expected + 1) & 0xFF):
        assert host.refused(op, b"abc", seq) == Error.UNKNOWN


def test_repeats_and_gaps():
    host = Host()
    for behind in (1, 2, 128):
        assert host.send(Op.COUNTERS, b"wrong length", (host.expected - behind) & 0xFF) == [(Op.ACK, (host.expected - behind) & 0xFF, b"")]
    for ahead in (1, 2, 127):
        assert host.refused(Op.COUNTERS, b"wrong length", (host.expected + ahead) & 0xFF) == Error.SEQUENCE
    assert host.good(Op.COUNTERS)[0][0] == Op.COUNTS


def test_a_repeat_is_not_executed_again():
    host = Host()
    rng = np.random.default_rng(1)
    w, x = host.matrix(0, 9, 10, rng), host.acts(1, 10, rng)
    frames = host.good(Op.JOB, job())
    assert np.array_equal(results(frames), product(w, x))
    assert host.send(Op.JOB, job(), frames[0][1]) == [(Op.ACK, frames[0][1], b"")]
    seq = host.expected
    host.good(Op.WRITE, write(Memory.ACTS, data=bytes(3)))
    assert host.send(Op.WRITE, write(Memory.ACTS, data=b"\x01\x02\x03"), seq) == [(Op.ACK, seq, b"")]
    x[:, :3] = 0
    assert np.array_equal(results(host.good(Op.JOB, job())), product(w, x))
    assert host.counters()["jobs"] == 2


@pytest.mark.parametrize("op, payload", [
    (Op.SYNC, b""), (Op.SYNC, bytes(SYNC.size - 1)), (Op.SYNC, bytes(SYNC.size + 1)),
    (Op.WRITE, b""), (Op.WRITE, bytes(WRITE.size - 1)), (Op.WRITE, write(data=b"")), (Op.WRITE, write(data=bytes(SMALL.word_bytes + 1))),
    (Op.WRITE, write(Memory.ACTS, data=bytes(SMALL.lanes - 1))),
    (Op.JOB, job()[:-1]), (Op.JOB, job() + b"\0"), (Op.STREAM, b""), (Op.STREAM, bytes(SMALL.word_bytes - 1)), (Op.COUNTERS, b"\0"),
])
def test_wrong_length(op, payload):
    assert Host().refused(op, payload) == Error.LENGTH


@pytest.mark.parametrize("payload", [
    write(2), write(row=1), write(Memory.ACTS, row=SMALL.rows, data=bytes(3)), write(at=SMALL.weight_words), write(at=1 << 31),
    write(Memory.ACTS, at=SMALL.act_words, data=bytes(3)),
])
def test_bad_address(payload):
    assert Host().refused(Op.WRITE, payload) == Error.BAD_ADDRESS


@pytest.mark.parametrize("change", [
    {"engine": 1}, {"source": 1}, {"destination": 1}, {"weights": 2}, {"hold": 2}, {"rows": 0}, {"rows": SMALL.rows + 1}, {"result_bytes": 0},
    {"result_bytes": 5}, {"k": 0}, {"k": SMALL.depth + 1}, {"n": 0}, {"n": MOST_OUTPUTS + 1}, {"acts_at": SMALL.act_words}, {"weights_at": SMALL.weight_words},
], ids=str)
def test_bad_job(change):
    host = Host()
    assert host.refused(Op.JOB, job(**change)) == Error.BAD_JOB
    assert host.counters()["jobs"] == 0


def test_held_jobs_wait_and_run_in_order():
    host = Host()
    rng = np.random.default_rng(2)
    w0, w1, x = host.matrix(0, 9, 10, rng), host.matrix(100, 5, 7, rng), host.acts(2, 10, rng)
    first = host.expected
    assert host.good(Op.JOB, job(hold=1)) == []
    assert host.good(Op.JOB, job(hold=1, k=7, n=5, weights_at=100, rows=2)) == []
    assert host.refused(Op.WRITE, write()) == Error.BUSY
    frames = host.good(Op.JOB, job(hold=0, rows=2))
    by_seq = [[frame for frame in frames if frame[1] == first + i] for i in range(3)]
    assert sum(by_seq, []) == frames
    assert np.array_equal(results(by_seq[0]), product(w0, x[:1]))
    assert np.array_equal(results(by_seq[1], 2), product(w1, x[:, :7]))
    assert np.array_equal(results(by_seq[2], 2), product(w0, x))
    host.good(Op.WRITE, write())


def test_queue_full():
    host = Host()
    for _ in range(SMALL.queue):
        host.good(Op.JOB, job(hold=1))
    assert host.refused(Op.JOB, job(n=0)) == Error.BAD_JOB
    assert host.refused(Op.JOB, job()) == Error.QUEUE_FULL


def test_a_running_job_does_not_count_as_waiting():
    host = Host()
    host.good(Op.JOB, job(weights=Weights.STREAM))
    for _ in range(SMALL.queue):
        host.good(Op.JOB, job(hold=1))
    assert host.refused(Op.JOB, job()) == Error.QUEUE_FULL


def test_sync_aborts():
    host = Host()
    host.good(Op.JOB, job(weights=Weights.STREAM))
    host.good(Op.STREAM, bytes(SMALL.word_bytes * 5))
    host.sync(3)
    host.good(Op.WRITE, write())
    assert host.refused(Op.STREAM, bytes(SMALL.word_bytes)) == Error.NO_JOB
    assert host.counters()["jobs"] == 0


def test_sync_empties_the_window():
    host = Host()
    rng = np.random.default_rng(8)
    w, x = rng.integers(-1, 2, (5, 10), np.int8), host.acts(1, 10, rng)
    host.good(Op.JOB, job(weights=Weights.STREAM))
    host.good(Op.STREAM, bytes(SMALL.word_bytes * 5))
    host.sync(3)
    host.good(Op.JOB, job(n=5, weights=Weights.STREAM))
    assert np.array_equal(results(host.good(Op.STREAM, pack_weights(SMALL, w))[1:]), product(w, x))


def test_sync_drops_results_but_no_memory():
    host = Host()
    rng = np.random.default_rng(3)
    w, x = host.matrix(0, 9, 10, rng), host.acts(1, 10, rng)
    sync = encode(Op.SYNC, 9, SYNC.pack(nonce=1, claim=1))
    assert [frame[0] for frame in host.raw(encode(Op.JOB, host.expected, job()) + sync)] == [Op.IDENTITY]
    host.expected = 10
    assert np.array_equal(results(host.good(Op.JOB, job())), product(w, x))


def test_streamed_jobs():
    host = Host()
    rng = np.random.default_rng(4)
    x = host.acts(2, 40, rng)
    for n, k, rows in ((1, 1, 1), (9, 40, 2), (30, 31, 1)):
        w = rng.integers(-1, 2, (n, k), np.int8)
        words = pack_weights(SMALL, w)
        assert host.good(Op.JOB, job(weights=Weights.STREAM, k=k, n=n, rows=rows)) == []
        assert host.refused(Op.WRITE, write()) == Error.BUSY
        frames = []
        step = PAYLOAD_BYTES // SMALL.word_bytes * SMALL.word_bytes
        for at in range(0, len(words), step):
            seq = host.expected
            replies = host.good(Op.STREAM, words[at:at + step])
            assert replies[0] == (Op.ACK, seq, b"")
            frames += replies[1:]
        assert np.array_equal(results(frames, rows), product(w, x[:rows, :k]))
        assert host.refused(Op.STREAM, words[:SMALL.word_bytes]) == Error.NO_JOB


def test_words_of_two_streamed_jobs_in_one_queue():
    host = Host()
    rng = np.random.default_rng(5)
    x = host.acts(1, 10, rng)
    matrices = [rng.integers(-1, 2, (5, 10), np.int8) for _ in range(2)]
    host.good(Op.JOB, job(weights=Weights.STREAM, n=5))
    host.good(Op.JOB, job(weights=Weights.STREAM, n=5))
    first, second = (host.good(Op.STREAM, pack_weights(SMALL, w)) for w in matrices)
    assert np.array_equal(results(first[1:]), product(matrices[0], x))
    assert np.array_equal(results(second[1:]), product(matrices[1], x))


def test_words_of_two_streamed_jobs_in_one_frame():
    host = Host()
    rng = np.random.default_rng(9)
    x = host.acts(1, 10, rng)
    matrices = [rng.integers(-1, 2, (5, 10), np.int8) for _ in range(2)]
    first = host.expected
    host.good(Op.JOB, job(weights=Weights.STREAM, n=5))
    host.good(Op.JOB, job(weights=Weights.STREAM, n=5))
    frames = host.good(Op.STREAM, b"".join(pack_weights(SMALL, w) for w in matrices))
    for i, w in enumerate(matrices):
        assert np.array_equal(results([frame for frame in frames if frame[1] == first + i]), product(w, x))


def test_a_streamed_job_cannot_be_held():    # its words would fill the window and nothing would take them
    assert Host().refused(Op.JOB, job(weights=Weights.STREAM, hold=1)) == Error.BAD_JOB


def test_before_the_first_sync_nothing_is_executed():
    device = open_model(geometry=SMALL)
    decoder = Decoder()
    for seq in (0, 1, 200):
        device.write(encode(Op.COUNTERS, seq))
        ((op, its, payload),) = decoder.feed(device.read(1.0))
        assert (op, its, ERROR.unpack(payload)["code"]) == (Op.ERROR, seq, Error.SEQUENCE)


def test_identity_tells_who_claimed_the_device():
    device = open_model(geometry=SMALL)
    decoder = Decoder()
    for nonce, claim, owner in ((4, 0, 0), (5, 1, 0), (3, 0, 5), (6, 1, 5), (0x80000001, 1, 6), (5, 0, 0x80000001), (5, 1, 0x80000001)):
        device.write(encode(Op.SYNC, 9, SYNC.pack(nonce=nonce, claim=claim)))
        ((_, _, payload),) = decoder.feed(device.read(1.0))
        assert IDENTITY.unpack(payload)["owner"] == owner


def test_no_stream_without_a_streamed_job():
    host = Host()
    host.good(Op.JOB, job(hold=1))
    assert host.refused(Op.STREAM, bytes(SMALL.word_bytes)) == Error.NO_JOB


def test_words_past_the_end_are_refused():
    host = Host()
    assert host.refused(Op.WRITE, write(Memory.ACTS, at=SMALL.act_words - 3, data=bytes(SMALL.lanes * 4))) == Error.BAD_ADDRESS
    assert host.refused(Op.WRITE, write(at=SMALL.weight_words - 1, data=bytes(SMALL.word_bytes * 2))) == Error.BAD_ADDRESS
    host.good(Op.WRITE, write(Memory.ACTS, at=SMALL.act_words - 3, data=bytes(SMALL.lanes * 3)))
    host.good(Op.WRITE, write(at=SMALL.weight_words - 1, data=bytes(SMALL.word_bytes)))


def test_a_streamed_job_has_no_address():
    Host().good(Op.JOB, job(weights=Weights.STREAM, weights_at=SMALL.weight_words))


def test_the_fourth_code_counts_as_zero():
    host = Host(Geometry(rows=1, cols=1, lanes=4, col_pitch=1, depth=4))
    host.good(Op.WRITE, write(data=bytes([0b10_11_01_00])))
    host.good(Op.WRITE, write(Memory.ACTS, data=bytes([100, 10, 1, 50])))
    assert results(host.good(Op.JOB, job(k=4, n=1))).tolist() == [[9]]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_results_are_cut_to_their_bytes(size):
    host = Host()
    rng = np.random.default_rng(7)
    w, x = host.matrix(0, 9, 40, rng), host.acts(2, 40, rng)
    expected = product(w, x)
    cut = (expected + (1 << 8 * size - 1)) % (1 << 8 * size) - (1 << 8 * size - 1)
    assert np.array_equal(results(host.good(Op.JOB, job(k=40, rows=2, result_bytes=size)), 2, size), cut)


@pytest.mark.parametrize("geometry", [
    SMALL,
    Geometry(),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=20),
    Geometry(rows=3, cols=5, lanes=3, col_pitch=3, depth=50),
    Geometry(rows=1, cols=9, lanes=2, col_pitch=9, depth=30),
    Geometry(rows=4, cols=16, lanes=8, col_pitch=4, depth=700),
], ids=repr)
def test_products(geometry):
    host = Host(geometry)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        n, k = int(rng.integers(1, 40)), int(rng.integers(1, min(geometry.depth, 300) + 1))
        rows = int(rng.integers(1, geometry.rows + 1))
        at = int(rng.integers(0, geometry.weight_words - geometry.words(n, k) + 1))
        acts_at = int(rng.integers(0, geometry.act_words - geometry.beats(k) + 1))
        w, x = host.matrix(at, n, k, rng), host.acts(rows, k, rng, acts_at)
        frames = host.good(Op.JOB, job(rows=rows, k=k, n=n, weights_at=at, acts_at=acts_at))
        assert np.array_equal(results(frames, rows), product(w, x)), f"seed {seed}"


def test_extremes_over_the_full_depth():
    geometry = Geometry(rows=1, cols=2, lanes=8, depth=65535, weight_words=1 << 15)
    host = Host(geometry)
    w = np.ones((2, 65535), np.int8)
    w[1] = -1
    host.write(Memory.WEIGHTS, 0, pack_weights(geometry, w))
    host.write(Memory.ACTS, 0, np.full(65535, -128, np.int8).tobytes() + b"\0")
    assert results(host.good(Op.JOB, job(k=65535, n=2))).tolist() == [[-128 * 65535, 128 * 65535]]


def counted(*jobs):
    """Counters of jobs that start together."""
    host = Host()
    for fields in jobs:
        host.good(Op.JOB, job(**fields))
    return host.counters()


def test_counters_are_the_cycle_model_s():
    shapes = [{"n": 9, "k": 10, "rows": 2}, {"n": 40, "k": 37, "rows": 1}]
    alone, together = counted(shapes[0]), counted(shapes[0] | {"hold": 1}, shapes[1])
    for counters, of in ((alone, shapes[:1]), (together, shapes)):
        expected = asdict(batch(SMALL, tuple(JobShape(**shape, result_bytes=4) for shape in of)))
        assert counters == expected | {"bad_frames": 0}
    assert alone["busy"] == SMALL.tiles(9) * SMALL.beats(10)
    assert (alone["jobs"], alone["results"]) == (1, 18)


def test_counters_wrap():
    host = Host()
    host.device._counters["cycles"] = (1 << 32) - 1
    host.good(Op.JOB, job())
    assert host.counters()["cycles"] == counted({})["cycles"] - 1
