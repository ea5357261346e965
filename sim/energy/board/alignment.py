"""Lays a power log beside a run's marks: both in seconds since the run's first mark."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from tritloom.host.errors import UsageError
from tritloom.host.marks import Marks
from tritloom.sim.energy.board.power_log import Clock, PowerLog, PowerLogError
from tritloom.sim.energy.board.power_trace import PowerTrace

__all__ = ["CLOCKS", "Alignment", "align"]

#: How a log and marks can be brought together.
CLOCKS = ("wall", "monotonic", "step")

#: Two readings of two clocks differ by the time between them, in seconds.
_SAME_S = 1e-3

#: A step in power is sure if it is so many times its own uncertainty, and alone if no other is half as high.
_SURE, _ALONE = 6.0, 0.5


@dataclass(frozen=True)
class Alignment:
    """A log and a run by one clock, which begins with the run's first phase.

    Parameters
    ----------
    trace : PowerTrace
        The log.
    spans : list of (float, float)
        Start and end of each of the marks' phases, in seconds.
    error_s : float
        How far the two may be apart.
    how : str
        In words.
    """

    trace: PowerTrace
    spans: list[tuple[float, float]]
    error_s: float
    how: str

    @property
    def start_s(self) -> float:
        """When the first phase begins."""
        return min(start for start, _ in self.spans)

    @property
    def end_s(self) -> float:
        """When the last phase ends."""
        return max(end for _, end in self.spans)


def align(log: PowerLog, marks: Marks, clock: str = "", offset_s: float = 0.0, error_s: float = 0.0) -> Alignment:
    """Lay a log beside marks.

    Parameters
    ----------
    log : PowerLog
    marks : Marks
    clock : str
        "wall", "monotonic" or "step" (see `meter`), or "" for "wall" where the log has wall-clock times.
    offset_s : float
        To be added to the log's times.
    error_s : float
        How far the clocks may be apart; what is known to come on top is added.

    Raises
    ------
    UsageError
        If the log has a clock of its own and `clock` is "".
    PowerLogError
        If there is no step in power to go by.
    """
    if not clock and log.clock is Clock.OWN:
        raise UsageError(f"the times of {log.path} count from where only the logger knows ({log.time_s[0]:g} s and up), so say how they belong to the run: "
                         "--clock step looks for the rise of power, --clock monotonic is for Python's time.monotonic on the same machine, and --clock wall with an --offset for all else")
    clock = clock or "wall"
    first = marks.phases[0]
    error_s += log.late_s
    if clock == "wall":
        start = first.start_wall_s
        spans = [(phase.start_wall_s - start, phase.end_wall_s - start) for phase in marks.phases]
        # If somebody set the clock on the way, one of the two spans is right.
        apart = abs((marks.phases[-1].end_wall_s - start) - (marks.phases[-1].end_monotonic_s - first.start_monotonic_s))
        error_s += apart if apart > _SAME_S else 0.0
        times = log.time_s + offset_s - start + (_midnight(log, start - offset_s) if log.clock is Clock.DAY else 0.0)
        how = "aligned by the wall clock"
    else:
        start = first.start_monotonic_s
        spans = [(phase.start_monotonic_s - start, phase.end_monotonic_s - start) for phase in marks.phases]
        if clock == "step":
            times = log.time_s - _step(log, marks) + next(begin for (begin, _), phase in zip(spans, marks.phases, strict=True) if phase.tokens)
            error_s += log.interval_s
            how = "aligned by the rise of power"
        else:
            times = log.time_s + offset_s - start
            how = "aligned by the monotonic clock"
    if offset_s and clock != "step":
        how += f", {offset_s:+g} s"
    return Alignment(PowerTrace(times, log.watts), spans, error_s, f"{how}, within {error_s:.2g} s" if error_s else how)


def _midnight(log: PowerLog, start: float) -> float:
    """The local midnight from which a log of times of day counts: the one that brings the run's start nearest to the log's middle."""
    today = datetime.fromtimestamp(start).replace(hour=0, minute=0, second=0, microsecond=0)
    middle = (log.time_s[0] + log.time_s[-1]) / 2
    return min(((today + timedelta(days=days)).timestamp() for days in (-1, 0, 1)), key=lambda midnight: abs(midnight + middle - start))


def _step(log: PowerLog, marks: Marks) -> float:
    """When, by the log's clock, the first phase with tokens began: where power is highest above what is around for as long as the run took.

    It tries every sample as the start, and compares the mean power of the run's length with that of the stretches before and after.
    """
    working = [phase for phase in marks.phases if phase.tokens]
    length = working[-1].end_monotonic_s - working[0].start_monotonic_s
    beside = max(10 * log.interval_s, length / 5)
    trace = PowerTrace(log.time_s, log.watts)
    starts = log.time_s[(log.time_s - beside >= trace.start_s) & (log.time_s + length + beside <= trace.end_s)]
    if not starts.size:
        raise PowerLogError(log.path, f"the log of {trace.end_s - trace.start_s:.3g} s is too short to look for a rise of power of {length:.3g} s in it, with {beside:.2g} s "
                            "before and after", int(log.lines[-1]), log.time_column)
    inner = (trace.joules_until(starts + length) - trace.joules_until(starts)) / length
    outer = (trace.joules_until(starts) - trace.joules_until(starts - beside)
             + trace.joules_until(starts + length + beside) - trace.joules_until(starts + length)) / (2 * beside)
    rises = inner - outer
    best = int(rises.argmax())
    # Successive differences do not know of the step: they are the noise.
    noise = 1.4826 * float(np.median(np.abs(np.diff(log.watts)))) / math.sqrt(2)
    sure = noise * math.sqrt(log.interval_s / length + log.interval_s / (2 * beside))
    if rises[best] <= max(_SURE * sure, 0.0):
        raise PowerLogError(log.path, f"there is no rise of power that lasts {length:.3g} s: the highest is {rises[best]:.2g} W, with noise of {noise:.2g} W a sample: align by "
                            "a clock instead", int(log.lines[int(np.searchsorted(log.time_s, starts[best]))]))
    apart = np.abs(starts - starts[best]) > length / 2
    if apart.any() and rises[apart].max() > _ALONE * rises[best]:
        other = starts[apart][int(rises[apart].argmax())]
        lines = sorted(int(log.lines[int(np.searchsorted(log.time_s, at))]) for at in (starts[best], other))
        raise PowerLogError(log.path, f"power rises for {length:.3g} s more than once, at this line and at line {lines[1]}: cut the log, or align by a clock", lines[0])
    return float(starts[best])
