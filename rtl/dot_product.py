"""The ternary dot product: selections and an adder tree."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .adders import Selected, Sum, adders_of, number
from .geometry import Geometry
from .layouts import Trit, acts_word

__all__ = ["DotProduct"]


class DotProduct(wiring.Component):
    """``sum(weights[l] * acts[l])`` over its lanes, with every clock.

    A product with a ternary weight is a selection: x, ``~x`` or 0. What ``~x`` lacks to ``-x`` is 1, and a
    tree over L lanes has L - 1 adders: each takes one lane's missing 1 as its carry in, and the last lane's goes along with the sum.
    So the sum is exact for every int8 input, -128 times -1 included, and no adder is spent on negation.

    What comes in at cycle t comes out at ``t + tree_stages``: a register follows every `tree_pitch`-th level.

    Parameters
    ----------
    geometry : Geometry
        Uses `lanes` and `tree_pitch`.
    corrected : bool
        False leaves the missing ones out, for whoever counts them elsewhere: it shows what they cost.

    Members
    -------
    acts : In(ArrayLayout(8, lanes))
        Activations, two's complement.
    weights : In(ArrayLayout(Trit, lanes))
        Weights. `neg` without `nz` is not allowed: the array clears it once for all rows.
    term : Out(signed(8 + tree_levels)), carry : Out(1)
        ``term + carry`` is the dot product.
    """

    def __init__(self, geometry: Geometry, *, corrected: bool = True):
        self._geometry = geometry
        self._corrected = corrected
        super().__init__({
            "acts":    In(acts_word(geometry)),
            "weights": In(data.ArrayLayout(Trit, geometry.lanes)),
            "term":    Out(signed(8 + geometry.tree_levels)),
            "carry":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        adders = adders_of(platform)

        # One term a lane, and the carry that each still owes.
        terms = [Selected(self.acts[lane], self.weights[lane].neg, self.weights[lane].nz) for lane in range(geometry.lanes)]
        carries = [weight.neg if self._corrected else Const(0) for weight in self.weights]

        for level in range(1, geometry.tree_levels + 1):
            # The first operand of each sum is a number; the second may still be a selection.
            pairs = list(zip(terms[0::2], terms[1::2], strict=False))
            sums = adders.add(m, [
                Sum(f"level{level}_{i}", number(m, f"level{level}_{i}_a", a), b, carries.pop(), 8 + level)
                for i, (a, b) in enumerate(pairs)
            ])
            terms = sums + terms[2 * len(pairs):]
            if level % geometry.tree_pitch == 0:
                terms = [_register(m, number(m, f"stage{level}_{i}_a", term), f"stage{level}_{i}") for i, term in enumerate(terms)]
                carries = [_register(m, carry, f"carry{level}_{i}") for i, carry in enumerate(carries)]

        [term], [carry] = terms, carries
        m.d.comb += [self.term.eq(number(m, "alone", term)), self.carry.eq(carry)]
        return m


def _register(m: Module, value: Value, name: str) -> Value:
    if isinstance(value, Const):
        return value
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
