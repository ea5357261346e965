"""What the tools say of a design, read from their JSON: how fast it is, what it uses, and where its slowest path runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritloom.rtl.family import Family

__all__ = ["Clock", "Use", "clock_nets", "clocks_of", "critical_path", "ff_of", "lut4_of", "slowest", "utilization_of"]

#: LUT4 that a cell takes: a CCU2C is two of them, a RAM16X4 four and two more that write it, Gowin's ALU one.
_LUT4 = {
    Family.ICE40: {"SB_LUT4": 1},
    Family.ECP5: {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6},
    Family.GOWIN: {"LUT1": 1, "LUT2": 1, "LUT3": 1, "LUT4": 1, "ALU": 1, "TRITLOOM_ALU": 1, "RAM16SDP1": 1, "RAM16SDP2": 2, "RAM16SDP4": 4},
}

#: Flip-flops: how their names begin.
_FF = {Family.ICE40: "SB_DFF", Family.ECP5: "TRELLIS_FF", Family.GOWIN: "DFF"}

#: What yosys and nextpnr put behind a signal's name to name a cell.
_CELL = re.compile(r"_(?:SB_|LUT|TRELLIS_|CCU2C|PFUMX|L6MUX21|DFF|ALU|MUX2_|DP16KD|PDPW16KD|SDP|RAM16|GND|VCC)\w*|\$nextpnr")


@dataclass(frozen=True)
class Clock:
    """A clock's result in MHz."""

    achieved_mhz: float
    constraint_mhz: float

    @property
    def met(self) -> bool:
        """Whether it is as fast as it has to be."""
        return self.achieved_mhz >= self.constraint_mhz


@dataclass(frozen=True)
class Use:
    """How many of a kind of cell are used."""

    used: int
    available: int


def clock_nets(report: Mapping[str, Any]) -> dict[str, str]:
    """Of every clock, by its plain name, the name it has in nextpnr's report: that has what nextpnr adds for the global buffer."""
    return {_plain(name): name for name in report["fmax"]}


def clocks_of(report: Mapping[str, Any]) -> dict[str, Clock]:
    """Every clock of nextpnr's report, by its plain name."""
    return {name: Clock(round(report["fmax"][net]["achieved"], 2), round(report["fmax"][net]["constraint"], 2))
            for name, net in clock_nets(report).items()}


def slowest(clocks: Mapping[str, Clock]) -> str:
    """Name of the clock that is furthest from what it has to reach, or least beyond it."""
    return min(clocks, key=lambda name: clocks[name].achieved_mhz / clocks[name].constraint_mhz)


def utilization_of(report: Mapping[str, Any]) -> dict[str, Use]:
    """The kinds of cells that are used at all."""
    return {kind: Use(use["used"], use["available"]) for kind, use in report["utilization"].items() if use["used"]}


def lut4_of(cells: Mapping[str, int], family: Family) -> int:
    """LUT4 that synthesised cells take, carry cells and memory made of LUTs included."""
    costs = _LUT4[family]
    return sum(costs.get(kind, 0) * count for kind, count in cells.items())


def ff_of(cells: Mapping[str, int], family: Family) -> int:
    """Flip-flops among synthesised cells."""
    return sum(count for kind, count in cells.items() if kind.startswith(_FF[family]))


def critical_path(report: Mapping[str, Any], clock: str) -> str:
    """A clock's slowest path in words.

    Parameters
    ----------
    report : mapping
        Nextpnr's.
    clock : str
        Its name in `clocks_of`.

    Returns
    -------
    str
        From which cell to which, in how many nanoseconds, and what of that is logic and what is wires. "" if nextpnr names no path.
    """
    for found in report["critical_paths"]:
        start, end = (_plain(found[side].split()[-1]) for side in ("from", "to"))
        if start == end == clock and found["path"]:
            return _words(found["path"])
    return ""


def _words(path: list[Mapping[str, Any]]) -> str:
    wires = sum(part["delay"] for part in path if part["type"] == "routing")
    total = sum(part["delay"] for part in path)
    levels = sum(part["type"] == "logic" for part in path)
    return (f"{total:.1f} ns from {_cell(path[0]['from'])} to {_cell(path[-1]['to'])}, "
            f"{total - wires:.1f} ns in {levels} cells and {wires:.1f} ns in wires")


def _cell(end: Mapping[str, Any]) -> str:
    """A cell's name without what the tools put behind the signal it was named after."""
    return _CELL.split(end["cell"])[0] or end["cell"]


def _plain(name: str) -> str:
    return name.removeprefix("$glbnet$").split("$")[0] or name
