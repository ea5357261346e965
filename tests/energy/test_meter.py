"""Energies of logs whose power is a formula, so that they are known; ranges that hold the truth as often as they say; and runs that cannot be measured."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritloom.host.errors import UsageError
from tritloom.host.marks import Marks, Phase
from tritloom.sim.energy.board.meter import MeterOptions, measure
from tritloom.sim.energy.board.power_log import Clock, PowerLog, PowerLogError, read_power_log
from tritloom.sim.energy.board.power_trace import PowerTrace
from tritloom.sim.energy.figure import Figure, Level

#: When the runs below began, by both clocks.
WALL, MONOTONIC = 1795341043.0, 5000.0


def log_of(power: Callable[[np.ndarray], np.ndarray], times: np.ndarray, clock: Clock = Clock.WALL) -> PowerLog:
    """A log of samples of a formula, at seconds from the run's start."""
    base = {Clock.WALL: WALL, Clock.OWN: MONOTONIC, Clock.DAY: 0.0}[clock]
    return PowerLog(Path("log.csv"), clock, times + base, power(times), np.arange(len(times)) + 2, 1, "volts times amperes")


def run_of(*phases: tuple[str, float, float, int, int]) -> Marks:
    """A run: name, start, end, tokens and MACs of each phase."""
    return Marks("nano", "serial:/dev/ttyUSB1", "1,2,16", [
        Phase(name, WALL + start, WALL + end, MONOTONIC + start, MONOTONIC + end, tokens, macs) for name, start, end, tokens, macs in phases])


def box(start: float = 0.0, end: float = 2.0, idle: float = 1.0, run: float = 3.0) -> Callable[[np.ndarray], np.ndarray]:
    """Idle power, and another during a run."""
    return lambda t: np.where((t >= start) & (t <= end), run, idle)


DECODE = run_of(("decode", 0.0, 2.0, 100, 4000))


class TestTrace:
    """The trapezoidal rule."""

    def test_lines_are_integrated_exactly_whatever_the_ends(self) -> None:
        times = np.sort(np.random.default_rng(1).uniform(0, 10, 200))
        trace = PowerTrace(times, 2 + 0.5 * times)
        for start, end in ((1.0, 2.0), (1.23456, 1.23457), (0.7, 9.1), (float(times[3]), float(times[9]))):
            assert trace.joules(start, end) == pytest.approx(2 * (end - start) + 0.25 * (end**2 - start**2), rel=1e-9)

    def test_the_error_on_a_sine_falls_with_the_square_of_the_interval(self) -> None:
        errors = []
        for interval in (0.02, 0.01, 0.005):
            times = np.arange(-0.5, 3, interval)
            got = PowerTrace(times, 2 + np.sin(5 * times)).joules(0.1, 2.3)
            errors.append(abs(got - (2 * 2.2 + (math.cos(0.5) - math.cos(11.5)) / 5)))
        assert errors[0] < 1e-4
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
        assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)

    def test_a_step_is_wrong_by_no_more_than_its_edge(self) -> None:
        times = np.arange(0, 2, 0.1)
        for at in np.linspace(0.5, 0.6, 21):
            trace = PowerTrace(times, np.where(times >= at, 3.0, 1.0))
            truth = 1.5 * 3    # from the step on
            assert abs(trace.joules(at, at + 1.3) - (truth - 0.2 * 3)) <= trace.edge_joules(at) + 1e-12

    def test_samples_that_resemble_their_neighbours_count_less(self) -> None:
        random = np.random.default_rng(2)
        means, errors = [], []
        for _ in range(300):
            watts = np.zeros(400)
            for at, noise in enumerate(random.standard_normal(400)):
                watts[at] = 0.8 * watts[at - 1] + noise
            trace = PowerTrace(np.arange(400.0), watts)
            means.append(watts.mean())
            errors.append(trace.mean_error_w(np.arange(400)))
        assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)

    def test_what_does_not_vary_has_no_error(self) -> None:
        assert PowerTrace(np.arange(9.0), np.full(9, 2.5)).mean_error_w(np.arange(9)) == 0


def test_a_box_is_what_it_is() -> None:
    """3 W for 2 s over 1 W of idle: 6 J at the wall, 4 J over idle. Its edges are on samples; the ones beside them are 1 ms away."""
    reading = measure(log_of(box(), np.round(np.arange(-5, 5, 0.001), 3)), DECODE)
    [phase] = reading.phases
    assert phase.wall_j == pytest.approx(6.0, rel=1e-9)
    assert phase.idle_j == pytest.approx(2.0, rel=1e-9)
    assert phase.net_j == pytest.approx(4.0, rel=1e-9)
    assert (reading.idle_w, reading.idle_spread_w) == (pytest.approx(1.0), pytest.approx(0.0))
    assert reading.interval_s == pytest.approx(0.001, rel=1e-3)
    figures = {(figure.what, figure.unit): figure for figure in reading.figures()}
    assert figures["decode of nano, at the wall", "J/token"].value == pytest.approx(0.06)
    assert figures["decode of nano, over idle", "J/token"].value == pytest.approx(0.04)
    assert figures["decode of nano, at the wall", "pJ/MAC"].value == pytest.approx(6e12 / 4000)
    assert figures["decode of nano, over idle", "pJ/MAC"].value == pytest.approx(4e12 / 4000)
    assert figures["power when idle", "W"].value == pytest.approx(1.0)
    assert all(figure.level is Level.BOARD and figure.confidence is None for figure in figures.values())
    assert "nano on serial:/dev/ttyUSB1, geometry 1,2,16" in figures["decode of nano, at the wall", "J/token"].conditions


def test_uneven_samples_and_a_ramp() -> None:
    """Power that rises with time, irregular samples, ends between them: the integral of a line is exact."""
    times = np.unique(np.concatenate((np.cumsum(np.random.default_rng(3).uniform(0.005, 0.02, 1000)) - 5, [0.0, 2.0])))
    log = log_of(lambda t: np.where((t >= 0) & (t <= 2), 2 + t, 1.0), times)
    [phase] = measure(log, run_of(("decode", 0.25, 1.75, 10, 100))).phases
    assert phase.wall_j == pytest.approx(2 * 1.5 + (1.75**2 - 0.25**2) / 2, rel=1e-9)


def test_phases_are_told_apart_and_loading_is_not_idle() -> None:
    power = np.vectorize(lambda t: 5.0 if -1 <= t < 0 else 2.0 if 0 <= t < 0.5 else 3.0 if 0.5 <= t <= 2.5 else 1.0)
    log = log_of(power, np.arange(-8, 8, 0.0005))
    reading = measure(log, run_of(("load", -1, 0, 0, 0), ("prompt", 0, 0.5, 8, 800), ("decode", 0.5, 2.5, 20, 2000)))
    prompt, decode = reading.phases
    assert (prompt.name, decode.name) == ("prompt", "decode")
    assert prompt.wall_j == pytest.approx(1.0, rel=2e-3)
    assert decode.wall_j == pytest.approx(6.0, rel=2e-3)
    assert reading.idle_w == pytest.approx(1.0)


class TestUncertainty:
    """Each part alone, by hand."""

    TIMES = np.round(np.arange(-5, 7, 0.01), 2)

    def parts(self, options: MeterOptions, power: Callable | None = None) -> tuple[dict, dict]:
        [phase] = measure(log_of(power or box(), self.TIMES), DECODE, options).phases
        return dict(phase.wall_parts_j), dict(phase.net_parts_j)

    def test_gain(self) -> None:
        wall, net = self.parts(MeterOptions(gain=0.01))
        assert wall["gain"] == pytest.approx(0.06 / math.sqrt(3), rel=1e-3)
        assert net["gain"] == pytest.approx(0.04 / math.sqrt(3), rel=1e-3)

    def test_zero_cancels_over_idle(self) -> None:
        wall, net = self.parts(MeterOptions(zero_w=0.05))
        assert wall["zero"] == pytest.approx(0.1 / math.sqrt(3))
        assert "zero" not in net

    def test_clocks_that_differ(self) -> None:
        """Moved by 0.1 s, the window loses 0.1 s of the run and gains as much idle: 2 W times 0.1 s."""
        wall, net = self.parts(MeterOptions(clock_error_s=0.1))
        assert wall["clock"] == pytest.approx(0.2 / math.sqrt(3), rel=0.06)
        assert net["clock"] == wall["clock"]

    @pytest.mark.parametrize("at", [0.0, 0.005])
    def test_edges(self, at: float) -> None:
        """A step of 2 W somewhere within 10 ms, at both ends, whether the marks lie on samples or between them."""
        [phase] = measure(log_of(box(at, 2 + at), self.TIMES), run_of(("decode", at, 2 + at, 100, 4000))).phases
        assert phase.wall_parts_j["edges"] == pytest.approx(0.02 / math.sqrt(3), rel=1e-3)

    def test_drift(self) -> None:
        _, net = self.parts(MeterOptions(), lambda t: np.where(t < 0, 1.0, np.where(t <= 2, 3.0, 1.2)))
        assert net["drift"] == pytest.approx(2 * 0.1 / math.sqrt(3))

    def test_the_parts_add_as_squares(self) -> None:
        [phase] = measure(log_of(box(), self.TIMES), DECODE, MeterOptions(gain=0.01, zero_w=0.05, clock_error_s=0.1)).phases
        assert phase.wall_error_j == pytest.approx(2 * math.sqrt(sum(part**2 for part in phase.wall_parts_j.values())))
        assert phase.net_error_j == pytest.approx(2 * math.sqrt(sum(part**2 for part in phase.net_parts_j.values())))

    def test_a_clock_that_was_set_during_the_run_counts(self) -> None:
        marks = run_of(("decode", 0.0, 2.0, 100, 4000))
        marks.phases[0] = Phase("decode", WALL, WALL + 2.0, MONOTONIC, MONOTONIC + 1.7, 100, 4000)
        assert "within 0.3 s" in measure(log_of(box(), self.TIMES), marks).aligned

    def test_a_logger_that_stamps_late_counts(self) -> None:
        log = replace(log_of(box(), self.TIMES), late_s=0.02)
        reading = measure(log, DECODE)
        assert reading.aligned == "aligned by the wall clock, within 0.02 s"
        assert reading.phases[0].wall_parts_j["clock"] == pytest.approx(0.04 / math.sqrt(3), rel=0.3)

    @pytest.mark.parametrize("seed", range(3))
    def test_ranges_hold_the_truth_as_often_as_they_say(self, seed: int) -> None:
        """200 noisy logs with a gain error, a zero error and a clock difference within what is claimed, starting anywhere between two samples."""
        random = np.random.default_rng(seed)
        held = {"wall": 0, "net": 0}
        for _ in range(200):
            gain, zero, late = random.uniform(-0.01, 0.01), random.uniform(-0.02, 0.02), random.uniform(-0.02, 0.02)
            times = np.arange(-3, 5, 0.02) + random.uniform(0, 0.02)
            watts = box()(times) + 0.1 * random.standard_normal(len(times))
            log = log_of(lambda t, w=watts, g=gain, z=zero: w * (1 + g) + z, times)
            log = PowerLog(log.path, log.clock, log.time_s + late, log.watts, log.lines, 1, log.power)
            [phase] = measure(log, DECODE, MeterOptions(gain=0.01, zero_w=0.02, clock_error_s=0.02)).phases
            held["wall"] += abs(phase.wall_j - 6) <= phase.wall_error_j
            held["net"] += abs(phase.net_j - 4) <= phase.net_error_j
        assert all(186 <= count for count in held.values()), f"seed {seed}: {held} of 200"

    def test_ranges_are_not_wide_for_nothing(self) -> None:
        [phase] = measure(log_of(box(), self.TIMES), DECODE).phases
        assert phase.wall_error_j < 0.03 * phase.wall_j


class TestAlignment:
    """A log and marks that count from different moments."""

    TIMES = np.round(np.arange(-5, 7, 0.01), 2)

    def test_times_of_day(self) -> None:
        from datetime import datetime

        start = datetime.fromtimestamp(WALL)
        seconds = start.hour * 3600 + start.minute * 60 + start.second + start.microsecond / 1e6
        log = PowerLog(Path("log.csv"), Clock.DAY, self.TIMES + seconds, box()(self.TIMES), np.arange(len(self.TIMES)) + 2, 1, "its power column")
        assert measure(log, DECODE).phases[0].wall_j == pytest.approx(6, rel=0.01)

    def test_the_machines_own_clock(self) -> None:
        log = log_of(box(), self.TIMES, Clock.OWN)
        reading = measure(log, DECODE, MeterOptions(clock="monotonic"))
        assert reading.phases[0].wall_j == pytest.approx(6, rel=0.01)
        assert reading.aligned == "aligned by the monotonic clock"

    def test_an_offset(self) -> None:
        log = log_of(box(3600, 3602), self.TIMES + 3600)
        reading = measure(log, DECODE, MeterOptions(offset_s=-3600.0))
        assert reading.phases[0].wall_j == pytest.approx(6, rel=0.01)
        assert reading.aligned == "aligned by the wall clock, -3600 s"

    @pytest.mark.parametrize("seed", range(5))
    def test_the_rise_of_power(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        start = random.uniform(1, 3)
        times = np.arange(0, 9, 0.01)
        watts = box(start, start + 2)(times) + 0.3 * random.standard_normal(len(times))
        log = PowerLog(Path("log.csv"), Clock.OWN, times, watts, np.arange(len(times)) + 2, 1, "its power column")
        reading = measure(log, run_of(("load", -0.5, -0.1, 0, 0), ("decode", 0.0, 2.0, 100, 4000)), MeterOptions(clock="step"))
        [phase] = reading.phases
        assert abs(phase.wall_j - 6) <= phase.wall_error_j, f"seed {seed}"
        assert reading.aligned == "aligned by the rise of power, within 0.01 s"

    def test_a_clock_of_its_own_must_be_explained(self) -> None:
        with pytest.raises(UsageError, match="count from where only the logger knows .* say how they belong to the run"):
            measure(log_of(box(), self.TIMES, Clock.OWN), DECODE)

    def test_no_rise(self) -> None:
        noise = 0.3 * np.random.default_rng(4).standard_normal(len(self.TIMES))
        log = log_of(lambda t: 1 + noise, self.TIMES, Clock.OWN)
        with pytest.raises(PowerLogError, match=r"log\.csv, line \d+: there is no rise of power that lasts 2 s"):
            measure(log, DECODE, MeterOptions(clock="step"))

    def test_two_rises(self) -> None:
        times = np.arange(-5, 10, 0.01)
        log = log_of(lambda t: np.where(((t >= 0) & (t <= 2)) | ((t >= 5) & (t <= 7)), 3.0, 1.0), times, Clock.OWN)
        with pytest.raises(PowerLogError, match=r"line 50\d: power rises for 2 s more than once, at this line and at line 100\d"):
            measure(log, DECODE, MeterOptions(clock="step"))

    def test_a_log_too_short_for_a_rise(self) -> None:
        with pytest.raises(PowerLogError, match="is too short to look for a rise of power of 2 s"):
            measure(log_of(box(), np.arange(-0.1, 2.1, 0.01), Clock.OWN), DECODE, MeterOptions(clock="step"))


class TestIdle:
    """Where it is, and where it is not."""

    TIMES = np.round(np.arange(-5, 7, 0.01), 2)

    def test_a_given_range(self) -> None:
        log = log_of(lambda t: np.where(t < -3, 0.5, box()(t)), self.TIMES)
        assert measure(log, DECODE, MeterOptions(idle_s=(0.0, 1.9))).idle_w == pytest.approx(0.5)
        assert measure(log, DECODE, MeterOptions(idle_s=(8.0, 11.0))).idle_w == pytest.approx(1.0)

    def test_a_range_in_the_run(self) -> None:
        with pytest.raises(UsageError, match=r"must lie before or after the run, which took from 5 s to 7 s .* not 4 to 6 s"):
            measure(log_of(box(), self.TIMES), DECODE, MeterOptions(idle_s=(4, 6)))

    def test_a_range_without_samples(self) -> None:
        with pytest.raises(PowerLogError, match="no idle phase from 0 to 0.05 s: the log has 6 samples there and needs 10"):
            measure(log_of(box(), self.TIMES), DECODE, MeterOptions(idle_s=(0, 0.05)))

    def test_no_idle_phase(self) -> None:
        log = log_of(box(), np.round(np.arange(-0.05, 2.05, 0.01), 2))
        with pytest.raises(PowerLogError, match=r"line 211, column 1: there is no idle phase: the log begins 0\.05 s before the run and ends 0\.04 s behind it"):
            measure(log, DECODE)

    def test_idle_on_one_side_is_said(self) -> None:
        reading = measure(log_of(box(), np.round(np.arange(-5, 2.05, 0.01), 2)), DECODE)
        assert "idle was seen only before the run, so its drift is not in the ranges" in reading.notes

    def test_a_run_that_cannot_be_told_from_idle_is_said(self) -> None:
        noise = np.random.default_rng(5).standard_normal(len(self.TIMES))
        reading = measure(log_of(lambda t: box(run=1.0)(t) + 0.1 * noise, self.TIMES), DECODE)
        assert any(note.startswith("decode cannot be told from idling") for note in reading.notes)
        [net] = [figure for figure in reading.figures() if (figure.what, figure.unit) == ("decode of nano, over idle", "J/token")]
        assert net.low <= 0 <= net.high


class TestWhatCannotBeMeasured:
    """Errors that name the line."""

    TIMES = np.round(np.arange(-5, 7, 0.01), 2)

    @pytest.mark.parametrize(("times", "line"), [(np.arange(1, 7, 0.01), 2), (np.arange(-5, 1, 0.01), 601), (np.arange(100, 110, 0.01), 2)])
    def test_a_run_outside_of_the_log(self, times: np.ndarray, line: int) -> None:
        with pytest.raises(PowerLogError, match=rf"log\.csv, line {line}, column 1: the run lies outside of the log: it took from .* start the log before"):
            measure(log_of(box(), times), DECODE)

    @pytest.mark.parametrize(("start", "line"), [(0.5, 552), (-2.0, 302), (4.0, 902)])
    def test_a_gap(self, start: float, line: int) -> None:
        kept = self.TIMES[(self.TIMES < start) | (self.TIMES >= start + 0.3)]
        with pytest.raises(PowerLogError, match=rf"line {line}, column 1: 0\.31 s are missing before this line, where a sample comes every 0\.01 s"):
            measure(log_of(box(), kept), DECODE)

    def test_a_gap_far_from_the_run_does_no_harm(self) -> None:
        times = np.concatenate((np.arange(-200, -150, 0.01), self.TIMES))
        assert measure(log_of(box(), times), DECODE).phases[0].wall_j == pytest.approx(6, rel=0.01)

    def test_a_run_shorter_than_the_log_can_see(self) -> None:
        with pytest.raises(PowerLogError, match=r"no phase is long enough for a sample every 0\.01 s: decode took 0\.02 s, in which the log has 3 samples"):
            measure(log_of(box(), self.TIMES), run_of(("decode", 0.0, 0.02, 1, 40)))

    def test_a_short_phase_is_left_out_and_said(self) -> None:
        reading = measure(log_of(box(), self.TIMES), run_of(("prompt", -0.02, 0.0, 6, 60), ("decode", 0.0, 2.0, 100, 4000)))
        assert [phase.name for phase in reading.phases] == ["decode"]
        assert any(note.startswith("prompt took 0.02 s") for note in reading.notes)

    def test_a_sensor_the_wrong_way_round(self) -> None:
        with pytest.raises(PowerLogError, match="line 502: the power of decode is -3 W: the sensor's leads are the wrong way round"):
            measure(log_of(lambda t: -box()(t), self.TIMES), DECODE)

    @pytest.mark.parametrize(("options", "sentence"), [
        ({"gain": -0.1}, "`gain` must be a number from 0 to 1, not -0.1"),
        ({"gain": 2.0}, "`gain` must be a number from 0 to 1, not 2"),
        ({"zero_w": math.inf}, "`zero_w` must be a number from 0 up, not inf"),
        ({"clock_error_s": math.nan}, "`clock_error_s` must be a number from 0 up, not nan"),
        ({"offset_s": math.nan}, "`offset_s` must be a number of seconds, not nan"),
        ({"clock": "sun"}, "`clock` must be wall, monotonic or step, not 'sun'"),
        ({"idle_s": (3.0, 1.0)}, "the idle range must be two rising numbers"),
    ])
    def test_options(self, options: dict, sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            MeterOptions(**options)


def test_from_files_to_json(tmp_path: Path) -> None:
    """A log as a logger writes it, marks as the host writes them, and a record that JSON takes."""
    times = np.round(np.arange(-3, 5, 0.02), 2)
    path = tmp_path / "log.csv"
    path.write_text("time,voltage_V,current_mA\n" + "".join(f"{WALL + at:.3f},5.0,{200 * power:.3f}\n" for at, power in zip(times, box()(times), strict=True)))
    DECODE.write(tmp_path / "marks.json")
    reading = measure(read_power_log(path), Marks.read(tmp_path / "marks.json"), MeterOptions(gain=0.005))
    record = json.loads(json.dumps(reading.as_json(), allow_nan=False))
    assert record["phases"][0]["wall_j"] == pytest.approx(6, rel=0.02)
    assert record["phases"][0]["net_error_j"] > 0
    assert record["power"] == "volts times amperes"
    assert [Figure.from_json(json.loads(json.dumps(figure.as_json()))) for figure in reading.figures()] == reading.figures()
