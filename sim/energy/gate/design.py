"""What the gate level measures: a circuit, what is put into it in every cycle, and what must come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from tritloom.rtl.family import Family

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

    from tritloom.sim.energy.gate.stimulus import Stimulus

__all__ = ["Design", "Trace", "pack"]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A design's inputs and outputs, cycle by cycle.

    Inputs of cycle t are there from shortly behind the rising edge that begins it to shortly behind the one that ends it, as if registers
    without delay of their own drove them. Outputs of cycle t are looked at just before the edge that ends it. So what a register takes from
    the inputs of cycle t is at the outputs in cycle t + 1.

    Parameters
    ----------
    inputs : mapping of str to np.ndarray
        Port to its bits in each cycle, as one number from 0 up: (cycles,) of an integer dtype, or of dtype object where a port is wider
        than 64 bits (`pack` makes these). All ports but clock and reset; all of one length.
    outputs : mapping of str to np.ndarray
        The reference model's answer in the same form. Ports that are not named are not checked.
    checked : mapping of str to np.ndarray
        Port to (cycles,) bool, where its output means something. An output that is not named here is checked in every measured cycle.
    warm : int
        Cycles at the beginning that are not measured: they fill pipelines and take the unknown out of registers that have no reset.
    operations : int
        Multiply-accumulates in the cycles that are measured, ``[warm, cycles)``: what the energy is divided by.
    """

    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    warm: int
    operations: int
    checked: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(values) for group in (self.inputs, self.outputs, self.checked) for name, values in group.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"all ports must have one value a cycle, not {lengths}")
        if not 0 < self.warm < self.cycles:
            raise ValueError(f"`warm` must be from 1 to {self.cycles - 1} for {self.cycles} cycles, not {self.warm}")
        if self.operations < 1:
            raise ValueError(f"`operations` must be at least 1, not {self.operations}")
        if not self.outputs:
            raise ValueError("`outputs` must name at least one port: a circuit that is not checked gives no figure")

    @property
    def cycles(self) -> int:
        """Cycles in all, those that warm up included."""
        return len(next(iter(self.inputs.values())))


@dataclass(frozen=True, kw_only=True)
class Design:
    """A circuit to be measured.

    Parameters
    ----------
    name : str
        Short, unique, of letters, digits and hyphens: "pe-1x1x8". It stands in tables and names files.
    what : str
        One line for people: what it computes, and its widths.
    source : callable
        Makes the circuit: an Amaranth component (its ports are named by `tritloom.rtl.ports.ports`: "acts", "weights", "clear", ...; a clock `clk` and a
        reset `rst` come with it), or Verilog text with a module ``top``. The same text every time: results are kept by it.
    drive : callable
        ``drive(stimulus, cycles) -> Trace``: maps the stimulus' operands to ports, for about so many cycles (`warm` ones come on top), and
        says what must come out. It is the reference model, written from the formula, not from the circuit.
    lanes : int
        Products that one processing element sums in a cycle. Designs are compared at equal lanes.
    macs : int
        Multiply-accumulates in one cycle of the whole design: `lanes` for one element, R·C·L for an array.
    clock : str
        Its clock port.
    family : Family
        What it is elaborated for; by default nothing is known of the cells.
    reset : str or None
        Its reset port, active high: 1 in the first cycle, then 0. None if it has none. Amaranth leaves `rst` out where nothing is reset.
    period_ns : float
        Clock period in the simulation. It has to be longer than the slowest path, which is checked; of the energy it changes leakage only.
    cycles : int
        Measured cycles that are worth their time: few for a large circuit.
    """

    name: str
    what: str
    source: Callable[[], str | Component]
    drive: Callable[[Stimulus, int], Trace]
    lanes: int
    macs: int
    family: Family = Family.GENERIC
    clock: str = "clk"
    reset: str | None = "rst"
    period_ns: float = 40.0
    cycles: int = 2000

    def __post_init__(self) -> None:
        if not self.name or not all(part.isalnum() for part in self.name.split("-")):
            raise ValueError(f"`name` must be letters, digits and single hyphens, not {self.name!r}")
        for name in ("lanes", "macs", "cycles"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, not {getattr(self, name)}")


def pack(fields: np.ndarray | Sequence[Sequence[int]], bits: int) -> np.ndarray:
    """Fields of equal width side by side, the first one lowest, as Amaranth's `ArrayLayout` has them.

    Parameters
    ----------
    fields : (cycles, n) integers
        Negative ones are taken modulo ``2**bits``.
    bits : int
        Width of one.

    Returns
    -------
    (cycles,) uint64, or object (Python's integers) if ``n * bits`` is over 64
    """
    values = np.asarray(fields, dtype=np.int64)
    mask = (1 << bits) - 1
    if values.shape[1] * bits <= 64:
        shifts = (np.arange(values.shape[1]) * bits).astype(np.uint64)
        return np.bitwise_or.reduce((values & mask).astype(np.uint64) << shifts, axis=1)
    words = np.zeros(len(values), dtype=object)
    for at in range(values.shape[1]):
        words |= (values[:, at] & mask).astype(object) << at * bits
    return words
