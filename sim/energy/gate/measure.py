"""The gate level: a design made of standard cells, simulated on a stimulus, in pJ an operation.

What is in a figure: every cell's own energy, every net's with the pins on it, the clock's, leakage. What is not: wires, the clock's tree, the registers around the
design, memories. The first two make a circuit on silicon take more than the figure; ratios between designs of one flow suffer less.
The library is of one process and one corner.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from tritloom.host.beside import written_beside
from tritloom.sim.energy.gate.calculator import energy
from tritloom.sim.energy.gate.design import Design, Trace
from tritloom.sim.energy.gate.flows import Flow, find_yosys, source_text, synthesise
from tritloom.sim.energy.gate.netlist_sim import simulate, simulator_version
from tritloom.sim.energy.gate.standard_cells import StandardCells
from tritloom.sim.energy.gate.stimulus import Stimulus

__all__ = ["GateResult", "Spread", "cache_folder", "measure", "spread"]

Progress = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One run of one netlist.

    Parameters
    ----------
    design : str
    lanes : int
    flow : str
        "fa" or "abc".
    delays : bool
        With the cells' delays, and so with glitches.
    stimulus : str
    seed : int
    operations : int
        Multiply-accumulates.
    cycles : int
        In which they were done.
    pj_per_op : float
    parts : dict of str to float
        pJ an operation: "internal", "switching", "clock", "leakage" (`calculator`).
    area_um2 : float
        Of the cells.
    cells, nets : int
    flip_flops : int
        Among the cells.
    nets_without_toggles_found : int
        0: otherwise there is no result.
    period_ns : float
        Of the clock, in the simulation.
    settled_ns : float
        When the last net changed behind a clock edge, over all cycles: a lower bound of the clock period.
    library : str
    voltage_v : float
    """

    design: str
    lanes: int
    flow: str
    delays: bool
    stimulus: str
    seed: int
    operations: int
    cycles: int
    pj_per_op: float
    parts: dict[str, float]
    area_um2: float
    cells: int
    nets: int
    flip_flops: int
    nets_without_toggles_found: int
    period_ns: float
    settled_ns: float
    library: str
    voltage_v: float

    @property
    def um2_per_lane(self) -> float:
        """Area of one multiply-accumulate a cycle."""
        return self.area_um2 * self.cycles / self.operations

    def as_json(self) -> dict[str, object]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True)
class Spread:
    """Several runs of one design: what a figure is, and how far it moves.

    Parameters
    ----------
    results : tuple of GateResult
    """

    results: tuple[GateResult, ...]

    @property
    def low(self) -> float:
        """pJ an operation, of the run with the least."""
        return min(result.pj_per_op for result in self.results)

    @property
    def median(self) -> float:
        return statistics.median(result.pj_per_op for result in self.results)

    @property
    def high(self) -> float:
        return max(result.pj_per_op for result in self.results)

    def of(self, **fields: object) -> Spread:
        """Only the runs with these fields: ``of(flow="fa", delays=True)``."""
        return Spread(tuple(result for result in self.results if all(getattr(result, name) == value for name, value in fields.items())))

    def as_json(self) -> dict[str, object]:
        """Low, median, high, and the runs."""
        return {"low": self.low, "median": self.median, "high": self.high, "results": [result.as_json() for result in self.results]}


def measure(design: Design, cells: StandardCells, flow: Flow, stimulus: Stimulus, *, delays: bool = True, cycles: int | None = None,
            progress: Progress | None = None) -> GateResult:
    """Energy of a design on a stimulus. What was measured before with the same of everything is read from the user's cache folder.

    Parameters
    ----------
    design : Design
    cells : StandardCells
    flow : Flow
    stimulus : Stimulus
        Its seed is the result's.
    delays : bool
    cycles : int, optional
        Measured ones; the design's number if none is given.
    progress : callable, optional
        ``progress(step, share)``: what is being done, and how far it is, from 0 to 1.

    Raises
    ------
    ToolError
        If a tool is missing or fails.
    LibraryError
        If the library cannot be used.
    NetlistError
        If the netlist is not what the design is (`netlist_sim.simulate`).
    """
    tell = progress or (lambda step, share: None)
    tell("stimulus", 0.0)
    trace = design.drive(stimulus, cycles or design.cycles)
    source = source_text(design)
    key = _digest(source, flow, cells.digest, find_yosys().version, _trace_digest(trace), delays, design.period_ns, design.clock, design.reset,
                  simulator_version())
    kept = cache_folder() / f"gate-{key}.json"
    record = _read(kept)
    if record is None:
        tell("synthesis", 0.0)
        netlist = synthesise(design, cells.library, flow)
        toggles = simulate(design, netlist, cells.models, trace, delays=delays, progress=lambda share: tell("simulation", share))
        spent = energy(netlist, toggles, design.clock)
        record = {
            "cycles": toggles.cycles,
            "parts": {part: value / trace.operations for part, value in asdict(spent).items()},
            "area_um2": netlist.area_um2,
            "cells": len(netlist.instances),
            "nets": len(netlist.nets),
            "flip_flops": sum(count for cell, count in netlist.cells.items() if cells.library.cells[cell].sequential),
            "nets_without_toggles_found": toggles.missing,
            "settled_ns": round(toggles.settled_ns, 3),
        }
        kept.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(kept) as beside:
            beside.write_text(json.dumps(record), encoding="utf-8")
    return GateResult(
        design=design.name,
        lanes=design.lanes,
        flow=str(flow),
        delays=delays,
        stimulus=stimulus.name,
        seed=stimulus.seed,
        period_ns=design.period_ns,
        operations=trace.operations,
        pj_per_op=sum(record["parts"].values()),
        library=cells.library.name,
        voltage_v=cells.library.voltage_v,
        **record,
    )


def spread(design: Design, cells: StandardCells, stimuli: Sequence[Stimulus], *, flows: Iterable[Flow] = tuple(Flow), delays: Iterable[bool] = (True,),
           cycles: int | None = None, progress: Progress | None = None) -> Spread:
    """Measure a design in every combination.

    Parameters
    ----------
    design : Design
    cells : StandardCells
    stimuli : sequence of Stimulus
        One for each seed.
    flows : iterable of Flow
    delays : iterable of bool
    cycles, progress
        As `measure`; the share is that of all runs.

    Raises
    ------
    As `measure`.
    """
    tell = progress or (lambda step, share: None)
    runs = [(flow, stimulus, delay) for flow in flows for delay in delays for stimulus in stimuli]
    results = []
    for i, (flow, stimulus, delay) in enumerate(runs):
        def step(name: str, share: float, i: int = i, what: str = f"{design.name}, {flow}, seed {stimulus.seed}") -> None:
            tell(f"{what}: {name}", (i + share) / len(runs))

        results.append(measure(design, cells, flow, stimulus, delays=delay, cycles=cycles, progress=step))
    return Spread(tuple(results))


def _read(kept: Path) -> dict[str, Any] | None:
    """What was kept; None if nothing was, or not a whole file."""
    try:
        return json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def cache_folder() -> Path:
    """Where results are kept."""
    return user_cache_path("tritloom") / "energy"


def _digest(*parts: object) -> str:
    """Name for all that a result depends on, this package's version and text included."""
    return hashlib.sha256(repr((version("tritloom"), _sources(), parts)).encode()).hexdigest()[:24]


@lru_cache(maxsize=1)
def _sources() -> str:
    digest = hashlib.sha256()
    for name in ("calculator", "flows", "function", "liberty", "liberty_syntax", "measure", "netlist", "netlist_sim"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


def _trace_digest(trace: Trace) -> str:
    digest = hashlib.sha256(repr((trace.warm, trace.operations)).encode())
    for group in (trace.inputs, trace.outputs, trace.checked):
        for name, values in sorted(group.items()):
            digest.update(name.encode())
            digest.update(repr(values.tolist()).encode())
    return digest.hexdigest()
