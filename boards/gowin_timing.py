"""How fast a routed Gowin design is, from the delays that nextpnr writes (SDF), with the paths that nextpnr does not see.

nextpnr-himbaechel-gowin has no delays from I2 of an ALU to its outputs, as its own ALUs have I2 tied. Here it is as slow as the slowest of
the other inputs of any ALU. Wires are nextpnr's, I2's included.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from math import inf
from typing import Any

__all__ = ["Path", "slowest_path"]

#: A cell's name and a port's.
_Pin = tuple[str, str]

_LINE = re.compile(r"""
      \(CELLTYPE\ "(?P<type>[^"]*)"\)
    | \(INSTANCE\ (?P<instance>\S*)\)
    | \(INTERCONNECT\ (?P<source>\S+)/(?P<out>\S+)\ (?P<sink>\S+)/(?P<in>\S+)\ \([\d.:]*?(?P<wire>\d+)\)
    | \(IOPATH\ (?P<from>\S+)\ (?P<to>\S+)\ \([\d.:]*?(?P<delay>\d+)\)
    | \(SETUPHOLD\ \(posedge\ (?P<data>\S+)\)\ \(\w+\ \S+\)\ \([\d.:]*?(?P<setup>\d+)\)
    """, re.VERBOSE)

_CLOCKS = ("CLK", "CLKA", "CLKB")

#: When something settles that no clock changes.
_NEVER = (-inf, None)


@dataclass(frozen=True)
class Path:
    """The slowest path from register to register.

    Parameters
    ----------
    delay_ns : float
        From clock to clock, setup included.
    steps : list of dict
        As nextpnr's report has them: ``type`` ("clk-to-q", "logic", "routing" or "setup"), ``delay``, ``from`` and ``to`` with ``cell`` and ``port``.
    """

    delay_ns: float
    steps: list[dict[str, Any]]

    @property
    def mhz(self) -> float:
        """Fastest clock."""
        return 1e3 / self.delay_ns


def slowest_path(sdf: str) -> Path:
    """Find the slowest path from register to register. The design has one clock.

    Parameters
    ----------
    sdf : str
        What nextpnr's ``--sdf`` wrote: picoseconds, of which the slowest corner is taken.
    """
    wires: dict[_Pin, tuple[_Pin, int]] = {}
    arcs: dict[_Pin, list[tuple[str, int]]] = defaultdict(list)
    starts: dict[_Pin, int] = {}
    setups: dict[_Pin, int] = {}
    alus: list[str] = []
    slowest_alu: dict[str, int] = {}
    kind = name = ""
    for line in sdf.replace("\\", "").splitlines():
        found = _LINE.search(line)
        if not found:
            continue
        if found["type"] is not None:
            kind = found["type"]
        elif found["instance"] is not None:
            name = found["instance"]
            if kind == "ALU":
                alus.append(name)
        elif found["source"]:
            wires[found["sink"], found["in"]] = ((found["source"], found["out"]), int(found["wire"]))
        elif found["from"] in _CLOCKS:
            starts[name, found["to"]] = int(found["delay"])
        elif found["from"]:
            arcs[name, found["to"]].append((found["from"], int(found["delay"])))
            if kind == "ALU" and found["from"] != "CIN":
                slowest_alu[found["to"]] = max(slowest_alu.get(found["to"], 0), int(found["delay"]))
        else:
            setups[name, found["data"]] = int(found["setup"])
    for name in alus:
        if (name, "I2") in wires:
            for out, delay in slowest_alu.items():
                arcs[name, out].append(("I2", delay))
    return _slowest(wires, arcs, starts, setups)


def _slowest(wires: dict[_Pin, tuple[_Pin, int]], arcs: dict[_Pin, list[tuple[str, int]]], starts: dict[_Pin, int], setups: dict[_Pin, int]) -> Path:
    #: When an output settles, and the pin before it on its slowest path.
    settled: dict[_Pin, tuple[float, _Pin | None]] = {pin: (delay, None) for pin, delay in starts.items()}

    def before(pin: _Pin) -> list[tuple[_Pin, _Pin, int]]:
        """Inputs that an output follows: each with the output that drives it, and the delay from there."""
        return [((pin[0], port), wires[pin[0], port][0], wires[pin[0], port][1] + delay)
                for port, delay in arcs.get(pin, ()) if (pin[0], port) in wires]

    for end in setups:
        waiting = [wires[end][0]] if end in wires else []
        while waiting:
            pin = waiting[-1]
            if pin in settled:
                waiting.pop()
                continue
            missing = [source for _, source, _ in before(pin) if source not in settled]
            if missing:
                waiting += missing
                continue
            settled[pin] = max(((settled[source][0] + delay, reached) for reached, source, delay in before(pin)), default=_NEVER)
            waiting.pop()

    ends = [end for end in setups if end in wires]
    end = max(ends, key=lambda end: settled[wires[end][0]][0] + wires[end][1] + setups[end])
    source, wire = wires[end]
    total = settled[source][0] + wire + setups[end]
    steps = [_step("setup", setups[end], end, end)]
    into: _Pin | None = end
    while into is not None:
        source, wire = wires[into]
        steps.append(_step("routing", wire, source, into))
        delay, into = settled[source]
        if into is None:
            steps.append(_step("clk-to-q", delay, source, source))
        else:
            driver, through = wires[into]
            steps.append(_step("logic", delay - settled[driver][0] - through, into, source))
    return Path(total / 1e3, steps[::-1])


def _step(kind: str, delay: float, start: _Pin, end: _Pin) -> dict[str, Any]:
    return {"type": kind, "delay": delay / 1e3, "from": {"cell": start[0], "port": start[1]}, "to": {"cell": end[0], "port": end[1]}}
