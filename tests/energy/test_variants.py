"""Every form of the ternary processing element gives exact sums, and a form that does not is found out."""

from dataclasses import replace

import numpy as np
import pytest

from tritloom.sim.energy.designs.ternary_element import Correction, Form, Selection, Summation, TernaryElement
from tritloom.sim.energy.designs.variants import by_lanes, variant, variants
from tritloom.sim.energy.gate.recorder import Product
from tritloom.sim.energy.gate.stimulus import Stimulus, random


@pytest.mark.parametrize("design", variants(16), ids=lambda design: design.name)
def test_exact(compare, design):
    assert compare(design, random(seed=1)) >= 290


@pytest.mark.parametrize("lanes", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("summation", Summation)
@pytest.mark.parametrize("offset", [False, True])
def test_exact_at_any_number_of_lanes(compare, lanes, summation, offset):
    compare(variant(Form(lanes=lanes, summation=summation, offset=offset)), random(seed=lanes), 100)


@pytest.mark.parametrize("selection", Selection)
@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("quiet", [False, True])
def test_extremes(compare, selection, offset, quiet):
    """All -128 times -1 is where a sum that is one bit too narrow, or a sign that was left out, shows; and 0 times -1 where a 1 is too much."""
    for act in (-128, 127, 0):
        products = [Product(np.full((8, 256), weight, np.int8), np.full((4, 256), act, np.int8)) for weight in (-1, 1)]
        stimulus = Stimulus(f"all {act}", 0, products, uniform=True)
        for summation in set(Summation) - ({Summation.SIDES} if quiet else set()):
            compare(variant(Form(lanes=8, selection=selection, summation=summation, offset=offset, quiet=quiet)), stimulus, 100)


def test_a_wrong_one_is_found_out(compare):
    form = Form(lanes=4)
    for other in (replace(form, correction=Correction.LATE), replace(form, pitch=1), replace(form, acc_bits=10)):
        with pytest.raises(AssertionError, match="total in cycle"):
            compare(variant(form), random(seed=1), component=TernaryElement(other))


def test_names_are_unique():
    for designs in (variants(), by_lanes()):
        names = [design.name for design in designs]
        assert len(set(names)) == len(names)


def test_quiet_needs_exact_negation():
    for choice in ({"correction": Correction.LATE}, {"summation": Summation.SIDES}):
        with pytest.raises(ValueError, match="`quiet` must be False"):
            Form(lanes=4, quiet=True, **choice)
