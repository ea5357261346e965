"""Processing elements for weights of 1 to 8 bits at equal throughput: what a bit of a weight costs in adders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2

from tritloom.sim.energy.designs.integer_element import IntegerForm
from tritloom.sim.energy.designs.peers import integer
from tritloom.sim.energy.designs.variants import best, variant
from tritloom.sim.energy.gate.design import Design

__all__ = ["Width", "acc_bits", "widths"]


@dataclass(frozen=True)
class Width:
    """A kind of weight and the element that takes it.

    Parameters
    ----------
    bits : float
        Information in a weight; ``log2(3)`` for a trit.
    design : Design
    """

    bits: float
    design: Design


def acc_bits(depth: int, largest: int) -> int:
    """Width of a signed accumulator that holds ``depth * 128 * largest``.

    Parameters
    ----------
    depth : int
        Products in a sum.
    largest : int
        Magnitude of the largest weight.
    """
    return (depth * 128 * largest).bit_length() + 1


def widths(lanes: int = 16, depth: int = 6912) -> list[Width]:
    """One element for each kind of weight, all of one make: `lanes` products a cycle, carries saved, no register but an accumulator that holds
    `depth` products.

    Parameters
    ----------
    lanes, depth : int
    """
    def of(bits: int) -> Width:
        # -2 ** (bits - 1) is the largest.
        width = acc_bits(depth, 1 << bits - 1)
        return Width(bits, integer(IntegerForm(lanes=lanes, weight_bits=bits, acc_bits=width)))

    ternary = replace(best(lanes), acc_bits=acc_bits(depth, 1))
    return [of(1), Width(log2(3), variant(ternary)), of(2), of(3), of(4), of(8)]
