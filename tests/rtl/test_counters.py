"""The counters: each event is counted once, and only while a job is on."""

import pytest

from tritloom.rtl.counters import Counters
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS

NAMES = [field.name for field in COUNTERS.fields]


class Stand:
    """Sets a cycle's events and keeps an account of its own."""

    def __init__(self, test):
        self.test, self.dut = test, test.dut

    async def cycle(self, ctx, issued=None, **events):
        ctx.set(self.dut.issued, dict.fromkeys(("busy", "ramp", "stall_weights", "stall_results", "tile"), 0) | (issued or {}))
        for name in ("running", "tile_done", "sent", "job_done", "bad_frame", "abort"):
            ctx.set(getattr(self.dut, name), events.get(name, 0))
        await ctx.tick()

    def read(self, ctx):
        counts = ctx.get(self.dut.counters)
        return {name: counts[name] for name in NAMES if counts[name]}


def run(bench, story):
    test = bench(Counters(Geometry()))

    async def process(ctx):
        await story(ctx, Stand(test))
    test.add(process)
    test.run(500)


def test_nothing_is_counted_without_a_job(bench):
    async def story(ctx, stand):
        await stand.cycle(ctx, running=1)
        await stand.cycle(ctx, {"stall_weights": 1}, running=1)    # the first word of the first tile has not come
        await stand.cycle(ctx, {"stall_results": 1}, running=1)
        await stand.cycle(ctx)
        assert stand.read(ctx) == {} and not ctx.get(stand.dut.active)
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
        assert stand.read(ctx) == {"cycles": 10, "busy": 3, "ramp": 1, "stall_weights": 1, "stall_results": 1}
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
        assert stand.read(ctx) == {"cycles": 5, "busy": 3}
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
        assert stand.read(ctx) == {"cycles": 4, "busy": 3}
    run(bench, story)


@pytest.mark.parametrize(("event", "counter"), [("sent", "results"), ("job_done", "jobs"), ("bad_frame", "bad_frames")])
def test_events(bench, event, counter):
    async def story(ctx, stand):
        for _ in range(5):
            await stand.cycle(ctx, **{event: 1})
            await stand.cycle(ctx)
        assert stand.read(ctx) == {counter: 5}
    run(bench, story)


@pytest.mark.parametrize("g", [Geometry(rows=16, cols=1, lanes=1), Geometry(rows=255, cols=1, lanes=240), Geometry(rows=64, cols=3, lanes=2)], ids=str)
def test_many_tiles_in_a_deep_array(bench, g):
    """Rows that are not at work give no results to wait for, so a tall array holds more tiles than the result queues."""
    tiles = (g.latency + g.rows) // g.cols
    test = bench(Counters(g))
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
