"""Ternary processing elements in other forms, for the search of the least energy: as designs to be measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tritloom.rtl.geometry import COARSEST_TREE_PITCH
from tritloom.sim.energy.designs.driving import element_trace
from tritloom.sim.energy.designs.ternary_element import Correction, Form, Selection, Summation, TernaryElement
from tritloom.sim.energy.gate.design import Design
from tritloom.sim.energy.gate.stimulus import Weights

__all__ = ["best", "by_lanes", "variant", "variants"]


def variant(form: Form) -> Design:
    """One form as a design: "ternary-16-tree2-andxor"."""
    shape = form.summation + (str(form.pitch) if form.summation is Summation.TREE else "")
    parts = ["ternary", str(form.lanes), shape, form.selection.replace("-", "")]
    parts += ["offset"] * form.offset + ["quiet"] * form.quiet + ["late"] * (form.correction is Correction.LATE)
    return Design(
        name="-".join(parts),
        what=f"{form.lanes} trits times int8 ({form.selection}, {form.summation}"
             f"{', unsigned by an offset' if form.offset else ''}), added to {form.acc_bits} bits",
        source=partial(TernaryElement, form),
        drive=partial(element_trace, lanes=form.lanes, stages=form.stages, acc_bits=form.acc_bits, weights=Weights.TERNARY, weight_bits=2,
                      uncounted=form.correction is Correction.LATE),
        lanes=form.lanes,
        macs=form.lanes,
    )


def variants(lanes: int = 16) -> list[Design]:
    """The search, at equal lanes: from the form that was shipped before, one choice changed at a time, then what wins together."""
    alone = [
        Form(lanes=lanes),
        # Registers.
        Form(lanes=lanes, pitch=1),
        Form(lanes=lanes, pitch=3),
        Form(lanes=lanes, pitch=COARSEST_TREE_PITCH),
        # Products: a zero that stops its activation early; one gate a bit.
        Form(lanes=lanes, selection=Selection.AND_XOR),
        Form(lanes=lanes, selection=Selection.AND_OR),
        Form(lanes=lanes, quiet=True),
        # Signs.
        Form(lanes=lanes, offset=True),
        Form(lanes=lanes, correction=Correction.LATE),
        # The order of summation.
        Form(lanes=lanes, summation=Summation.SIDES),
        Form(lanes=lanes, summation=Summation.SAVED),
        Form(lanes=lanes, summation=Summation.MERGED),
    ]
    together = [
        Form(lanes=lanes, selection=Selection.AND_OR, offset=True),
        Form(lanes=lanes, selection=Selection.AND_OR, offset=True, pitch=3),
        Form(lanes=lanes, selection=Selection.AND_OR, offset=True, pitch=COARSEST_TREE_PITCH),
        Form(lanes=lanes, selection=Selection.AND_OR, offset=True, summation=Summation.SAVED),
        Form(lanes=lanes, selection=Selection.XOR_AND, offset=True, summation=Summation.MERGED),
        Form(lanes=lanes, selection=Selection.AND_XOR, offset=True, summation=Summation.MERGED),
        best(lanes),
        replace(best(lanes), quiet=True),
        replace(best(lanes), correction=Correction.LATE),
    ]
    return [variant(form) for form in (*alone, *together)]


def best(lanes: int = 16) -> Form:
    """What takes the least energy of the forms whose sums are exact, whatever the activations. (With many that are 0, `quiet` takes less.)"""
    return Form(lanes=lanes, selection=Selection.AND_OR, offset=True, summation=Summation.MERGED)


def by_lanes(lanes: Sequence[int] = (1, 2, 4, 8, 16, 32)) -> list[Design]:
    """The shipped form and the best one, with more and more lanes before an accumulator."""
    return [variant(form) for each in lanes for form in (Form(lanes=each), best(each))]
