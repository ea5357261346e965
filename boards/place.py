"""Placement and routing with one seed. Gowin's takes two runs of nextpnr and a look at the delays that it does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tritloom.boards.board import Board
from tritloom.boards.errors import ToolError
from tritloom.boards.gowin_netlist import as_named, for_placing, for_routing
from tritloom.boards.gowin_timing import slowest_path
from tritloom.boards.report import clock_nets
from tritloom.boards.toolchain import Tool
from tritloom.rtl.family import Family

__all__ = ["LOG", "PLACED", "place", "prepare"]

#: Files that `place` makes: what nextpnr said, and the netlist with its cells placed.
LOG, PLACED = "nextpnr.log", "top.placed.json"

#: Of each family: how nextpnr is told of the constraints, and what it writes for the packer.
_OPTIONS = {
    Family.ICE40: ("--pcf", "top.pcf", "--asc", "top.asc"),
    # The default placer gives up on these arrays after seven steps (of 2,8,16, 169,000 units of wire where this one needs 77,000), and then they
    # do not route in an hour, or at all.
    Family.ECP5: ("--lpf", "top.lpf", "--textcfg", "top.config", "--placer", "static"),
    Family.GOWIN: ("--vopt", "cst=top.cst"),
}


def prepare(board: Board, folder: Path) -> None:
    """What has to be done to Yosys' ``top.json`` once."""
    if board.family is Family.GOWIN:
        netlist = json.loads((folder / "top.json").read_text())
        for_placing(netlist)
        (folder / "top.json").write_text(json.dumps(netlist))


def place(board: Board, tool: Tool, folder: Path, seed: int) -> dict[str, Any]:
    """Place and route ``top.json``, which `prepare` has seen.

    Parameters
    ----------
    board : Board
    tool : Tool
        Nextpnr.
    folder : Path
        Where everything is.
    seed : int

    Returns
    -------
    dict
        Nextpnr's report. It does not fail where timing is not met.

    Raises
    ------
    ToolError
        If nextpnr fails.
    """
    # Gowin's nextpnr derives no clock through the PLL, so it is told. The others take the board's clock from the constraints.
    options = [*board.place_options, *_OPTIONS[board.family], "--freq", f"{board.constraint_mhz:g}", "--seed", str(seed), "--timing-allow-fail"]
    results = ["--write", PLACED, "--report", "nextpnr.json"]
    if board.family is not Family.GOWIN:
        tool.run([*options, *results, "--json", "top.json"], folder, folder / LOG)
        return json.loads((folder / "nextpnr.json").read_text())
    tool.run([*options, "--json", "top.json", "--write", "top.unrouted.json", "--no-route"], folder, folder / LOG)
    netlist = json.loads((folder / "top.unrouted.json").read_text())
    for_routing(netlist)
    (folder / "top.unrouted.json").write_text(json.dumps(netlist))
    tool.run([*options, *results, "--json", "top.unrouted.json", "--no-pack", "--sdf", "top.sdf"], folder, folder / "nextpnr-route.log")
    netlist = json.loads((folder / PLACED).read_text())
    as_named(netlist)
    (folder / PLACED).write_text(json.dumps(netlist))
    return _with_hidden_paths(json.loads((folder / "nextpnr.json").read_text()), (folder / "top.sdf").read_text())


def _with_hidden_paths(report: dict[str, Any], sdf: str) -> dict[str, Any]:
    """Nextpnr's report with the slowest path of all, if that is one which nextpnr does not see."""
    clocks = clock_nets(report)
    if list(clocks) != ["core_clk"]:
        raise ToolError(f"the design has one clock, core_clk, and nextpnr reports {', '.join(clocks) or 'none'}")
    net, slowest = clocks["core_clk"], slowest_path(sdf)
    if slowest.mhz < report["fmax"][net]["achieved"]:
        report["fmax"][net]["achieved"] = slowest.mhz
        edge = f"posedge {net}"
        report["critical_paths"].insert(0, {"from": edge, "to": edge, "path": slowest.steps})
    return report
