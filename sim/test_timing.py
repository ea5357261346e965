"""The cycle model is the gateware's: every counter of every batch, against the compiled RTL.

Raw frames and no driver, so that a batch is exactly the jobs it says, and the words of a streamed job come as the model takes them to.
The weights do not matter to time, so nothing is loaded; that the sums are right is tested elsewhere.
"""

import random
import zlib

import pytest
from cobs import cobs

from tritloom.host.timing import JobShape, batch
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, JOB, PAYLOAD_BYTES, SYNC, Op
from tritloom.sim.compiled import CompiledDevice, build

GEOMETRIES = [
    Geometry(),
    Geometry(rows=1, cols=3, lanes=5, col_pitch=1, depth=400, weight_words=256, stream_words=8, queue=5),
    Geometry(rows=3, cols=2, lanes=1, tree_pitch=1, depth=200, weight_words=256, stream_words=2, queue=3),
    Geometry(rows=16, cols=1, lanes=2, depth=40, weight_words=64, stream_words=16, queue=2),
    Geometry(rows=2, cols=2, lanes=2, depth=64, weight_words=16, stream_words=2, queue=2),    # words of one byte come fastest
]

SECONDS = 2.0


class Host:
    """Frames over the compiled core."""

    def __init__(self, geometry):
        self.geometry = geometry
        self.device = CompiledDevice(build(geometry))
        self.seq = 0
        self.send(Op.SYNC, SYNC.pack(nonce=1, claim=1))
        assert self.reply()[0] == Op.IDENTITY

    def encode(self, op, payload=b""):
        frame = bytes([op, self.seq]) + payload
        self.seq = (self.seq + 1) & 255
        return cobs.encode(frame + zlib.crc32(frame).to_bytes(4, "little")) + b"\0"

    def send(self, op, payload=b""):
        self.device.write(self.encode(op, payload))

    def reply(self):
        data = b""
        while not data.endswith(b"\0"):    # a read may end within a frame, never behind one
            more = self.device.read(SECONDS)
            assert more, "the core is silent"
            data += more
        return cobs.decode(data[:-1])[:-4]

    def counters(self):
        self.send(Op.COUNTERS)
        reply = self.reply()
        assert reply[0] == Op.COUNTS
        return COUNTERS.unpack(reply[2:])

    def run(self, shapes):
        """Run jobs as one batch; what the counters say of it."""
        before = self.counters()
        data = b""
        for i, shape in enumerate(shapes):
            data += self.encode(Op.JOB, JOB.pack(
                engine=0, source=0, destination=0, weights=int(bool(shape.frames)), hold=int(i < len(shapes) - 1), rows=shape.rows,
                result_bytes=shape.result_bytes, acts_at=0, k=shape.k, n=shape.n, weights_at=0))
        for words in shapes[-1].frames:
            data += self.encode(Op.STREAM, bytes(words * self.geometry.word_bytes))
        self.device.write(data)
        results, acks = sum(shape.n * shape.rows * shape.result_bytes for shape in shapes), len(shapes[-1].frames)
        while results or acks:
            reply = self.reply()
            assert reply[0] in (Op.RESULT, Op.ACK), reply
            if reply[0] == Op.RESULT:
                results -= len(reply) - 4
            else:
                acks -= 1
        after = self.counters()
        return {name: (after[name] - before[name]) & 0xFFFFFFFF for name in after}


@pytest.fixture(scope="module", params=GEOMETRIES, ids=str)
def host(request):
    host = Host(request.param)
    yield host
    host.device.close()


def compare(host, shapes, note):
    expected = batch(host.geometry, tuple(shapes))
    got = host.run(shapes)
    assert got == {name: getattr(expected, name) for name in got}, f"{note}: {shapes}"


def shape(rng, geometry, streamed=False):
    n = rng.randint(1, rng.choice((geometry.cols, 10, 130)))
    k = rng.randint(1, min(geometry.depth, rng.choice((geometry.lanes, 20, 300))))
    frames = ()
    if streamed:
        words, full = geometry.words(n, k), PAYLOAD_BYTES // geometry.word_bytes
        frames = tuple(min(full, words - at) for at in range(0, words, full))
    return JobShape(n, k, rng.randint(1, geometry.rows), rng.randint(1, 4), frames)


@pytest.mark.parametrize("seed", range(4))
def test_single_jobs(host, seed):
    rng = random.Random(seed)
    for case in range(30):
        compare(host, [shape(rng, host.geometry)], f"seed {seed}, case {case}")


@pytest.mark.parametrize("seed", range(4))
def test_batches(host, seed):
    """Queues of held jobs that start as one."""
    rng = random.Random(100 + seed)
    for case in range(12):
        jobs = [shape(rng, host.geometry) for _ in range(rng.randint(2, host.geometry.queue))]
        compare(host, jobs, f"seed {100 + seed}, case {case}")


@pytest.mark.parametrize("seed", range(3))
def test_streamed_jobs(host, seed):
    rng = random.Random(200 + seed)
    for case in range(15):
        compare(host, [shape(rng, host.geometry, streamed=True)], f"seed {200 + seed}, case {case}")


@pytest.mark.parametrize("result_bytes", [1, 2, 3, 4])
def test_edges(host, result_bytes):
    """One output, a full tile and one more or less, one row and all, shallow (the link is the limit) and deep (the array is)."""
    g = host.geometry
    for n in sorted({1, max(1, g.cols - 1), g.cols, g.cols + 1, 8 * g.cols}):
        for k in (1, g.lanes * g.cols, g.lanes * g.cols + 1, min(g.depth, 190)):
            for rows in {1, g.rows}:
                compare(host, [JobShape(n, k, rows, result_bytes)], "edges")


def test_a_full_window_of_the_fastest_words():
    """Words of one byte come faster than results leave: the window fills. One STREAM frame, whose acknowledgement comes behind all of them."""
    host = Host(GEOMETRIES[-1])
    full = 0
    for n in range(100, 241, 7):
        words = host.geometry.words(n, 1)
        job = JobShape(n, 1, 2, 4, (words,))
        assert words <= PAYLOAD_BYTES // host.geometry.word_bytes
        compare(host, [job], "full window")
        full += batch(host.geometry, (job,)).stall_results > 0
    host.device.close()
    assert full > 10
