"""The queue: what goes in comes out, once and in order."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from tritloom.rtl.fifo import Queue

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word

__all__ = ["PROPERTIES"]

_DEPTH = 5


def _queue() -> Bench:
    """A queue whose writer keeps to its depth; with the numbers of items written and taken, modulo 256."""
    bench = Bench(Queue(4, _DEPTH))
    dut, m = bench.dut, bench.m
    bench.written, bench.taken = Signal(8), Signal(8)
    m.d.sync += [bench.written.eq(bench.written + dut.writes.valid), bench.taken.eq(bench.taken + (dut.reads.valid & dut.reads.ready))]
    level = (bench.written - bench.taken)[:8]
    bench.given((level < _DEPTH) | ~dut.writes.valid)
    held = dut.reads.valid
    bench.lemma(level <= _DEPTH)
    bench.lemma(bench.inside("written") == bench.written[:3])
    bench.lemma(bench.inside("read") == (bench.taken + held)[:3])
    bench.lemma(~held | (level != 0))
    return bench


def _order() -> Bench:
    bench = _queue()
    dut, m = bench.dut, bench.m
    number, item = bench.constant("number", 8), Signal(4)
    inside = Signal()
    takes = dut.reads.valid & dut.reads.ready & (bench.taken == number)
    with m.If(takes):
        m.d.sync += inside.eq(0)
    with m.If(dut.writes.valid & (bench.written == number)):
        m.d.sync += [item.eq(dut.writes.payload), inside.eq(1)]
    bench.always(~takes | (inside & (dut.reads.payload == item)), "the n-th item taken is the n-th written")
    level = (bench.written - bench.taken)[:8]
    behind = (number - bench.taken)[:8]
    bench.lemma(inside == (behind < level))
    shown = dut.reads.valid & (behind == 0)
    bench.lemma(~inside | (shown & (dut.reads.payload == item)) | (~shown & (bench.stored("ram", number[:3]) == item)))
    bench.reaches(takes & (number == 9) & (item == 7), "the tenth item")
    return bench


def _latency() -> Bench:
    bench = _queue()
    dut, m = bench.dut, bench.m
    number, age = bench.constant("number", 8), Signal(2)
    inside = (number - bench.taken)[:8] < (bench.written - bench.taken)[:8]
    m.d.sync += age.eq(Mux(inside, Mux(age == 3, 3, age + 1), 0))
    level = (bench.written - bench.taken)[:8]
    bench.always(~dut.reads.valid | (level != 0), "nothing is shown that was not written")
    bench.always(~(inside & (age != 0) & (bench.taken == number)) | dut.reads.valid, "an item is shown two cycles after it was written, or in its turn")
    bench.reaches(level == _DEPTH, "full")
    return bench


def _stream() -> Bench:
    bench = _queue()
    keeps_its_word(bench, bench.dut.reads, "reads")
    return bench


_GEOMETRY = f"{_DEPTH} items of 4 bits"

PROPERTIES = (
    Property(name="queue.order", promise="the n-th item taken is the n-th one written, for every n: none is lost, doubled or overtaken", geometry=_GEOMETRY,
             bench=_order, steps=2, cover=24, breaks=16, mutations=(
                 Mutation("fifo:Queue.elaborate", "read.eq(read + 1)", "read.eq(read + 2)"),
                 Mutation("fifo:Queue.elaborate", "(self.reads.ready | ~self.reads.valid)", "1"),
                 Mutation("fifo:Queue.elaborate", "Signal(range(self._slots)), Signal(range(self._slots))",
                          "Signal(range(self._slots // 2)), Signal(range(self._slots // 2))"))),
    Property(name="queue.latency", promise="an item is shown within two cycles, or as soon as it is its turn, and nothing else is", geometry=_GEOMETRY, bench=_latency, steps=4, cover=8,
             breaks=10, mutations=(Mutation("fifo:Queue.elaborate", "with m.Elif(self.reads.ready):", "with m.Elif(self.reads.ready & self.writes.valid):"),)),
    Property(name="queue.stream", promise="the stream's rules", geometry=_GEOMETRY, bench=_stream, steps=2, breaks=10, mutations=(
        Mutation("fifo:Queue.elaborate", "with m.Elif(self.reads.ready):", "with m.Else():"),)),
)
