"""Processing elements for integer weights: what the ternary one is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed

from tritloom.sim.energy.designs.element import IntegerSum, levels

__all__ = ["IntegerElement", "IntegerForm"]


@dataclass(frozen=True, kw_only=True)
class IntegerForm:
    """One way to build a processing element for integer weights.

    Parameters
    ----------
    lanes : int
        Products summed in a cycle.
    weight_bits : int
        1 for weights of 1 and -1 (the bit is the sign), more for two's complement.
    acc_bits : int
        Width of the accumulator.
    merged : bool
        Sums everything at once, the accumulator too, and saves carries until the last adder: the accumulator is the only register.
        Otherwise each product is a number by itself, and the rest is what the shipped ternary element has: adders in pairs, with registers.
    pitch : int
        Levels of adders between two registers, without `merged`; the accumulator's adder is the last level, and a product is none.
    booth : bool
        Two bits of a weight at a time, as a digit from -2 to 2 (radix-4 Booth encoding): half the rows, each with a selection. Wants an even number of bits.
    """

    lanes: int
    weight_bits: int
    acc_bits: int = 32
    merged: bool = True
    pitch: int = 2
    booth: bool = False

    def __post_init__(self) -> None:
        if self.booth and self.weight_bits % 2:
            raise ValueError(f"`booth` wants an even number of weight bits, not {self.weight_bits}")

    @property
    def levels(self) -> int:
        """Levels of a tree."""
        return levels(self.lanes)

    @property
    def stages(self) -> int:
        """Registers between the inputs and the accumulator."""
        return 0 if self.merged else self.levels // self.pitch


class IntegerElement(IntegerSum[IntegerForm]):
    """``sum(weights[l] * acts[l])`` added to an accumulator, every cycle. What comes in at cycle t stands in `total` at ``t + form.stages + 1``.

    Without Booth encoding, a product is made of one row of AND gates a weight bit, the sign bits inverted so that every row is unsigned (Baugh and Wooley, "A Two's
    Complement Parallel Array Multiplication Algorithm", IEEE Trans. Computers C-22, 1973): Yosys' own signed product extends every row to the
    sum's width, which costs twice the adders.

    Parameters
    ----------
    form : IntegerForm

    Members
    -------
    acts : In(ArrayLayout(8, lanes))
        Activations, two's complement.
    weights : In(ArrayLayout(weight_bits, lanes))
    clear : In(1)
        Starts a new sum with the lanes that came `form.stages` cycles ago.
    total : Out(signed(acc_bits))
        The accumulator.
    """

    def __init__(self, form: IntegerForm):
        super().__init__(form, form.weight_bits)

    def elaborate(self, platform):
        m = Module()
        form = self._form
        total, kept = self.accumulator(m)
        rows, excess = [], 0
        for lane in range(form.lanes):
            addends, more = self._rows(lane)
            rows.append(addends)
            excess += more
        if form.merged:
            everything = [row for addends in rows for row in addends]
            m.d.sync += total.eq(reduce(add, everything) + kept + Const(-excess % (1 << form.acc_bits), form.acc_bits))
            return m

        bits = 8 + form.weight_bits      # -128 times the lowest weight is positive
        terms = []
        for lane, addends in enumerate(rows):
            # Modulo the product's width, what the rows count too much is a constant: one or two bits of it.
            product = Signal(signed(bits), name=f"product{lane}")
            m.d.comb += product.eq(reduce(add, addends) + Const(-excess // form.lanes % (1 << bits), bits))
            terms.append(product)
        for level in range(1, form.levels + 1):
            pairs = list(zip(terms[0::2], terms[1::2], strict=False))
            sums = []
            for i, (a, b) in enumerate(pairs):
                total_of_two = Signal(signed(bits + level), name=f"level{level}_{i}")
                m.d.comb += total_of_two.eq(a + b)
                sums.append(total_of_two)
            terms = sums + terms[2 * len(pairs):]
            if level % form.pitch == 0:
                registers = [Signal.like(term, name=f"stage{level}_{i}", reset_less=True) for i, term in enumerate(terms)]
                m.d.sync += [register.eq(term) for register, term in zip(registers, terms, strict=True)]
                terms = registers
        m.d.sync += total.eq(kept.as_signed() + terms[0])
        return m

    def _rows(self, lane: int) -> tuple[list[Value], int]:
        """Unsigned addends of one product, and what they are too much."""
        x, weight = self.acts[lane], self.weights[lane]
        bits = self._form.weight_bits
        if bits == 1:
            flipped = x ^ weight.replicate(8)
            return [Cat(flipped[:7], ~flipped[7]), weight], 128
        if self._form.booth:
            return self._digits(x, weight)
        rows, excess = [], 0
        for i in range(bits):
            products = x & weight[i].replicate(8)
            if i < bits - 1:
                # The activation's sign bit has the weight -128: inverted, it is 128 less 128.
                row = Cat(products[:7], ~products[7])
                excess += 128 << i
            else:
                # The row of the weight's sign bit is taken away: all bits but the activation's sign inverted.
                row = Cat(~products[:7], products[7])
                excess += 127 << i
            rows.append(row << i)
        return rows, excess

    def _digits(self, x: Value, weight: Value) -> tuple[list[Value], int]:
        """The same, by Booth's digits."""
        rows, excess = [], 0
        for i in range(0, self._form.weight_bits, 2):
            below, low, high = weight[i - 1] if i else Const(0), weight[i], weight[i + 1]
            one, two = low ^ below, Mux(high, ~low & ~below, low & below)
            negative = high & ~(low & below)
            wide = x.as_signed()
            row = ((Cat(wide, wide[7]) & one.replicate(9)) | (Cat(Const(0, 1), wide) & two.replicate(9))) ^ negative.replicate(9)
            # The row's sign bit has the weight -256.
            rows += [Cat(row[:8], ~row[8]) << i, negative << i]
            excess += 256 << i
        return rows, excess
