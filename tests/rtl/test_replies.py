"""Replies with the memory they come from: whole frames, no number torn, and an acknowledgement holds nobody up."""

import pytest
from amaranth import Elaboratable, Module

from tritloom.rtl.commands import identity
from tritloom.rtl.counters import Counters
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.replies import Replies, Reply
from tritloom.rtl.site import Site
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, VERSION, Error, Op

G = Geometry(rows=3, cols=5, lanes=7, depth=100, weight_words=64, stream_words=16, queue=3)
SITE = Site(board="a board of 16 ch", clock_hz=50_000_000, baud=115_200, max_baud=2_000_000)


class Both(Elaboratable):
    """Replies and counters, wired as in the core."""

    def __init__(self):
        self.replies = Replies()
        self.counters = Counters(G, identity(G, SITE))

    def elaborate(self, platform):
        m = Module()
        m.submodules.replies = replies = self.replies
        m.submodules.counters = counters = self.counters
        m.d.comb += [
            counters.asked.eq(replies.asked), counters.read.eq(replies.read), counters.read_at.eq(replies.text_at),
            counters.write.eq(replies.write), counters.write_at.eq(replies.text_at), counters.data.eq(replies.data),
            replies.turn.eq(counters.turn), replies.granted.eq(counters.granted), replies.byte.eq(counters.byte),
        ]
        return m


class Stand:
    """Asks, and collects frames. The reader pauses before a frame, but not in it, as the framer does."""

    def __init__(self, test, gap=0.0):
        self.test, self.frames = test, []
        self.dut = test.dut.replies
        test.watch(self.dut.frames, "frames")

        async def read(ctx):
            frame = bytearray()
            while True:
                ready = bool(frame) or test.rng.random() >= gap
                ctx.set(self.dut.frames.ready, ready)
                *_, valid, item = await ctx.tick().sample(self.dut.frames.valid, self.dut.frames.payload)
                if valid and ready:
                    if item["end"]:
                        self.frames.append(bytes(frame))
                        frame.clear()
                    else:
                        frame.append(item["data"])
        test.background(read)

    async def ask(self, ctx, kind, seq, code=0, expected=0):
        """Returns when the request was taken, with the cycles that took."""
        ctx.set(self.dut.requests.payload, {"kind": kind, "seq": seq, "code": code, "expected": expected})
        ctx.set(self.dut.requests.valid, 1)
        start = self.test.cycle
        await ctx.tick().until(self.dut.requests.ready)
        ctx.set(self.dut.requests.valid, 0)
        return self.test.cycle - start

    async def settle(self, ctx):
        while not ctx.get(self.dut.idle):
            await ctx.tick()


@pytest.mark.parametrize("gap", [0.0, 0.7])
def test_every_kind(bench, gap):
    test = bench(Both(), seed=int(10 * gap))
    stand = Stand(test, gap)

    async def process(ctx):
        for seq in range(3):
            assert await stand.ask(ctx, Reply.ACK, seq) <= 40 / (1 - gap)
        await stand.ask(ctx, Reply.ERROR, 77, Error.BAD_JOB, 0x99)
        await stand.ask(ctx, Reply.COUNTS, 78)
        await stand.settle(ctx)
    test.add(process)
    test.run(3000)
    assert stand.frames == [
        *(bytes([Op.ACK, seq]) for seq in range(3)),
        bytes([Op.ERROR, 77]) + ERROR.pack(code=Error.BAD_JOB, expected=0x99),
        bytes([Op.COUNTS, 78]) + bytes(COUNTERS.size),
    ]


def test_an_acknowledgement_holds_nobody_up(bench):
    test = bench(Both())
    dut = test.dut.replies

    async def process(ctx):    # nobody reads frames
        ctx.set(dut.requests.payload, {"kind": Reply.ACK, "seq": 1, "code": 0, "expected": 0})
        ctx.set(dut.requests.valid, 1)
        assert ctx.get(dut.requests.ready)
        await ctx.tick()
        assert not ctx.get(dut.requests.ready), "the second one waits"
    test.add(process)
    test.run(10)


def test_identity(bench):
    """All that is known beforehand, the nonce of the SYNC, and the owner: who claimed before, nobody since a reset."""
    test = bench(Both(), seed=4)
    stand = Stand(test, 0.5)
    dut = test.dut.replies
    syncs = [(5, 0), (0xDEADBEEF, 1), (7, 0), (0x80000001, 1), (9, 1), (0x01020304, 0)]

    async def process(ctx):
        for seq, (nonce, claim) in enumerate(syncs):
            ctx.set(dut.nonce, nonce)
            ctx.set(dut.claim, claim)
            await stand.ask(ctx, Reply.IDENTITY, seq)
            if claim:
                ctx.set(dut.claimed, 1)
        ctx.set(dut.claimed, 0)    # a reset
        await stand.ask(ctx, Reply.IDENTITY, 6)
        await stand.settle(ctx)
    test.add(process)
    test.run(3000)
    owner = 0
    for seq, (frame, (nonce, claim)) in enumerate(zip(stand.frames, [*syncs, syncs[-1]], strict=True)):
        assert frame[:2] == bytes([Op.IDENTITY, seq]) and len(frame) == 2 + IDENTITY.size
        told = IDENTITY.unpack(frame[2:])
        assert told["nonce"] == nonce and told["owner"] == (owner if seq < 6 else 0)
        assert told["version"] == VERSION and told["digest"] == G.digest
        assert {name: told[name] for name in Geometry.names()} == {name: getattr(G, name) for name in Geometry.names()}
        assert (told["clock_hz"], told["max_baud"], told["board"].to_bytes(16, "little")) == (50_000_000, 2_000_000, b"a board of 16 ch")
        owner = nonce if claim else owner


@pytest.mark.parametrize("gap", [0.0, 0.6])
def test_counters_are_not_torn(bench, gap):
    """Each number in the reply is one that its counter had since the request, though the counters run on."""
    test = bench(Both(), seed=3)
    stand = Stand(test, gap)
    counters = test.dut.counters
    moments, sent = [], [0]

    async def count(ctx):
        while True:
            event = test.rng.random() < 0.9
            ctx.set(counters.sent, event)
            await ctx.tick()
            sent[0] += event

    async def process(ctx):
        await ctx.tick().repeat(200)
        for seq in range(10):
            before = sent[0]
            await stand.ask(ctx, Reply.COUNTS, seq)
            moments.append((before, sent[0]))
        await stand.settle(ctx)
    test.background(count)
    test.add(process)
    test.run(5000)
    assert sent[0] > 512    # carries into the second byte
    for frame, (since, until) in zip(stand.frames, moments, strict=True):
        counts = COUNTERS.unpack(frame[2:])
        assert since <= counts.pop("results") <= until, f"seed {test.seed}"
        assert set(counts.values()) == {0}
