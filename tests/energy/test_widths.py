"""Elements of one make for weights of 1 to 8 bits."""

import numpy as np
import pytest

from tritloom.sim.energy.designs.widths import acc_bits, widths
from tritloom.sim.energy.gate.recorder import Product
from tritloom.sim.energy.gate.stimulus import Stimulus, random


def test_every_kind_of_weight_once():
    assert [round(width.bits, 2) for width in widths()] == [1, 1.58, 2, 3, 4, 8]
    assert len({width.design.name for width in widths()}) == 6
    assert {width.design.macs for width in widths(8)} == {8}


@pytest.mark.parametrize("width", widths(4), ids=lambda width: width.design.name)
def test_exact(compare, width):
    compare(width.design, random(seed=2), 200)


@pytest.mark.parametrize(("largest", "bits"), [(1, 21), (2, 22), (4, 23), (8, 24), (128, 28)])
def test_the_accumulator_holds_the_deepest_sum(largest, bits):
    assert acc_bits(6912, largest) == bits
    assert 6912 * 128 * largest < 1 << bits - 1


def test_the_deepest_sum_of_trits(compare):
    """6,912 times -128 by -1, and nothing to spare: with one bit less it would not fit."""
    products = [Product(np.full((8, 6912), -1, np.int8), np.full((1, 6912), -128, np.int8))]
    [ternary] = [width.design for width in widths(16) if width.design.name.startswith("ternary")]
    compare(ternary, Stimulus("all -128 by -1", 0, products, uniform=True), 900)
