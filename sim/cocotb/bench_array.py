"""The array's Verilog: every sum exact and in its cycle, nothing else at the outputs, tiles and jobs back to back."""

from dataclasses import dataclass, field

import cocotb
from agents import Model, geometry, logged_rng, reset
from cocotb.triggers import RisingEdge


@dataclass
class Plan:
    """What enters and leaves in which cycle."""

    beats: dict = field(default_factory=dict)    # cycle -> (first, last, active, word)
    acts: dict = field(default_factory=dict)     # (cycle, row) -> word
    sums: dict = field(default_factory=dict)     # (cycle, row) -> sum
    tiles: set = field(default_factory=set)      # cycles of tile_done
    end: int = 0

    def add(self, g, rng, weights, vectors, gap):
        """A job, from the next free cycle on."""
        n, k, rows = len(weights), len(weights[0]), len(vectors)
        beats, tiles = g.beats(k), g.tiles(n)
        when = []
        for t, word in enumerate(Model(g).words(weights, rng)):
            while rng.random() < gap:
                self.end += 1
            in_tile = t < tiles * beats
            self.beats[self.end] = (in_tile and t % beats == 0, in_tile and t % beats == beats - 1, (1 << rows) - 1, word)
            for row, vector in enumerate(vectors):
                chunk = (vector + [99] * (beats * g.lanes))[t % beats * g.lanes:][:g.lanes]
                self.acts[self.end + row, row] = sum((x & 255) << 8 * i for i, x in enumerate(chunk))
            when.append(self.end)
            self.end += 1
        sums = Model(g).matmul(weights, vectors)
        for tile in range(tiles):
            for col in range(g.cols):
                cycle = when[(tile + 1) * beats - 1 + col] + g.latency
                for row in range(rows):
                    out = tile * g.cols + col
                    self.sums[cycle + row, row] = sums[out][row] if out < n else 0
            self.tiles.add(cycle + g.rows - 1)


async def play(dut, g, rng, plan):
    """Drive the plan and compare every output in every cycle."""
    dut.beats__valid.value = 0
    await reset(dut)
    rows = [(getattr(dut, f"sums__{row}__valid"), getattr(dut, f"sums__{row}__payload"), getattr(dut, f"acts__{row}")) for row in range(g.rows)]
    for cycle in range(plan.end + g.latency + g.rows + 5):
        first, last, active, word = plan.beats.get(cycle, (1, 1, rng.getrandbits(g.rows), rng.getrandbits(2 * g.cols * g.lanes)))
        dut.beats__valid.value = cycle in plan.beats
        dut.beats__payload.value = int(first) | int(last) << 1 | active << 2
        dut.weights.value = word
        for row, (_, _, acts) in enumerate(rows):
            acts.value = plan.acts.get((cycle, row), rng.getrandbits(8 * g.lanes))
        await RisingEdge(dut.clk)
        for row, (valid, payload, _) in enumerate(rows):
            expected = plan.sums.get((cycle, row))
            assert bool(valid.value) == (expected is not None), f"row {row}, cycle {cycle}"
            assert payload.value.to_signed() == (expected or 0), f"row {row}, cycle {cycle}"
        assert bool(dut.tile_done.value) == (cycle in plan.tiles), f"cycle {cycle}"


def job(g, rng, extreme=False, rows=None, tiles=None):
    n = tiles * g.cols if tiles else rng.randint(1, 2 * g.cols + 1)
    k = g.depth if extreme else rng.choice((1, g.lanes * g.cols, rng.randint(1, g.depth)))
    return ([[-1 if extreme else rng.choice((-1, 0, 1)) for _ in range(k)] for _ in range(n)],
            [[-128 if extreme else rng.randint(-128, 127) for _ in range(k)] for _ in range(rows or rng.randint(1, g.rows))])


@cocotb.test()
async def back_to_back(dut):
    """Many tiles and three jobs without a single cycle between."""
    g, rng = geometry(), logged_rng(31)
    plan = Plan()
    plan.add(g, rng, *job(g, rng, rows=g.rows, tiles=4), gap=0)
    plan.add(g, rng, *job(g, rng, rows=1), gap=0)
    plan.add(g, rng, *job(g, rng, rows=g.rows), gap=0)
    await play(dut, g, rng, plan)


@cocotb.test()
async def stalls(dut):
    g, rng = geometry(), logged_rng(32)
    plan = Plan()
    for _ in range(4):
        plan.add(g, rng, *job(g, rng), gap=0.4)
    await play(dut, g, rng, plan)


@cocotb.test()
async def extremes(dut):
    g, rng = geometry(), logged_rng(33)
    plan = Plan()
    for extreme in (True, False, True):
        plan.add(g, rng, *job(g, rng, extreme=extreme, rows=g.rows), gap=0)
    await play(dut, g, rng, plan)
