"""The device at its pins: commands and replies as bits, rates, lights, reset; and the compiled virtual board against it, cycle by cycle."""

from __future__ import annotations

import ctypes
import random

import pytest

from tritloom.host.framing import Decoder, encode
from tritloom.rtl.device import Device
from tritloom.rtl.front import TICKS_PER_S, Front
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import Site
from tritloom.rtl.uart import FALL_BACK_TICKS, MOST_ERRORS
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, JOB, RATE, SYNC, WRITE, Error, Op
from tritloom.sim import virtual_board

SMALL = Geometry(rows=1, cols=2, lanes=4, depth=64, weight_words=64, stream_words=32, queue=2)



def site(tick):
    """8 cycles a bit, and so many a tick."""
    return Site(board="bench", clock_hz=tick * TICKS_PER_S, baud=tick * TICKS_PER_S // 8, max_baud=tick * TICKS_PER_S // 4)


TICK = 700
SITE = site(TICK)


class Host:
    """Drives the pins of a device in Amaranth's simulator, and reads them, at whatever rate."""

    def __init__(self, bench, dut):
        self.b = bench(dut)
        self.dut = dut
        self.bit = 8
        self.pins = []
        self.levels = []
        self.leds = []
        self.frames = []
        self._decoder = Decoder()

        async def watch(ctx):
            leds = dut.leds.as_value()
            left, until, byte = 0, 0, 0
            async for _, _, rx, tx, lights in ctx.tick().sample(dut.rx_pin, dut.tx_pin, leds):
                self.pins.append(rx)
                self.levels.append(tx)
                self.leds.append(lights)
                if not left:
                    if not tx:
                        left, until = 10, self.bit // 2
                    continue
                until -= 1
                if until <= 0:
                    until, left, byte = self.bit, left - 1, byte >> 1 | tx << 9
                    if not left:
                        assert tx, "no stop bit"
                        self.frames += self._decoder.feed(bytes([byte >> 1 & 0xFF]))
        self.b.background(watch)

    def run(self, script, cycles=200_000):
        self.b.add(script)
        self.b.run(cycles)

    async def send(self, ctx, data):
        for byte in data:
            for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
                ctx.set(self.dut.rx_pin, level)
                await ctx.tick().repeat(self.bit)

    async def ask(self, ctx, op, seq, payload=b""):
        """A command and its reply."""
        await self.send(ctx, b"\0" + encode(op, seq, payload))
        return await self.reply(ctx)

    async def reply(self, ctx):
        while not self.frames:
            await ctx.tick()
        return self.frames.pop(0)

    async def sync(self, ctx, seq=0, nonce=7, claim=1):
        op, _, payload = await self.ask(ctx, Op.SYNC, seq, SYNC.pack(nonce=nonce, claim=claim))
        assert op == Op.IDENTITY
        return IDENTITY.unpack(payload)


@pytest.fixture
def host(bench):
    return Host(bench, Device(SMALL, SITE))


def test_identity(host):
    async def script(ctx):
        identity = await host.sync(ctx)
        assert (identity["clock_hz"], identity["max_baud"], identity["digest"]) == (SITE.clock_hz, SITE.max_baud, SMALL.digest)
        assert identity["board"].to_bytes(16, "little").rstrip(b"\0") == b"bench"
    host.run(script)


def test_a_job(host):
    """-128 times -1 in every lane, over the pins."""
    async def script(ctx):
        await host.sync(ctx)
        assert (await host.ask(ctx, Op.WRITE, 1, WRITE.pack(memory=0, row=0, at=0) + b"\xff\xff" * 3))[0] == Op.ACK
        assert (await host.ask(ctx, Op.WRITE, 2, WRITE.pack(memory=1, row=0, at=0) + b"\x80" * 8))[0] == Op.ACK
        job = JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=1, result_bytes=2, acts_at=0, k=8, n=1, weights_at=0)
        op, seq, payload = await host.ask(ctx, Op.JOB, 3, job)
        assert (op, seq, payload) == (Op.RESULT, 3, b"\0\0" + (1024).to_bytes(2, "little"))
        op, _, payload = await host.ask(ctx, Op.COUNTERS, 4)
        assert op == Op.COUNTS and COUNTERS.unpack(payload)["bad_frames"] == 0
        assert max(host.leds) >> 3    # working was seen
    host.run(script)


@pytest.mark.parametrize("divisor", [4, 5, 13, 40])
def test_the_rate_changes_behind_the_acknowledgement(host, divisor):
    async def script(ctx):
        await host.sync(ctx)
        assert (await host.ask(ctx, Op.RATE, 1, RATE.pack(divisor=divisor)))[0] == Op.ACK
        host.bit = divisor
        await ctx.tick().repeat(20)
        assert (await host.sync(ctx, claim=0))["owner"] == 7
    host.run(script)


def test_a_rate_that_cannot_be(host):
    async def script(ctx):
        await host.sync(ctx)
        for divisor in (0, 3):
            op, _, payload = await host.ask(ctx, Op.RATE, 1, RATE.pack(divisor=divisor))
            assert (op, ERROR.unpack(payload)["code"]) == (Op.ERROR, Error.BAD_RATE)
        await host.sync(ctx)
    host.run(script)


def test_nobody_follows(host):
    """The host does not change its rate with the device: after a quarter of a second it is heard again."""
    async def script(ctx):
        await host.sync(ctx)
        await host.ask(ctx, Op.RATE, 1, RATE.pack(divisor=5))
        await ctx.tick().repeat((FALL_BACK_TICKS + 1) * TICK)
        assert (await host.sync(ctx, claim=0))["owner"] == 7
    host.run(script)


def test_the_next_host_starts_slow(host):
    async def script(ctx):
        await host.sync(ctx)
        await host.ask(ctx, Op.RATE, 1, RATE.pack(divisor=4))
        host.bit = 4
        await ctx.tick().repeat(20)
        await host.sync(ctx)
        host.bit = 8
        await host.send(ctx, bytes(MOST_ERRORS + 4))
        host.frames.clear()    # what it said at the other rate
        assert (await host.sync(ctx, nonce=9))["owner"] == 7
    host.run(script)


def lights(host):
    """The cycles in which each light was on: alive, error, link, working."""
    return [[cycle for cycle, on in enumerate(host.leds) if on >> i & 1] for i in range(4)]


def test_lights(bench):
    """They go on with what they tell, and stay on long enough to be seen; nothing else makes them."""
    tick = 100
    second = TICKS_PER_S * tick
    host = Host(bench, Device(SMALL, site(tick)))

    async def script(ctx):
        await ctx.tick().repeat(second // 4)
        await host.sync(ctx)
        assert not any(lights(host)[1])
        await ctx.tick().repeat(second // 2)
        await host.send(ctx, b"nonsense\0")
        await ctx.tick().repeat(5 * second // 2)
    host.run(script, 1_000_000)
    alive, error, link, working = lights(host)
    changes = [cycle for cycle in range(1, len(host.leds)) if (host.leds[cycle] ^ host.leds[cycle - 1]) & 1]
    assert changes[:4] == [changes[0] + i * second // 2 for i in range(4)] and changes[0] in range(second // 2, second // 2 + 4)
    assert error and second <= len(error) <= 2 * second
    assert link and 8 * tick <= len(link) <= 16 * tick and max(link) < min(error)
    assert not working


def test_a_site_without_a_rate():
    with pytest.raises(ValueError, match="`baud` must be from a 65535th to a 4th of the clock"):
        Front.__init__(object.__new__(Front), Site())


# The virtual board

@pytest.mark.parametrize("seed", range(2))
def test_the_virtual_board_is_this_device(bench, seed):
    """The same bits in, the same bits out, in every cycle: what is skipped while the core waits changes nothing."""
    rng = random.Random(seed)
    library = ctypes.CDLL(str(virtual_board.library.build("bench", (SMALL, SITE), virtual_board.HARNESS, virtual_board.designs(SMALL, SITE))))
    job = JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=1, result_bytes=2, acts_at=0, k=8, n=9, weights_at=0)
    commands = [
        encode(Op.SYNC, 0, SYNC.pack(nonce=rng.randrange(1, 1 << 32), claim=1)),
        encode(Op.WRITE, 1, WRITE.pack(memory=0, row=0, at=0) + rng.randbytes(24)),
        encode(Op.WRITE, 2, WRITE.pack(memory=1, row=0, at=0) + rng.randbytes(8)),
        encode(Op.JOB, 3, job), rng.randbytes(9) + b"\0", encode(Op.COUNTERS, 4), encode(Op.COUNTERS, 4),
    ]
    gaps = [rng.randrange(400) for _ in commands]
    rest = 400 + rng.randrange(64)    # the board's line rests after a change of the rate
    host = Host(bench, Device(SMALL, SITE))

    async def script(ctx):
        await ctx.tick().repeat(rest + 1)    # the compiled one has a cycle of reset behind it
        for command, gap in zip(commands, gaps, strict=True):
            await host.send(ctx, command)
            await ctx.tick().repeat(gap + 1500)
    host.run(script)

    library.board_open.restype = ctypes.c_void_p
    wire, buffer = ctypes.c_void_p(library.board_open()), ctypes.create_string_buffer(4)
    library.board_set_bit(wire, ctypes.c_int64(8 << 32))
    levels = []

    def step(cycles):
        for _ in range(cycles):
            library.board_read(wire, buffer, ctypes.c_size_t(1), ctypes.c_uint64(1), ctypes.c_uint64(1 << 60))
            levels.append(library.board_pin(wire))

    step(rest)
    levels.clear()
    for command, gap in zip(commands, gaps, strict=True):
        library.board_write(wire, command, ctypes.c_size_t(len(command)))
        step(80 * len(command) + gap + 1500)
    library.board_computed.restype = ctypes.c_uint64
    computed = library.board_computed(wire)
    library.board_close(wire)
    expected = host.levels[rest + 1:]
    both = min(len(levels), len(expected))
    assert both > 15_000 and 0 in levels[:both]
    assert levels[:both] == expected[:both], f"seed {seed}"
    assert computed < 0.9 * len(levels), f"seed {seed}: nothing was skipped"
