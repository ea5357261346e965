"""Adders in ECP5's carry cells, whose lookup tables do more than add.

A CCU2C is two slots of one LUT4 each, with inputs a, b, c, d and a table. Its sum bit is ``p ^ carry``, where p is the table's output, and
the next carry is ``carry if p else g``, where g is the table's output at c = d = 0 (Lattice TN1265; Yosys' `ecp5/ccu2c_sim.vh`). So with
``g = a`` a slot adds to a whatever function of b, c and d it likes, as long as that is 0 at c = d = 0: a selected product, or an
accumulator with its clear. That function costs nothing.

A carry from logic enters through a slot of its own: p = 0 and g = a make the next carry a, whatever came before. Such a slot also separates
two sums, so one chain can hold several; and as cells have two slots, sums of even width share a chain in pairs, which saves a slot each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from amaranth import *

from .adders import Adders, Kept, Selected, Sum

__all__ = ["ECP5Adders"]


@dataclass(frozen=True)
class _Slot:
    """Half a CCU2C: four inputs and the table of p."""

    inputs: tuple[Value, Value, Value, Value]
    table: int


def _table(p: Callable[[int, int, int, int], int]) -> int:
    """INIT of a slot; p is a function of a, b, c, d. At c = d = 0 it must be a, and then is the generate function."""
    table = sum(p(i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3) << i for i in range(16))
    assert table & 0xF == 0b1010
    return table


_ONE = Const(1, 1)

#: Unused inputs are tied to 1: the tables differ from their generate function only where c or d is.
_PLAIN = _table(lambda a, b, c, d: a ^ (b & (c | d)))
_SELECT = _table(lambda a, x, nz, neg: a ^ ((x ^ neg) & nz))
_KEEP = _table(lambda a, b, clear, used: a ^ (b & ~clear & used & 1))
_CARRY = _table(lambda a, b, c, d: a & ~(c | d) & 1)


class ECP5Adders(Adders):
    """Two sum bits a CCU2C, selection included.

    Sums of one level share chains in pairs where that saves a cell. Longer chains would save no more, and static timing follows a chain
    from end to end, though a separator stops every carry.
    """

    def add(self, m: Module, sums: Sequence[Sum]) -> list[Value]:
        results, chain, pending = [], [], []
        for total in sums:
            result = Signal(signed(total.bits), name=total.name)
            results.append(result)
            slots = _slots(total)
            if chain and len(slots) == total.bits:    # no slot that stops the carry of the sum before
                _place(m, chain, pending)
                chain, pending = [], []
            chain += slots
            pending.append((result, len(chain) - total.bits))
            if len(chain) % 2 == 0 or len(pending) == 2:
                _place(m, chain, pending)
                chain, pending = [], []
        if chain:
            _place(m, chain, pending)
        return results


def _slots(total: Sum) -> list[_Slot]:
    """The slots of one sum: its carry if it has one, then its bits."""
    match total.b:
        case Selected(value, neg, nz):
            table, inputs = _SELECT, (nz, neg)
        case Kept(value, clear):
            table, inputs = _KEEP, (clear, _ONE)
        case value:
            table, inputs = _PLAIN, (_ONE, _ONE)
    a, b = (_extended(operand, total.bits) for operand in (total.a, value))
    carry = [] if isinstance(total.carry, Const) and total.carry.value == 0 else [_Slot((total.carry, _ONE, _ONE, _ONE), _CARRY)]
    return [*carry, *(_Slot((a[i], b[i], *inputs), table) for i in range(total.bits))]


def _extended(value: Value, bits: int) -> list[Value]:
    return [value[min(i, len(value) - 1)] for i in range(bits)]


def _place(m: Module, chain: Sequence[_Slot], sums: Sequence[tuple[Signal, int]]) -> None:
    """Cells for a chain; each sum gets the chain's output from its first bit on."""
    unused = _Slot((_ONE, _ONE, _ONE, _ONE), _PLAIN)
    slots = [*chain, *[unused] * (len(chain) % 2)]
    outputs = Signal(len(slots), name=f"{sums[0][0].name}_chain")
    carry = Const(0)
    for cell in range(0, len(slots), 2):
        ports = {}
        for half in range(2):
            slot = slots[cell + half]
            ports |= {f"i_{name}{half}": value for name, value in zip("ABCD", slot.inputs, strict=True)}
            ports |= {f"p_INIT{half}": Const(slot.table, 16), f"p_INJECT1_{half}": "NO", f"o_S{half}": outputs[cell + half]}
        following = Signal(name=f"{outputs.name}_carry{cell // 2}")
        m.submodules[f"{outputs.name}{cell // 2}"] = Instance("CCU2C", **ports, i_CIN=carry, o_COUT=following)
        carry = following
    for result, start in sums:
        m.d.comb += result.eq(outputs[start:start + len(result)])
