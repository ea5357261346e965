"""Adders of the processing element: what one sum is, and how it is made where nothing is known of the carry cells.

A family with better cells subclasses `Adders` and overrides what it does better; the processing element asks `adders_of` for the one to use.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import *

from .family import Family, family_of
from .geometry import Geometry

__all__ = ["Adders", "Kept", "Selected", "Sum", "adders_of", "number"]


@dataclass(frozen=True)
class Selected:
    """A ternary product: ``(value & nz & ~neg) | (~value & neg)``, in bits. The 1 that ``~value`` lacks to ``-value`` is somebody's carry."""

    value: Value
    neg: Value
    nz: Value


@dataclass(frozen=True)
class Kept:
    """`value`, or 0 with `clear`."""

    value: Value
    clear: Value


@dataclass(frozen=True)
class Sum:
    """``a + b + carry``, signed.

    Parameters
    ----------
    name : str
        Of the signal that holds it.
    a : Value
    b : Value, Selected or Kept
        Both signed. An adder that can selects in the same cell.
    carry : Value
        One bit.
    bits : int
        Width of the sum; what does not fit is dropped.
    """

    name: str
    a: Value
    b: Value | Selected | Kept
    carry: Value
    bits: int


class Adders:
    """Adders for any family: expressions that every synthesiser maps to carry cells."""

    def add(self, m: Module, sums: Sequence[Sum]) -> list[Value]:
        """One level of a tree: all sums at once, so that they may share cells."""
        return [_adder(m, total) for total in sums]

    def element(self, m: Module, geometry: Geometry, acts: Value, weights: Value, clear: Value, total: Signal) -> bool:
        """A processing element as one sum: add the dot product of `acts` and `weights` to `total` with every clock, or put it in its place with `clear`.

        Returns
        -------
        bool
            It was made. Otherwise, as in most families, an element is a `DotProduct` and what `accumulate` makes.
        """
        return False

    def accumulate(self, m: Module, total: Signal, clear: Value, term: Value, carry: Value) -> Value:
        """Add ``term + carry`` to `total` with every clock, or put it in its place with `clear`.

        Returns
        -------
        Value
            One bit: what `total` still lacks to the sum.
        """
        [following] = self.add(m, [Sum("following", term, Kept(total, clear), carry, len(total))])
        m.d.sync += total.eq(following)
        return Const(0)


class _ICE40Adders(Adders):
    """iCE40's carry cells add two plain bits, so a selection takes a LUT4 a bit of its own. But the LUT4 behind the carry has an input to
    spare, which is enough to pass one operand on instead of the sum: the accumulator's clear costs nothing, if no carry has to enter with
    it. So carries enter one clock late, or at the array's output."""

    def accumulate(self, m: Module, total: Signal, clear: Value, term: Value, carry: Value) -> Value:
        owed = Signal()
        m.d.sync += [
            owed.eq(carry),
            total.eq(Mux(clear, term, _adder(m, Sum("following", term, total, owed, len(total))))),
        ]
        return owed


def number(m: Module, name: str, operand: Value | Selected | Kept) -> Value:
    """The operand as a number by itself: one LUT4 a bit where it is not one yet."""
    match operand:
        case Selected(value, neg, nz):
            result = Signal(signed(len(value)), name=name)
            # A multiplexer of two constants by each bit, so to say: of standard cells it takes 7 % less energy than ``(value ^ neg) & nz``.
            pos = nz & ~neg
            m.d.comb += result.eq((value & pos.replicate(len(value))) | (~value & neg.replicate(len(value))))
            return result
        case Kept(value, clear):
            return Mux(clear, 0, value).as_signed()
        case value:
            return value


def _adder(m: Module, total: Sum) -> Value:
    b = number(m, f"{total.name}_b", total.b)
    result = Signal(signed(total.bits), name=total.name)
    # The carry enters through an extra bit below, so that there is one adder, not two.
    m.d.comb += result.eq((Cat(Const(1, 1), total.a).as_signed() + Cat(total.carry, b).as_signed())[1:].as_signed())
    return result


def adders_of(platform: object) -> Adders:
    """The adders for whatever `elaborate` is given as platform."""
    match family_of(platform):
        case Family.ECP5:
            from .adders_ecp5 import ECP5Adders
            return ECP5Adders()
        case Family.ICE40:
            return _ICE40Adders()
        case Family.ASIC:
            from .adders_asic import ASICAdders
            return ASICAdders()
        case Family.GOWIN:
            from .adders_gowin import GowinAdders
            return GowinAdders()
        case _:
            return Adders()
