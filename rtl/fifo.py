"""A queue in block RAM."""

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .ram import RAM

__all__ = ["Queue"]


class Queue(wiring.Component):
    """Items in order, the first of them at the memory's output: two cycles from an empty queue's one end to the other.

    `amaranth.lib.fifo` keeps a memory's promise about words read while they are written, which a queue needs not, as it never reads where
    it writes: 99 LUT4 and 116 flip-flops on iCE40 for 33 bits where this takes 35 and 16.

    Parameters
    ----------
    shape : ShapeLike
        Of an item.
    depth : int
        Items that it takes at least.

    Members
    -------
    writes : In(stream.Signature(shape, always_ready=True))
        Who writes knows that there is room.
    reads : Out(stream.Signature(shape))
    """

    def __init__(self, shape: ShapeLike, depth: int):
        self._shape = shape
        self._slots = 1 << ceil_log2(depth + 1)    # one stays free
        super().__init__({"writes": In(stream.Signature(shape, always_ready=True)), "reads": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = RAM(self._shape, self._slots)
        written, read = Signal(range(self._slots)), Signal(range(self._slots))
        m.d.comb += [
            ram.write.eq(self.writes.valid),
            ram.write_at.eq(written),
            ram.data.eq(self.writes.payload),
            ram.read.eq((written != read) & (self.reads.ready | ~self.reads.valid)),
            ram.read_at.eq(read),
            self.reads.payload.eq(ram.word),
        ]
        with m.If(ram.write):
            m.d.sync += written.eq(written + 1)
        with m.If(ram.read):
            m.d.sync += [read.eq(read + 1), self.reads.valid.eq(1)]
        with m.Elif(self.reads.ready):
            m.d.sync += self.reads.valid.eq(0)
        return m
