"""The array: every sum exact and in the stated cycle, whatever the geometry and the pauses, and nothing else at its outputs."""

from dataclasses import dataclass

import pytest
from amaranth import Cat

from tritloom.rtl.array import Array
from tritloom.rtl.geometry import Geometry


def geometry(rows, cols, lanes, col_pitch, tree_pitch=2):
    return Geometry(rows=rows, cols=cols, lanes=lanes, col_pitch=col_pitch, tree_pitch=tree_pitch, depth=64)


GEOMETRIES = [
    geometry(1, 1, 1, 1), geometry(2, 1, 3, 1), geometry(1, 2, 2, 1), geometry(3, 2, 1, 2), geometry(2, 3, 2, 2), geometry(1, 3, 4, 200),
    geometry(2, 5, 3, 2, 1), geometry(1, 5, 1, 5), geometry(2, 8, 4, 4), geometry(3, 8, 2, 1), geometry(1, 8, 1, 3), geometry(3, 3, 5, 1, 3),
]


class OpenArray(Array):
    """An array whose processing elements can be watched."""

    def elaborate(self, platform):
        self.module = super().elaborate(platform)
        return self.module

    def element(self, row, col):
        return getattr(self.module.submodules, f"pe{row}_{col}")


@dataclass
class Job:
    """A matrix and its vectors, one for each row at work."""

    weights: list[list[int]]
    acts: list[list[int]]

    def dot(self, row, out):
        return sum(w * x for w, x in zip(self.weights[out], self.acts[row], strict=True))


def random_job(rng, g, rows=None, tiles=None):
    n = rng.randint(1, 3 * g.cols) if tiles is None else tiles * g.cols
    k = rng.choice([1, g.lanes, g.lanes * g.cols, g.lanes * g.cols + 1, rng.randint(1, g.depth)])
    k = min(k, g.depth)
    kind = rng.randrange(4)
    weights = [[rng.choice((-1, 0, 1)) if kind else -1 for _ in range(k)] for _ in range(n)]
    acts = [[rng.randint(-128, 127) if kind else -128 for _ in range(k)] for _ in range(rows or rng.randint(1, g.rows))]
    return Job(weights, acts)


@dataclass
class Schedule:
    """What enters and leaves the array in each cycle."""

    beats: dict[int, tuple[int, int, int, int]]      # cycle -> first, last, active, word
    acts: dict[tuple[int, int], int]                 # (cycle, row) -> word
    sums: dict[tuple[int, int], int]                 # (cycle, row) -> sum
    tiles: list[int]                                 # cycles of `tile_done`
    cycles: int


def schedule(rng, g, jobs, gap=0.0, between=1):
    """Lay jobs out in time, from the formula in the array's docstring and nothing else."""
    plan = Schedule({}, {}, {}, [], 0)
    cycle = 0
    for job in jobs:
        n, k, rows = len(job.weights), len(job.weights[0]), len(job.acts)
        beats = max(-(-k // g.lanes), g.cols)
        tiles = -(-n // g.cols)
        when = []
        for t in range(tiles * beats + g.cols - 1):
            while rng.random() < gap:
                cycle += 1
            word = 0
            for col in range(g.cols):
                tile, chunk = (t - col) // beats, (t - col // g.col_pitch) % beats
                for lane in range(g.lanes):
                    out, at = tile * g.cols + col, chunk * g.lanes + lane
                    trit = job.weights[out][at] if 0 <= tile < tiles and out < n and at < k else 0
                    code = {1: 0b01, -1: 0b11, 0: rng.choice((0b00, 0b10))}[trit]
                    word |= code << 2 * (col * g.lanes + lane)
            in_tiles = t < tiles * beats
            plan.beats[cycle] = (in_tiles and t % beats == 0, in_tiles and t % beats == beats - 1, (1 << rows) - 1, word)
            for row in range(rows):
                chunk = [job.acts[row][i] if i < k else rng.randint(-128, 127) for i in range(t % beats * g.lanes, (t % beats + 1) * g.lanes)]
                plan.acts[cycle + row, row] = sum((x & 255) << 8 * lane for lane, x in enumerate(chunk))
            when.append(cycle)
            cycle += 1
        for tile in range(tiles):
            for col in range(g.cols):
                ends = when[tile * beats + beats - 1 + col] + g.latency
                for row in range(rows):
                    out = tile * g.cols + col
                    plan.sums[ends + row, row] = job.dot(row, out) if out < n else 0
            plan.tiles.append(ends + g.rows - 1)
        cycle += between
    plan.cycles = cycle + g.latency + g.rows + 4
    return plan


def play(test, g, plan):
    """Feed a schedule and check every output in every cycle."""
    dut, rng = test.dut, test.rng

    async def process(ctx):
        for cycle in range(plan.cycles):
            for row in range(g.rows):
                valid, value = ctx.get(dut.sums[row].valid), ctx.get(dut.sums[row].payload)
                expected = plan.sums.get((cycle, row))
                note = f"row {row}, cycle {cycle}, seed {test.seed}"
                assert bool(valid) == (expected is not None), note
                if valid:
                    assert value == expected, note
                else:
                    assert value == 0, note
            assert ctx.get(dut.tile_done) == (cycle in plan.tiles), f"tile_done, cycle {cycle}, seed {test.seed}"
            # What comes without a beat is noise, and must not matter.
            first, last, active, word = plan.beats.get(
                cycle, (rng.randrange(2), rng.randrange(2), rng.getrandbits(g.rows), rng.getrandbits(2 * g.cols * g.lanes)))
            ctx.set(dut.beats.valid, cycle in plan.beats)
            ctx.set(dut.beats.payload, {"first": int(first), "last": int(last), "active": active})
            ctx.set(dut.weights.as_value(), word)
            for row in range(g.rows):
                ctx.set(dut.acts[row].as_value(), plan.acts.get((cycle, row), rng.getrandbits(8 * g.lanes)))
            await ctx.tick()
    test.add(process)
    test.run(plan.cycles + 10)


@pytest.mark.parametrize("gap", [0.0, 0.3])
@pytest.mark.parametrize("g", GEOMETRIES, ids=lambda g: f"{g}-{g.col_pitch}-{g.tree_pitch}")
def test_sums_exact_and_on_time(bench, g, gap):
    test = bench(Array(g), seed=g.digest % 1000 + int(10 * gap))
    jobs = [random_job(test.rng, g) for _ in range(5)]
    play(test, g, schedule(test.rng, g, jobs, gap))


@pytest.mark.parametrize("g", [geometry(2, 3, 2, 2), geometry(1, 1, 2, 1)], ids=str)
def test_jobs_without_a_cycle_between(bench, g):
    """The sequencer leaves a cycle between jobs; the array does not need it."""
    test = bench(Array(g), seed=7)
    jobs = [random_job(test.rng, g) for _ in range(6)]
    play(test, g, schedule(test.rng, g, jobs, between=0))


@pytest.mark.parametrize("g", [geometry(2, 8, 4, 4), geometry(1, 3, 2, 1), geometry(2, 1, 1, 1)], ids=str)
def test_tiles_back_to_back(bench, g):
    """No bubble: a tile every `beats` cycles, and the sums of a tile in consecutive cycles."""
    test = bench(Array(g), seed=3)
    job = random_job(test.rng, g, rows=g.rows, tiles=6)
    beats = g.beats(len(job.weights[0]))
    done = test.pulses(test.dut.tile_done)
    out = [test.pulses(test.dut.sums[row].valid) for row in range(g.rows)]
    play(test, g, schedule(test.rng, g, [job]))
    assert [b - a for a, b in zip(done, done[1:], strict=False)] == 5 * [beats]
    for row in range(g.rows):
        first = beats - 1 + g.latency + row
        assert out[row] == [first + tile * beats + col for tile in range(6) for col in range(g.cols)]


@pytest.mark.parametrize("g", [geometry(3, 3, 2, 2), geometry(2, 5, 1, 1)], ids=str)
def test_idle_rows_do_not_toggle(bench, g):
    """After a job on all rows, one on the first row only: in the others nothing moves but the first clear of the old sums."""
    test = bench(OpenArray(g), seed=11)
    jobs = [random_job(test.rng, g, rows=rows) for rows in (g.rows, 1, 1)]
    plan = schedule(test.rng, g, jobs)
    first_idle = sorted(plan.beats)[len(list(schedule(test.rng, g, jobs[:1]).beats))]
    idle = [test.dut.element(row, col) for row in range(1, g.rows) for col in range(g.cols)]
    seen = []

    async def watcher(ctx):
        async for _, _, acts, weights, totals in ctx.tick().sample(
                Cat(pe.acts for pe in idle), Cat(pe.weights for pe in idle), Cat(pe.total for pe in idle)):
            seen.append((acts, weights, totals))
    test.background(watcher)
    play(test, g, plan)
    assert any(weights for _, weights, _ in seen[:first_idle]), "rows at work must be seen to toggle"
    settled = seen[first_idle + g.rows + 1:]
    assert len(settled) > 20
    assert len({acts for acts, _, _ in settled}) == 1
    assert {weights for _, weights, _ in settled} == {0}
    changes = sum(a != b for (_, _, a), (_, _, b) in zip(settled, settled[1:], strict=False))
    assert changes <= (g.rows - 1) * g.cols, "a sum changed more than by its first clear"


@pytest.mark.parametrize("g", [geometry(2, 2, 2, 1)], ids=str)
def test_idle_array_does_not_toggle(bench, g):
    """Noise without beats moves nothing inside."""
    test = bench(OpenArray(g), seed=1)
    elements = [test.dut.element(row, col) for row in range(g.rows) for col in range(g.cols)]
    plan = schedule(test.rng, g, [random_job(test.rng, g, rows=g.rows)])
    end = max(plan.beats) + g.rows + 1
    seen = []

    async def watcher(ctx):
        async for _, _, inputs in ctx.tick().sample(Cat(Cat(pe.acts, pe.weights) for pe in elements)):
            seen.append(inputs)
    test.background(watcher)
    plan.cycles += 30
    play(test, g, plan)
    assert len(set(seen[end:])) == 1 and len(set(seen[:end])) > 1
