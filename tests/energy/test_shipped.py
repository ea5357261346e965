"""The shipped gateware, driven as it is measured, gives what its reference says in every cycle."""

import numpy as np
import pytest

from tritloom.rtl.array import Array
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.pe import PE
from tritloom.sim.energy.designs.shipped import shipped_array, shipped_element
from tritloom.sim.energy.gate.recorder import Product
from tritloom.sim.energy.gate.stimulus import Stimulus, random, recorded


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
def test_merged_element(compare, lanes):
    assert compare(shipped_element(Geometry(lanes=lanes), merged=True), random(seed=lanes), 200) >= 390


@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("pitch", [1, 2, 3])
def test_element(compare, lanes, pitch):
    assert compare(shipped_element(Geometry(lanes=lanes, tree_pitch=pitch)), random(seed=lanes), 200) >= 390


@pytest.mark.parametrize("geometry", [
    Geometry(rows=2, cols=2, lanes=2), Geometry(rows=1, cols=3, lanes=4, col_pitch=2, tree_pitch=1), Geometry(rows=4, cols=4, lanes=8),
], ids=str)
@pytest.mark.parametrize("rows_at_work", [1, None])
@pytest.mark.parametrize("merged", [False, True])
def test_array(compare, geometry, rows_at_work, merged):
    compare(shipped_array(geometry, rows_at_work, merged=merged), random(seed=3, depth=24), 200)


def test_array_on_a_models_numbers(compare):
    compare(shipped_array(Geometry(rows=2, cols=4, lanes=8)), recorded(seed=1, tokens=2), 200)


def test_operations_are_those_of_the_matrices():
    """One job, wholly within the measured cycles but for its beginning: what is left out is what was warming up."""
    geometry = Geometry(rows=1, cols=2, lanes=2)
    stimulus = Stimulus("ones", 0, [Product(np.ones((32, 8), np.int8), np.ones((1, 8), np.int8))], uniform=True)
    trace = shipped_array(geometry).drive(stimulus, 200)
    assert trace.operations == pytest.approx(200 * geometry.lanes_total * 64 / 65, rel=0.02)     # one beat of ramp in 65


def test_padding_is_no_operation():
    """K = 9 in two lanes is five beats, the last of them half empty."""
    stimulus = Stimulus("ones", 0, [Product(np.ones((32, 9), np.int8), np.ones((1, 9), np.int8))], uniform=True)
    trace = shipped_array(Geometry(rows=1, cols=2, lanes=2)).drive(stimulus, 400)
    assert trace.operations == pytest.approx(400 * 4 * 0.9 * 80 / 81, rel=0.02)


@pytest.mark.parametrize("component", [Array(Geometry(rows=2, cols=2, lanes=2, tree_pitch=1)), Array(Geometry(rows=2, cols=2, lanes=2, col_pitch=1))])
def test_another_array_is_found_out(compare, component):
    with pytest.raises(AssertionError, match="in cycle"):
        compare(shipped_array(Geometry(rows=2, cols=2, lanes=2)), random(seed=1, depth=24), 100, component=component)


def test_another_element_is_found_out(compare):
    with pytest.raises(AssertionError, match="total in cycle"):
        compare(shipped_element(Geometry(lanes=4)), random(seed=1), 100, component=PE(Geometry(lanes=4, tree_pitch=1)))
