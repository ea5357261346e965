"""What all processing elements that are compared have alike."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from amaranth import Module, Signal, Value, signed
from amaranth.hdl import ShapeLike
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["IntegerSum", "levels"]


class _Form(Protocol):
    lanes: int
    acc_bits: int


_F = TypeVar("_F", bound=_Form)


def levels(lanes: int) -> int:
    """Levels of a tree of adders: ``ceil(log2(lanes))``."""
    return (lanes - 1).bit_length()


class IntegerSum(wiring.Component, Generic[_F]):
    """Ports and accumulator of an element that adds int8 activations times weights.

    Parameters
    ----------
    form : Form or IntegerForm
        Uses `lanes` and `acc_bits`.
    weight : ShapeLike
        Of one weight.
    """

    def __init__(self, form: _F, weight: ShapeLike):
        self._form = form
        super().__init__({
            "acts":    In(data.ArrayLayout(8, form.lanes)),
            "weights": In(data.ArrayLayout(weight, form.lanes)),
            "clear":   In(1),
            "total":   Out(signed(form.acc_bits)),
        })

    @property
    def form(self) -> _F:
        return self._form

    def accumulator(self, m: Module) -> tuple[Signal, Value]:
        """The register behind `total`, and its bits or, with `clear`, 0."""
        bits = self._form.acc_bits
        total = Signal(signed(bits), name="total", reset_less=True)   # the first clear sets it
        kept = Signal(bits, name="kept")
        m.d.comb += [
            self.total.eq(total),
            kept.eq(total & ~self.clear.replicate(bits)),
        ]
        return total, kept
