"""Netlists: read from Yosys' JSON, written as Verilog, and refused when they are not whole."""

import json
from pathlib import Path

import pytest

from tritloom.sim.energy.gate.errors import NetlistError
from tritloom.sim.energy.gate.liberty import read_library
from tritloom.sim.energy.gate.netlist import read_netlist

TINY = read_library(Path(__file__).parent / "cells" / "tiny.lib")

PORTS = {"a": ("input", [2]), "b": ("input", [3]), "y": ("output", [4, 2, "1"])}
CELLS = {"first": ("NAND2", {"A": [2], "B": [3], "Y": [5]}), "second": ("INV", {"A": [5], "Y": [4]})}


def written(path, ports=PORTS, cells=CELLS):
    path.write_text(json.dumps({"modules": {"top": {
        "ports": {name: {"direction": direction, "bits": bits} for name, (direction, bits) in ports.items()},
        "cells": {name: {"type": kind, "connections": pins} for name, (kind, pins) in cells.items()},
    }}}))
    return path


def test_read(tmp_path):
    netlist = read_netlist(written(tmp_path / "top.json", cells=CELLS | {"scope": ("$scopeinfo", {})}), TINY)
    assert netlist.nets == (2, 3, 4, 5)
    assert netlist.cells == {"INV": 1, "NAND2": 1} and netlist.area_um2 == 25
    assert netlist.inputs == {"a": (2,), "b": (3,)} and netlist.outputs == {"y": (4, 2, "1")}
    assert netlist.loads_pf == {2: pytest.approx((0.003, 0.003)), 3: pytest.approx((0.005, 0.005)), 4: (0, 0), 5: pytest.approx((0.002, 0.004))}
    assert netlist.verilog.splitlines() == [
        "module top (n2, n3);", "  input n2;", "  input n3;", "  wire n4;", "  wire n5;",
        "  NAND2 c0 (.A(n2), .B(n3), .Y(n5));", "  INV c1 (.A(n5), .Y(n4));", "endmodule"]


def test_digest_follows_the_circuit(tmp_path):
    same = [read_netlist(written(tmp_path / name), TINY).digest for name in ("a.json", "b.json")]
    assert same[0] == same[1]
    other = read_netlist(written(tmp_path / "c.json", cells=CELLS | {"second": ("BUF", {"A": [5], "Y": [4]})}), TINY)
    assert other.digest != same[0]


@pytest.mark.parametrize("ports, cells, says", [
    (PORTS, CELLS | {"third": ("$_DLATCH_P_", {"D": [2], "Q": [6]})}, r"has a cell \$_DLATCH_P_ \(third\), which the library tiny does not have"),
    (PORTS, CELLS | {"first": ("NAND2", {"A": [2], "B": ["x"], "Y": [5]})}, r"input B of NAND2 \(first\) is connected to nothing"),
    (PORTS, CELLS | {"second": ("INV", {"A": [7], "Y": [4]})}, r"1 nets of the circuit have no driver or several \(the first: n7\)"),
    (PORTS, CELLS | {"third": ("INV", {"A": [5], "Y": [4]})}, r"no driver or several \(the first: n4\)"),
    (PORTS | {"z": ("inout", [9])}, CELLS, r"ports of both directions \(z\)"),
])
def test_refused(tmp_path, ports, cells, says):
    with pytest.raises(NetlistError, match=says):
        read_netlist(written(tmp_path / "top.json", ports, cells), TINY)
