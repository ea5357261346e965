"""A Gowin design as it was built, as Verilog: the tables of its cells out of the bitstream, its wires out of nextpnr's routed netlist.

For simulation with the cells in `sim/cocotb/cells/alu.v` and `sim/gowin_cells.v`. Needs Apycula. What is not read out of the bitstream is what
Apycula cannot read back: how flip-flops and block RAMs are set, and the routing.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

__all__ = ["tables_of", "verilog"]

#: A cell as nextpnr writes it.
_Cell = Mapping[str, Any]

#: Cells that are only wires, or nothing at all, in a simulation.
_WIRES = {"GOWIN_VCC": ("V", "1'b1"), "GOWIN_GND": ("G", "1'b0")}

_FLIP_FLOPS = re.compile(r"DFF([SR]?)(E?)")

_BSRAM_BITS = 18432


def tables_of(bitstream: Path, chip: str) -> Callable[[str], int]:
    """The tables in a bitstream.

    Parameters
    ----------
    bitstream : Path
        A ``.fs`` file.
    chip : str
        As Apycula calls it, such as "GW1N-9C".

    Returns
    -------
    callable
        From the name of a LUT's or an ALU's place, such as "X3Y19/ALU0", to its 16 bits.
    """
    from apycula import chipdb
    from apycula.bslib import read_bitstream

    database = chipdb.load_chipdb(str(importlib.resources.files("apycula") / f"{chip}.msgpack.xz"))
    tiles = chipdb.tile_bitmap(database, read_bitstream(str(bitstream))[0], empty=True)

    def table(place: str) -> int:
        found = re.fullmatch(r"X(\d+)Y(\d+)/(?:LUT|ALU)(\d)", place)
        assert found, place
        x, y, number = map(int, found.groups())
        fuses, tile = database[y, x].bels[f"LUT{number}"].flags, tiles[y, x]
        # A fuse that is set makes a 0.
        return sum((not all(tile[row][column] for row, column in fuses[bit])) << bit for bit in range(16))

    return table


def verilog(netlist: Mapping[str, Any], table: Callable[[str], int], unconnected: int) -> str:
    """A module `board`, whose ports are the pins, named by the buffers' first names.

    Parameters
    ----------
    netlist : mapping
        What nextpnr wrote after routing.
    table : callable
        See `tables_of`.
    unconnected : int
        What an input that nothing drives reads: 0 or 1. A design must work with either.

    Raises
    ------
    ValueError
        If there is a cell of a kind that is not known here.
    """
    cells: Mapping[str, _Cell] = netlist["modules"]["top"]["cells"]
    ports, lines, driven = [], [], set()
    for number, (name, cell) in enumerate(cells.items()):
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                driven.update(bits)
        if cell["type"] in ("IBUF", "OBUF"):
            ports.append(f"{'input' if cell['type'] == 'IBUF' else 'output'} {name.split('.')[0]}")
        lines.append(_instance(f"c{number}", name, cell, table))
    used = {bit for cell in cells.values() for bits in cell["connections"].values() for bit in bits}
    wires = [f"wire n{bit}{'' if bit in driven else f' = {unconnected}'};" for bit in sorted(used)]
    text = "\n".join([f"module board ({', '.join(ports)});", *wires, *lines, "endmodule", ""])
    return text.replace("UNCONNECTED", str(unconnected))


def _instance(label: str, name: str, cell: _Cell, table: Callable[[str], int]) -> str:
    kind, connections, parameters = cell["type"], cell["connections"], cell["parameters"]

    def wire(port: str) -> str:
        bits = connections.get(port)
        return f"n{bits[0]}" if bits else "1'bUNCONNECTED"

    def out(port: str) -> str:
        return wire(port) if connections.get(port) else ""

    def vector(port: str, bits: int) -> str:
        """The pins ``port0``, ``port1``, ... as one."""
        return "{" + ", ".join(wire(f"{port}{bit}") for bit in reversed(range(bits))) + "}"

    place = cell["attributes"].get("NEXTPNR_BEL", "")
    inputs = ", ".join(f".I{n}({wire(f'I{n}')})" for n in range(4))
    if kind in _WIRES:
        port, value = _WIRES[kind]
        return f"assign {wire(port)} = {value};"
    if kind == "GSR":
        return ""
    if kind == "IBUF":
        return f"assign {wire('O')} = {name.split('.')[0]};"
    if kind == "OBUF":
        return f"assign {name.split('.')[0]} = {wire('I')};"
    if kind == "LUT4":
        return f"BOARD_LUT4 #(.INIT(16'h{table(place):04x})) {label} ({inputs}, .F({out('F')}));"
    if kind == "ALU":
        return (f"TRITLOOM_ALU #(.RAW_ALU_LUT(16'h{table(place):04x})) {label} ({inputs}, .CIN({wire('CIN')}), "
                f".SUM({out('SUM')}), .COUT({out('COUT')}));")
    if found := _FLIP_FLOPS.fullmatch(kind):
        reset, enable = found.groups()
        enabled = wire("CE") if enable else "1'b1"
        force = wire({"S": "SET", "R": "RESET"}[reset]) if reset else "1'b0"
        return (f"BOARD_DFF #(.FORCED(1'b{int(reset == 'S')})) {label} (.CLK({wire('CLK')}), .D({wire('D')}), .Q({out('Q')}), "
                f".CE({enabled}), .FORCE({force}));")
    if kind == "RAM16SDP4":
        initial = "".join(parameters[f"INIT_{bit}"][-16:] for bit in reversed(range(4)))
        buses = {port: "{" + ", ".join(f"n{bit}" for bit in reversed(connections[port])) + "}" for port in ("DI", "DO", "WAD", "RAD")}
        return (f"BOARD_RAM16 #(.INIT(64'b{initial})) {label} (.CLK({wire('CLK')}), .WRE({wire('WRE')} & {wire('CE')}), "
                + ", ".join(f".{port}({bus})" for port, bus in buses.items()) + ");")
    if kind in ("DP", "SDP"):
        widths = [int(parameters[f"BIT_WIDTH_{side}"], 2) for side in (0, 1)]
        settings = {"READ_MODE", "READ_MODE0", "READ_MODE1"} & parameters.keys()
        if widths[0] != widths[1] or widths[0] % 9 or any(int(parameters[setting], 2) for setting in settings):
            raise ValueError(f"{name}: a block RAM with words of {widths} bits and {dict(parameters)} is not known here")
        # The second port of DP does not write in our designs, and the first does not read.
        data, words = ("DI", "DO") if kind == "SDP" else ("DIA", "DOB")
        if kind == "DP" and wire("WREB") == wire("WREA"):
            raise ValueError(f"{name}: a block RAM that is written through both ports is not known here")
        rows = "".join(parameters[f"INIT_RAM_{row:02X}"] for row in reversed(range(_BSRAM_BITS // 288)))
        lanes = max(widths[0] // 9, 1)
        enables = "{" + ", ".join(wire(f"ADA{lane}") if lanes > 1 else "1'b1" for lane in reversed(range(lanes))) + "}"
        taps = [f"assign n{connections[f'{words}{bit}'][0]} = {label}_words[{bit}];" for bit in range(36) if connections.get(f"{words}{bit}")]
        memory = (f"BOARD_BSRAM #(.WIDTH({widths[0]}), .INIT({_BSRAM_BITS}'h{int(rows, 2):x})) {label} (.CLKA({wire('CLKA')}), .CLKB({wire('CLKB')}), "
                  f".WRITE({wire('CEA')} & {wire('WREA')}), .READ({wire('CEB')}), .ENABLES({enables}), .ADA({vector('ADA', 14)}), "
                  f".ADB({vector('ADB', 14)}), .DI({vector(data, 36)}), .DO({label}_words));")
        return "\n".join([f"wire [35:0] {label}_words;", memory, *taps])
    if kind == "rPLL":
        divide, multiply = (int(parameters[key], 2) + 1 for key in ("IDIV_SEL", "FBDIV_SEL"))
        return f"BOARD_PLL #(.DIVIDE({divide}), .MULTIPLY({multiply})) {label} (.CLKIN({wire('CLKIN')}), .CLKOUT({out('CLKOUT')}), .LOCK({out('LOCK')}));"
    raise ValueError(f"{name}: a cell of the kind {kind} is not known here")

