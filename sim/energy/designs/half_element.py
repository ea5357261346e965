"""A processing element for float16: what a ternary model is said to save."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tritloom.sim.energy.designs.element import levels

__all__ = ["HalfElement", "HalfForm", "rounded"]


def rounded(exact: np.ndarray) -> np.ndarray:
    """Float64 numbers rounded to float16 as `HalfElement` rounds: to nearest, ties to even; what is then below the normal numbers is 0."""
    mantissa, exponent = np.frexp(exact)
    near = np.ldexp(np.rint(np.ldexp(mantissa, 11)), exponent - 11)
    near = np.where(np.abs(near) < 2.0**-14, 0.0, near)
    return np.where(np.abs(near) > 65504.0, np.copysign(np.inf, near), near)


@dataclass(frozen=True, kw_only=True)
class HalfForm:
    """One way to build a processing element for float16.

    Parameters
    ----------
    lanes : int
        Products summed in a cycle.
    pitch : int
        Levels of adders between two registers, the accumulator's adder being the last level, and a product none.
    """

    lanes: int
    pitch: int = 2

    @property
    def levels(self) -> int:
        """Levels of a tree."""
        return levels(self.lanes)

    @property
    def stages(self) -> int:
        """Registers between the inputs and the accumulator."""
        return self.levels // self.pitch


class HalfElement(wiring.Component):
    """``sum(weights[l] * acts[l])`` added to an accumulator, every cycle, in IEEE 754 binary16; rounded to nearest even after every product and every sum.

    Simpler than the standard asks for, and so smaller: subnormal numbers count as 0 where they come in and come out, every 0 is +0, results
    too large become infinity, and infinities and NaN as inputs are not treated. What comes in at cycle t stands in `total` at
    ``t + form.stages + 1``.

    Parameters
    ----------
    form : HalfForm

    Members
    -------
    acts, weights : In(ArrayLayout(16, lanes))
    clear : In(1)
        Starts a new sum with the lanes that came `form.stages` cycles ago.
    total : Out(16)
        The accumulator.
    """

    def __init__(self, form: HalfForm):
        self._form = form
        super().__init__({
            "acts":    In(data.ArrayLayout(16, form.lanes)),
            "weights": In(data.ArrayLayout(16, form.lanes)),
            "clear":   In(1),
            "total":   Out(16),
        })

    @property
    def form(self) -> HalfForm:
        return self._form

    def elaborate(self, platform):
        m = Module()
        form = self._form
        total = Signal(16, reset_less=True)   # the first clear sets it
        m.d.comb += self.total.eq(total)
        terms = [_product(m, self.acts[lane], self.weights[lane], f"product{lane}") for lane in range(form.lanes)]
        for level in range(1, form.levels + 1):
            pairs = list(zip(terms[0::2], terms[1::2], strict=False))
            terms = [_sum(m, a, b, f"level{level}_{i}") for i, (a, b) in enumerate(pairs)] + terms[2 * len(pairs):]
            if level % form.pitch == 0:
                registers = [Signal(16, name=f"stage{level}_{i}", reset_less=True) for i in range(len(terms))]
                m.d.sync += [register.eq(term) for register, term in zip(registers, terms, strict=True)]
                terms = registers
        m.d.sync += total.eq(_sum(m, terms[0], total & ~self.clear.replicate(16), "following"))
        return m


def _mantissa(a: Value) -> Value:
    """Eleven bits, or 0 for what is no normal number."""
    normal = a[10:15].any()
    return Cat(a[:10], 1) & normal.replicate(11)


def _packed(m: Module, sign: Value, exponent: Value, kept: Value, up: Value, name: str) -> Value:
    """``kept * 2**exponent`` (11 bits with their leading one; the exponent biased, signed), one more with `up`, as float16; 0 if `kept` is."""
    # The carry out of the mantissa is the step of the exponent.
    number = Signal(signed(len(exponent) + 11), name=f"{name}_number")
    result = Signal(16, name=name)
    biased = number[10:].as_signed()
    m.d.comb += number.eq(Cat(kept[:10], exponent).as_signed() + up)
    with m.If(kept[10] & (biased >= 31)):
        m.d.comb += result.eq(Cat(Const(0x7C00, 15), sign))
    with m.Elif(kept[10] & (biased > 0)):
        m.d.comb += result.eq(Cat(number[:15], sign))
    return result


def _product(m: Module, a: Value, b: Value, name: str) -> Value:
    product = Signal(22, name=f"{name}_exact")
    kept, up = Signal(11, name=f"{name}_kept"), Signal(name=f"{name}_up")
    exponent = Signal(signed(8), name=f"{name}_exponent")
    high = product[21]
    m.d.comb += [
        product.eq(_mantissa(a) * _mantissa(b)),
        kept.eq(Mux(high, product[11:22], product[10:21])),
        up.eq(Mux(high, product[10] & (product[:10].any() | product[11]), product[9] & (product[:9].any() | product[10]))),
        exponent.eq(a[10:15] + b[10:15] - 15 + high),
    ]
    return _packed(m, a[15] ^ b[15], exponent, kept, up, name)


def _sum(m: Module, a: Value, b: Value, name: str) -> Value:
    swap = Signal(name=f"{name}_swap")
    large, small = Signal(16, name=f"{name}_large"), Signal(16, name=f"{name}_small")
    distance, subtract = Signal(5, name=f"{name}_distance"), Signal(name=f"{name}_subtract")
    m.d.comb += [
        swap.eq(a[:15] < b[:15]),
        large.eq(Mux(swap, b, a)),
        small.eq(Mux(swap, a, b)),
        distance.eq(large[10:15] - small[10:15]),
        subtract.eq(large[15] ^ small[15]),
    ]
    # Two more bits and one that says whether anything was lost are enough to round right.
    wide = Cat(Const(0, 13), _mantissa(small))
    shifted = Signal(24, name=f"{name}_shifted")
    aligned = Signal(14, name=f"{name}_aligned")
    m.d.comb += [
        shifted.eq(wide >> distance),
        # Behind a distance of 13 nothing is left but the knowledge that it was not 0.
        aligned.eq(Mux(distance > 12, _mantissa(small).any(), Cat(shifted[:11].any(), shifted[11:]))),
    ]
    exact = Signal(15, name=f"{name}_exact")
    m.d.comb += exact.eq(Cat(Const(0, 3), _mantissa(large)) + (aligned ^ subtract.replicate(14)) + subtract - Cat(Const(0, 14), subtract))
    # Leading zeros, by halves; the leading one goes to bit 14.
    normal, exponent = exact, large[10:15] + Const(1)
    for bits in (8, 4, 2, 1):
        step = Signal(15, name=f"{name}_normal{bits}")
        zeros = Signal(name=f"{name}_zeros{bits}")
        after = Signal(signed(8), name=f"{name}_exponent{bits}")
        m.d.comb += [
            zeros.eq(~normal[15 - bits:].any()),
            step.eq(Mux(zeros, normal << bits, normal)),
            after.eq(exponent - (zeros << (bits.bit_length() - 1))),
        ]
        normal, exponent = step, after
    up = Signal(name=f"{name}_up")
    m.d.comb += up.eq(normal[3] & (normal[:3].any() | normal[4]))
    return _packed(m, large[15], exponent, normal[4:], up, name)
