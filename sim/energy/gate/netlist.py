"""A synthesised circuit: cells of a library and the nets between them, by number, so that no name can get lost between two tools."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tritloom.sim.energy.gate.errors import NetlistError
from tritloom.sim.energy.gate.liberty import Library

__all__ = ["Instance", "Netlist", "read_netlist"]


@dataclass(frozen=True)
class Instance:
    """One cell in the circuit.

    Parameters
    ----------
    cell : str
        The library's name of it.
    name : str
        Yosys' name: where it came from in the design, as far as that is known.
    pins : dict of str to int or str
        The net at each pin, or a constant: "0", "1". Pins that lead nowhere are left out.
    """

    cell: str
    name: str
    pins: dict[str, int | str]


@dataclass(frozen=True)
class Netlist:
    """A circuit of a library's cells.

    Parameters
    ----------
    library : Library
    inputs, outputs : dict of str to tuple of int or str
        The nets of each port, bit 0 first; an output's bit may be a constant.
    instances : tuple of Instance
    """

    library: Library
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    instances: tuple[Instance, ...]

    @cached_property
    def nets(self) -> tuple[int, ...]:
        """All that exist: those that a port or a pin is on."""
        found = {net for nets in (*self.inputs.values(), *self.outputs.values()) for net in nets}
        found.update(net for instance in self.instances for net in instance.pins.values())
        return tuple(sorted(net for net in found if isinstance(net, int)))

    @cached_property
    def cells(self) -> dict[str, int]:
        """How many there are of each kind."""
        return dict(sorted(Counter(instance.cell for instance in self.instances).items()))

    @property
    def area_um2(self) -> float:
        """Of all cells; no space between them."""
        return sum(count * self.library.cells[cell].area_um2 for cell, count in self.cells.items())

    @cached_property
    def loads_pf(self) -> dict[int, tuple[float, float]]:
        """What a rising and a falling edge of each net have to charge: the input pins on it, and no wire. pF."""
        loads = dict.fromkeys(self.nets, (0.0, 0.0))
        for instance in self.instances:
            cell = self.library.cells[instance.cell]
            for name, net in instance.pins.items():
                pin = cell.pins[name]
                if isinstance(net, int) and pin.direction == "input":
                    rise, fall = loads[net]
                    loads[net] = rise + pin.rise_pf, fall + pin.fall_pf
        return loads

    @property
    def verilog(self) -> str:
        """Module ``top``: its ports are the nets of the inputs, n5; outputs are looked at inside. Constants stand at the pins."""
        ports = sorted({net for nets in self.inputs.values() for net in nets})
        inner = sorted(set(self.nets) - set(ports))
        lines = [f"module top ({', '.join(f'n{net}' for net in ports)});"]
        lines += [f"  input n{net};" for net in ports]
        lines += [f"  wire n{net};" for net in inner]
        for i, instance in enumerate(self.instances):
            pins = ", ".join(f".{pin}({_verilog(net)})" for pin, net in instance.pins.items())
            lines.append(f"  {instance.cell} c{i} ({pins});")
        return "\n".join([*lines, "endmodule", ""])

    @cached_property
    def digest(self) -> str:
        """Of the circuit and its library."""
        text = f"{self.library.digest} {sorted(self.inputs.items())} {sorted(self.outputs.items())} {self.verilog}"
        return hashlib.sha256(text.encode()).hexdigest()


def read_netlist(path: Path, library: Library) -> Netlist:
    """Read what Yosys wrote with ``write_json``: one module ``top``, flat.

    Raises
    ------
    NetlistError
        If there is a cell in it that the library does not have.
    """
    top = json.loads(path.read_text(encoding="utf-8"))["modules"]["top"]
    instances = []
    for name, cell in top["cells"].items():
        if cell["type"] == "$scopeinfo":    # where a part of the flat module came from; no circuit
            continue
        known = library.cells.get(cell["type"])
        if known is None:
            raise NetlistError(f"the synthesised circuit has a cell {cell['type']} ({name}), which the library {library.name} does not have: "
                               "describe the circuit without it, or give another library")
        pins = {pin: bits[0] for pin, bits in cell["connections"].items() if bits}
        for pin, net in pins.items():
            if net == "x" and known.pins[pin].direction == "input":
                raise NetlistError(f"input {pin} of {cell['type']} ({name}) is connected to nothing: give every input of the circuit a driver")
        instances.append(Instance(cell["type"], name, pins))
    ports = {direction: {name: tuple(port["bits"]) for name, port in top["ports"].items() if port["direction"] == direction}
             for direction in ("input", "output", "inout")}
    if ports["inout"]:
        raise NetlistError(f"the circuit has ports of both directions ({', '.join(ports['inout'])}): use inputs and outputs")
    netlist = Netlist(library, ports["input"], ports["output"], tuple(instances))
    _check_driven(netlist)
    return netlist


def _check_driven(netlist: Netlist) -> None:
    """Every net has one driver."""
    drivers = Counter(net for nets in netlist.inputs.values() for net in nets)
    for instance in netlist.instances:
        cell = netlist.library.cells[instance.cell]
        drivers.update(net for pin, net in instance.pins.items() if cell.pins[pin].direction == "output")
    wrong = [net for net in netlist.nets if drivers[net] != 1]
    if wrong:
        raise NetlistError(f"{len(wrong)} nets of the circuit have no driver or several (the first: n{wrong[0]}): give every signal one driver")


def _verilog(net: int | str) -> str:
    return f"n{net}" if isinstance(net, int) else f"1'b{net}"
