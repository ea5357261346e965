"""Placement and routing of a Gowin part: two runs of nextpnr, and the delays that it does not see."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tritloom.boards import find
from tritloom.boards.place import PLACED, place, prepare
from tritloom.boards.report import Clock, clocks_of, critical_path
from tritloom.boards.toolchain import find_toolchain

_NETLIST = {"modules": {"top": {"cells": {"device.core.array.a": {
    "type": "LUT2", "parameters": {"INIT": "1000"}, "attributes": {}, "port_directions": {"I0": "input", "I1": "input", "F": "output"},
    "connections": {"I0": [2], "I1": [3], "F": [4]}}}, "netnames": {}}}}

_SDF = """\
(CELL
  (CELLTYPE "ALU")
  (INSTANCE alu)
  (DELAY (ABSOLUTE (IOPATH I0 SUM (900:900:900) (900:900:900))))
)
(CELL
  (CELLTYPE "DFF")
  (INSTANCE flop)
  (DELAY (ABSOLUTE (IOPATH CLK Q (400:400:400) (400:400:400))))
  (TIMINGCHECK
    (SETUPHOLD (posedge D) (posedge CLK) (100:100:100) (0:0:0))
  )
)
(INTERCONNECT flop/Q alu/I0 ({wire}:{wire}:{wire}) ({wire}:{wire}:{wire}))
(INTERCONNECT alu/SUM flop/D (500:500:500) (500:500:500))
"""

_NEXTPNR = """\
import json, pathlib, sys
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
calls = pathlib.Path("calls")
calls.write_text((calls.read_text() if calls.exists() else "") + " ".join(sys.argv[1:]) + "\\n")
netlist = json.loads(pathlib.Path(arguments["--json"]).read_text())
for cell in netlist["modules"]["top"]["cells"].values():
    cell["attributes"]["NEXTPNR_BEL"] = cell["attributes"].get("BEL", "X3Y4/LUT1")
pathlib.Path(arguments["--write"]).write_text(json.dumps(netlist))
if "--report" in arguments:
    pathlib.Path(arguments["--report"]).write_text(pathlib.Path(%(sample)r).read_text())
    pathlib.Path(arguments["--sdf"]).write_text(%(sdf)r)
"""


@pytest.mark.parametrize("wire, mhz", [(1100, 63.15), (18100, 50.0)])
def test_two_runs_and_the_slower_of_two_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: int, mhz: float) -> None:
    program, folder = tmp_path / "nextpnr.py", tmp_path / "work"
    folder.mkdir()
    sample = Path(__file__).parent / "samples" / "nextpnr-gowin.json"
    program.write_text(_NEXTPNR % {"sample": str(sample), "sdf": _SDF.format(wire=wire)})
    for name in ("YOSYS", "NEXTPNR_GOWIN", "GOWIN_PACK"):
        monkeypatch.setenv(name, f"{sys.executable} {program}")
    board = find("tang_nano_9k")
    (folder / "top.json").write_text(json.dumps(_NETLIST))
    prepare(board, folder)
    report = place(board, find_toolchain(board.family).place, folder, 7)

    first, second = (folder / "calls").read_text().splitlines()
    assert "--no-route" in first and "--json top.json" in first
    assert "--no-pack" in second and "--seed 7" in second and "--freq 72 " in second and f"--write {PLACED}" in second
    [cell] = json.loads((folder / PLACED).read_text())["modules"]["top"]["cells"].values()
    assert cell["type"] == "LUT4"
    assert cell["attributes"]["BEL"] == "X3Y4/LUT1"
    assert clocks_of(report) == {"core_clk": Clock(mhz, 72.0)}
    if mhz == 50.0:
        assert critical_path(report, "core_clk") == "20.0 ns from flop to flop, 1.4 ns in 1 cells and 18.6 ns in wires"
