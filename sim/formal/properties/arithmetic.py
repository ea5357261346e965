"""The processing element and what it is made of: every sum is exact."""

from __future__ import annotations

from functools import partial

from amaranth.hdl import Const, Mux, Signal, Value, signed

from tritloom.rtl.dot_product import DotProduct
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.pe import PE

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property

__all__ = ["PROPERTIES"]


def _geometry(family: Family, lanes: int) -> Geometry:
    """A geometry of one element, with registers in its tree, but for standard cells, whose elements have none."""
    return Geometry(rows=1, cols=1, lanes=lanes, tree_pitch=8 if family is Family.ASIC else 2, weight_words=2, stream_words=2)


def _product(acts: Value, weights: Value, lanes: int) -> Value:
    """The dot product by its definition, with as many bits as it takes. Its sums are paired as the tree's: a solver compares others for minutes."""
    terms: list[Value] = [Mux(weights[i].nz, Mux(weights[i].neg, -acts[i].as_signed(), acts[i].as_signed()), 0) for i in range(lanes)]
    while len(terms) > 1:
        terms = [*(a + b for a, b in zip(terms[0::2], terms[1::2], strict=False)), *terms[len(terms) & ~1:]]
    return terms[0]


def _allowed(bench: Bench, lanes: int) -> None:
    """Weights as the array hands them down: `neg` without `nz` is none."""
    for i in range(lanes):
        bench.given(bench.dut.weights[i].nz | ~bench.dut.weights[i].neg)


def _later(bench: Bench, value: Value, cycles: int) -> Value:
    for _ in range(cycles):
        value = bench.register(value)
    return value


def _dot(family: Family) -> Bench:
    geometry = _geometry(family, 3)
    bench = Bench(DotProduct(geometry), family)
    dut, stages = bench.dut, geometry.tree_stages
    _allowed(bench, geometry.lanes)
    expected = _later(bench, _product(dut.acts, dut.weights, geometry.lanes), stages)
    begun = _later(bench, Const(1), stages)
    bench.always(~begun | (dut.term + dut.carry == expected), "term + carry is the dot product")
    bench.reaches(begun & (expected == 128 * geometry.lanes), "the largest sum")
    bench.reaches(begun & (expected == -128 * geometry.lanes), "the smallest sum")
    return bench


def _pe(family: Family) -> Bench:
    geometry = _geometry(family, 4)
    bench = Bench(PE(geometry), family)
    dut, m = bench.dut, bench.m
    _allowed(bench, geometry.lanes)
    expected, begun = Signal(signed(geometry.acc_bits)), Signal()
    lanes = _later(bench, _product(dut.acts, dut.weights, geometry.lanes), geometry.tree_stages)
    m.d.sync += expected.eq(Mux(dut.clear, 0, expected) + lanes)
    full = _later(bench, Const(1), geometry.tree_stages)
    with m.If(dut.clear & full):
        m.d.sync += begun.eq(1)
    bench.always(~begun | ((dut.total + dut.owed)[:geometry.acc_bits] == expected[:]), "total + owed is the sum since clear")
    bench.lemma(~begun | full)
    bench.reaches(begun & (expected == -700) & ~dut.clear, "a sum of several cycles")
    return bench


def _depth() -> Bench:
    geometry = _geometry(Family.GENERIC, 4)
    bench = Bench(PE(geometry))
    dut, m = bench.dut, bench.m
    _allowed(bench, geometry.lanes)
    # With as many bits as no sum of this many lanes needs; and the lanes at work since `clear`, of which a job has `depth` at most.
    exact, taken, begun = Signal(signed(geometry.acc_bits + 8)), Signal(24), Signal()
    lanes = _later(bench, _product(dut.acts, dut.weights, geometry.lanes), geometry.tree_stages)
    work = _later(bench, sum((dut.weights[i].nz for i in range(geometry.lanes)), Const(0)), geometry.tree_stages)
    full = _later(bench, Const(1), geometry.tree_stages)
    m.d.sync += [exact.eq(Mux(dut.clear, 0, exact) + lanes), taken.eq(Mux(dut.clear, 0, taken) + work)]
    with m.If(dut.clear & full):
        m.d.sync += begun.eq(1)
    bench.given(Mux(dut.clear, 0, taken) + work <= geometry.depth)
    bench.always(~begun | (dut.total + dut.owed == exact), "the accumulator holds the exact sum of `depth` lanes")
    bench.lemma(~begun | full)
    bench.lemma((exact <= 128 * taken.as_signed()) & (exact >= -128 * taken.as_signed()) & (taken <= geometry.depth))
    bench.lemma((lanes <= 128 * work) & (lanes >= -128 * work))
    bench.reaches(begun & (exact == 128 * 8), "a sum of eight lanes")
    return bench


_CARRY = Mutation("dot_product:DotProduct.elaborate", "carries = [weight.neg if", "carries = [Const(0) if")
_SELECT = Mutation("adders:number", "(~value & neg.replicate(len(value)))", "(value & neg.replicate(len(value)))")
_KEPT = Mutation("adders:number", "Mux(clear, 0, value)", "Mux(clear, value, value)")
_TABLE = Mutation("carry_slot:bits", "table, inputs = _SELECT, (nz, neg)", "table, inputs = _SELECT, (neg, nz)")
_SLOT = Mutation("carry_slot:bits", "table, inputs = _KEEP, (_ONE, clear)", "table, inputs = _PLAIN, (_ONE, _ONE)")

_DOT = {
    Family.GENERIC: (_CARRY, _SELECT),
    Family.ECP5: (_CARRY, _TABLE),
    Family.GOWIN: (_CARRY, _TABLE),
}

_PE = {
    Family.GENERIC: (_CARRY, _KEPT, Mutation("dot_product:DotProduct.elaborate", "b, carries.pop(), 8 + level", "b, carries.pop(), 7 + level")),
    Family.ASIC: (Mutation("adders_asic:ASICAdders.element", "-128 * geometry.lanes", "-127 * geometry.lanes"), _SELECT),
    Family.ECP5: (_SLOT, _TABLE),
    Family.ICE40: (Mutation("adders:_ICE40Adders.accumulate", "owed.eq(carry)", "owed.eq(0)"),),
    Family.GOWIN: (_SLOT, _TABLE),
}

_GEOMETRY = "{} lanes, `tree_pitch` {}, depth 6912"

PROPERTIES = (
    *(Property(name=f"dot_product.{family}", promise="the dot product is exact for every activation and every weight",
               geometry=_GEOMETRY.format(3, _geometry(family, 3).tree_pitch), bench=partial(_dot, family), steps=3, mutations=mutations)
      for family, mutations in _DOT.items()),
    *(Property(name=f"pe.{family}", promise="after any inputs, for any length of time, the element holds the sum since `clear` (modulo its width)",
               geometry=_GEOMETRY.format(4, _geometry(family, 4).tree_pitch), bench=partial(_pe, family), steps=2, breaks=6, mutations=mutations)
      for family, mutations in _PE.items()),
    Property(name="pe.depth", promise="no sum of up to `depth` lanes overflows the accumulator, whatever they hold", geometry=_GEOMETRY.format(4, 2),
             bench=_depth, steps=2, breaks=6, mutations=(
                 Mutation("geometry:Geometry.acc_bits", "(self.depth * 128).bit_length() + 1", "11"),)),
)
