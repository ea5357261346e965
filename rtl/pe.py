"""The processing element: a ternary dot product and its accumulator, made of adders only."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .layouts import Trit, acts_word

__all__ = ["PE"]


class PE(wiring.Component):
    """Adds ``sum(weights[l] * acts[l])`` over its lanes to an accumulator, every cycle.

    A product with a ternary weight is a selection: ``(x ^ neg) & nz`` is x, ``~x`` or 0. What ``~x`` lacks to ``-x`` is 1, and a
    tree over L lanes has L - 1 adders, the accumulator one more: each takes one lane's missing 1 as its carry in. So the sum is
    exact for every int8 input, -128 times -1 included, and no adder is spent on negation.

    One new set of lanes a cycle; there is no enable: zero weights leave the sum as it is. The sum of what came in at cycle t
    stands in `total` at ``t + tree_stages + 1``. The element knows nothing of tiles or of skew: `clear` comes from outside.

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
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "acts":    In(acts_word(geometry)),
            "weights": In(data.ArrayLayout(Trit, geometry.lanes)),
            "clear":   In(1),
            "total":   Out(signed(geometry.acc_bits)),
        })

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry

        # One term a lane: its selected activation and the carry it still owes.
        terms, carries = [], []
        for lane in range(geometry.lanes):
            term = Signal(8, name=f"product{lane}")
            weight = self.weights[lane]
            m.d.comb += term.eq((self.acts[lane] ^ weight.neg.replicate(8)) & weight.nz.replicate(8))
            terms.append(term.as_signed())
            carries.append(weight.neg)

        for level in range(1, geometry.tree_levels + 1):
            sums = []
            for a, b in zip(terms[0::2], terms[1::2], strict=False):
                total = Signal(signed(max(len(a), len(b)) + 1), name=f"level{level}_{len(sums)}")
                m.d.comb += total.eq(_add(a, b, carries.pop()))
                sums.append(total)
            if len(terms) % 2:
                sums.append(terms[-1])
            terms = sums
            if level % geometry.tree_pitch == 0 or level == geometry.tree_levels:
                terms = [_register(m, term, f"stage{level}_{i}") for i, term in enumerate(terms)]
                carries = [_register(m, carry, f"carry{level}_{i}") for i, carry in enumerate(carries)]

        # Every adder of the tree took one carry: the accumulator's takes the last.
        [term], [carry] = terms, carries
        kept = Mux(self.clear, 0, self.total).as_signed()
        m.d.sync += self.total.eq(_add(kept, term, carry))
        return m


def _add(a: Value, b: Value, carry: Value) -> Value:
    """``a + b + carry`` as one adder: the carry enters through an extra bit below."""
    return (Cat(Const(1, 1), a).as_signed() + Cat(carry, b).as_signed())[1:].as_signed()


def _register(m: Module, value: Value, name: str) -> Signal:
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
