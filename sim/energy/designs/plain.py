"""The plain ternary processing element: one product a cycle and an accumulator, as one would write it first. What others are measured against."""

from __future__ import annotations

import numpy as np
from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritloom.sim.energy.gate.design import Design, Trace
from tritloom.sim.energy.gate.stimulus import Stimulus

__all__ = ["plain_ternary"]


class _Accumulate(wiring.Component):
    """``total += x * w`` with every clock, or ``total = x * w`` with `clear`."""

    def __init__(self, bits: int):
        self._bits = bits
        super().__init__({"x": In(signed(8)), "nz": In(1), "neg": In(1), "clear": In(1), "total": Out(signed(bits))})

    def elaborate(self, platform):
        m = Module()
        product = Signal(signed(8))
        m.d.comb += product.eq((self.x ^ self.neg.replicate(8)) & self.nz.replicate(8))
        total = Signal(signed(self._bits), reset_less=True)
        m.d.comb += self.total.eq(total)
        m.d.sync += total.eq(Mux(self.clear, 0, total) + product + (self.neg & self.nz))
        return m


def plain_ternary(bits: int = 20) -> Design:
    """One lane, `bits` of accumulator (20 hold 4,096 products of int8 and a trit)."""

    def drive(stimulus: Stimulus, cycles: int) -> Trace:
        warm = 4
        operands = stimulus.operands(1, cycles + warm)
        x, w, clear = operands.acts[:, 0].astype(np.int64), operands.weights[:, 0].astype(np.int64), operands.first.copy()
        clear[1] = True     # the cycle of the reset is the first one
        sums = np.cumsum(x * w)
        before = np.maximum.accumulate(np.where(clear, np.arange(len(x)), 0))
        total = np.concatenate([[0], sums - (sums - x * w)[before]])[:-1]
        return Trace(
            inputs={"x": x & 0xFF, "nz": w & 1, "neg": (w < 0).astype(np.int64), "clear": clear.astype(np.int64)},
            outputs={"total": total & (1 << bits) - 1},
            warm=warm,
            operations=cycles,
        )

    return Design(
        name="ternary-plain",
        what=f"int8 times trit, added to {bits} bits: one lane, no other register",
        source=lambda: _Accumulate(bits),
        drive=drive,
        lanes=1,
        macs=1,
    )
