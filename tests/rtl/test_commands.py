"""The command processor alone: what reaches the memories and the queue, and what the host is told, whatever stalls."""

import pytest

from tritloom.rtl.commands import Commands
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.replies import Reply
from tritloom.rtl.site import Site
from tritloom.rtl.wire import JOB, LEAST_DIVISOR, MOST_OUTPUTS, RATE, SYNC, WRITE, Error, Op

GEOMETRIES = [
    Geometry(rows=2, cols=3, lanes=5, col_pitch=2, depth=40, weight_words=48, stream_words=8, queue=2),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=1, weight_words=2, stream_words=2, queue=1),
    Geometry(rows=3, cols=4, lanes=2, depth=9, weight_words=32, stream_words=16, queue=2),
]

A_JOB = {"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": 4, "acts_at": 0, "k": 1, "n": 1,
         "weights_at": 0}


def ack(seq):
    return Reply.ACK, seq


def error(seq, code, expected):
    return Reply.ERROR, seq, code, expected


class Stand:
    """A command processor with frames to execute, and all that it does written down."""

    def __init__(self, bench, g, frames, seed=0, gap=0.0, replies=None, finish=None, site=Site(), store_gap=0.0):    # noqa: B008 (frozen)
        self.test = test = bench(Commands(g, site), seed=seed)
        self.replies, self.weights, self.acts, self.jobs, self.rates = [], [], [], [], []
        dut = test.dut
        test.send(dut.content, b"".join(bytes([len(frame)]) + frame for frame in frames), gap=gap)
        test.watch(dut.replies, "replies")
        for stream, into in ((dut.weights, self.weights), (dut.acts, self.acts), (dut.jobs, self.jobs)):
            test.receive(stream, into=into, gap=store_gap)
            test.watch(stream, "words")
        expected = len(frames) if replies is None else replies
        self.aborts = test.pulses(dut.abort)

        async def answer(ctx):
            while True:
                ctx.set(dut.replies.ready, test.rng.random() >= gap)
                *_, valid, ready, reply, nonce, claim = await ctx.tick().sample(
                    dut.replies.valid, dut.replies.ready, dut.replies.payload, dut.nonce, dut.claim)
                if valid and ready:
                    kind = Reply(reply["kind"])
                    others = {Reply.ERROR: (reply["code"], reply["expected"]), Reply.IDENTITY: (nonce, claim)}
                    self.replies.append((kind, reply["seq"], *others.get(kind, ())))
        test.background(answer)

        async def rates(ctx):
            async for _, _, valid, divisor in ctx.tick().sample(dut.rates.valid, dut.rates.payload):
                if valid:
                    self.rates.append((len(self.replies), divisor))
        test.background(rates)

        async def wait(ctx):
            ctx.set(dut.stream_ready, 1)
            while len(self.replies) < expected:
                await ctx.tick()
            await ctx.tick().repeat(40)
        test.add(wait)
        if finish:
            test.background(finish(dut))
        test.run(30_000)
        assert len(self.replies) == expected


def sync(seq, nonce=0x12345678):
    return bytes([Op.SYNC, seq]) + SYNC.pack(nonce=nonce, claim=1)


@pytest.mark.parametrize(("gap", "store_gap"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.8)])
@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_writes(bench, g, gap, store_gap):
    """Words reach their memory, in order, at consecutive addresses, and neither is touched by what is meant for the other."""
    word = [bytes((i * 37 + j) & 255 for j in range(g.word_bytes)) for i in range(min(3, g.weight_words))]
    chunk = [bytes((i * 91 + j) & 255 for j in range(g.lanes)) for i in range(min(3, g.act_words))]
    at, acts_at = g.weight_words - len(word), g.act_words - len(chunk)
    stand = Stand(bench, g, [
        sync(7),
        bytes([Op.WRITE, 8]) + WRITE.pack(memory=0, row=0, at=at) + b"".join(word),
        bytes([Op.WRITE, 9]) + WRITE.pack(memory=1, row=g.rows - 1, at=acts_at) + b"".join(chunk),
    ], 5, gap, store_gap=store_gap)
    mask = (1 << 2 * g.cols * g.lanes) - 1
    assert [(w["address"], w["data"]) for w in stand.weights] == [(at + i, int.from_bytes(w, "little") & mask) for i, w in enumerate(word)]
    assert [(w["row"], w["address"], w["data"]) for w in stand.acts] == \
        [(g.rows - 1, acts_at + i, int.from_bytes(w, "little")) for i, w in enumerate(chunk)]
    assert stand.replies == [(Reply.IDENTITY, 7, 0x12345678, 1), ack(8), ack(9)]
    assert len(stand.aborts) == 1


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_jobs(bench, g):
    """Every number of a job arrives, at its highest value."""
    job = A_JOB | {"hold": 1, "rows": g.rows, "result_bytes": 3, "acts_at": g.act_words - 1, "k": g.depth, "n": MOST_OUTPUTS,
                   "weights_at": g.weight_words - 1}
    stand = Stand(bench, g, [sync(200), bytes([Op.JOB, 201]) + JOB.pack(**job)], replies=1)
    [pushed] = stand.jobs
    assert pushed["hold"] == 1 and pushed["job"]["streamed"] == 0
    outputs = pushed["job"]["outputs"]
    assert {name: outputs[name] for name in ("seq", "n", "last_row", "last_byte")} == {
        "seq": 201, "n": MOST_OUTPUTS, "last_row": g.rows - 1, "last_byte": 2}
    for name in ("acts_at", "k", "weights_at"):
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
    assert stand.replies[1:] == [error(1, Error.NO_JOB, 1), ack(2)]
    mask = (1 << 2 * g.cols * g.lanes) - 1
    assert [(w["address"], w["data"]) for w in stand.weights] == \
        [(g.resident_words + i % g.stream_words, int.from_bytes(w, "little") & mask) for i, w in enumerate(words)]


def test_nothing_is_pushed_when_refused(bench):
    g = GEOMETRIES[0]
    wrong = [A_JOB | {"k": 0}, A_JOB | {"rows": 3}, A_JOB | {"result_bytes": 5}, A_JOB | {"weights": 1, "hold": 1},
             A_JOB | {"engine": 1}, A_JOB | {"source": 255}, A_JOB | {"destination": 4}, A_JOB | {"n": MOST_OUTPUTS + 1}, A_JOB | {"n": 1 << 31},
             A_JOB | {"hold": 2}, A_JOB | {"weights": 3}]
    stand = Stand(bench, g, [sync(0)] + [bytes([Op.JOB, 1]) + JOB.pack(**job) for job in wrong])
    assert stand.replies[1:] == [error(1, Error.BAD_JOB, 1)] * len(wrong)
    assert not stand.jobs and not stand.weights and not stand.acts


SITE = Site(board="somewhere", clock_hz=48_000_000, baud=115_200, max_baud=3_000_000)


def rate(seq, divisor):
    return bytes([Op.RATE, seq]) + RATE.pack(divisor=divisor)


def test_rates(bench):
    """A divisor that the link can take is handed on once, before the acknowledgement; a repeated command is acknowledged only."""
    stand = Stand(bench, GEOMETRIES[0], [
        sync(0), rate(1, 16), rate(1, 16), rate(2, LEAST_DIVISOR - 1), rate(2, 0), rate(2, LEAST_DIVISOR), rate(3, 65535), rate(4, 16) + b"a",
    ], site=SITE)
    assert stand.replies[1:] == [ack(1), ack(1), error(2, Error.BAD_RATE, 2), error(2, Error.BAD_RATE, 2), ack(2), ack(3), error(4, Error.LENGTH, 4)]
    assert stand.rates == [(1, 16), (5, LEAST_DIVISOR), (6, 65535)]


def test_no_rate_without_a_rate(bench):
    stand = Stand(bench, GEOMETRIES[0], [sync(0), rate(1, 16)])
    assert stand.replies[1:] == [error(1, Error.BAD_RATE, 1)] and not stand.rates


def test_no_rate_while_a_job_waits_or_runs(bench):
    def busy(dut):
        async def process(ctx):
            ctx.set(dut.busy, 1)
        return process
    stand = Stand(bench, GEOMETRIES[0], [sync(0), rate(1, 16), rate(1, 1)], site=SITE, finish=busy)
    assert stand.replies[1:] == [error(1, Error.BUSY, 1), error(1, Error.BAD_RATE, 1)] and not stand.rates


@pytest.mark.parametrize("what", ["draining", "sending"])
def test_a_rate_waits_until_all_is_sent(bench, what):
    """Results of before are sent at the old rate."""
    cycles = {}

    def drain(dut):
        async def process(ctx):
            ctx.set(getattr(dut, what), 1)
            for cycle in range(600):
                if cycle == 300:
                    ctx.set(getattr(dut, what), 0)
                *_, valid = await ctx.tick().sample(dut.rates.valid)
                if valid:
                    cycles["rate"] = cycle
        return process
    stand = Stand(bench, GEOMETRIES[0], [sync(0), rate(1, 16)], site=SITE, finish=drain)
    assert cycles["rate"] == 300 and stand.replies[1:] == [ack(1)]


def test_bad_frames(bench):
    """One reply each, with the number 0, and counted; what follows is executed."""
    g = GEOMETRIES[0]
    test = bench(Commands(g))
    dut = test.dut
    test.send(dut.content, b"\0" + bytes([7]) + sync(3) + b"\0\0")
    test.watch(dut.replies, "replies")
    replies = test.receive(dut.replies, count=4)
    bad = test.pulses(dut.bad_frame)
    test.run(500)
    assert [(Reply(reply["kind"]), reply["seq"]) for reply in replies] == [
        (Reply.ERROR, 0), (Reply.IDENTITY, 3), (Reply.ERROR, 0), (Reply.ERROR, 0)]
    assert replies[0]["expected"] == 0 and replies[3]["expected"] == 4 and replies[3]["code"] == Error.CRC
    assert len(bad) == 3
