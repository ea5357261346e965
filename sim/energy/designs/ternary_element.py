"""Ternary processing elements that do the same work in different ways, to find out which takes the least energy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import add

from amaranth import Cat, Const, Module, Shape, Signal, Value, signed

from tritloom.rtl.layouts import Trit
from tritloom.sim.energy.designs.element import IntegerSum, levels

__all__ = ["Correction", "Form", "Selection", "Summation", "TernaryElement"]


class Selection(StrEnum):
    """How a product is made of an activation and the weight's two bits (`neg` without `nz` does not occur)."""

    XOR_AND = "xor-and"
    """``(x ^ neg) & nz``: a zero weight stops the activation behind the exclusive or."""
    AND_XOR = "and-xor"
    """``(x & nz) ^ neg``: a zero weight stops the activation before it gets into the exclusive or."""
    AND_OR = "and-or"
    """``(x & pos) | (~x & neg)``, one complex gate a bit, as `tritloom.rtl.adders` has it."""


class Summation(StrEnum):
    """How the products of a cycle get into the accumulator."""

    TREE = "tree"
    """Adders in pairs, level by level, and one more for the accumulator, as `tritloom.rtl.pe` has it."""
    SAVED = "saved"
    """All products at once, carries saved until the last adder; a register; the accumulator's adder."""
    MERGED = "merged"
    """All products and the accumulator at once, carries saved until the last adder: the accumulator is the only register."""
    SIDES = "sides"
    """Positive and negative products summed apart (of offset activations), a register for each; then subtracted: no negation, twice the adders."""


class Correction(StrEnum):
    """Where the 1 goes that ``~x`` lacks to ``-x``."""

    CARRY = "carry"
    """Into a carry of this cycle's adders: the sum is exact."""
    LATE = "late"
    """Nowhere: whoever reads `total` adds the number of -1 weights, which is known from the weights alone."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """One way to build a ternary processing element.

    Parameters
    ----------
    lanes : int
        Products summed in a cycle.
    selection : Selection
    summation : Summation
    correction : Correction
    offset : bool
        Products are made unsigned by inverting their highest bit, so that no adder needs a sign: every product counts 128 too much, which is
        taken off as a constant in the accumulator's adder.
    pitch : int
        Levels of a `TREE` between two registers, the accumulator's adder being the last level; `lanes` or more is none.
    quiet : bool
        An activation that is 0 is not negated: ``~0 + 1`` is 0, but moves every bit on its way through the adders. In an array, the gate that
        sees the 0 would serve all columns of an activation register; here it is in the element, and counted.
    acc_bits : int
        Width of the accumulator.

    Raises
    ------
    ValueError
        If `quiet` is asked for where the negations are counted elsewhere, from the weights alone, or where nothing is negated.
    """

    lanes: int
    selection: Selection = Selection.XOR_AND
    summation: Summation = Summation.TREE
    correction: Correction = Correction.CARRY
    offset: bool = False
    pitch: int = 2
    quiet: bool = False
    acc_bits: int = 21

    def __post_init__(self) -> None:
        if self.quiet and (self.correction is Correction.LATE or self.summation is Summation.SIDES):
            raise ValueError(f"`quiet` must be False with {self.correction} correction and summation {self.summation}")

    @property
    def levels(self) -> int:
        """Levels of a tree."""
        return levels(self.lanes)

    @property
    def stages(self) -> int:
        """Registers between the inputs and the accumulator."""
        match self.summation:
            case Summation.TREE:
                return self.levels // self.pitch
            case Summation.SAVED | Summation.SIDES:
                return 1
            case _:
                return 0


class TernaryElement(IntegerSum[Form]):
    """``sum(weights[l] * acts[l])`` added to an accumulator, every cycle. What comes in at cycle t stands in `total` at ``t + form.stages + 1``.

    Parameters
    ----------
    form : Form

    Members
    -------
    acts : In(ArrayLayout(8, lanes))
        Activations, two's complement.
    weights : In(ArrayLayout(Trit, lanes))
        Weights. `neg` without `nz` is not allowed.
    clear : In(1)
        Starts a new sum with the lanes that came `form.stages` cycles ago.
    total : Out(signed(acc_bits))
        The accumulator; with `Correction.LATE` too small by the number of -1 weights in it.
    """

    def __init__(self, form: Form):
        super().__init__(form, Trit)

    def elaborate(self, platform):
        m = Module()
        form = self._form
        total, kept = self.accumulator(m)
        if form.summation is Summation.SIDES:
            m.d.sync += total.eq(kept.as_signed() + self._sides(m))
            return m

        terms = [self._selected(m, lane) for lane in range(form.lanes)]
        carries = [self._negated(lane) if form.correction is Correction.CARRY else Const(0) for lane in range(form.lanes)]
        match form.summation:
            case Summation.TREE:
                following = self._tree(m, terms, carries, kept)
            case Summation.SAVED:
                # What `terms` count too much is off again in `level`, modulo its width.
                level = Signal(signed(8 + form.levels + 1), reset_less=True)
                m.d.sync += level.eq(reduce(add, [*terms, *carries]) + self._excess(len(level)))
                following = (kept.as_signed() + level)[:form.acc_bits]
            case _:
                following = (reduce(add, [*terms, *carries]) + kept + self._excess(form.acc_bits))[:form.acc_bits]
        m.d.sync += total.eq(following)
        return m

    def _excess(self, bits: int) -> Const:
        return Const(-128 * self._form.lanes % (1 << bits), bits) if self._form.offset else Const(0)

    def _negated(self, lane: int) -> Value:
        return self.weights[lane].neg & (self.acts[lane].any() if self._form.quiet else 1)

    def _selected(self, m: Module, lane: int) -> Value:
        """The product of a lane, without the 1 that its negation lacks."""
        x, weight = self.acts[lane], self.weights[lane]
        nz, neg = weight.nz.replicate(8), self._negated(lane).replicate(8)
        result = Signal(8, name=f"product{lane}")
        match self._form.selection:
            case Selection.XOR_AND:
                product = (x ^ neg) & nz
            case Selection.AND_XOR:
                product = (x & nz) ^ neg
            case Selection.AND_OR:
                product = (x & (weight.nz & ~weight.neg).replicate(8)) | (~x & neg)
        m.d.comb += result.eq(product ^ (0x80 if self._form.offset else 0))
        return result if self._form.offset else result.as_signed()

    def _tree(self, m: Module, terms: list[Value], carries: list[Value], kept: Value) -> Value:
        form = self._form
        for level in range(1, form.levels + 1):
            pairs = list(zip(terms[0::2], terms[1::2], strict=False))
            sums = [_sum(m, f"level{level}_{i}", a, b, carries.pop(), 8 + level) for i, (a, b) in enumerate(pairs)]
            terms = sums + terms[2 * len(pairs):]
            if level % form.pitch == 0:
                terms = [_register(m, term, f"stage{level}_{i}") for i, term in enumerate(terms)]
                carries = [_register(m, carry, f"carry{level}_{i}") for i, carry in enumerate(carries)]
        [term], [carry] = terms, carries
        if form.offset:
            # 128 a lane too much; with a power of two of lanes that is the highest bit, inverted: a sign.
            term = (term - 128 * form.lanes) if form.lanes & (form.lanes - 1) else Cat(term[:-1], ~term[-1]).as_signed()
        return _sum(m, "following", kept.as_signed(), term, carry, form.acc_bits)

    def _sides(self, m: Module) -> Value:
        """Of u = x + 128: the positive ones less the negative ones, and 128 for each positive one too much and each negative one too little."""
        u = [Cat(x[:7], ~x[7]) for x in self.acts]
        sides, counts = [], []
        for side, bits in (("pos", [weight.nz & ~weight.neg for weight in self.weights]), ("neg", [weight.neg for weight in self.weights])):
            total = Signal(8 + self._form.levels, name=side, reset_less=True)
            count = Signal(1 + self._form.levels, name=f"{side}_count", reset_less=True)
            m.d.sync += [
                total.eq(reduce(add, [value & bit.replicate(8) for value, bit in zip(u, bits, strict=True)])),
                count.eq(reduce(add, bits)),
            ]
            sides.append(total)
            counts.append(count)
        return sides[0] - sides[1] - ((counts[0] - counts[1]) << 7)


def _sum(m: Module, name: str, a: Value, b: Value, carry: Value, bits: int) -> Value:
    shape = Shape(bits, a.shape().signed or b.shape().signed)
    result = Signal(shape, name=name)
    # The carry enters through an extra bit below, so that there is one adder, not two.
    a, b = (Cat(bit, value).as_signed() if value.shape().signed else Cat(bit, value) for bit, value in ((Const(1, 1), a), (carry, b)))
    m.d.comb += result.eq((a + b)[1:])
    return result


def _register(m: Module, value: Value, name: str) -> Value:
    if isinstance(value, Const):
        return value
    register = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register
