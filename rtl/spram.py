"""The single-ported memories of an iCE40 UP5K, side by side and one behind the other."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["SPRAM"]

_WIDTH, _DEPTH = 16, 16384


class SPRAM(wiring.Component):
    """Words of any width and number, in SB_SPRAM256KA cells.

    One access a cycle: what is written in a cycle is not read in it. A word that was read stands in `read_data` from the next cycle until
    the next access. Contents are not defined before they are written.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
        Words.

    Members
    -------
    address : In(range(depth))
    write : In(1), write_data : In(width)
    read : In(1), read_data : Out(width)
        `read` wins over `write`.
    """

    def __init__(self, width: int, depth: int):
        self._width, self._depth = width, depth
        super().__init__({
            "address":    In(range(depth)),
            "write":      In(1),
            "write_data": In(width),
            "read":       In(1),
            "read_data":  Out(width),
        })

    @property
    def cells(self) -> int:
        """SPRAMs that this takes; a UP5K has four."""
        return -(-self._width // _WIDTH) * -(-self._depth // _DEPTH)

    def elaborate(self, platform):
        m = Module()
        columns, banks = -(-self._width // _WIDTH), -(-self._depth // _DEPTH)
        within, bank = self.address[:14], self.address[14:]
        access = self.write | self.read

        shown = Signal.like(bank, name="shown")
        with m.If(access):
            m.d.sync += shown.eq(bank)
        words = []
        for at in range(banks):
            word = Signal(columns * _WIDTH, name=f"word{at}")
            words.append(word)
            for column in range(columns):
                bits = slice(column * _WIDTH, (column + 1) * _WIDTH)
                m.submodules[f"cell{at}_{column}"] = Instance(
                    "SB_SPRAM256KA",
                    i_CLOCK=ClockSignal(), i_CHIPSELECT=access & (bank == at), i_WREN=self.write & ~self.read, i_MASKWREN=Const(0b1111, 4),
                    i_ADDRESS=Cat(within, Const(0, 14 - len(within))), i_DATAIN=Cat(self.write_data, Const(0, columns * _WIDTH - self._width))[bits],
                    i_STANDBY=Const(0), i_SLEEP=Const(0), i_POWEROFF=Const(1),    # POWEROFF is active low
                    o_DATAOUT=word[bits],
                )
        m.d.comb += self.read_data.eq(Array(words)[shown] if banks > 1 else words[0])
        return m
