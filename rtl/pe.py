"""The processing element: a ternary dot product and its accumulator, made of adders only."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adders import adders_of
from .dot_product import DotProduct
from .geometry import Geometry
from .layouts import Trit, acts_word

__all__ = ["PE"]


class PE(wiring.Component):
    """Adds ``sum(weights[l] * acts[l])`` over its lanes to an accumulator, every cycle.

    One new set of lanes a cycle; there is no enable: zero weights leave the sum as it is. The sum of what came in at cycle t
    stands in ``total + owed`` at ``t + tree_stages + 1``. The element knows nothing of tiles or of skew: `clear` comes from outside.

    Parameters
    ----------
    geometry : Geometry
        Uses `lanes`, `tree_pitch` and `acc_bits`.

    Members
    -------
    acts : In(ArrayLayout(8, lanes))
        Activations, two's complement.
    weights : In(ArrayLayout(Trit, lanes))
        Weights. `neg` without `nz` is not allowed: the array clears it once for all rows.
    clear : In(1)
        Starts a new sum with the lanes that came `tree_stages` cycles ago.
    total : Out(signed(acc_bits))
        The accumulator.
    owed : Out(1)
        What `total` lacks to the sum: where a family's cells make the accumulator cheaper that way, else 0.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "acts":    In(acts_word(geometry)),
            "weights": In(data.ArrayLayout(Trit, geometry.lanes)),
            "clear":   In(1),
            "total":   Out(signed(geometry.acc_bits)),
            "owed":    Out(1),
        })

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        # The first `clear` sets it. A reset would be a gate a bit where flip-flops have none.
        total = Signal(signed(geometry.acc_bits), reset_less=True)
        m.d.comb += self.total.eq(total)
        adders = adders_of(platform)
        if adders.element(m, geometry, self.acts, self.weights, self.clear, total):
            m.d.comb += self.owed.eq(0)
        else:
            m.submodules.dot = dot = DotProduct(geometry)
            m.d.comb += [
                dot.acts.eq(self.acts),
                dot.weights.eq(self.weights),
                self.owed.eq(adders.accumulate(m, total, self.clear, dot.term, dot.carry)),
            ]
        return m
