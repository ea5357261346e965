"""A power meter's log: time, volts and amperes (or watts) as text, as loggers of small meters write it.

**Columns** are found by their headings, which are in `power_columns`. Needed are time and either watts, or amperes with volts; amperes alone need the
supply's voltage. Where there are watts they are used, because a meter multiplies before it averages; volts and amperes then check their unit.

**Times** are numbers in the heading's unit; numbers without a unit, where they are seconds since 1970; ISO 8601, in the machine's time zone if it
names none; or a time of day such as ``09:50:43.125``.

**Lines** may be separated by comma, semicolon (then a decimal comma is one too), tab or spaces. Empty lines, lines that begin with ``#`` and
repeated headings are passed over.

What was read in the programs that write them: INA219 loggers in Python with ``TimeStamp, Voltage (V), Current (mA), Power (mW)`` or
``timestamp_us,bus_voltage_V,current_mA,power_mW``; fnirsi-usb-power-data-logger (FNB48, FNB58, C1); pyummeter (UM24C, UM25C, UM34C); Nordic's
Power Profiler (PPK2, amperes only); Joulescope's statistics, whose headings have no units and are SI by its documentation.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path

import numpy as np

from tritloom.host.errors import UsageError
from tritloom.sim.energy.board.power_columns import Columns, PowerLogError, find_columns, split

__all__ = ["Clock", "PowerLog", "PowerLogError", "read_power_log"]

#: Above these, a small board's supply is more likely in another unit than so large.
_PLAUSIBLE = {"volts": 500.0, "amperes": 50.0, "watts": 5000.0}

#: Numbers of seconds since 1970 that lie between 2001 and 2286: any other count of seconds begins elsewhere.
_SINCE_1970 = (1e9, 1e10)

#: A logger that stamps packets of a regular sample clock when they arrive may be so late, in seconds.
_LATE_S = 0.25


class Clock(Enum):
    """What a log's times count from."""

    WALL = "wall"
    """Seconds since 1970."""
    DAY = "time of day"
    """Seconds since a local midnight."""
    OWN = "own"
    """Something of the logger's own: its start, or its machine's."""


@dataclass(frozen=True)
class PowerLog:
    """Power over time.

    Parameters
    ----------
    path : Path
        Where it was read.
    clock : Clock
        What `time_s` counts from.
    time_s, watts : (n,) float64
        Samples; time increases.
    lines : (n,) int
        The line of each sample.
    time_column : int
        The column of the time, from 1.
    power : str
        What watts are: "its power column", "volts times amperes", and so on.
    late_s : float
        How far single times may be off, because the logger stamped samples when they came. 0 where nothing says so.
    """

    path: Path
    clock: Clock
    time_s: np.ndarray
    watts: np.ndarray
    lines: np.ndarray
    time_column: int
    power: str
    late_s: float = 0.0

    @property
    def interval_s(self) -> float:
        """The usual time between two samples."""
        return float(np.median(np.diff(self.time_s)))


def read_power_log(path: Path, supply_v: float | None = None) -> PowerLog:
    """Read a log.

    Parameters
    ----------
    path : Path
    supply_v : float or None
        The supply's voltage, for a log of amperes alone.

    Raises
    ------
    PowerLogError
        Naming line and column: no heading, no unit or a wrong one, what is no number, time that stands still or runs back.
    UsageError
        If `supply_v` is not a voltage, or the log has volts of its own.
    """
    if supply_v is not None and not (math.isfinite(supply_v) and 0 < supply_v <= _PLAUSIBLE["volts"]):
        raise UsageError(f"the supply's voltage must be from 0 to {_PLAUSIBLE['volts']:g} V, not {supply_v:g}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PowerLogError(path, f"the power log cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise PowerLogError(path, f"not UTF-8 at byte {error.start}: convert it first") from error
    lines = text.splitlines()
    try:
        columns = find_columns(path, lines, supply_v)
        rows, numbers = _rows(path, lines, columns)
    except csv.Error as error:
        raise PowerLogError(path, f"no table of samples: {error}") from error
    times, clock = _times(path, rows, numbers, columns)
    late_s = 0.0
    if columns.packets:
        times, late_s = _regular(path, times, numbers, columns)
    values = {kind: _values(path, rows, numbers, columns, kind) for kind in ("volts", "amperes", "watts") if kind in columns.at}
    watts, power = _power(path, values, numbers, columns, supply_v)
    log = PowerLog(path, clock, times, watts, numbers, columns.at["time"][0] + 1, power, late_s)
    _check_order(log)
    return log


def _rows(path: Path, lines: list[str], columns: Columns) -> tuple[list[list[str]], np.ndarray]:
    """Cells of each sample, and its line."""
    rows, numbers = [], []
    for number, line in enumerate(lines[columns.line:], columns.line + 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        cells = split(bare, columns.separator)
        if cells == columns.headings:
            continue
        if len(cells) < columns.width:
            raise PowerLogError(path, f"there must be {columns.width} columns, not {len(cells)}: the line is cut off", number, len(cells))
        rows.append(cells)
        numbers.append(number)
    if len(rows) < 3:
        raise PowerLogError(path, f"there must be at least three samples, not {len(rows)}")
    # A comma that does not separate columns is a decimal one.
    if columns.separator == ";":
        rows = [[cell.replace(",", ".") for cell in cells] for cells in rows]
    return rows, np.array(numbers)


def _number(path: Path, cell: str, line: int, column: int, heading: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise PowerLogError(path, f"{heading!r} must be a number, not {cell!r}", line, column)
    return value


def _values(path: Path, rows: list[list[str]], numbers: np.ndarray, columns: Columns, kind: str) -> np.ndarray:
    index, factor = columns.at[kind]
    heading = columns.headings[index]
    values = np.array([_number(path, cells[index], line, index + 1, heading) for cells, line in zip(rows, numbers, strict=True)]) * factor
    far = np.flatnonzero(np.abs(values) > _PLAUSIBLE[kind])
    if far.size:
        raise PowerLogError(path, f"{values[far[0]]:,g} {kind} are more than {_PLAUSIBLE[kind]:,g}: the unit of {heading!r} is another one",
                            int(numbers[far[0]]), index + 1)
    return values


def _times(path: Path, rows: list[list[str]], numbers: np.ndarray, columns: Columns) -> tuple[np.ndarray, Clock]:
    index, factor = columns.at["time"]
    heading = columns.headings[index]
    cells = [row[index] for row in rows]
    if factor is not None:
        times = np.array([_number(path, cell, line, index + 1, heading) for cell, line in zip(cells, numbers, strict=True)]) * factor
        return times, Clock.WALL if _since_1970(times[0]) else Clock.OWN
    try:
        first = float(cells[0])
    except ValueError:
        parse, clock = (_day, Clock.DAY) if re.fullmatch(r"\d{1,2}:\d\d:\d\d(\.\d+)?", cells[0]) else (_iso, Clock.WALL)
        times = np.array([_moment(path, parse, cell, int(line), index + 1, heading) for cell, line in zip(cells, numbers, strict=True)])
        if clock is Clock.DAY:    # a fall by half a day is midnight, not a clock that runs back
            times += 86400 * np.concatenate(([0], np.cumsum(np.diff(times) < -43200)))
        return times, clock
    if not _since_1970(first):
        raise PowerLogError(path, f"{heading!r} has no unit, and {cells[0]} is no number of seconds since 1970: write time_s, time_ms or time_us into the heading",
                            int(numbers[0]), index + 1)
    return np.array([_number(path, cell, line, index + 1, heading) for cell, line in zip(cells, numbers, strict=True)]), Clock.WALL


def _since_1970(seconds: float) -> bool:
    return _SINCE_1970[0] <= seconds < _SINCE_1970[1]


def _iso(cell: str) -> float:
    return datetime.fromisoformat(cell).timestamp()


def _day(cell: str) -> float:
    hours, minutes, seconds = cell.split(":")
    if not (0 <= int(hours) < 24 and 0 <= int(minutes) < 60 and 0 <= float(seconds) < 61):
        raise ValueError(cell)
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _moment(path: Path, parse: Callable[[str], float], cell: str, line: int, column: int, heading: str) -> float:
    try:
        return parse(cell)
    except (ValueError, OverflowError, OSError):    # the latter two: a year that no clock has
        raise PowerLogError(path, f"{heading!r} must be a time such as 2026-11-22T09:50:43.125 or 09:50:43.125, all of one kind, not {cell!r}",
                            line, column) from None


def _regular(path: Path, times: np.ndarray, numbers: np.ndarray, columns: Columns) -> tuple[np.ndarray, float]:
    """Times of a regular sample clock whose packets were stamped as they came: a straight line through them, and how far they lie from it.

    fnirsi-usb-power-data-logger numbers the samples of a packet and counts their times back from its arrival, so that times of neighbouring
    packets overlap by tens of milliseconds.
    """
    order = np.arange(len(times))
    slope, start = np.polyfit(order, times - times[0], 1)
    late = np.abs(times - times[0] - start - slope * order)
    worst = float(late.max())
    if worst > _LATE_S:
        steps = np.abs(np.diff(times) - slope)
        at = int(steps.argmax())
        raise PowerLogError(path, f"the samples are not regular: {steps[at]:.3g} s are missing before this line, or more than one log is in the file",
                            int(numbers[at + 1]), columns.at["time"][0] + 1)
    return times[0] + start + slope * order, worst


def _power(path: Path, values: dict[str, np.ndarray], numbers: np.ndarray, columns: Columns, supply_v: float | None) -> tuple[np.ndarray, str]:
    """Watts, and what they are."""
    if supply_v is not None:
        return values["amperes"] * supply_v, f"amperes times {supply_v:g} V"
    if "watts" not in values:
        return values["volts"] * values["amperes"], "volts times amperes"
    if len(values) == 3:
        product = values["volts"] * values["amperes"]
        sure = np.flatnonzero(product > 0.2 * product.max(initial=0.0))
        ratio = float(np.median(values["watts"][sure] / product[sure])) if sure.size else 1.0
        # An INA219's power register is coarse; a wrong unit is off by a thousand.
        if not 0.5 < ratio < 2:
            raise PowerLogError(path, f"power is {ratio:.3g} times voltage times current: one of the three has another unit than its heading says",
                                int(numbers[sure[0]]), columns.at["watts"][0] + 1)
    return values["watts"], "its power column"


def _check_order(log: PowerLog) -> None:
    steps = np.diff(log.time_s)
    bad = np.flatnonzero(steps <= 0)
    if bad.size:
        back = -steps[bad[0]]
        reason = (f"time runs back by {back:.3g} s: there must be one log in the file, its lines in order" if back
                  else "the time is that of the sample before: the logger must write fractions of a second, and no sample twice")
        raise PowerLogError(log.path, reason, int(log.lines[bad[0] + 1]), log.time_column)
