"""The command processor alone: what reaches the memories and the queue, and what the host is told, whatever stalls."""

import pytest

from tritloom.rtl.commands import Commands
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, JOB, SYNC, WRITE, Error, Op

GEOMETRIES = [
    Geometry(rows=2, cols=3, lanes=5, col_pitch=2, depth=40, weight_words=48, stream_words=8, queue=2),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=1, weight_words=2, stream_words=2, queue=1),
    Geometry(rows=3, cols=4, lanes=2, depth=9, weight_words=32, stream_words=16, queue=2),
]

A_JOB = {"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": 4, "acts_at": 0, "k": 1, "n": 1,
         "weights_at": 0}


class Stand:
    """A command processor with frames to execute, and all that it does written down."""

    def __init__(self, bench, g, frames, seed=0, gap=0.0, replies=None, finish=None):
        self.test = test = bench(Commands(g), seed=seed)
        self.replies, self.weights, self.acts, self.jobs = [], [], [], []
        dut = test.dut
        raw = []
        test.send(dut.arrivals, [{"size": len(frame), "bad": 0} for frame in frames], gap=gap)
        test.send(dut.content, b"".join(frames), gap=gap)
        test.watch(dut.replies, "replies")
        for stream, into in ((dut.weights, self.weights), (dut.acts, self.acts), (dut.jobs, self.jobs)):
            test.receive(stream, into=into)
        test.receive(dut.replies, gap=gap, into=raw)
        expected = len(frames) if replies is None else replies
        self.aborts = test.pulses(dut.abort)

        async def wait(ctx):
            ctx.set(dut.stream_ready, 1)
            while sum(byte["last"] for byte in raw) < expected:
                await ctx.tick()
            await ctx.tick().repeat(40)
        test.add(wait)
        if finish:
            test.background(finish(dut))
        test.run(30_000)
        frame = bytearray()
        for byte in raw:
            frame.append(byte["data"])
            if byte["last"]:
                self.replies.append(bytes(frame))
                frame.clear()
        assert not frame and len(self.replies) == expected


def sync(seq, nonce=0x12345678):
    return bytes([Op.SYNC, seq]) + SYNC.pack(nonce=nonce, claim=1)


@pytest.mark.parametrize("gap", [0.0, 0.5])
@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_writes(bench, g, gap):
    """Words reach their memory, in order, at consecutive addresses, and neither is touched by what is meant for the other."""
    word = [bytes((i * 37 + j) & 255 for j in range(g.word_bytes)) for i in range(min(3, g.weight_words))]
    chunk = [bytes((i * 91 + j) & 255 for j in range(g.lanes)) for i in range(min(3, g.act_words))]
    at, acts_at = g.weight_words - len(word), g.act_words - len(chunk)
    stand = Stand(bench, g, [
        sync(7),
        bytes([Op.WRITE, 8]) + WRITE.pack(memory=0, row=0, at=at) + b"".join(word),
        bytes([Op.WRITE, 9]) + WRITE.pack(memory=1, row=g.rows - 1, at=acts_at) + b"".join(chunk),
    ], 5, gap)
    mask = (1 << 2 * g.cols * g.lanes) - 1
    assert [(w["address"], w["data"]) for w in stand.weights] == [(at + i, int.from_bytes(w, "little") & mask) for i, w in enumerate(word)]
    assert [(w["row"], w["address"], w["data"]) for w in stand.acts] == \
        [(g.rows - 1, acts_at + i, int.from_bytes(w, "little")) for i, w in enumerate(chunk)]
    assert stand.replies[1:] == [bytes([Op.ACK, 8]), bytes([Op.ACK, 9])]
    identity = IDENTITY.unpack(stand.replies[0][2:])
    assert stand.replies[0][:2] == bytes([Op.IDENTITY, 7]) and identity["nonce"] == 0x12345678 and identity["digest"] == g.digest
    assert len(stand.aborts) == 1


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_jobs(bench, g):
    """Every number of a job arrives, at its highest value."""
    job = A_JOB | {"hold": 1, "rows": g.rows, "result_bytes": 3, "acts_at": g.act_words - 1, "k": g.depth, "n": 0xFFFFFFFF,
                   "weights_at": g.weight_words - 1}
    stand = Stand(bench, g, [sync(200), bytes([Op.JOB, 201]) + JOB.pack(**job)], replies=1)
    [pushed] = stand.jobs
    assert pushed["hold"] == 1 and pushed["job"]["seq"] == 201 and pushed["job"]["streamed"] == 0
    for name in ("rows", "result_bytes", "acts_at", "k", "n", "weights_at"):
        assert pushed["job"][name] == job[name], name


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_streamed_words(bench, g):
    """Words of a streamed job go where the window says; without such a job they are refused."""
    words = [bytes((7 * i + j) & 255 for j in range(g.word_bytes)) for i in range(4)]

    def window(dut):
        async def process(ctx):
            async for _, _, written in ctx.tick().sample(dut.stream_written):
                if written:
                    ctx.set(dut.stream_at, (ctx.get(dut.stream_at) + 1) % g.stream_words)
        return process
    stand = Stand(bench, g, [
        sync(0), bytes([Op.STREAM, 1]) + words[0], bytes([Op.JOB, 1]) + JOB.pack(**(A_JOB | {"weights": 1})), bytes([Op.STREAM, 2]) + b"".join(words),
    ], replies=3, finish=window)
    assert stand.replies[1:] == [bytes([Op.ERROR, 1]) + ERROR.pack(code=Error.NO_JOB, expected=1), bytes([Op.ACK, 2])]
    mask = (1 << 2 * g.cols * g.lanes) - 1
    assert [(w["address"], w["data"]) for w in stand.weights] == \
        [(g.resident_words + i % g.stream_words, int.from_bytes(w, "little") & mask) for i, w in enumerate(words)]


def test_nothing_is_pushed_when_refused(bench):
    g = GEOMETRIES[0]
    wrong = [A_JOB | {"k": 0}, A_JOB | {"rows": 3}, A_JOB | {"result_bytes": 5}, A_JOB | {"weights": 1, "hold": 1}]
    stand = Stand(bench, g, [sync(0)] + [bytes([Op.JOB, 1]) + JOB.pack(**job) for job in wrong])
    assert stand.replies[1:] == [bytes([Op.ERROR, 1]) + ERROR.pack(code=Error.BAD_JOB, expected=1)] * len(wrong)
    assert not stand.jobs and not stand.weights and not stand.acts


@pytest.mark.parametrize("gap", [0.0, 0.6])
def test_counters_are_not_torn(bench, gap):
    """Each number in the reply is one that its counter had since the command came, though the counters run on."""
    moments = []

    def count(dut):
        async def process(ctx):
            value = 0xFE00
            async for _, _, arrives in ctx.tick().sample(dut.arrivals.valid & dut.arrivals.ready):
                if arrives:
                    moments.append(value)
                value += 0x155    # a carry out of the low byte in most cycles
                ctx.set(dut.counters, {field.name: value for field in COUNTERS.fields})
        return process
    stand = Stand(bench, GEOMETRIES[0], [sync(0)] + [bytes([Op.COUNTERS, seq]) for seq in range(1, 12)], 3, gap, finish=count)
    moments.append(1 << 32)
    for reply, since, until in zip(stand.replies[1:], moments[1:-1], moments[2:], strict=True):
        for name, number in COUNTERS.unpack(reply[2:]).items():
            assert since <= number <= until and (number - 0xFE00) % 0x155 == 0, f"{name} is {number:#x}, seed {stand.test.seed}"
