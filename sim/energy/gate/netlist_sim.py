"""A netlist in Icarus Verilog: its outputs are checked in every cycle, and the toggles of all its nets counted.

The value changes go from the simulator through a pipe into the counter, so neither a file nor the memory grows with the run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tritloom.boards.errors import ToolError
from tritloom.boards.toolchain import Tool
from tritloom.sim.energy.gate.design import Design, Trace
from tritloom.sim.energy.gate.errors import LibraryError, NetlistError
from tritloom.sim.energy.gate.netlist import Netlist

__all__ = ["Toggles", "simulate", "simulator_version"]

#: Inputs change so long behind the clock's edge, in ns: about what a flip-flop takes from its clock to its output. Without delays they change
#: with the flip-flops, or else every net behind both would be counted twice. With delays it matters little as long as it is small: 0.16 ns gives elements
#: of 16 lanes less than 1 % more, a whole nanosecond the plain element 10 % (11.6 pJ, FA flow) and an int8 one of 4 lanes up to 20 %, as their sums then
#: move twice.
_HOLD_NS = 0.1

#: Ticks of the bench in a nanosecond.
_TICKS = 100

#: How much of a cycle must be left when the last net has settled: for the flip-flops' set-up, and not to be too near the edge.
_MARGIN = 0.05


@dataclass(frozen=True)
class Toggles:
    """What the nets did in the measured cycles.

    Parameters
    ----------
    rises, falls : dict of int to int
        Of every net of the netlist.
    duty : dict of int to float
        Share of the time at 1.
    cycles : int
    period_ns : float
    settled_ns : float
        Latest change of a net behind the clock's rising edge, over all cycles; the clock's own falling edge aside. 0 without delays.
    missing : int
        Nets of which the simulation said nothing: 0, or there would be no result.
    """

    rises: Mapping[int, int]
    falls: Mapping[int, int]
    duty: Mapping[int, float]
    cycles: int
    period_ns: float
    settled_ns: float
    missing: int


def simulate(design: Design, netlist: Netlist, cells: Path, trace: Trace, *, delays: bool, progress: Callable[[float], None] | None = None) -> Toggles:
    """Run a trace through a netlist.

    Parameters
    ----------
    design : Design
        For the names of clock and reset, and the period.
    netlist : Netlist
    cells : Path
        Verilog models of the library's cells, with their delays in `specify` blocks.
    trace : Trace
    delays : bool
        With the cells' delays, glitches are seen; without, each net changes once a cycle at most.
    progress : callable, optional
        Told now and then which part of the run is done, from 0 to 1.

    Raises
    ------
    ToolError
        If Icarus is missing or fails.
    LibraryError
        If the models cannot be read.
    NetlistError
        If an output is wrong or unknown, a net is not found, unknown, or has not settled by the end of a cycle.
    """
    compiler, runner = _find("iverilog"), _find("vvp")
    with tempfile.TemporaryDirectory(prefix="tritloom-energy-") as name:
        folder = Path(name)
        try:
            shutil.copy(cells, folder / "cells.v")
        except OSError as error:
            raise LibraryError(f"the cells' models {cells} cannot be read ({error.strerror or error}): give the library's Verilog file") from error
        (folder / "top.v").write_text(netlist.verilog, encoding="utf-8")
        ports = _ports(design, netlist, trace)
        (folder / "inputs.hex").write_text(_inputs(netlist, trace, ports), encoding="utf-8")
        read_end, write_end = os.pipe()
        with os.fdopen(read_end, "rb", buffering=1 << 20) as stream:
            try:
                (folder / "bench.v").write_text(_bench(design, netlist, trace, ports, delays), encoding="utf-8")
                # vvp writes only what is named .vcd.
                (folder / "toggles.vcd").symlink_to(f"/dev/fd/{write_end}")
                command = [compiler, "-g2005", *(["-gspecify"] if delays else []), "-o", "bench.vvp", "-s", "bench", "bench.v", "top.v", "cells.v"]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
                if done.returncode:
                    raise ToolError(f"iverilog failed on {design.name}: {_reason(done.stderr)}")
                with (folder / "vvp.log").open("wb") as log:
                    process = subprocess.Popen([runner, "-n", "bench.vvp"], cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                               pass_fds=(write_end,))
            finally:
                os.close(write_end)
            try:
                toggles = _Counter(design, netlist, trace, progress).read(stream)
                code = process.wait()
            except BaseException:
                process.kill()
                process.wait()
                raise
        if code or toggles is None:
            raise ToolError(f"vvp failed on {design.name} (code {code}): {_reason((folder / 'vvp.log').read_text(errors='replace'))}")
        _check_outputs(design, netlist, trace, (folder / "outputs.txt").read_text().split())
        if toggles.settled_ns > (1 - _MARGIN) * design.period_ns:
            raise NetlistError(f"{design.name} has not settled before the next clock edge: its last net changes {toggles.settled_ns:.1f} ns behind one, "
                               f"and the period is {design.period_ns:g} ns: give it a longer `period_ns`")
        return toggles


def simulator_version() -> str:
    """Something that differs when results may.

    Raises
    ------
    ToolError
        If Icarus is missing.
    """
    return Tool("iverilog", (_find("vvp"),), "").version


def _find(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise ToolError(f"{name} is not installed, which simulates netlists: install Icarus Verilog (Debian: apt install iverilog)")
    return path


def _reason(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it gave no message")


def _ports(design: Design, netlist: Netlist, trace: Trace) -> list[str]:
    """The inputs that the trace drives, in the order in which they lie in a word, the first one lowest (above the reset)."""
    if design.clock not in netlist.inputs:
        raise NetlistError(f"{design.name} has no clock {design.clock!r}, only {', '.join(netlist.inputs)}")
    given, there = set(trace.inputs), set(netlist.inputs) - {design.clock, design.reset}
    if given != there:
        raise NetlistError(f"{design.name} has the inputs {', '.join(sorted(there))}, and is given {', '.join(sorted(given))}")
    unknown = set(trace.outputs) - set(netlist.outputs)
    if unknown:
        raise NetlistError(f"{design.name} has no outputs {', '.join(sorted(unknown))}, only {', '.join(netlist.outputs)}")
    return sorted(given)


def _inputs(netlist: Netlist, trace: Trace, ports: Iterable[str]) -> str:
    """A word a cycle, in hexadecimal; the reset is its lowest bit."""
    words = (np.arange(trace.cycles) == 0).astype(int).astype(object)
    at = 1
    for name in ports:
        bits = len(netlist.inputs[name])
        values = np.asarray(trace.inputs[name]).astype(object)
        if any(not 0 <= value < 1 << bits for value in values.tolist()):
            raise NetlistError(f"the input {name} has {bits} bits, and is given a value that does not fit them")
        words = words | (values << at)
        at += bits
    return "".join(f"{word:x}\n" for word in words.tolist())


def _bench(design: Design, netlist: Netlist, trace: Trace, ports: Iterable[str], delays: bool) -> str:
    """The Verilog around the netlist. Its times are in ticks."""
    pins = [f".n{netlist.inputs[design.clock][0]}(clk)"]
    if design.reset in netlist.inputs:
        pins.append(f".n{netlist.inputs[design.reset][0]}(in[0])")
    driven = [net for name in ports for net in netlist.inputs[name]]
    pins += [f".n{net}(in[{at}])" for at, net in enumerate(driven, 1)]
    outs = [f"dut.n{net}" if isinstance(net, int) else f"1'b{net}" for name in sorted(trace.outputs) for net in netlist.outputs[name]]
    cells = netlist.library.cells
    states = sorted({net for instance in netlist.instances if cells[instance.cell].sequential for pin, net in instance.pins.items()
                     if isinstance(net, int) and cells[instance.cell].pins[pin].direction == "output"})
    half, hold = round(design.period_ns * _TICKS / 2), round(_HOLD_NS * _TICKS) if delays else 0
    return f"""\
`timescale 10ps/10ps
module bench;
  reg clk = 1;
  reg [{len(driven)}:0] in;
  reg [{len(driven)}:0] inputs [0:{trace.cycles - 1}];
  wire [{len(outs) - 1}:0] out = {{{", ".join(reversed(outs))}}};
  integer t, file;
  top dut ({", ".join(pins)});
  // What a flip-flop without a reset holds at first is unknown, and gates on both sides of a loop need not agree that it does not matter.
  // So all begin at 0, until the first edge has given them something.
  initial begin
    {" ".join(f"force dut.n{net} = 0;" for net in states)}
    #{2 * half + 1} {" ".join(f"release dut.n{net};" for net in states)}
  end
  initial begin
    $readmemh("inputs.hex", inputs);
    file = $fopen("outputs.txt", "w");
    for (t = 0; t < {trace.cycles}; t = t + 1) begin
      #{hold} in <= inputs[t];
      #{half - hold} clk = 0;
      #{half - 1} $fdisplay(file, "%b", out);
      // Counting begins just before the edge that begins the first measured cycle.
      if (t == {trace.warm - 1}) begin
        $dumpfile("toggles.vcd");
        $dumpvars(1, dut);
      end
      if (t < {trace.cycles - 1}) #1 clk = 1;
    end
    $fclose(file);
    $finish;
  end
endmodule
"""


class _Counter:
    """Reads value changes and counts them."""

    def __init__(self, design: Design, netlist: Netlist, trace: Trace, progress: Callable[[float], None] | None) -> None:
        self._design = design
        self._netlist = netlist
        self._measured = trace.cycles - trace.warm
        self._progress = progress or (lambda done: None)
        self._nets: dict[bytes, int] = {}    # by the identifier that stands behind a value, with the line's end
        self._ns = 0.0    # of one unit of time

    def read(self, stream: BinaryIO) -> Toggles | None:
        """To the end; None if nothing came."""
        if not self._header(stream):
            return None
        rises, falls, high = (dict.fromkeys(self._nets, 0) for _ in range(3))
        now, state = self._first(stream)
        first = now
        for code, bit in state.items():
            high[code] = -now if bit else 0
        # What follows is most of the time that a large circuit's run takes: no calls, no attributes. A net that went there and back in no time is
        # told with the value that it had.
        period = round(self._design.period_ns / self._ns)
        tick = round(1 / _TICKS / self._ns)
        edge, last = now + tick, period - tick      # counting begins and ends one tick before an edge
        falling = round(self._design.period_ns / 2 / self._ns)
        latest, told = 0, now
        for line in stream:
            kind = line[0]
            if kind == 49:      # 1
                code = line[1:]
                if not state[code]:
                    rises[code] += 1
                    high[code] -= now
                    state[code] = 1
            elif kind == 48:    # 0
                code = line[1:]
                if state[code]:
                    falls[code] += 1
                    high[code] += now
                    state[code] = 0
            elif kind == 35:    # #
                now = int(line[1:])
                phase = (now - edge) % period
                if phase > latest and phase != falling and now > edge and phase < last:
                    latest = phase
                if now > told:
                    told = now + 20 * period
                    self._progress((now - first) / (self._measured * period))
            elif kind in b"xzXZ":
                raise self._unknown(line[1:])
        spent = self._measured * period
        for code, bit in state.items():
            high[code] += (first + spent) if bit else 0

        def by_net(counts: Mapping[bytes, float]) -> dict[int, float]:
            return {net: counts[code] for code, net in self._nets.items()}

        return Toggles(
            rises=by_net(rises),
            falls=by_net(falls),
            duty={net: share / spent for net, share in by_net(high).items()},
            cycles=self._measured,
            period_ns=self._design.period_ns,
            settled_ns=latest * self._ns,
            missing=len(self._netlist.nets) - len(self._nets),
        )

    def _header(self, stream: BinaryIO) -> bool:
        """Identifiers and unit of time. Several nets never share an identifier here: each is a wire of its own."""
        names: dict[bytes, bytes] = {}
        unit = b""
        for line in stream:
            if line.startswith(b"$var"):
                _, _, _, identifier, name, *_ = line.split()
                names[name] = identifier
            elif line.startswith(b"$timescale"):
                unit = line.removeprefix(b"$timescale").strip() or next(stream).strip()
            elif line.startswith(b"$enddefinitions"):
                break
        else:
            return False
        number = unit.rstrip(b"munpfs")
        self._ns = int(number) * {b"ns": 1.0, b"ps": 1e-3, b"fs": 1e-6}[unit.removeprefix(number)[:2]]
        self._nets = {names[b"n%d" % net] + b"\n": net for net in self._netlist.nets if b"n%d" % net in names}
        missing = len(self._netlist.nets) - len(self._nets)
        if missing:
            raise NetlistError(f"{missing} of the {len(self._netlist.nets)} nets of {self._design.name} are not in what the simulator tells, so there is no figure")
        return True

    def _first(self, stream: BinaryIO) -> tuple[int, dict[bytes, int]]:
        """When counting begins, and the nets' values then."""
        state: dict[bytes, int] = {}
        now = 0
        for line in stream:
            if line[0] in b"01":
                state[line[1:]] = line[0] - 48
            elif line[0] in b"xzXZ":
                raise self._unknown(line[1:])
            elif line[0] == 35:
                now = int(line[1:])
            elif line.startswith(b"$end") and state:
                break
        return now, state

    def _unknown(self, code: bytes) -> NetlistError:
        net = self._nets[code]
        cells = self._netlist.library.cells
        driver = next((f"{instance.cell} {instance.name}" for instance in self._netlist.instances for pin, on in instance.pins.items()
                       if on == net and cells[instance.cell].pins[pin].direction == "output"), "an input")
        return NetlistError(f"net n{net} of {self._design.name} (at {driver}) is unknown in a cycle that is measured: give every register a reset, or a longer `warm`")


def _check_outputs(design: Design, netlist: Netlist, trace: Trace, lines: list[str]) -> None:
    """Every output in every cycle that counts, against the reference model."""
    if len(lines) != trace.cycles:
        raise NetlistError(f"{design.name} was simulated for {len(lines)} cycles instead of {trace.cycles}")
    end = len(lines[0])
    for name in sorted(trace.outputs):
        bits = len(netlist.outputs[name])
        checked = np.asarray(trace.checked.get(name, np.ones(trace.cycles, bool)))
        if not checked[trace.warm:].any():
            raise NetlistError(f"the output {name} of {design.name} is never checked")
        for t, expected in enumerate(np.asarray(trace.outputs[name]).tolist()):
            got = lines[t][end - bits:end]
            if t >= trace.warm and checked[t] and got != f"{expected:0{bits}b}":
                raise NetlistError(f"{design.name} is wrong: its output {name} in cycle {t} is {got} and should be {expected:0{bits}b} "
                                   "(binary), so it gives no figure")
        end -= bits
