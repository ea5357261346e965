"""Block RAM as all families have it: one port to write, one to read, a cycle later."""

from collections.abc import Iterable

from amaranth import *
from amaranth.hdl import ShapeLike
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RAM"]


class RAM(wiring.Component):
    """Words of one memory.

    A word that is written in the cycle in which it is read comes out as the old or the new one: block RAMs differ, and to hide that
    takes registers and multiplexers as wide as the word (265 flip-flops and 130 LUT4 for 128 bits on iCE40). Whoever cares does not do it.

    Parameters
    ----------
    shape : ShapeLike
        Of a word.
    depth : int
        Words.
    init : iterable of int
        First words at the start, the others being 0.
    style : str or None
        "block" for block RAM even if it is small.

    Members
    -------
    write : In(1), write_at : In(range(depth)), data : In(shape)
    read : In(1), read_at : In(range(depth)), word : Out(shape)
        The word at `read_at` stands in `word` from the next cycle until the one after the next read.
    """

    def __init__(self, shape: ShapeLike, depth: int, init: Iterable[int] = (), style: str | None = None):
        self._shape, self._depth, self._init, self._style = shape, depth, list(init), style
        super().__init__({
            "write":    In(1),
            "write_at": In(range(depth)),
            "data":     In(shape),
            "read":     In(1),
            "read_at":  In(range(depth)),
            "word":     Out(shape),
        })

    def elaborate(self, platform):
        m = Module()
        # A synchronous port of Amaranth's would promise the old word. Yosys makes a block RAM's port of this one and its register, and the
        # attribute says that nobody asks for more.
        attributes = {"no_rw_check": 1} | ({"ram_style": self._style} if self._style else {})
        m.submodules.words = words = memory.Memory(shape=self._shape, depth=self._depth, init=self._init, attrs=attributes)
        write, read = words.write_port(), words.read_port(domain="comb")
        # Nobody reads before reading, but a register of Amaranth's starts as 0, which an iCE40's block RAM does not: a LUT for each bit would
        # see to that. So only the first bit's initial value is stated; the others' is then undefined for Yosys, and 0 for a simulator.
        word = Signal(self._shape, reset_less=True, attrs={"init": Const(0, 1)})
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_at),
            write.data.eq(self.data),
            read.addr.eq(self.read_at),
            self.word.eq(word),
        ]
        with m.If(self.read):
            m.d.sync += word.eq(read.data)
        return m
