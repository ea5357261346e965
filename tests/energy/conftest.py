"""For the tests of energy figures: a design in Amaranth's simulator, against its own reference."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from amaranth.hdl import Fragment
from amaranth.lib.wiring import Component
from amaranth.sim import Simulator

from tritloom.rtl.ports import ports
from tritloom.sim.energy.gate.design import Design
from tritloom.sim.energy.gate.stimulus import Stimulus


def compare(design: Design, stimulus: Stimulus, cycles: int = 300, component: Component | None = None) -> int:
    """Drive a design's component with its trace and compare every output that means something, in every cycle.

    Parameters
    ----------
    component : Component or None
        Another one with the same ports, to see that it is found out.

    Returns
    -------
    int
        Comparisons made.
    """
    component = component or design.source()
    trace = design.drive(stimulus, cycles)
    values = {name: value for name, (value, _) in ports(component).items()}
    assert set(trace.inputs) | set(trace.outputs) <= set(values)
    compared = 0

    async def bench(ctx):
        nonlocal compared
        for t in range(trace.cycles):
            for name, words in trace.inputs.items():
                ctx.set(values[name], int(words[t]))
            await ctx.delay(1e-8)
            for name, words in trace.outputs.items():
                if name not in trace.checked or trace.checked[name][t]:
                    compared += 1
                    got = ctx.get(values[name]) & (1 << len(values[name])) - 1
                    assert got == int(words[t]), f"{design.name}: {name} in cycle {t}, {stimulus.name}, seed {stimulus.seed}"
            await ctx.tick()

    simulator = Simulator(Fragment.get(component, design.family))
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return compared


@pytest.fixture(name="compare")
def compare_fixture() -> Callable[..., int]:
    return compare
