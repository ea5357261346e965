"""The counters: each event is counted once, and only while a job is on."""

import pytest

from tritloom.rtl.counters import Counters
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, IDENTITY

NAMES = [field.name for field in COUNTERS.fields]
TEXT = bytes(range(1, 1 + IDENTITY.size))
NO_EVENTS = dict.fromkeys(("busy", "ramp", "stall_weights", "stall_results", "tile"), 0)


class Stand:
    """Sets a cycle's events and keeps an account of its own."""

    def __init__(self, test):
        self.test, self.dut = test, test.dut

    async def cycle(self, ctx, issued=None, **events):
        ctx.set(self.dut.issued, NO_EVENTS | (issued or {}))
        for name in ("running", "tile_done", "sent", "job_done", "bad_frame", "abort"):
            ctx.set(getattr(self.dut, name), events.get(name, 0))
        await ctx.tick()

    async def memory(self, ctx, at, size):
        """Ask, wait for the permission, read bytes and let go."""
        dut = self.dut
        ctx.set(dut.asked, 1)
        while not ctx.get(dut.granted):
            await ctx.tick()
        ctx.set(dut.read, 1)
        data = []
        for offset in range(size):
            ctx.set(dut.read_at, at + offset)
            await ctx.tick()
            data.append(ctx.get(dut.byte))
        ctx.set(dut.read, 0)
        ctx.set(dut.asked, 0)
        await ctx.tick()
        return bytes(data)

    async def read(self, ctx):
        """What is not 0, after a whole round."""
        ctx.set(self.dut.issued, NO_EVENTS)
        for name in ("tile_done", "sent", "job_done", "bad_frame", "abort"):
            ctx.set(getattr(self.dut, name), 0)
        await ctx.tick()
        while not ctx.get(self.dut.turn):
            await ctx.tick()
        await ctx.tick()
        counts = COUNTERS.unpack(await self.memory(ctx, Counters.COUNTS_AT, COUNTERS.size))
        return {name: counts[name] for name in NAMES if counts[name]}


def run(bench, story):
    test = bench(Counters(Geometry(), TEXT))

    async def process(ctx):
        await story(ctx, Stand(test))
    test.add(process)
    test.run(5000)


def test_nothing_is_counted_without_a_job(bench):
    async def story(ctx, stand):
        await stand.cycle(ctx, running=1)
        await stand.cycle(ctx, {"stall_weights": 1}, running=1)    # the first word of the first tile has not come
        await stand.cycle(ctx, {"stall_results": 1}, running=1)
        await stand.cycle(ctx)
        assert not ctx.get(stand.dut.active)
        assert await stand.read(ctx) == {}
    run(bench, story)


def test_a_span_lasts_from_the_first_beat_to_the_last_sum(bench):
    async def story(ctx, stand):
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, {"busy": 1}, running=1)
        await stand.cycle(ctx, {"stall_weights": 1}, running=1)
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, {"stall_results": 1}, running=1)
        await stand.cycle(ctx, {"ramp": 1}, running=1)
        for cycle in range(3):
            assert ctx.get(stand.dut.active)
            await stand.cycle(ctx, tile_done=int(cycle == 1))    # the first tile's last sum, and one is still in the array
        await stand.cycle(ctx, tile_done=1)
        assert not ctx.get(stand.dut.active)
        await stand.cycle(ctx)
        assert await stand.read(ctx) == {"cycles": 10, "busy": 3, "ramp": 1, "stall_weights": 1, "stall_results": 1}
    run(bench, story)


def test_overlapping_jobs_are_one_span(bench):
    async def story(ctx, stand):
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, running=1, tile_done=1)    # the next job may start: the span goes on
        assert ctx.get(stand.dut.active)
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, tile_done=1)
        assert ctx.get(stand.dut.active)
        await stand.cycle(ctx, tile_done=1)
        assert await stand.read(ctx) == {"cycles": 5, "busy": 3}
    run(bench, story)


def test_abort_ends_a_span(bench):
    async def story(ctx, stand):
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1, abort=1)
        assert not ctx.get(stand.dut.active)
        await stand.cycle(ctx)
        await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx, tile_done=1)
        assert not ctx.get(stand.dut.active), "tiles from before the abort are forgotten"
        assert await stand.read(ctx) == {"cycles": 4, "busy": 3}
    run(bench, story)


@pytest.mark.parametrize(("event", "counter"), [("sent", "results"), ("job_done", "jobs"), ("bad_frame", "bad_frames")])
def test_events(bench, event, counter):
    async def story(ctx, stand):
        for _ in range(5):
            await stand.cycle(ctx, **{event: 1})
            await stand.cycle(ctx)
        assert await stand.read(ctx) == {counter: 5}
    run(bench, story)


@pytest.mark.parametrize("g", [Geometry(rows=16, cols=1, lanes=1), Geometry(rows=255, cols=1, lanes=240), Geometry(rows=64, cols=3, lanes=2)], ids=str)
def test_many_tiles_in_a_deep_array(bench, g):
    """Rows that are not at work give no results to wait for, so a tall array holds more tiles than the result queues."""
    tiles = (g.latency + g.rows) // g.cols
    test = bench(Counters(g, TEXT))
    stand = Stand(test)

    async def process(ctx):
        for _ in range(tiles):
            await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        for left in range(tiles, 0, -1):
            assert ctx.get(test.dut.active), f"{left} of {tiles} tiles are in the array"
            await stand.cycle(ctx, tile_done=1)
        assert not ctx.get(test.dut.active)
    test.add(process)
    test.run(1000)


@pytest.mark.parametrize("seed", range(3))
def test_sums(bench, seed):
    """Events in most cycles, over carries into every byte, with readers at any time: nothing is lost, nothing is torn."""
    test = bench(Counters(Geometry(), TEXT), seed=seed)
    stand, rng = Stand(test), test.rng
    counts = dict.fromkeys(NAMES, 0)
    events = {"busy": "busy", "ramp": "ramp", "stall_weights": "stall_weights", "stall_results": "stall_results"}
    others = {"jobs": "job_done", "results": "sent", "bad_frames": "bad_frame"}
    running = [True]

    async def happen(ctx):
        ctx.set(test.dut.issued, NO_EVENTS | {"tile": 1, "busy": 1})    # from here on a span is counted
        ctx.set(test.dut.running, 1)
        await ctx.tick()
        counts["cycles"] += 1
        counts["busy"] += 1
        while running[0]:
            now = {name: int(rng.random() < 0.8) for name in (*events, *others)}
            ctx.set(test.dut.issued, NO_EVENTS | {name: now[name] for name in events})
            for name, member in others.items():
                ctx.set(getattr(test.dut, member), now[name])
            await ctx.tick()
            for name in now:
                counts[name] += now[name]
            counts["cycles"] += 1

    async def read(ctx):
        for _ in range(12):
            await ctx.tick().repeat(rng.randint(1, 150))
            while not ctx.get(test.dut.turn):
                await ctx.tick()
            before = dict(counts)
            await ctx.tick()
            got = COUNTERS.unpack(await stand.memory(ctx, Counters.COUNTS_AT, COUNTERS.size))
            for name in NAMES:
                assert before[name] - 1 <= got[name] <= counts[name], f"{name}, seed {seed}"
            await ctx.tick().repeat(rng.randint(1, 3))
            assert await stand.memory(ctx, Counters.IDENTITY_AT, len(TEXT)) == TEXT
        running[0] = False
    test.background(happen)
    test.add(read)
    test.run(20_000)
    assert counts["cycles"] > 1500


def test_the_owner_is_kept(bench):
    """Bytes of the identity are written, and stay, whatever is counted."""
    async def story(ctx, stand):
        dut = stand.dut
        ctx.set(dut.asked, 1)
        while not ctx.get(dut.granted):
            await ctx.tick()
        await ctx.tick().repeat(2)
        ctx.set(dut.write, 1)
        for i in range(4):
            ctx.set(dut.write_at, Counters.OWNER_AT + i)
            ctx.set(dut.data, 0xA0 + i)
            await ctx.tick()
        ctx.set(dut.write, 0)
        ctx.set(dut.asked, 0)
        for _ in range(200):
            await stand.cycle(ctx, {"busy": 1, "tile": 1}, running=1)
        await stand.cycle(ctx)
        assert await stand.memory(ctx, Counters.IDENTITY_AT, IDENTITY.size) == TEXT[:-4] + bytes([0xA0, 0xA1, 0xA2, 0xA3])
        assert (await stand.read(ctx))["busy"] == 200
    run(bench, story)


def test_the_text_fits():
    assert Counters.COUNTS_AT + COUNTERS.size <= Counters.IDENTITY_AT and Counters.IDENTITY_AT + IDENTITY.size <= Counters.SIZE
