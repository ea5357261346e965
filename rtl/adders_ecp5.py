"""Adders in ECP5's carry cells, whose lookup tables do more than add.

A CCU2C is two slots (`carry_slot`) of one LUT4 each (Lattice TN1265; Yosys' `ecp5/ccu2c_sim.vh`). As cells have two slots, sums of even
width, which need an odd number of them with their carry, share a chain in pairs: that saves a slot each.
"""

from collections.abc import Sequence

from amaranth import *

from .adders import Adders, Sum
from .carry_slot import Slot, bits, carry_in, unused

__all__ = ["ECP5Adders"]


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


def _slots(total: Sum) -> list[Slot]:
    """The slots of one sum: its carry if it has one, then its bits."""
    no_carry = isinstance(total.carry, Const) and total.carry.value == 0
    return bits(total) if no_carry else [carry_in(total.carry), *bits(total)]


def _place(m: Module, chain: Sequence[Slot], sums: Sequence[tuple[Signal, int]]) -> None:
    """Cells for a chain; each sum gets the chain's output from its first bit on."""
    slots = [*chain, *[unused()] * (len(chain) % 2)]
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
