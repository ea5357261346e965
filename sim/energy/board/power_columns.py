"""The headings of a power meter's log: which column is what, and in which unit.

**Columns** are found by the headings of the first line, in any order; others are passed over. A heading is a name and a unit, as in
``voltage_V``, ``Voltage (V)``, ``voltage[mV]``, ``Current/mA``; case does not matter.

======== =============================================================================== ==========================
column   names                                                                           units
======== =============================================================================== ==========================
time     time, timestamp, t, elapsed, elapsed time, date, datetime                       s, ms, us, ns, min
volts    voltage, bus voltage, load voltage, supply voltage, vbus, v, u                  V, mV, uV
amperes  current, intensity, i                                                           A, mA, uA, nA
watts    power, p                                                                        W, mW, uW
======== =============================================================================== ==========================

``volts``, ``amperes``, ``amps``, ``watts`` and ``seconds`` alone are name and unit in one.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from tritloom.host.errors import TritloomError, UsageError

__all__ = ["Columns", "PowerLogError", "find_columns", "split"]

_UNITS = {
    "time": {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "min": 60.0},
    "volts": {"v": 1.0, "volt": 1.0, "volts": 1.0, "mv": 1e-3, "uv": 1e-6},
    "amperes": {"a": 1.0, "amp": 1.0, "amps": 1.0, "ampere": 1.0, "amperes": 1.0, "ma": 1e-3, "ua": 1e-6, "na": 1e-9},
    "watts": {"w": 1.0, "watt": 1.0, "watts": 1.0, "mw": 1e-3, "uw": 1e-6},
}
_NAMES = {
    "time": ("time", "timestamp", "t", "elapsed", "elapsed time", "elapsed_time", "date", "datetime", "date/time"),
    "volts": ("voltage", "bus voltage", "bus_voltage", "load voltage", "load_voltage", "supply voltage", "supply_voltage", "vbus", "v", "u"),
    "amperes": ("current", "intensity", "i"),
    "watts": ("power", "p"),
}
_ALONE = {"seconds": "time", "volts": "volts", "amperes": "amperes", "amps": "amperes", "watts": "watts"}
_SHOWN = {"time": "s, ms, us, ns, min", "volts": "V, mV, uV", "amperes": "A, mA, uA, nA", "watts": "W, mW, uW"}

#: Joulescope's columns have no units and are SI (pyjoulescope's and the UI's documentation).
_JOULESCOPE = ["time", "current", "voltage", "power", "charge", "energy"]


class PowerLogError(TritloomError):
    """A power meter's log cannot be read or used.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong, and what to do.
    line, column : int or None
        Where, from 1.
    """

    def __init__(self, path: Path, reason: str, line: int | None = None, column: int | None = None) -> None:
        place = "".join((f", line {line}" if line else "", f", column {column}" if column else ""))
        super().__init__(f"{path}{place}: {reason}")
        self.path, self.line, self.column = path, line, column


@dataclass
class Columns:
    """Where what is.

    Parameters
    ----------
    at : dict of str to (int, float or None)
        "time", "volts", "amperes" and "watts", as far as they are there: index from 0, and what to multiply with; None for times without a unit.
    headings : list of str
        As they are written.
    packets : bool
        Samples are numbered within packets.
    line : int
        The headings', from 1.
    separator : str or None
        Between columns; None for spaces.
    """

    at: dict[str, tuple[int, float | None]] = field(default_factory=dict)
    headings: list[str] = field(default_factory=list)
    packets: bool = False
    line: int = 0
    separator: str | None = None

    @property
    def width(self) -> int:
        """Columns that a line must have."""
        return 1 + max(index for index, _ in self.at.values())


def find_columns(path: Path, lines: list[str], supply_v: float | None) -> Columns:
    """The columns of a log.

    Parameters
    ----------
    path : Path
        For errors.
    lines : list of str
        All of them.
    supply_v : float or None
        Whether volts are known from elsewhere.

    Raises
    ------
    PowerLogError
        If there are no headings, or a column or unit that is needed is missing, unknown or there twice.
    UsageError
        If volts are given that nothing needs.
    """
    for number, line in enumerate(lines, 1):
        bare = line.strip().lstrip("#").strip()
        separator = next((each for each in "\t;," if each in bare), None)
        cells = split(bare, separator)
        columns = _columns(path, number, cells)
        if columns is not None:
            columns.line, columns.separator = number, separator
            _check(path, number, columns, supply_v)
            return columns
        if bare and not line.lstrip().startswith("#"):
            raise PowerLogError(path, f"the first line must be headings such as time_s,voltage_V,current_A, not {bare[:60]!r}: add them", number)
    raise PowerLogError(path, "there is no line of headings such as time_s,voltage_V,current_A: the log is empty")


def split(line: str, separator: str | None) -> list[str]:
    """A line's cells."""
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator))] if separator else line.split()


def _columns(path: Path, number: int, cells: list[str]) -> Columns | None:
    """What each heading means, or None if these are no headings."""
    headings = [cell.strip().lower().replace("\u00b5", "u").replace("\u03bc", "u") for cell in cells]
    if headings[:len(_JOULESCOPE)] == _JOULESCOPE:
        return Columns({"time": (0, 1.0), "amperes": (1, 1.0), "volts": (2, 1.0), "watts": (3, 1.0)}, cells)
    found = Columns(headings=cells, packets="sample_in_packet" in headings)
    wrong: dict[str, tuple[int, str]] = {}
    for index, heading in enumerate(headings):
        kind, unit = _meaning(heading)
        if kind is None:
            continue
        factor = _UNITS[kind].get(unit)
        if factor is None and not (kind == "time" and not unit):
            wrong.setdefault(kind, (index, unit))
        elif kind in found.at:
            other = cells[found.at[kind][0]]
            raise PowerLogError(path, f"both {other!r} and {cells[index]!r} look like the {kind}: rename the one that is not meant", number, index + 1)
        else:
            found.at[kind] = index, factor
    if not ({*found.at, *wrong} & {"amperes", "watts", "volts"}):
        return None
    for kind, (index, unit) in wrong.items():
        if kind not in found.at:
            raise PowerLogError(path, f"the unit of {cells[index]!r} must be one of {_SHOWN[kind]}, {f'not {unit!r}' if unit else 'and there is none'}: "
                                "say in the heading what the numbers are", number, index + 1)
    return found


def _meaning(heading: str) -> tuple[str | None, str]:
    """Kind and unit of a heading; (None, "") for one of something else."""
    if heading in _ALONE:
        kind = _ALONE[heading]
        return kind, "s" if kind == "time" else heading
    for kind, names in _NAMES.items():
        for name in sorted(names, key=len, reverse=True):    # "elapsed time" before "elapsed"
            if heading == name:
                return kind, ""
            found = re.fullmatch(re.escape(name) + r"(?:[\s_]*[(\[/]\s*([^)\]]*?)\s*[)\]]?|[\s_]+(\S+))", heading)
            if found:
                return kind, found[1] or found[2] or ""
    return None, ""


def _check(path: Path, head: int, columns: Columns, supply_v: float | None) -> None:
    there = f"the headings are {', '.join(columns.headings)}"
    if "time" not in columns.at:
        raise PowerLogError(path, f"there is no column of time, such as time_s: {there}", head)
    if supply_v is not None and ("volts" in columns.at or "amperes" not in columns.at):
        raise UsageError(f"a supply voltage belongs to a log of amperes alone, and of {path} {there}")
    if "watts" in columns.at or ("amperes" in columns.at and ("volts" in columns.at or supply_v is not None)):
        return
    if "amperes" in columns.at:
        raise PowerLogError(path, f"there are amperes and no volts, so say the supply's voltage (--supply V): {there}", head)
    raise PowerLogError(path, f"there is no column of amperes, such as current_A, nor of watts: {there}", head)
