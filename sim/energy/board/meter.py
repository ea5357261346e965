"""The board level: from a power meter's log and a run's marks to joules a token and picojoules a multiply-accumulate.

**Energy** of a phase is the integral of the power between its marks by the trapezoidal rule, with power taken as linear between samples, at the
marks too. *At the wall* is all that the meter sees; *over idle* is less the idle power times the phase's time.

**Alignment.** A log whose times are wall-clock times (seconds since 1970, ISO 8601, a time of day) is laid beside the marks' wall clock. A log with a
clock of its own needs to be told how: ``monotonic`` (its times are `time.monotonic` of the machine that wrote the marks), ``step`` (where power is
raised for as long as the run took), or an offset in seconds.

**Idle** is a range that is given, or the samples before the first and after the last phase (loading the weights is one), up to a minute each side.

**Uncertainty.** ``low`` to ``high`` of each figure is the expanded uncertainty with k = 2 (GUM), about 95 %. Its parts, as energies:

========== ======================================================================================================= ===========
part       how                                                                                                     kind
========== ======================================================================================================= ===========
gain       the meter's error in proportion to its reading, as given                                                bound
zero       the meter's error that does not depend on its reading, as given; cancels over idle                      bound
clock      change of the energy when the marks are moved by the clocks' possible difference, either way            bound
edges      half a sampling interval times the step of power, at both ends                                          bound
sampling   power's standard deviation in the phase, over the root of the number of independent samples             1 sigma
idle       the same for the idle power                                                                             1 sigma
drift      half the difference between idle before and after, where there are both                                 bound
========== ======================================================================================================= ===========

A bound counts as a / sqrt(3). Samples are independent as far as their correlation with the next one says. What a meter averages between samples
makes `sampling` an upper limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tritloom.host.errors import UsageError
from tritloom.host.marks import Marks
from tritloom.sim.energy.board.alignment import CLOCKS, Alignment, align
from tritloom.sim.energy.board.power_log import PowerLog, PowerLogError
from tritloom.sim.energy.board.power_trace import PowerTrace
from tritloom.sim.energy.figure import Figure, Level

__all__ = ["MeterOptions", "PhaseEnergy", "Reading", "measure"]

#: Idle is looked for so far from the run, in seconds, and needs so many samples.
_IDLE_S, _IDLE_SAMPLES = 60.0, 10

#: A phase needs so many samples to have a figure.
_PHASE_SAMPLES = 5

#: So many usual intervals without a sample are a gap.
_GAP = 5.0

#: Of the expanded uncertainty: about 95 %.
_COVERAGE = 2.0


@dataclass(frozen=True, kw_only=True)
class MeterOptions:
    """What a log and marks do not say.

    Parameters
    ----------
    gain : float
        The meter's accuracy in proportion to the reading: 0.01 for 1 %.
    zero_w : float
        The rest of its accuracy, in watts.
    clock : str
        "wall", "monotonic" or "step"; "" takes "wall" where the log has wall-clock times.
    offset_s : float
        Seconds to add to the log's times.
    clock_error_s : float
        How far the two clocks may be apart. 0 for programs of one machine.
    idle_s : (float, float) or None
        Where the board is idle, in seconds from the log's first sample. None looks for it.
    """

    gain: float = 0.0
    zero_w: float = 0.0
    clock: str = ""
    offset_s: float = 0.0
    clock_error_s: float = 0.0
    idle_s: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, most in (("gain", 1.0), ("zero_w", math.inf), ("clock_error_s", math.inf)):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value < most):
                raise UsageError(f"`{name}` must be a number from 0 {'to 1' if most == 1 else 'up'}, not {value:g}")
        if not math.isfinite(self.offset_s):
            raise UsageError(f"`offset_s` must be a number of seconds, not {self.offset_s:g}")
        if self.clock not in ("", *CLOCKS):
            raise UsageError(f"`clock` must be wall, monotonic or step, not {self.clock!r}")
        if self.idle_s is not None and not 0 <= self.idle_s[0] < self.idle_s[1] < math.inf:
            raise UsageError(f"the idle range must be two rising numbers of seconds from the log's first sample, not {self.idle_s[0]:g} to {self.idle_s[1]:g}")


@dataclass(frozen=True)
class PhaseEnergy:
    """The energy of one phase.

    Parameters
    ----------
    name : str
    seconds, tokens, macs
        From the marks.
    wall_j, idle_j : float
        All that the meter saw, and the part that idling takes for so long.
    wall_parts_j, net_parts_j : mapping of str to float
        Parts of the uncertainty, at the wall and over idle, as standard uncertainties in joules.
    samples : int
        Of the log, in the phase.
    """

    name: str
    seconds: float
    tokens: int
    macs: int
    wall_j: float
    idle_j: float
    wall_parts_j: Mapping[str, float]
    net_parts_j: Mapping[str, float]
    samples: int

    @property
    def net_j(self) -> float:
        """Over idle."""
        return self.wall_j - self.idle_j

    @property
    def wall_error_j(self) -> float:
        """Expanded uncertainty, k = 2."""
        return _COVERAGE * math.hypot(*self.wall_parts_j.values())

    @property
    def net_error_j(self) -> float:
        """Expanded uncertainty, k = 2."""
        return _COVERAGE * math.hypot(*self.net_parts_j.values())


@dataclass(frozen=True)
class Reading:
    """What a log says about a run.

    Parameters
    ----------
    log : str
        The file.
    model, device, geometry : str
        From the marks.
    power : str
        What the log's watts are.
    aligned : str
        How the log was laid beside the marks.
    interval_s : float
        The usual time between two samples.
    idle_w, idle_spread_w : float
        Idle power and its standard deviation.
    idle_samples : int
    phases : list of PhaseEnergy
        Those long enough.
    notes : list of str
        Sentences about what could not be said, or is doubtful.
    """

    log: str
    model: str
    device: str
    geometry: str
    power: str
    aligned: str
    interval_s: float
    idle_w: float
    idle_spread_w: float
    idle_samples: int
    phases: list[PhaseEnergy]
    notes: list[str] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        """J/token and pJ/MAC of every phase, at the wall and over idle, and the idle power; all of the level `board`."""
        on = f"{self.model} on {self.device}{f', geometry {self.geometry}' if self.geometry else ''}"
        about = f"{on}; {self.power}, a sample every {self.interval_s * 1e3:.3g} ms, {self.aligned}; range is k = 2"
        found = []
        for phase in self.phases:
            for where, joules, error, out in (
                ("at the wall", phase.wall_j, phase.wall_error_j, ("what is not behind the meter",)),
                ("over idle", phase.net_j, phase.net_error_j, ("what is not behind the meter", "idle power")),
            ):
                for unit, scale in (("J/token", 1 / phase.tokens), ("pJ/MAC", 1e12 / phase.macs if phase.macs else 0.0)):
                    if scale:
                        found.append(Figure(Level.BOARD, f"{phase.name} of {self.model}, {where}", joules * scale, unit, (joules - error) * scale, (joules + error) * scale,
                                            about, self.log, None, out))
        spread = _COVERAGE * self.idle_spread_w
        found.append(Figure(Level.BOARD, "power when idle", self.idle_w, "W", self.idle_w - spread, self.idle_w + spread,
                            f"{on}; {self.idle_samples} samples, range is two standard deviations of a sample", self.log, None, ("what is not behind the meter",)))
        return found

    def as_json(self) -> dict[str, Any]:
        """All fields, phases as dictionaries with ``net_j``, ``wall_error_j`` and ``net_error_j``."""
        record = asdict(self)
        for phase, values in zip(self.phases, record["phases"], strict=True):
            values |= {"net_j": phase.net_j, "wall_error_j": phase.wall_error_j, "net_error_j": phase.net_error_j}
        return record


def measure(log: PowerLog, marks: Marks, options: MeterOptions | None = None) -> Reading:
    """Lay a log beside a run and integrate.

    Parameters
    ----------
    log : PowerLog
        See `read_power_log`.
    marks : Marks
        See `Marks.read`.
    options : MeterOptions or None
        What the two files do not say. None is `MeterOptions()`.

    Raises
    ------
    PowerLogError
        If the log does not cover the run, has a gap in it, has no idle phase, or no step in power where one is looked for; naming the line.
    UsageError
        If it is not said how the clocks belong together.
    """
    options = options or MeterOptions()
    aligned = align(log, marks, options.clock, options.offset_s, options.clock_error_s)
    trace = aligned.trace
    _check_covers(log, aligned)
    before, after = _idle(log, aligned, options.idle_s)
    idle = np.concatenate((before, after))
    _check_gaps(log, trace, min(aligned.start_s, trace.times_s[idle[0]]), max(aligned.end_s, trace.times_s[idle[-1]]))
    idle_w = float(trace.watts[idle].mean())
    drift_w = abs(float(trace.watts[before].mean() - trace.watts[after].mean())) / 2 if len(before) and len(after) else 0.0
    idle_parts_w = {"idle": trace.mean_error_w(idle), "drift": drift_w / math.sqrt(3)}

    phases, notes = [], []
    for phase, (start, end) in zip(marks.phases, aligned.spans, strict=True):
        samples = trace.inside(start, end)
        if not phase.tokens:
            continue
        if len(samples) < _PHASE_SAMPLES:
            notes.append(f"{phase.name} took {phase.seconds:.3g} s, in which the log has {len(samples)} samples of the {_PHASE_SAMPLES} that a figure needs")
            continue
        wall_j = trace.joules(start, end)
        if wall_j <= 0:
            raise PowerLogError(log.path, f"the power of {phase.name} is {wall_j / (end - start):.3g} W: the sensor's leads are the wrong way round, or it was not in the "
                                "board's supply", int(log.lines[samples[0]]))
        shared = {
            "clock": max(abs(trace.joules(start + shift, end + shift) - wall_j) for shift in (-aligned.error_s, aligned.error_s)) / math.sqrt(3),
            "edges": (trace.edge_joules(start) + trace.edge_joules(end)) / math.sqrt(3),
            "sampling": (end - start) * trace.mean_error_w(samples),
        }
        idle_j = idle_w * (end - start)
        done = PhaseEnergy(
            phase.name, end - start, phase.tokens, phase.macs, wall_j, idle_j,
            shared | {"gain": options.gain * wall_j / math.sqrt(3), "zero": options.zero_w * (end - start) / math.sqrt(3)},
            shared | {"gain": options.gain * abs(wall_j - idle_j) / math.sqrt(3)} | {name: (end - start) * watts for name, watts in idle_parts_w.items()},
            len(samples))
        if done.net_j <= done.net_error_j:
            notes.append(f"{phase.name} cannot be told from idling: {done.net_j:.3g} J over idle, give or take {done.net_error_j:.3g} J")
        phases.append(done)
    if not phases:
        raise PowerLogError(log.path, f"no phase is long enough for a sample every {log.interval_s:.3g} s: {'; '.join(notes)}: let the run last longer "
                            "(`tritloom run --tokens`), or log faster")
    if not (options.gain or options.zero_w):
        notes.append("the meter's accuracy was not given and is not in the ranges")
    if not (len(before) and len(after)) and options.idle_s is None:
        notes.append(f"idle was seen only {'before' if len(before) else 'after'} the run, so its drift is not in the ranges")
    return Reading(str(log.path), marks.model, marks.device, marks.geometry, log.power, aligned.how, log.interval_s, idle_w, float(trace.watts[idle].std(ddof=1)),
                   len(idle), phases, notes)


def _check_covers(log: PowerLog, aligned: Alignment) -> None:
    """The run lies inside the log."""
    trace = aligned.trace
    if aligned.start_s >= trace.start_s and aligned.end_s <= trace.end_s:
        return
    early = aligned.start_s < trace.start_s
    raise PowerLogError(log.path, f"the run lies outside of the log: it took from {aligned.start_s - trace.start_s:,.6g} s to {aligned.end_s - trace.start_s:,.6g} s after "
                        f"the log's first sample, and the log lasts {trace.end_s - trace.start_s:,.6g} s ({aligned.how}): start the log before the run, or say how the "
                        "clocks differ", int(log.lines[0 if early else -1]), log.time_column)


def _idle(log: PowerLog, aligned: Alignment, given: tuple[float, float] | None) -> tuple[np.ndarray, np.ndarray]:
    """Samples of the idle phase, before and after the run."""
    trace = aligned.trace
    if given is not None:
        start, end = (trace.start_s + each for each in given)
        if start < aligned.end_s and end > aligned.start_s:
            raise UsageError(f"the idle range must lie before or after the run, which took from {aligned.start_s - trace.start_s:.6g} s to "
                             f"{aligned.end_s - trace.start_s:.6g} s after the log's first sample, not {given[0]:g} to {given[1]:g} s")
        found = trace.inside(start, end)
        if len(found) < _IDLE_SAMPLES:
            raise PowerLogError(log.path, f"there is no idle phase from {given[0]:g} to {given[1]:g} s: the log has {len(found)} samples there and needs {_IDLE_SAMPLES}",
                                int(log.lines[-1]), log.time_column)
        return (found, found[:0]) if end <= aligned.start_s else (found[:0], found)
    guard = 2 * log.interval_s + aligned.error_s
    before = trace.inside(aligned.start_s - guard - _IDLE_S, aligned.start_s - guard)
    after = trace.inside(aligned.end_s + guard, aligned.end_s + guard + _IDLE_S)
    before, after = (side if len(side) >= _IDLE_SAMPLES else side[:0] for side in (before, after))
    if not (len(before) or len(after)):
        raise PowerLogError(log.path, f"there is no idle phase: the log begins {aligned.start_s - trace.start_s:.3g} s before the run and ends {trace.end_s - aligned.end_s:.3g} s "
                            f"behind it, and {_IDLE_SAMPLES} samples on one side are needed: log some seconds more, or say where the board was idle",
                            int(log.lines[-1]), log.time_column)
    return before, after


def _check_gaps(log: PowerLog, trace: PowerTrace, start: float, end: float) -> None:
    steps = np.diff(trace.times_s)
    gaps = np.flatnonzero((steps > _GAP * log.interval_s) & (trace.times_s[:-1] < end) & (trace.times_s[1:] > start))
    if gaps.size:
        raise PowerLogError(log.path, f"{steps[gaps[0]]:.3g} s are missing before this line, where a sample comes every {log.interval_s:.3g} s: nobody knows the power in "
                            "a gap, so log again", int(log.lines[gaps[0] + 1]), log.time_column)
