"""A second opinion on the calculator, from OpenSTA: switching and leakage of a netlist in which all nets toggle equally often.

OpenSTA 2.0.17 (Debian) reads neither VCD nor SAIF and its command for the activity of a pin does not work, so it cannot be given what was simulated. What can be
checked is what does not depend on that: the capacitance of every net, the formula, the units, the cells' leakage. It is checked cell by cell.

What was found out, for whoever compares:

- It takes the larger of a pin's rise and fall capacitance for both edges; the calculator takes each for its own. That is 0.1 to 0.7 % of a circuit.
- Logic between inputs of the circuit that belong to no clock has no power at all: inputs need ``set_input_delay``.
- It counts a net with the cell that drives it. Nets that inputs drive, the clock's among them, are in no sum.
- Constants do not toggle, and nor does what follows from them. A netlist with full adders of which all inputs are constant, which techmap leaves in a
  multiplier, has nets that a global activity makes toggle in one's own sum and not in OpenSTA's: that was the 4 % by which the two once differed on a multiplier and
  by which they did not differ on an adder. `flows` now lets constants through adders before they become cells, so there are none.
- A flip-flop's energy at its clock pin is in its figure twice. Internal power is not compared.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tritloom.boards.errors import ToolError
from tritloom.boards.toolchain import last_error
from tritloom.sim.energy.gate.calculator import switching_pj
from tritloom.sim.energy.gate.netlist import Netlist
from tritloom.sim.energy.gate.netlist_sim import Toggles

__all__ = ["CrossCheck", "cross_check"]

#: Transitions of every net in a cycle, and the cycle. Any will do: both sums are proportional.
_ACTIVITY = 0.2
_PERIOD_NS = 10.0

_ROW = re.compile(r"^\s*\S+\s+(\S+)\s+(\S+)\s+\S+ c(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class CrossCheck:
    """Two calculations of one circuit.

    Parameters
    ----------
    switching_uw, opensta_switching_uw : float
        Of all nets that cells drive, at an activity of 0.2 and 100 MHz, in µW.
    by_their_rule_uw : float
        Ours with the larger capacitance of each pin, as OpenSTA takes it: equal to theirs.
    worst : float
        Largest difference of one cell's switching, as a share of OpenSTA's.
    leakage_nw, opensta_leakage_nw : float
        Of all cells.
    """

    switching_uw: float
    opensta_switching_uw: float
    by_their_rule_uw: float
    worst: float
    leakage_nw: float
    opensta_leakage_nw: float

    @property
    def difference(self) -> float:
        """Of switching: ours over theirs, less 1."""
        return self.switching_uw / self.opensta_switching_uw - 1


def cross_check(netlist: Netlist, clock: str = "clk") -> CrossCheck:
    """Let OpenSTA calculate.

    Raises
    ------
    ToolError
        If OpenSTA is missing or fails.
    """
    sta = shutil.which("sta")
    if sta is None:
        raise ToolError("OpenSTA is not installed, which checks switching and leakage: install it (Debian: apt install opensta), or go without this check")
    with tempfile.TemporaryDirectory(prefix="tritloom-energy-") as name:
        folder = Path(name)
        (folder / "top.v").write_text(netlist.verilog, encoding="utf-8")
        (folder / "cells.lib").write_bytes(netlist.library.path.read_bytes())
        (folder / "check.tcl").write_text("\n".join([
            "read_liberty cells.lib",
            "read_verilog top.v",
            "link_design top",
            f"create_clock -name clock -period {_PERIOD_NS} [get_ports n{netlist.inputs[clock][0]}]",
            "set_input_delay 0 -clock clock [all_inputs]",
            f"set_power_activity -global -activity {_ACTIVITY} -duty 0.5",
            *(f"report_power -instances c{i} -digits 9" for i in range(len(netlist.instances))),
            "exit",
            "",
        ]))
        done = subprocess.run([sta, "-exit", "-no_splash", "check.tcl"], cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    theirs = {int(i): (float(switching), float(leakage)) for switching, leakage, i in _ROW.findall(done.stdout)}
    if len(theirs) != len(netlist.instances):
        raise ToolError(f"sta failed: {last_error(done.stdout + done.stderr, done.returncode)}")
    cycles = 1000
    half = round(cycles * _ACTIVITY / 2)
    toggles = Toggles(dict.fromkeys(netlist.nets, half), dict.fromkeys(netlist.nets, half), dict.fromkeys(netlist.nets, 0.5), cycles, _PERIOD_NS, 0.0, 0)
    ours, by_their_rule, worst, leakage = 0.0, 0.0, 0.0, 0.0
    volts = netlist.library.voltage_v
    for i, instance in enumerate(netlist.instances):
        cell = netlist.library.cells[instance.cell]
        leakage += cell.leakage_nw
        driven = {net for pin, net in instance.pins.items() if isinstance(net, int) and cell.pins[pin].direction == "output"}
        spent = sum(switching_pj(netlist, net, toggles) for net in driven) / (cycles * _PERIOD_NS) * 1e3    # pJ/ns is mW
        ours += spent
        by_their_rule += sum(0.5 * max(netlist.loads_pf[net]) * volts**2 * _ACTIVITY for net in driven) / _PERIOD_NS * 1e3
        expected = theirs[i][0] * 1e6
        if spent or expected > 1e-6:
            worst = max(worst, abs(spent - expected) / expected)
    return CrossCheck(ours, sum(row[0] for row in theirs.values()) * 1e6, by_their_rule, worst, leakage, sum(row[1] for row in theirs.values()) * 1e9)
