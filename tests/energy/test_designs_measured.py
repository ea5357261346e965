"""The designs as netlists: what synthesis makes of them still computes, and the figures that the project states hold."""

from dataclasses import replace

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.designs.half_element import HalfForm
from tritloom.sim.energy.designs.integer_element import IntegerForm
from tritloom.sim.energy.designs.peers import half, integer, peers
from tritloom.sim.energy.designs.shipped import shipped_array, shipped_element
from tritloom.sim.energy.designs.ternary_element import Form
from tritloom.sim.energy.designs.variants import best, variant, variants
from tritloom.sim.energy.gate import measure as gate
from tritloom.sim.energy.gate.flows import Flow
from tritloom.sim.energy.gate.measure import measure
from tritloom.sim.energy.gate.standard_cells import find_cells
from tritloom.sim.energy.gate.stimulus import random, recorded

from .gate_tools import needs_osu, needs_tools

pytestmark = [needs_tools, needs_osu]


@pytest.fixture(autouse=True)
def measured_anew(tmp_path, monkeypatch):
    """Nothing that was measured before. (Not the user's whole cache: pip's Yosys would compile itself for each test.)"""
    monkeypatch.setattr(gate, "cache_folder", lambda: tmp_path)


SMALL = [
    *variants(2), *(design for design in peers(2) if not design.name.startswith("fp16")), half(HalfForm(lanes=1)),
    shipped_element(Geometry(lanes=3)), shipped_array(Geometry(rows=2, cols=2, lanes=2)), shipped_array(Geometry(rows=2, cols=2, lanes=2), 1),
    shipped_element(Geometry(lanes=3), merged=True), shipped_array(Geometry(rows=2, cols=2, lanes=2), merged=True),
]


@pytest.mark.parametrize("flow", Flow)
def test_every_netlist_computes(flow):
    """A measurement compares all outputs in all cycles, so one that comes to an end is the proof. ABC takes long: every third one."""
    for design in SMALL if flow is Flow.FA else SMALL[::3]:
        result = measure(design, find_cells(), flow, random(seed=5, depth=24), delays=False, cycles=60)
        assert result.nets_without_toggles_found == 0
        assert result.pj_per_op > 0


def pj(design, seed, cycles=300):
    return measure(design, find_cells(), Flow.FA, recorded(seed, tokens=4), cycles=cycles).pj_per_op


@pytest.mark.parametrize("seed", [1, 2])
def test_the_shipped_element(seed):
    """At most 8.0 pJ per multiply-accumulate is what was asked for."""
    assert pj(shipped_element(Geometry(lanes=16)), seed) < 5.2


@pytest.mark.parametrize("seed", [1, 2])
def test_int8_takes_at_least_four_times_as_much(seed):
    """The int8 element that takes the least of those tried, over the shipped one for standard cells, at equal lanes."""
    int8, ternary = (pj(design, seed, 1000) for design in (integer(IntegerForm(lanes=16, weight_bits=8)), shipped_element(Geometry(lanes=16), merged=True)))
    assert int8 / ternary > 4.0, f"{int8:.2f} over {ternary:.2f} pJ, seed {seed}"


def test_the_best_form_is_better_than_the_shipped_one():
    """By a quarter; and negating no zeros is worth something to a model."""
    shipped, found, quiet = (pj(design, 1) for design in (variant(Form(lanes=16)), variant(best(16)), variant(replace(best(16), quiet=True))))
    assert found < 0.78 * shipped
    assert quiet < found
