"""Edits of a netlist between Yosys, nextpnr and gowin_pack, for what nextpnr-himbaechel-gowin 0.11.1 cannot do or does wrong.

nextpnr runs twice: it packs and places what `for_placing` made, and routes what `for_routing` makes of that; `as_named` then undoes what
only nextpnr needed.

- Its packer ties I2 of every ALU to 1, and stops on one that is connected (`GowinPacker::pack_alus`, himbaechel/uarch/gowin/pack_luts.cc).
  So while it packs and places, I2 goes by another name, which no pin has; the placer counts the net's length all the same. The placed
  netlist is read again with `--no-pack` and I2 in its place, every cell bound to where it was by its `BEL` attribute.
- It knows delays of LUT4 cells only: a path through a LUT1, LUT2 or LUT3 is none to it (`create_timing_info`, gowin_arch_gen.py).
  So all become LUT4, on the fastest pins.
- A cell that brings a carry from logic into a chain computes ``I0 | CIN`` and has no CIN (issue 1799, mended after 0.11.1).
- The placer leaves a third of the flip-flops behind ALUs in other slices. Each takes a LUT to pass through and 1.5 to 2.7 ns.
- Of buffers, only IBUF and OBUF can be bound by an attribute. Amaranth makes an output of a TBUF that is always on.
"""

from __future__ import annotations

from typing import Any

__all__ = ["as_named", "for_placing", "for_routing"]

#: A cell as Yosys and nextpnr write it in JSON.
_Cell = dict[str, Any]

#: The cell that the gateware instantiates, and what I2 is called while nextpnr packs and places.
_OURS, _ALIAS = "TRITLOOM_ALU", "I2_LATER"

#: Tables of the cell that brings a carry from logic into a chain.
_WRONG_HEAD, _RIGHT_HEAD = 0x505A, 0x000A

#: What a name begins with for nextpnr to bind it first.
_FIRST = "~"

#: What the two flip-flops of a slice share.
_SHARED = ("CLK", "CE", "SET", "RESET", "PRESET", "CLEAR")


def for_placing(netlist: dict[str, Any]) -> None:
    """Make cells that nextpnr packs and places of those that Yosys wrote, in place."""
    # The definition of our cell would be one more module.
    netlist["modules"].pop(_OURS, None)
    for module in netlist["modules"].values():
        cells = module["cells"].values()
        zeros = {"0", *(cell["connections"]["G"][0] for cell in cells if cell["type"] == "GND")}
        for cell in cells:
            if cell["type"] == _OURS:
                _name_alu(cell)
            elif cell["type"] in ("LUT1", "LUT2", "LUT3"):
                _widen(cell)
            elif cell["type"] == "TBUF" and cell["connections"]["OEN"][0] in zeros:
                cell["type"] = "OBUF"
                _drop(cell, "OEN")


def for_routing(netlist: dict[str, Any]) -> None:
    """Make what can be read again with `--no-pack`, and then routed, of what nextpnr placed, in place."""
    for module in netlist["modules"].values():
        _join(module["cells"])
        cells = {}
        for name, cell in module["cells"].items():
            # Packing leaves fillers for the LUTs below ALUs. They have done their work, and the checks of a second placement refuse them.
            if cell["type"].startswith("BLOCKER"):
                continue
            attributes = cell["attributes"]
            attributes.pop("BEL_STRENGTH", None)
            if bel := attributes.pop("NEXTPNR_BEL", None):
                attributes["BEL"] = bel
            if cell["type"] == "ALU":
                _finish_alu(cell)
                # nextpnr binds cells by name, the last one first, and refuses half a slice: ALUs must come before their flip-flops.
                name = f"{_FIRST}{name}"
            cells[name] = cell
        module["cells"] = cells


def as_named(netlist: dict[str, Any]) -> None:
    """Give the cells of what nextpnr routed the names they had, in place."""
    for module in netlist["modules"].values():
        module["cells"] = {name.removeprefix(_FIRST): cell for name, cell in module["cells"].items()}


def _name_alu(cell: _Cell) -> None:
    """Make an ALU of nextpnr's of ours."""
    cell["type"] = "ALU"
    # nextpnr goes by the mode where it makes chains, and gowin_pack by the table.
    cell["parameters"]["ALU_MODE"] = format(0, "032b")
    _rename(cell, "I2", _ALIAS)


def _finish_alu(cell: _Cell) -> None:
    """Give a placed ALU its I2, and a carry's way into a chain the right table."""
    if _ALIAS in cell["connections"]:
        _drop(cell, "I2")
        _rename(cell, _ALIAS, "I2")
    parameters = cell["parameters"]
    if parameters.get("CIN_NETTYPE") == "LOGIC" and int(parameters["RAW_ALU_LUT"], 2) == _WRONG_HEAD:
        parameters["RAW_ALU_LUT"] = format(_RIGHT_HEAD, "032b")


def _widen(cell: _Cell) -> None:
    """Make a LUT4 of a smaller one. I3 is its fastest pin, so the upper ones are used; the unused have no say."""
    inputs = int(cell["type"][-1])
    unused = 4 - inputs
    table = int(cell["parameters"]["INIT"], 2)
    for n in reversed(range(inputs)):
        _rename(cell, f"I{n}", f"I{n + unused}")
    cell["type"] = "LUT4"
    cell["parameters"]["INIT"] = format(sum((table >> (i >> unused) & 1) << i for i in range(16)), "016b")


def _join(cells: dict[str, _Cell]) -> None:
    """Move flip-flops that take an ALU's sum into that ALU's slice, where no other can be, and drop the LUTs they passed through."""
    flops = [cell for cell in cells.values() if cell["type"].startswith("DFF")]
    at = {_bel(cell): cell for cell in flops}
    beside_alu = {cell["connections"]["SUM"][0]: _bel(cell).replace("ALU", "DFF")
                  for cell in cells.values() if cell["type"] == "ALU" and cell["connections"].get("SUM")}
    passing = {cell["connections"]["F"][0]: (name, cell["connections"]["I3"][0])
               for name, cell in cells.items() if name.endswith("_passthrough_lut$") and "I3" in cell["connections"]}
    for flop in flops:
        lut, source = passing.get(flop["connections"]["D"][0], ("", None))
        bel = beside_alu.get(source)
        if bel is None or bel in at:
            continue
        other = at.get(f"{bel[:-1]}{int(bel[-1]) ^ 1}")
        if other is not None and _control(other) != _control(flop):
            continue
        del at[_bel(flop)], cells[lut]
        flop["attributes"]["NEXTPNR_BEL"] = bel
        flop["connections"]["D"] = [source]
        at[bel] = flop


def _bel(cell: _Cell) -> str:
    return cell["attributes"]["NEXTPNR_BEL"]


def _control(flop: _Cell) -> tuple[Any, ...]:
    return flop["type"], *(flop["connections"].get(port) for port in _SHARED)


def _rename(cell: _Cell, port: str, to: str) -> None:
    cell["connections"][to] = cell["connections"].pop(port)
    cell["port_directions"][to] = cell["port_directions"].pop(port)


def _drop(cell: _Cell, port: str) -> None:
    cell["connections"].pop(port, None)
    cell["port_directions"].pop(port, None)
