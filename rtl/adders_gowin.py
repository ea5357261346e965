"""Adders in Gowin's ALU cells, whose lookup tables do more than add.

An ALU is a LUT4 with inputs I0 to I3 and a carry: its sum is ``p ^ carry``, where p is the table's output, and the next carry is
``carry if p else g``, where g is what the table holds at I2 = I3 = 0 for I0 and I1, whatever I2 and I3 are (Apicula, doc/alu.md). It is
ECP5's carry cell under another name: with ``g = I0`` a cell adds to I0 whatever function of the others it likes, as long as that is 0 at
I2 = I3 = 0. A selected product costs nothing then, and neither does an accumulator's clear.

nextpnr ties I2 to 1 in every ALU, so I2 as an input takes a second pass of it (`boards/gowin_netlist.py`). `in_cell=False` does without:
products take a LUT a bit, and only the clear is free.

A chain begins with a cell that nextpnr adds for its carry in, and holds an even number of cells: so sums of even width share a chain in
pairs, separated by a cell that makes the next carry (p = 0, g = I0).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amaranth import *

from .adders import Adders, Kept, Selected, Sum, number

__all__ = ["GowinAdders"]


@dataclass(frozen=True)
class _Cell:
    """An ALU: its inputs I0 to I3 and the table of p."""

    inputs: tuple[Value, Value, Value, Value]
    table: int


def _table(p: Callable[[int, int, int, int], int]) -> int:
    """Table of a cell; p is a function of I0, I1, I2, I3. At I2 = I3 = 0 it must be I0, and then is the generate function."""
    table = sum(p(i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3) << i for i in range(16))
    assert table & 0xF == 0b1010
    return table


_ONE = Const(1, 1)

#: Unused inputs are tied to 1.
_PLAIN = _table(lambda a, b, c, d: a ^ (b & c))
_SELECT = _table(lambda a, x, nz, neg: a ^ ((x ^ neg) & nz))
_KEEP = _table(lambda a, b, c, clear: a ^ (b & c & ~clear & 1))
_CARRY = _table(lambda a, b, c, d: a & ~(c | d) & 1)


class GowinAdders(Adders):
    """One sum bit an ALU, selection included.

    Parameters
    ----------
    in_cell : bool
        Whether a product may be selected in the ALU, which takes an input (I2) that nextpnr connects in a second pass only.
    """

    def __init__(self, *, in_cell: bool = True):
        self._in_cell = in_cell

    def add(self, m: Module, sums: Sequence[Sum]) -> list[Value]:
        results, chain, pending = [], [], []
        for total in sums:
            result = Signal(signed(total.bits), name=total.name)
            results.append(result)
            if chain:
                chain.append(_Cell((total.carry, _ONE, _ONE, _ONE), _CARRY))
                pending.append((result, len(chain)))
            else:
                pending.append((result, 0))
                head = total.carry
            chain += self._cells(m, total)
            # One more cell goes in front for the carry.
            if len(chain) % 2 or len(pending) == 2:
                _place(m, head, chain, pending)
                chain, pending = [], []
        if chain:
            _place(m, head, chain, pending)
        return results

    def _cells(self, m: Module, total: Sum) -> list[_Cell]:
        match total.b:
            case Selected(value, neg, nz) if self._in_cell:
                table, inputs = _SELECT, (nz, neg)
            case Selected() as product:
                value, table, inputs = number(m, f"{total.name}_b", product), _PLAIN, (_ONE, _ONE)
            case Kept(value, clear):
                table, inputs = _KEEP, (_ONE, clear)
            case value:
                table, inputs = _PLAIN, (_ONE, _ONE)
        a, b = (_extended(operand, total.bits) for operand in (total.a, value))
        return [_Cell((a[i], b[i], *inputs), table) for i in range(total.bits)]


def _extended(value: Value, bits: int) -> list[Value]:
    return [value[min(i, len(value) - 1)] for i in range(bits)]


def _place(m: Module, carry: Value, chain: Sequence[_Cell], sums: Sequence[tuple[Signal, int]]) -> None:
    """Cells for a chain; each sum gets the chain's output from its first bit on."""
    outputs = Signal(len(chain), name=f"{sums[0][0].name}_chain")
    for i, cell in enumerate(chain):
        after = Signal(name=f"{outputs.name}_carry{i}")
        m.submodules[f"{outputs.name}{i}"] = Instance(
            "TRITLOOM_ALU", p_RAW_ALU_LUT=Const(cell.table, 16), **{f"i_I{n}": value for n, value in enumerate(cell.inputs)},
            i_CIN=carry, o_SUM=outputs[i], o_COUT=after)
        carry = after
    for result, start in sums:
        m.d.comb += result.eq(outputs[start:start + len(result)])
