"""Adders in Gowin's ALU cells, whose lookup tables do more than add.

An ALU is a slot (`carry_slot`) with inputs I0 to I3 (Apicula, doc/alu.md): ECP5's carry cell under another name.

nextpnr ties I2 to 1 in every ALU, so I2 as an input takes a second pass of it (`boards/gowin_netlist.py`). `in_cell=False` does without:
products take a LUT a bit, and only the clear is free.

A chain begins with a cell that nextpnr adds for its carry in, and holds an even number of cells: so sums of even width share a chain in
pairs, separated by a cell that makes the next carry.
"""

from collections.abc import Sequence
from dataclasses import replace

from amaranth import *

from .adders import Adders, Selected, Sum, number
from .carry_slot import Slot, bits, carry_in

__all__ = ["GowinAdders"]


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
                chain.append(carry_in(total.carry))
                pending.append((result, len(chain)))
            else:
                pending.append((result, 0))
                head = total.carry
            chain += bits(self._selected(m, total))
            # One more cell goes in front for the carry.
            if len(chain) % 2 or len(pending) == 2:
                _place(m, head, chain, pending)
                chain, pending = [], []
        if chain:
            _place(m, head, chain, pending)
        return results

    def _selected(self, m: Module, total: Sum) -> Sum:
        """The sum, with its product made outside where it has to be."""
        if self._in_cell or not isinstance(total.b, Selected):
            return total
        return replace(total, b=number(m, f"{total.name}_b", total.b))


def _place(m: Module, carry: Value, chain: Sequence[Slot], sums: Sequence[tuple[Signal, int]]) -> None:
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
