"""The peers of the ternary element compute what they are said to, for every kind of weight."""

from dataclasses import replace

import pytest
from amaranth.sim import Simulator

from tritloom.sim.energy.designs.integer_element import IntegerElement, IntegerForm
from tritloom.sim.energy.designs.peers import integer, peers
from tritloom.sim.energy.gate.stimulus import random


@pytest.mark.parametrize("design", peers(8), ids=lambda design: design.name)
def test_exact(compare, design):
    assert compare(design, random(seed=1), 150) >= 145


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("merged", [True, False])
def test_exact_at_any_number_of_lanes(compare, bits, lanes, merged):
    compare(integer(IntegerForm(lanes=lanes, weight_bits=bits, merged=merged, pitch=1)), random(seed=bits), 150)


@pytest.mark.parametrize(("bits", "booth"), [(1, False), (2, False), (3, False), (4, False), (8, False), (2, True), (4, True), (8, True)])
@pytest.mark.parametrize("merged", [True, False])
def test_every_activation_with_every_weight(bits, booth, merged):
    """One lane, `clear` always: the accumulator is the product."""
    element = IntegerElement(IntegerForm(lanes=1, weight_bits=bits, merged=merged, booth=booth))
    weights = (0, 1) if bits == 1 else range(-(1 << bits - 1), 1 << bits - 1)
    step = 37 if bits == 8 else 1
    pairs = [(x, w) for w in weights for x in (*range(-128, 128, step), -128, 127)]
    seen = []

    async def bench(ctx):
        ctx.set(element.clear, 1)
        for x, w in pairs:
            ctx.set(element.acts.as_value(), x & 0xFF)
            ctx.set(element.weights.as_value(), w & (1 << bits) - 1)
            await ctx.tick()
            seen.append(ctx.get(element.total))
    simulator = Simulator(element)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [x * ((1, -1)[w] if bits == 1 else w) for x, w in pairs]


def test_a_wrong_one_is_found_out(compare):
    form = IntegerForm(lanes=2, weight_bits=4, merged=False)
    for other in (replace(form, pitch=1), replace(form, acc_bits=12)):
        with pytest.raises(AssertionError, match="total in cycle"):
            compare(integer(form), random(seed=1), component=IntegerElement(other))


def test_booth_wants_pairs_of_bits():
    with pytest.raises(ValueError, match="even number of weight bits, not 3"):
        IntegerForm(lanes=1, weight_bits=3, booth=True)
