"""What is read from the tools' JSON. The samples are nextpnr's own, of real designs, with the middles of the paths cut out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tritloom.boards.report import Clock, Use, clocks_of, critical_path, lut4_of, utilization_of
from tritloom.rtl.family import Family


def sample(family: str) -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "samples" / f"nextpnr-{family}.json").read_text(encoding="utf-8"))


def test_ice40() -> None:
    report = sample("ice40")
    assert clocks_of(report) == {"core_clk": Clock(21.99, 48.0)}
    assert not clocks_of(report)["core_clk"].met
    used = utilization_of(report)
    assert (used["ICESTORM_LC"], used["ICESTORM_SPRAM"]) == (Use(4931, 5280), Use(4, 4))
    assert "ICESTORM_DSP" not in used    # no multiplier
    assert critical_path(report, "core_clk") == (
        "14.8 ns from device.core.commands.$signal to device.core.commands.address, 3.6 ns in 2 cells and 11.3 ns in wires")


def test_met_to_the_last_digit() -> None:
    assert Clock(48.0, 48.0).met
    assert not Clock(47.99, 48.0).met


def test_a_clock_without_a_path() -> None:
    report = sample("ice40")
    assert critical_path(report, "another") == ""
    assert critical_path({"critical_paths": []}, "core_clk") == ""


@pytest.mark.parametrize("cell, name", [
    ("device.core.commands.address_SB_DFFESR_Q_24_D_SB_LUT4_O_LC", "device.core.commands.address"),
    ("device.core.array.pe0_1.total_TRELLIS_FF_Q_3_DI_CCU2C_S0", "device.core.array.pe0_1.total"),
    ("device.core.array.pe0_1.total_CCU2C_A0_3$CCU2_FCI", "device.core.array.pe0_1.total"),
    ("device.core.weights.words.0.0.0", "device.core.weights.words.0.0.0"),
    ("$nextpnr_ICESTORM_LC_3", "$nextpnr_ICESTORM_LC_3"),
])
def test_cells_are_named_after_their_signals(cell: str, name: str) -> None:
    end = {"cell": cell, "port": "O"}
    report = {"critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": [{"type": "logic", "delay": 1.0, "from": end, "to": end}]}]}
    assert critical_path(report, "clk") == f"1.0 ns from {name} to {name}, 1.0 ns in 1 cells and 0.0 ns in wires"


@pytest.mark.parametrize("family, cells, expected", [
    (Family.ICE40, {"SB_LUT4": 100, "SB_CARRY": 40, "SB_DFF": 10}, 100),    # a carry shares its LUT
    (Family.ECP5, {"LUT4": 100, "CCU2C": 10, "TRELLIS_FF": 50, "PFUMX": 7, "TRELLIS_DPR16X4": 2}, 132),
    (Family.GOWIN, {"LUT1": 1, "LUT2": 2, "LUT3": 3, "LUT4": 4, "ALU": 10, "MUX2_LUT5": 5, "DFF": 9, "RAM16SDP4": 1}, 24),
])
def test_what_counts_as_a_lut(family: Family, cells: dict[str, int], expected: int) -> None:
    assert lut4_of(cells, family) == expected


def test_gowin() -> None:
    report = sample("gowin")
    assert clocks_of(report) == {"core_clk": Clock(63.15, 72.0)}
    assert utilization_of(report)["BSRAM"] == Use(22, 26)
    assert critical_path(report, "core_clk") == (
        "9.4 ns from device.core.packer.jobs.ram.words.0.0 to device.core.framer.buffer.words.0.0, 5.7 ns in 2 cells and 3.7 ns in wires")
