"""Adders of standard cells, where a full adder costs the same wherever it stands: carries are saved until the last adder."""

from functools import reduce
from operator import add

from amaranth import *

from .adders import Adders, Selected, number
from .geometry import Geometry

__all__ = ["ASICAdders"]


class ASICAdders(Adders):
    """All products of a cycle, what they lack, and the accumulator are one sum of many numbers: synthesis saves its carries (Yosys: `maccmap`).

    It has no adder levels to put registers between, so this is for geometries whose tree has none (`tree_stages` is 0, with
    `tree_pitch` 8); with others the elements are those of every family.

    Products are made unsigned: their highest bit is inverted, which counts each 128 too much, and a constant takes that off. A sum of signed
    numbers would extend each to the accumulator's width.
    """

    def element(self, m: Module, geometry: Geometry, acts: Value, weights: Value, clear: Value, total: Signal) -> bool:
        if geometry.tree_stages:
            return False
        bits = len(total)
        products = []
        for lane in range(geometry.lanes):
            product = Signal(8, name=f"product{lane}")
            m.d.comb += product.eq(number(m, f"selected{lane}", Selected(acts[lane], weights[lane].neg, weights[lane].nz)) ^ 0x80)
            products += [product, weights[lane].neg]
        kept = Signal(bits)
        m.d.comb += kept.eq(total & ~clear.replicate(bits))
        m.d.sync += total.eq(reduce(add, products) + kept + Const(-128 * geometry.lanes % (1 << bits), bits))
        return True
