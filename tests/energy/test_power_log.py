"""Power logs as loggers write them, and every way in which they can be wrong, each with its line and column."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tritloom.host.errors import UsageError
from tritloom.sim.energy.board.power_log import Clock, PowerLogError, read_power_log


@pytest.fixture
def write(tmp_path: Path):
    """A function: a file of this text."""

    def written(text: str) -> Path:
        path = tmp_path / "log.csv"
        path.write_bytes(text.encode())
        return path

    return written


#: Three samples of 5 V, 0.2 A, 0.1 s apart, as each program writes them; each was read in its source.
AS_WRITTEN = {
    "plain": "time_s,voltage_V,current_A\n0,5,0.2\n0.1,5,0.2\n0.2,5,0.2\n",
    "INA219 on a microcontroller": "timestamp_us,bus_voltage_V,current_mA,power_mW,sync_pin\n0,5.0,200,1000,0\n100000,5.0,200,1000,0\n200000,5.0,200,1000,1\n",
    "INA219 in Python, time of day": "TimeStamp, Voltage (V), Current (mA), Power (mW)\n09:50:43.100000,5.000,200.000,1000.000\n09:50:43.200000,5.000,200.000,1000.000\n"
                                     "09:50:43.300000,5.000,200.000,1000.000\n",
    "INA219 in Python, ISO": "Timestamp,Bus Voltage (V),Current (mA),Power (mW)\n2026-11-22 09:50:43.1,5,200,1000\n2026-11-22 09:50:43.2,5,200,1000\n"
                             "2026-11-22 09:50:43.3,5,200,1000\n",
    "pyummeter (UM25C)": "Date;Voltage (V);Intensity (A);Power (W);Resistance (Ohm);USB D+ (V);Charging Mode;Temperature (\u00b0C);Record intensity (A)\n"
                         "2026-11-22 09:50:43.100000;5.0;0.2;1.0;25.0;2.8;DCP;25;0.1\n2026-11-22 09:50:43.200000;5.0;0.2;1.0;25.0;2.8;DCP;25;0.1\n"
                         "2026-11-22 09:50:43.300000;5.0;0.2;1.0;25.0;2.8;DCP;25;0.1\n",
    "Joulescope": "#time,current,voltage,power,charge,energy\n0.0,0.2,5,1,0,0\n0.1,0.2,5,1,0.02,0.1\n0.2,0.2,5,1,0.04,0.2\n",
    "a spreadsheet with decimal commas": "Time (s);Voltage [V];Current/mA\n0,0;5,0;200,0\n0,1;5,0;200,0\n0,2;5,0;200,0\n",
    "watts alone, spaces, comments": "# a smart plug\n\nelapsed_ms power_W\n0 1.0\n# still on\n100 1.0\n\n200 1.0\n",
    "tabs, a micro sign": "Elapsed time (min)\tVBUS (V)\tCurrent (\u00b5A)\n0\t5\t200000\n0.0016666666666666668\t5\t200000\n0.0033333333333333335\t5\t200000\n",
    "a repeated heading, a byte order mark": "\ufefftime_s,watts\n0,1\n0.1,1\ntime_s,watts\n0.2,1\n",
}


@pytest.mark.parametrize("name", AS_WRITTEN)
def test_what_loggers_write(write, name: str) -> None:
    log = read_power_log(write(AS_WRITTEN[name]))
    assert np.allclose(log.watts, 1.0, rtol=1e-12)
    assert np.allclose(np.diff(log.time_s), 0.1, atol=1e-6)
    assert log.interval_s == pytest.approx(0.1, abs=1e-6)


def test_what_times_count_from(write) -> None:
    own, day, iso = (read_power_log(write(AS_WRITTEN[name])) for name in ("plain", "INA219 in Python, time of day", "INA219 in Python, ISO"))
    assert (own.clock, day.clock, iso.clock) == (Clock.OWN, Clock.DAY, Clock.WALL)
    assert day.time_s[0] == 9 * 3600 + 50 * 60 + 43.1
    assert iso.time_s[0] == datetime(2026, 11, 22, 9, 50, 43, 100000).timestamp()
    zone = read_power_log(write("time,power_W\n2026-11-22T09:50:43Z,1\n2026-11-22T09:50:44Z,1\n2026-11-22T10:50:45+01:00,1\n"))
    assert list(zone.time_s) == [1795341043.0, 1795341044.0, 1795341045.0]
    epoch = read_power_log(write("time_ms,power_W\n1795341043000,1\n1795341044000,1\n1795341045000,1\n"))
    assert epoch.clock is Clock.WALL
    assert epoch.time_s[0] == 1795341043.0


def test_midnight_is_no_clock_that_runs_back(write) -> None:
    log = read_power_log(write("time,power_W\n23:59:59.5,1\n00:00:00.0,1\n00:00:00.5,1\n"))
    assert np.allclose(np.diff(log.time_s), 0.5)


def test_amperes_alone_need_a_supply(write) -> None:
    ppk2 = write("Timestamp(ms),Current(uA),D0-D7\n0,200000.000,00000000\n0.01,200000.000,00000001\n0.02,200000.000,00000000\n")
    log = read_power_log(ppk2, supply_v=3.3)
    assert np.allclose(log.watts, 0.66)
    assert log.power == "amperes times 3.3 V"
    with pytest.raises(PowerLogError, match=r"line 1: there are amperes and no volts, so say the supply's voltage"):
        read_power_log(ppk2)
    with pytest.raises(UsageError, match="belongs to a log of amperes alone"):
        read_power_log(write(AS_WRITTEN["plain"]), supply_v=3.3)
    with pytest.raises(UsageError, match="must be from 0 to 500 V, not -5"):
        read_power_log(ppk2, supply_v=-5)


def test_where_watts_are_they_are_taken(write) -> None:
    log = read_power_log(write("time_s,voltage_V,current_A,power_W\n0,5,0.2,1.01\n1,5,0.2,1.01\n2,5,0.2,1.01\n"))
    assert log.power == "its power column"
    assert np.allclose(log.watts, 1.01)


def test_packets_of_a_regular_clock_are_put_in_order(write) -> None:
    """As fnirsi-usb-power-data-logger writes them: times counted back from each packet's arrival overlap, and the samples were regular."""
    start, rows = 1795341043.0, []
    for packet in range(50):
        late = 0.02 * (packet % 3)
        rows += [f"{start + packet * 0.04 + late + sample * 0.01:.3f} {sample} 5.00000 0.20000 1.184 1.031" for sample in range(4)]
    log = read_power_log(write("\ntimestamp sample_in_packet voltage_V current_A dp_V dn_V\n" + "\n".join(rows) + "\n"))
    assert log.clock is Clock.WALL
    assert np.allclose(np.diff(log.time_s), 0.01, rtol=0.01)
    assert 0.01 < log.late_s < 0.05
    lost = rows[:100] + [f"{float(row[:14]) + 2:.3f}{row[14:]}" for row in rows[100:]]
    with pytest.raises(PowerLogError, match=r"line 103, column 1: the samples are not regular: 2 s are missing"):
        read_power_log(write("\ntimestamp sample_in_packet voltage_V current_A dp_V dn_V\n" + "\n".join(lost) + "\n"))


HEAD = "time_s,voltage_V,current_A\n"


@pytest.mark.parametrize(("text", "line", "column", "sentence"), [
    ("", None, None, "there is no line of headings"),
    ("0,5,0.2\n1,5,0.2\n2,5,0.2\n", 1, None, "the first line must be headings such as time_s,voltage_V,current_A, not '0,5,0.2'"),
    ("time_s,voltage_V\n0,5\n", 1, None, "there is no column of amperes, such as current_A, nor of watts: the headings are time_s, voltage_V"),
    ("voltage_V,current_A\n5,1\n", 1, None, "there is no column of time, such as time_s"),
    ("time_s,voltage,current_A\n0,5,1\n", 1, 2, "the unit of 'voltage' must be one of V, mV, uV, and there is none"),
    ("time_s,voltage_V,current_kA\n0,5,1\n", 1, 3, "the unit of 'current_kA' must be one of A, mA, uA, nA, not 'ka'"),
    ("time_h,voltage_V,current_A\n0,5,1\n", 1, 1, "the unit of 'time_h' must be one of s, ms, us, ns, min, not 'h'"),
    ("time,voltage_V,current_A\n0,5,1\n1,5,1\n2,5,1\n", 2, 1, "'time' has no unit, and 0 is no number of seconds since 1970: write time_s"),
    ("time_s,voltage_V,bus_voltage_V,current_A\n0,5,5,1\n", 1, 3, "both 'voltage_V' and 'bus_voltage_V' look like the volts"),
    (HEAD + "0,5,0.2\n0.1,5,\n0.2,5,0.2\n", 3, 3, "'current_A' must be a number, not ''"),
    (HEAD + "0,5,0.2\n0.1,five,0.2\n0.2,5,0.2\n", 3, 2, "'voltage_V' must be a number, not 'five'"),
    (HEAD + "0,5,0.2\n0.1,5,nan\n0.2,5,0.2\n", 3, 3, "'current_A' must be a number, not 'nan'"),
    (HEAD + "0,5,0.2\nsoon,5,0.2\n0.2,5,0.2\n", 3, 1, "'time_s' must be a number, not 'soon'"),
    (HEAD + "0,5,0.2\n0.1,5,0.2\n0.2,5\n", 4, 2, "there must be 3 columns, not 2: the line is cut off"),
    (HEAD + "0,5,0.2\n0.1,5,0.2\n", None, None, "there must be at least three samples, not 2"),
    (HEAD + "0,5,0.2\n0.2,5,0.2\n0.1,5,0.2\n0.3,5,0.2\n", 4, 1, "time runs back by 0.1 s"),
    (HEAD + "0,5,0.2\n0.1,5,0.2\n0.1,5,0.2\n0.3,5,0.2\n", 4, 1, "the time is that of the sample before"),
    (HEAD + "0,5000,0.2\n0.1,5000,0.2\n0.2,5000,0.2\n", 2, 2, "5,000 volts are more than 500: the unit of 'voltage_V' is another one"),
    (HEAD + "0,5,200\n0.1,5,200\n0.2,5,200\n", 2, 3, "200 amperes are more than 50: the unit of 'current_A' is another one"),
    ("time_s,voltage_V,current_A,power_W\n0,5,2,0.01\n1,5,2,0.01\n2,5,2,0.01\n", 2, 4, "power is 0.001 times voltage times current"),
    ("time,power_W\n09:50:43,1\n09:61:43,1\n09:50:45,1\n", 3, 1, "'time' must be a time such as 2026-11-22T09:50:43.125 or 09:50:43.125"),
    ("time,power_W\n2026-11-22 09:50:43,1\n0001-01-01 00:00:00,1\n2026-11-22 09:50:45,1\n", 3, 1, "not '0001-01-01 00:00:00'"),
    ("time,power_W\n2026-11-22 09:50:43,1\n22.11.2026 09:50:44,1\n2026-11-22 09:50:45,1\n", 3, 1, "not '22.11.2026 09:50:44'"),
])
def test_what_is_wrong_is_said_with_its_place(write, text: str, line: int | None, column: int | None, sentence: str) -> None:
    path = write(text)
    with pytest.raises(PowerLogError) as caught:
        read_power_log(path)
    place = f"{f', line {line}' if line else ''}{f', column {column}' if column else ''}"
    assert str(caught.value).startswith(f"{path}{place}: ")
    assert sentence in str(caught.value)
    assert (caught.value.path, caught.value.line, caught.value.column) == (path, line, column)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PowerLogError, match="cannot be read: No such file"):
        read_power_log(tmp_path / "absent.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"time_s,power_W\n\xff\xfe")
    with pytest.raises(PowerLogError, match="not UTF-8 at byte 15"):
        read_power_log(binary)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(AS_WRITTEN)), st.integers(0, 400), st.integers(0, 12), st.one_of(st.text(max_size=8), st.sampled_from(["\n", ",", ";", "\t", "nan", "-1e999", '"', "\x00", "#"])))
def test_whatever_a_file_holds_is_read_or_refused_with_a_sentence(write, name: str, at: int, cut: int, put: str) -> None:
    text = AS_WRITTEN[name]
    try:
        log = read_power_log(write((text[:at] + put + text[at + cut:]).encode("utf-8", "replace").decode()))
    except PowerLogError as error:
        assert "log.csv" in str(error)
    else:
        assert np.isfinite(log.watts).all()
        assert (np.diff(log.time_s) > 0).all()


def test_a_fast_logger_is_read_in_seconds(write) -> None:
    """Two seconds of a PPK2 at 100,000 samples a second."""
    path = write("Timestamp(ms),Current(uA),D0-D7\n" + "".join(f"{n / 100:.2f},200000.000,00000000\n" for n in range(200_000)))
    began = time.perf_counter()
    assert len(read_power_log(path, supply_v=5).watts) == 200_000
    assert time.perf_counter() - began < 10
