"""The UART against a line drawn by hand: every class of divisor, clocks that differ, glitches, breaks, and the rate's changes."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tritloom.rtl.site import Site
from tritloom.rtl.uart import FALL_BACK_TICKS, MOST_ERRORS, UART, start_divisor

DIVISORS = [4, 5, 16, 27, 417]


def uart(divisor=16):
    return UART(Site(clock_hz=divisor * 115_200, baud=115_200, max_baud=115_200))


def wave(data, bit, *, gaps=None, start=Fraction(20)):
    """Edges of bytes on a line: (time in cycles, level), where a bit lasts `bit` cycles. `gaps`: bits of idleness behind each byte."""
    edges, at = [], start
    for index, byte in enumerate(data):
        for position, level in enumerate([0, *(byte >> i & 1 for i in range(8)), 1]):
            edges.append((at + position * bit, level))
        at += 10 * bit + (gaps[index] if gaps else 0) * bit
    return edges, at


def drive(bench, pin, edges):
    """Draw edges on a pin: a clock edge sees the level of its time."""
    async def line(ctx):
        cycle = 0
        for time, level in edges:
            while cycle < time:
                await ctx.tick()
                cycle += 1
            ctx.set(pin, level)
    bench.add(line)


def idle(bench, cycles):
    async def wait(ctx):
        await ctx.tick().repeat(cycles)
    bench.add(wait)


def drawn(bench, pin):
    """Levels of a pin, one a cycle."""
    levels = []

    async def watcher(ctx):
        async for _, _, level in ctx.tick().sample(pin):
            levels.append(level)
    bench.background(watcher)
    return levels


def read(levels, divisor, start=0):
    """Bytes in a drawing, with the cycle in which each starts; every bit must be whole, and last exactly `divisor` cycles."""
    got, at = [], start
    while at < len(levels):
        if levels[at]:
            at += 1
            continue
        bits = [levels[at + i * divisor:at + (i + 1) * divisor] for i in range(10)]
        if len(bits[9]) < divisor:
            break
        assert all(len(set(bit)) == 1 for bit in bits), f"a bit of the byte at {at} is not {divisor} cycles long"
        assert (bits[0][0], bits[9][0]) == (0, 1)
        got.append((at, sum(bit[0] << i for i, bit in enumerate(bits[1:9]))))
        at += 10 * divisor
    return got


def count(divisor):
    """Bytes for a test: fewer where bits are long."""
    return max(4, 600 // divisor)


@pytest.mark.parametrize("percent", [-2, 0, 2])
@pytest.mark.parametrize("divisor", DIVISORS)
def test_bytes_in(bench, divisor, percent):
    """Back to back and with gaps, at any phase, from a sender whose clock is up to 2 % off."""
    b = bench(uart(divisor), seed=divisor + percent)
    data = [0, 255, 0x55, 0xAA, 0x80, 1, *b.rng.randbytes(count(divisor))]
    gaps = [Fraction(b.rng.choice([0, 0, 0, b.rng.randrange(30)]), 10) for _ in data]
    edges, end = wave(data, divisor * Fraction(100 + percent, 100), gaps=gaps, start=20 + Fraction(b.rng.randrange(100), 100))
    drive(b, b.dut.rx_pin, edges)
    errors = b.pulses(b.dut.error)
    got = b.receive(b.dut.received, count=len(data))
    b.watch(b.dut.received, "received")
    b.run(int(end) + 100 + 10 * divisor)
    assert got == data, f"seed {b.seed}"
    assert errors == []


@pytest.mark.parametrize("divisor", [16, 27, 417])
@pytest.mark.parametrize("percent", [-4, 4])
def test_bytes_in_from_a_bad_clock(bench, divisor, percent):
    b = bench(uart(divisor), seed=divisor + percent)
    data = [0, 255, 0x55, *b.rng.randbytes(8)]
    edges, end = wave(data, divisor * Fraction(100 + percent, 100), start=20 + Fraction(b.rng.randrange(100), 100))
    drive(b, b.dut.rx_pin, edges)
    got = b.receive(b.dut.received, count=len(data))
    b.run(int(end) + 100 + 10 * divisor)
    assert got == data, f"seed {b.seed}"


@pytest.mark.parametrize("gap", [0.0, 0.9])
@pytest.mark.parametrize("divisor", DIVISORS)
def test_bytes_out(bench, divisor, gap):
    """Each bit is as long as it has to be; bytes that are there in time follow each other without a gap."""
    b = bench(uart(divisor), seed=divisor)
    data = [0, 255, 0x55, 0xAA, 0x80, 1, *b.rng.randbytes(count(divisor))]
    levels = drawn(b, b.dut.tx_pin)
    b.send(b.dut.transmit, data, gap=gap)
    last = (10 * divisor + (30 if gap else 0)) * len(data) + 200
    idle(b, last)
    b.run(last + 10)
    got = read(levels, divisor)
    assert [byte for _, byte in got] == data, f"seed {b.seed}"
    starts = [at for at, _ in got]
    if not gap:
        assert [after - before for before, after in zip(starts, starts[1:], strict=False)] == [10 * divisor] * (len(data) - 1)
    assert levels[0] == levels[-1] == 1


@pytest.mark.parametrize("divisor", DIVISORS)
def test_both_ways_at_once(bench, divisor):
    b = bench(uart(divisor), seed=divisor)
    data = b.rng.randbytes(count(divisor))

    async def loop(ctx):
        async for _, _, level in ctx.tick().sample(b.dut.tx_pin):
            ctx.set(b.dut.rx_pin, level)
    b.background(loop)
    b.send(b.dut.transmit, data)
    got = b.receive(b.dut.received, count=len(data))
    b.run(10 * divisor * (len(data) + 2))
    assert bytes(got) == data, f"seed {b.seed}"


@pytest.mark.parametrize("divisor", [5, 16, 417])
def test_glitches_are_no_start_bits(bench, divisor):
    """Low for less than half a bit, several times, then a byte."""
    b = bench(uart(divisor), seed=divisor)
    edges, at = [], Fraction(10)
    for _ in range(10):
        width = b.rng.randint(1, divisor // 2 - 1)
        edges += [(at, 0), (at + width, 1)]
        at += width + b.rng.randint(divisor, 3 * divisor)
    more, end = wave([0x35], divisor, start=at + divisor)
    drive(b, b.dut.rx_pin, edges + more)
    got = b.receive(b.dut.received)
    errors = b.pulses(b.dut.error)
    idle(b, int(end) + 20)
    b.run(int(end) + 30)
    assert got == [0x35] and errors == [], f"seed {b.seed}"


@pytest.mark.parametrize("divisor", DIVISORS)
def test_a_framing_error_costs_its_byte_only(bench, divisor):
    """A stop bit that is low: that byte is not handed on, the next one is."""
    b = bench(uart(divisor))
    edges, at = wave([0x11, 0x22], divisor)
    edges[19] = edges[19][0], 0
    edges.append((at, 1))
    more, end = wave([0x33], divisor, start=at + divisor)
    drive(b, b.dut.rx_pin, edges + more)
    errors = b.pulses(b.dut.error)
    got = b.receive(b.dut.received, count=2)
    b.run(int(end) + 20 * divisor)
    assert got == [0x11, 0x33] and len(errors) == 1


@pytest.mark.parametrize("divisor", DIVISORS)
def test_a_short_break_is_one_error_and_no_byte(bench, divisor):
    """Low for eleven bits: what is left of it when the error is noticed is no start bit."""
    b = bench(uart(divisor))
    more, end = wave([0x33], divisor, start=10 + Fraction(30 * divisor))
    drive(b, b.dut.rx_pin, [(Fraction(10), 0), (Fraction(10 + 11 * divisor), 1), *more])
    errors, got = b.pulses(b.dut.error), b.receive(b.dut.received)
    idle(b, int(end) + 20)
    b.run(int(end) + 30)
    assert got == [0x33] and len(errors) == 1


def test_bytes_that_nobody_takes(bench):
    """The first one is kept, unchanged; those behind it are lost, and said to be; what comes afterwards arrives."""
    b = bench(uart())
    edges, end = wave([1, 2, 3], 16)
    more, last = wave([4, 5], 16, start=end + 100)
    drive(b, b.dut.rx_pin, edges + more)
    errors, got = b.pulses(b.dut.error), []
    b.watch(b.dut.received, "received")

    async def reader(ctx):
        await ctx.tick().repeat(int(end) + 20)
        ctx.set(b.dut.received.ready, 1)
        while len(got) < 3:
            *_, valid, payload = await ctx.tick().sample(b.dut.received.valid, b.dut.received.payload)
            if valid:
                got.append(payload)
    b.add(reader)
    b.run(int(last) + 100)
    assert got == [1, 4, 5] and len(errors) == 2


@pytest.mark.parametrize("taken_in_bit", [0, 4, 9])
def test_a_byte_that_is_taken_late(bench, taken_in_bit):
    """A byte is whole or it is lost: if the one before it is in the way when it starts, it is lost, however soon that goes."""
    b = bench(uart())
    edges, end = wave([0xC3, 0x5A, 0x99], 16)
    drive(b, b.dut.rx_pin, edges)
    got = []

    async def reader(ctx):
        await ctx.tick().repeat(20 + 160 + 16 * taken_in_bit)
        ctx.set(b.dut.received.ready, 1)
        while len(got) < (3 if taken_in_bit == 0 else 2):
            *_, valid, payload = await ctx.tick().sample(b.dut.received.valid, b.dut.received.payload)
            if valid:
                got.append(payload)
    b.add(reader)
    b.run(int(end) + 100)
    assert got == ([0xC3, 0x5A, 0x99] if taken_in_bit == 0 else [0xC3, 0x99])


# The rate

class Wire:
    """Drives and reads one UART at whatever rate, in one testbench."""

    def __init__(self, bench, start=16, seed=0):
        self.b = bench(uart(start), seed=seed)
        self.dut = self.b.dut
        self.got = self.b.receive(self.dut.received)
        self.levels = drawn(self.b, self.dut.tx_pin)

    def run(self, script, cycles=400_000):
        self.b.add(script)
        self.b.run(cycles)

    async def set_rate(self, ctx, divisor):
        ctx.set(self.dut.rates.payload, divisor)
        ctx.set(self.dut.rates.valid, 1)
        await ctx.tick()
        ctx.set(self.dut.rates.valid, 0)

    async def transmit(self, ctx, data):
        ctx.set(self.dut.transmit.valid, 1)
        for byte in data:
            ctx.set(self.dut.transmit.payload, byte)
            await ctx.tick().until(self.dut.transmit.ready)
        ctx.set(self.dut.transmit.valid, 0)

    async def line(self, ctx, data, divisor):
        for byte in data:
            for level in [0, *(byte >> i & 1 for i in range(8)), 1]:
                ctx.set(self.dut.rx_pin, level)
                await ctx.tick().repeat(divisor)

    async def pulse(self, ctx, signal, times=1, apart=3):
        for _ in range(times):
            ctx.set(signal, 1)
            await ctx.tick()
            ctx.set(signal, 0)
            await ctx.tick().repeat(apart)

    async def change(self, ctx, divisor):
        """The rate, and the zero byte that it begins behind."""
        await self.set_rate(ctx, divisor)
        await self.transmit(ctx, [0])
        await ctx.tick().until(self.dut.transmit.ready)
        await ctx.tick().repeat(4)

    async def hears(self, ctx, divisor):
        """Whether a byte at that rate arrives."""
        before, byte = len(self.got), self.b.rng.randrange(256)
        await self.line(ctx, [byte], divisor)
        await ctx.tick().repeat(divisor)
        return self.got[before:] == [byte]


@pytest.mark.parametrize("start, new", [(16, 4), (16, 5), (417, 4), (27, 417), (4, 16), (5, 27)])
def test_the_rate_changes_behind_the_zero_byte(bench, start, new):
    """Bytes before it, it, and what follows at once: each bit as long as it has to be."""
    wire = Wire(bench, start)

    async def script(ctx):
        await wire.transmit(ctx, [0x12])
        await wire.set_rate(ctx, new)
        await wire.transmit(ctx, [0x34, 0x56, 0, 0x78, 0, 0x9A])
        await ctx.tick().until(wire.dut.transmit.ready)
        assert await wire.hears(ctx, new)
        assert await wire.hears(ctx, new)

    wire.run(script)
    first = read(wire.levels[:wire.levels.index(0) + 40 * start], start)
    assert [byte for _, byte in first] == [0x12, 0x34, 0x56, 0]
    rest = read(wire.levels, new, start=wire.levels.index(0) + 40 * start)
    assert [byte for _, byte in rest] == [0x78, 0, 0x9A]
    assert rest[0][0] == first[-1][0] + 10 * start


def test_it_does_not_change_before(bench):
    wire = Wire(bench)

    async def script(ctx):
        await wire.set_rate(ctx, 4)
        await wire.transmit(ctx, [1, 2, 3])
        assert await wire.hears(ctx, 16)
        await ctx.tick().until(wire.dut.transmit.ready)
        await wire.transmit(ctx, [0])
        await ctx.tick().repeat(9 * 16)
        assert wire.levels[-1] == 0
        await ctx.tick().repeat(16 + 4)
        assert await wire.hears(ctx, 4)
    wire.run(script)


def test_a_rate_that_brings_nothing_is_dropped(bench):
    wire = Wire(bench)

    async def script(ctx):
        await wire.pulse(ctx, wire.dut.tick, 40)    # time before the change does not count
        await wire.change(ctx, 4)
        await wire.pulse(ctx, wire.dut.tick, FALL_BACK_TICKS - 1)
        assert await wire.hears(ctx, 4)             # bytes are no good frame
        await wire.pulse(ctx, wire.dut.tick)
        assert await wire.hears(ctx, 16)
        await wire.transmit(ctx, [0x5C])
        await ctx.tick().until(wire.dut.transmit.ready)
        assert read(wire.levels[-200:], 16)[0][1] == 0x5C
    wire.run(script)


def test_a_rate_that_brings_a_good_frame_stays(bench):
    wire = Wire(bench)

    async def script(ctx):
        await wire.change(ctx, 4)
        await wire.pulse(ctx, wire.dut.tick, FALL_BACK_TICKS - 1)
        await wire.pulse(ctx, wire.dut.good_frame)
        await wire.pulse(ctx, wire.dut.tick, 5 * FALL_BACK_TICKS)
        assert await wire.hears(ctx, 4)
        await wire.change(ctx, 5)                   # the next one is on trial again
        await wire.pulse(ctx, wire.dut.tick, FALL_BACK_TICKS)
        assert await wire.hears(ctx, 16)
    wire.run(script)


@pytest.mark.parametrize("fast", [4, 27, 90])
def test_a_host_that_starts_slow_is_heard(bench, fast):
    """At a fast rate, proven by a good frame: zeros at the start rate bring that one back."""
    wire = Wire(bench, 180)

    async def script(ctx):
        await wire.change(ctx, fast)
        await wire.pulse(ctx, wire.dut.good_frame)
        await wire.line(ctx, bytes(MOST_ERRORS), 180)
        await ctx.tick().repeat(2000)
        assert await wire.hears(ctx, 180)
    wire.run(script)


def test_a_break_leads_back_too(bench):
    """A line held low: 16 times ten bits, without one byte."""
    wire = Wire(bench)
    errors = wire.b.pulses(wire.dut.error)

    async def script(ctx):
        await wire.change(ctx, 4)
        await wire.pulse(ctx, wire.dut.good_frame)
        ctx.set(wire.dut.rx_pin, 0)
        await ctx.tick().repeat(MOST_ERRORS * 40 + 10)
        ctx.set(wire.dut.rx_pin, 1)
        await ctx.tick().repeat(200)                # the break's end passes for the start of a byte
        assert await wire.hears(ctx, 16)
    wire.run(script)
    assert len(errors) == MOST_ERRORS
    assert len(wire.got) == 2


def test_good_frames_between_errors_keep_the_rate(bench):
    wire = Wire(bench)

    async def script(ctx):
        await wire.change(ctx, 4)
        await wire.pulse(ctx, wire.dut.good_frame)
        for _ in range(4):
            for _ in range(MOST_ERRORS - 1):
                ctx.set(wire.dut.rx_pin, 0)
                await ctx.tick().repeat(45)
                ctx.set(wire.dut.rx_pin, 1)
                await ctx.tick().repeat(8)
            assert await wire.hears(ctx, 4)
            await wire.pulse(ctx, wire.dut.good_frame)
    wire.run(script)


@pytest.mark.parametrize("seed", range(3))
def test_noise_and_then_the_right_rate(bench, seed):
    """Whatever was on the line before, and at whatever rate: after zeros at the start rate a byte at it arrives."""
    wire = Wire(bench, 40, seed=seed)
    rng = random.Random(seed)

    async def script(ctx):
        await wire.change(ctx, rng.choice([4, 5, 7, 13, 20]))
        await wire.pulse(ctx, wire.dut.good_frame)
        for _ in range(200):
            ctx.set(wire.dut.rx_pin, rng.randrange(2))
            await ctx.tick().repeat(rng.randrange(1, 30))
        ctx.set(wire.dut.rx_pin, 1)
        await ctx.tick().repeat(400)
        await wire.line(ctx, bytes(MOST_ERRORS), 40)
        await ctx.tick().repeat(400)
        assert await wire.hears(ctx, 40), f"seed {seed}"
    wire.run(script)


@pytest.mark.parametrize("site", [
    Site(), Site(clock_hz=48_000_000, baud=600, max_baud=12_000_000),
])
def test_a_start_rate_that_is_impossible(site):
    with pytest.raises(ValueError, match=rf"`baud` must be from a 65535th to a 4th of the clock \({site.clock_hz} Hz\), not {site.baud}"):
        start_divisor(site)


def test_the_start_divisor():
    assert start_divisor(Site(clock_hz=48_000_000, baud=115_200, max_baud=12_000_000)) == 417
