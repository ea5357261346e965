"""One bit of a carry chain whose table does more than add: ECP5's and Gowin's carry cells are alike in this.

A slot has four inputs a, b, c, d and a table. Its sum bit is ``p ^ carry``, where p is the table's output, and the next carry is
``carry if p else g``, where g is the table's output at c = d = 0. So with ``g = a`` a slot adds to a whatever function of b, c and d it
likes, as long as that is 0 at c = d = 0: a selected product, or an accumulator with its clear. That function costs nothing.

A carry from logic enters through a slot of its own: p = 0 and g = a make the next carry a, whatever came before. Such a slot also separates
two sums, so one chain can hold several.
"""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth import *

from .adders import Kept, Selected, Sum

__all__ = ["Slot", "bits", "carry_in", "unused"]


@dataclass(frozen=True)
class Slot:
    """Inputs a, b, c, d of one bit, and the table of p: bit ``a + 2 b + 4 c + 8 d``."""

    inputs: tuple[Value, Value, Value, Value]
    table: int


def _table(p: Callable[[int, int, int, int], int]) -> int:
    """Table of a slot; p is a function of a, b, c, d. At c = d = 0 it must be a, and then is the generate function."""
    table = sum(p(i & 1, i >> 1 & 1, i >> 2 & 1, i >> 3) << i for i in range(16))
    assert table & 0xF == 0b1010
    return table


_ONE = Const(1, 1)

#: Unused inputs are tied to 1: the tables differ from their generate function only where c or d is.
_PLAIN = _table(lambda a, b, c, d: a ^ (b & c))
_SELECT = _table(lambda a, x, nz, neg: a ^ ((x ^ neg) & nz))
_KEEP = _table(lambda a, b, c, clear: a ^ (b & c & ~clear & 1))
_CARRY = _table(lambda a, b, c, d: a & ~(c | d) & 1)


def bits(total: Sum) -> list[Slot]:
    """The bits of a sum, without its carry."""
    match total.b:
        case Selected(value, neg, nz):
            table, inputs = _SELECT, (nz, neg)
        case Kept(value, clear):
            table, inputs = _KEEP, (_ONE, clear)
        case value:
            table, inputs = _PLAIN, (_ONE, _ONE)
    a, b = (_extended(operand, total.bits) for operand in (total.a, value))
    return [Slot((a[i], b[i], *inputs), table) for i in range(total.bits)]


def carry_in(carry: Value) -> Slot:
    """Makes `carry` the next slot's, whatever came before."""
    return Slot((carry, _ONE, _ONE, _ONE), _CARRY)


def unused() -> Slot:
    """Fills a cell."""
    return Slot((_ONE, _ONE, _ONE, _ONE), _PLAIN)


def _extended(value: Value, count: int) -> list[Value]:
    return [value[min(i, len(value) - 1)] for i in range(count)]
