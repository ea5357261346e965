"""What others multiply with, under the same rules as the ternary element: integer weights of 8, 4, 3, 2 and 1 bits, and float16.

The rules, so that the comparison is fair: equal lanes; inputs come from registers that are not counted; nothing between inputs and the
accumulator but what the form says; the accumulator starts anew with `clear` and has no other reset.
"""

from __future__ import annotations

from functools import partial

from tritloom.sim.energy.designs.driving import element_trace, half_trace
from tritloom.sim.energy.designs.half_element import HalfElement, HalfForm
from tritloom.sim.energy.designs.integer_element import IntegerElement, IntegerForm
from tritloom.sim.energy.gate.design import Design
from tritloom.sim.energy.gate.stimulus import Weights

__all__ = ["half", "integer", "peers"]

#: By bits of a weight.
_KINDS = {1: Weights.BINARY, 2: Weights.INT2, 3: Weights.INT3, 4: Weights.INT4, 8: Weights.INT8}


def integer(form: IntegerForm) -> Design:
    """An integer element as a design: "int8-16", "int8-16-booth", "int8-16-tree2"."""
    kind = _KINDS[form.weight_bits]
    return Design(
        name=f"{kind}-{form.lanes}" + ("-booth" if form.booth else "") + ("" if form.merged else f"-tree{form.pitch}") + ("" if form.acc_bits == 32 else f"-acc{form.acc_bits}"),
        what=f"{form.lanes} times int8 by {'-1 or 1' if form.weight_bits == 1 else kind}, added to {form.acc_bits} bits",
        source=partial(IntegerElement, form),
        drive=partial(element_trace, lanes=form.lanes, stages=form.stages, acc_bits=form.acc_bits, weights=kind, weight_bits=form.weight_bits),
        lanes=form.lanes,
        macs=form.lanes,
    )


def half(form: HalfForm) -> Design:
    """A float16 element as a design: "fp16-16-tree2"."""
    return Design(
        name=f"fp16-{form.lanes}" + (f"-tree{form.pitch}" if form.levels else ""),
        what=f"{form.lanes} times float16 by float16, added to float16",
        source=partial(HalfElement, form),
        drive=partial(half_trace, lanes=form.lanes, stages=form.stages),
        lanes=form.lanes,
        macs=form.lanes,
        period_ns=100.0,
        cycles=500,
    )


def peers(lanes: int = 16) -> list[Design]:
    """All of them at some number of lanes."""
    integers = [integer(IntegerForm(lanes=lanes, weight_bits=bits, merged=merged)) for bits in (8, 4, 3, 2, 1) for merged in (True, False)]
    booth = integer(IntegerForm(lanes=lanes, weight_bits=8, booth=True))
    return [*integers, booth, half(HalfForm(lanes=lanes))]
