"""The processing element's Verilog against its arithmetic."""

from collections import deque

import cocotb
from agents import geometry, logged_rng, reset
from cocotb.triggers import RisingEdge

CODES = {0: 0b00, 1: 0b01, -1: 0b11}


class PEDriver:
    """Applies one set of lanes a cycle; their `clear` follows `tree_stages` cycles later, as the array sends it."""

    def __init__(self, dut, g):
        self.dut = dut
        self.clears = deque([0] * g.tree_stages)

    def apply(self, weights, acts, clear):
        self.dut.weights.value = sum(CODES[w] << 2 * i for i, w in enumerate(weights))
        self.dut.acts.value = sum((x & 255) << 8 * i for i, x in enumerate(acts))
        self.clears.append(clear)
        self.dut.clear.value = self.clears.popleft()


class PEModel:
    """The sum that stands in ``total + owed``, ``tree_stages + 1`` cycles after its last lanes."""

    def __init__(self, g):
        self.total = 0
        self.expected = deque([0] * g.tree_stages)

    def apply(self, weights, acts, clear):
        self.total = (0 if clear else self.total) + sum(w * x for w, x in zip(weights, acts, strict=True))
        self.expected.append(self.total)
        return self.expected.popleft()


async def play(dut, g, stimulus):
    dut.weights.value = dut.acts.value = 0
    dut.clear.value = 1
    await reset(dut)
    for _ in range(g.tree_stages + 2):
        await RisingEdge(dut.clk)
    driver, model = PEDriver(dut, g), PEModel(g)
    idle = [([0] * g.lanes, [0] * g.lanes, 0)] * (g.tree_stages + 2)
    expected = deque()
    for cycle, lanes in enumerate([*stimulus, *idle]):
        driver.apply(*lanes)
        await RisingEdge(dut.clk)    # what was applied is registered here; it is read before the next edge changes it
        if expected:
            got = dut.total.value.to_signed() + int(dut.owed.value)
            assert got == expected.popleft(), f"cycle {cycle}"
        expected.append(model.apply(*lanes))


@cocotb.test()
async def random_sums(dut):
    g, rng = geometry(), logged_rng(21)
    stimulus = []
    while len(stimulus) < 300:
        for i in range(rng.randint(1, g.depth // g.lanes)):
            stimulus.append(([rng.choice((-1, 0, 1)) for _ in range(g.lanes)],
                             [rng.choice((-128, 127, 0, rng.randint(-128, 127))) for _ in range(g.lanes)], int(i == 0)))
    await play(dut, g, stimulus)


@cocotb.test()
async def full_depth_at_the_extremes(dut):
    g = geometry()
    beats = g.depth // g.lanes
    stimulus = []
    for weight, act in ((-1, -128), (1, -128), (1, 127), (-1, 127)):
        stimulus += [([weight] * g.lanes, [act] * g.lanes, int(i == 0)) for i in range(beats)]
    await play(dut, g, stimulus)
