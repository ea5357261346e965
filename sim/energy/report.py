"""The report that `tritloom energy` makes, shows, writes as JSON and draws as a page: what each level says, side by side.

::

    {"tritloom": "0.1.0", "command": "tritloom energy --model nano",
     "levels": {"table": Table.as_json(), "gate": GateLevel.as_json(), "board": readings.board_level(), "model": model_level()},
     "problems": {"gate": "a sentence", ...}}          # levels that were asked for and could not be had

A level that was not asked for is absent. Level "model"::

    {"model", "geometry", "weights", "streamed_share", "fits": bool, "note": str, "figures": [Figure, ...],
     "sources": [Costs.as_json(), ...],
     "tokens": [{"source", "level", "phase", "format", "whole", "parts": [{"name", "j", "low", "high", "from", "confidence"}, ...],
                 "j_per_token", "low", "high", "pj_per_mac", "memory_share"}, ...],
     "crossovers": [Crossover.as_json(), ...],
     "curves": [{"source", "against", "memory", "title", "rows", "points": [{"weights", "memory_share", "gain", "gain_by_adders"}, ...]}, ...]}
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tritloom.host.errors import TritloomError, UsageError
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.board.readings import uncalibrated
from tritloom.sim.energy.costs import Costs, from_gate
from tritloom.sim.energy.crossover import crossovers, curves
from tritloom.sim.energy.figure import Figure, Level
from tritloom.sim.energy.model import Surroundings, fit_note, tokens
from tritloom.sim.energy.operations import Operations
from tritloom.sim.energy.published import Published

__all__ = ["ReportError", "costs_of_report", "figures_of", "model_level", "read_report"]

#: Memories of the curves: what accelerators have, and what small boards have.
_DRAWN = ("hbm2", "lpddr5", "ddr4", "sdr")


#: What a level must have to be shown.
_NEEDED = {
    "table": {"node", "model", "geometry", "figures", "steps", "arithmetic", "adds", "fetch", "bitlinears", "operations", "excludes", "published"},
    "gate": {"figures", "results", "summary", "note"},
    "board": {"figures", "note"},
    "model": {"model", "geometry", "figures", "sources", "tokens", "crossovers", "curves", "note"},
}


class ReportError(TritloomError):
    """A saved report cannot be read, or is none."""


def model_level(operations: Operations, sources: Sequence[Costs], around: Surroundings, published: Published, *, calibrated: bool) -> dict[str, Any]:
    """Level "model" of a report.

    Parameters
    ----------
    operations : Operations
        What the model run did.
    sources : sequence of Costs
        Whoever says what a multiply-accumulate costs.
    around : Surroundings
    published : Published
    calibrated : bool
        There is a reading of the user's own; otherwise what an FPGA board would take is scaled from somebody else's, and says so.
    """
    geometry = operations.geometry
    capacity = geometry.weight_words * geometry.cols * geometry.lanes * 2
    chip = around.node.memory(capacity // 8)
    energies = tokens(operations, sources, around)
    crossed = crossovers(sources, chip, capacity, list(published.external.values()))
    drawn = [published.external[name] for name in _DRAWN]
    figures = [energy.figure for energy in energies] + [one.figure for one in crossed]
    if not calibrated:
        figures.append(uncalibrated(operations.model, operations.weights))
    return {
        "model": operations.model, "geometry": str(geometry), "weights": operations.weights, "streamed_share": operations.streamed,
        "fits": not operations.streamed, "note": fit_note(operations, around.external), "figures": [figure.as_json() for figure in figures],
        "sources": [costs.as_json() for costs in sources], "tokens": [energy.as_json() for energy in energies],
        "crossovers": [one.as_json() for one in crossed], "curves": curves(sources, chip, capacity, drawn),
    }


def read_report(path: Path) -> dict[str, Any]:
    """A report that `tritloom energy --json` wrote.

    Raises
    ------
    ReportError
        If the file cannot be read, or is none.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"the report {str(path)!r} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ReportError(f"the report {str(path)!r} is no JSON ({error}): give a file that `tritloom energy --json` wrote") from error
    levels = report.get("levels") if isinstance(report, dict) else None
    known = {level.value for level in Level}
    if not isinstance(levels, dict) or not levels or not set(levels) <= known or not all(isinstance(level, dict) for level in levels.values()):
        raise ReportError(f"{str(path)!r} is no energy report: it must have levels out of {', '.join(sorted(known))}, as `tritloom energy --json` writes")
    for name, level in levels.items():
        if lacking := sorted(_NEEDED[name] - set(level)):
            raise ReportError(f"the {name} level of {str(path)!r} is damaged: it lacks {lacking[0]!r}")
        for record in level.get("figures", []):
            try:
                Figure.from_json(record)
            except UsageError as error:
                raise ReportError(f"the {name} level of {str(path)!r} is damaged: {error}") from error
    return report


def costs_of_report(path: Path, geometry: Geometry) -> list[Costs]:
    """What a multiply-accumulate costs by the gate level of a saved report.

    Raises
    ------
    ReportError
        If it cannot be read, or has no gate level.
    UsageError
        If that has nothing ternary.
    """
    report = read_report(path)
    if "gate" not in report["levels"]:
        raise ReportError(f"the report {str(path)!r} has no gate level: make it with `tritloom energy --gate pe --json`, or give a number of pJ")
    if found := from_gate(report["levels"]["gate"], geometry, path.name):
        return found
    raise UsageError(f"the gate level of {str(path)!r} has no ternary element and no array of {geometry}, from which a token's energy could be "
                     "calculated: measure one with `tritloom energy --gate pe --json`")


def figures_of(report: Mapping[str, Any]) -> list[Figure]:
    """All figures of a report, level by level."""
    return [Figure.from_json(record) for level in report["levels"].values() for record in level.get("figures", [])]
