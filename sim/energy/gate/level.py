"""Level "gate" of a report: which designs are measured, on what, and what the results say together.

Its JSON::

    {"library", "voltage_v", "lanes", "note": str, "figures": [Figure, ...],
     "results": [GateResult.as_json(), ...],
     "summary": [{"design", "what", "groups", "lanes", "pj_per_op": {"value", "low", "high"}, "parts": {"internal", "switching", "clock", "leakage"},
                  "um2_per_lane": {"value", "low", "high"}, "flows": {"fa": median, ...}, "results": number}, ...],
     "variants": [design, ...], "widths": [{"bits", "design"}, ...]}

Values of a summary are medians over all results of a design; `um2_per_lane` is area over multiply-accumulates a cycle. Ratios, among the
figures, are taken between results of the same flow, delays, stimulus and seed.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tritloom.host.errors import TritloomError
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.figure import Figure, Level

if TYPE_CHECKING:
    from tritloom.sim.energy.gate.design import Design
    from tritloom.sim.energy.gate.flows import Flow
    from tritloom.sim.energy.gate.measure import GateResult
    from tritloom.sim.energy.gate.standard_cells import StandardCells
    from tritloom.sim.energy.gate.stimulus import Stimulus

__all__ = ["GROUPS", "GateLevel", "gate_level"]

_log = logging.getLogger(__name__)

#: What can be asked for.
GROUPS = ("pe", "array", "peers", "variants", "widths")

#: What no figure of this level has in it.
EXCLUDES = ("wires", "clock tree", "memories", "input registers of an element")


@dataclass
class GateLevel:
    """Results as they come: what was measured stays, if something after it fails.

    Parameters
    ----------
    lanes : int
        Of the elements that are compared.
    groups : dict of str to list of str
        Design to the groups in which it is.
    about : dict of str to str
        Design to what it is.
    widths : list of (float, str)
        Bits of a weight, and design.
    results : list of GateResult
    """

    lanes: int
    groups: dict[str, list[str]] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)
    widths: list[tuple[float, str]] = field(default_factory=list)
    results: list[GateResult] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As the module says. At least one result must be there."""
        first = self.results[0]
        measured = {result.design for result in self.results}
        return {
            "library": first.library, "voltage_v": first.voltage_v, "lanes": self.lanes,
            "note": f"{first.library} at {first.voltage_v:g} V, elements of {self.lanes} lanes, before layout; not in it: {', '.join(EXCLUDES)}. A pJ/op is of one multiply-accumulate; "
                    "medians, and ranges over flows, delays, stimuli and seeds",
            "figures": [figure.as_json() for figure in self.figures()],
            "results": [result.as_json() for result in self.results],
            "summary": [self._summary(design) for design in self.groups if design in measured],
            "variants": [design for design, groups in self.groups.items() if "variants" in groups and design in measured],
            "widths": [{"bits": bits, "design": design} for bits, design in self.widths if design in measured],
        }

    def figures(self) -> list[Figure]:
        """Energy of every design, and ratios to the shipped elements at equal lanes."""
        found = [self._figure(design) for design in self.groups if self._of(design)]
        for own in [design for design in self.groups if design.startswith("pe-")]:
            found += self._ratios(own)
        return found

    def _ratios(self, own: str) -> list[Figure]:
        """What all others take over one of the shipped elements."""
        found = []
        base = {_run(result): result for result in self._of(own)}
        lanes = self._of(own)[0].lanes if base else 0
        for design in self.groups:
            ratios = [result.pj_per_op / base[_run(result)].pj_per_op for result in self._of(design) if result.lanes == lanes and _run(result) in base]
            if ratios and design != own:
                found.append(Figure(
                    Level.GATE, f"{design} over {own}", statistics.median(ratios), "x", min(ratios), max(ratios),
                    f"{self._conditions(design)}; equal flow, delays, stimulus and seed each", "simulated netlists", None, EXCLUDES))
        return found

    def _of(self, design: str) -> list[GateResult]:
        return [result for result in self.results if result.design == design]

    def _figure(self, design: str) -> Figure:
        spread = _spread([result.pj_per_op for result in self._of(design)])
        return Figure(Level.GATE, design, spread["value"], "pJ/op", spread["low"], spread["high"], self._conditions(design), "simulated netlists", None, EXCLUDES)

    def _conditions(self, design: str) -> str:
        results = self._of(design)

        def all_of(values: Sequence[object]) -> str:
            return ", ".join(dict.fromkeys(map(str, values)))

        delays = {True: "with delays", False: "without delays"}
        return (f"{self.about[design]}; {results[0].library}, {results[0].voltage_v:g} V; flow {all_of([result.flow for result in results])}; "
                f"{all_of([delays[result.delays] for result in results])}; {all_of([result.stimulus for result in results])}; "
                f"seeds {all_of([result.seed for result in results])}")

    def _summary(self, design: str) -> dict[str, Any]:
        results = self._of(design)
        flows = dict.fromkeys(result.flow for result in results)
        return {
            "design": design, "what": self.about[design], "groups": self.groups[design], "lanes": results[0].lanes,
            "pj_per_op": _spread([result.pj_per_op for result in results]),
            "parts": {part: statistics.median(result.parts[part] for result in results) for part in results[0].parts},
            "um2_per_lane": _spread([result.um2_per_lane for result in results]),
            "flows": {flow: statistics.median(result.pj_per_op for result in results if result.flow == flow) for flow in flows},
            "results": len(results),
        }


def gate_level(
    level: GateLevel, asked: Sequence[str], geometry: Geometry, cells: StandardCells, flows: Sequence[Flow], delays: Sequence[bool],
    stimuli: Sequence[Stimulus], progress: Callable[[str, float], None] | None = None,
) -> None:
    """Measure what was asked for.

    Parameters
    ----------
    level : GateLevel
        Where the results go, one by one.
    asked : sequence of str
        Out of `GROUPS`.
    geometry : Geometry
        Of the shipped element and array; its lanes are those of everything else.
    cells, flows, delays, stimuli
        Every design is measured in all combinations.
    progress : callable, optional
        ``progress(what, share)``: what is being done, and how much of all has been, from 0 to 1.

    Raises
    ------
    TritloomError
        What `tritloom.sim.energy.gate.measure.measure` raises; the results until then are in `level`.
    """
    from tritloom.sim.energy.gate.measure import measure

    tell = progress or (lambda what, share: None)
    runs = []
    for group in dict.fromkeys(asked):
        for design in _designs(group, geometry, level):
            level.groups.setdefault(design.name, []).append(group)
            if design.name not in level.about:
                level.about[design.name] = design.what
                runs += [(design, flow, delay, stimulus) for flow in flows for delay in delays for stimulus in stimuli]
    last = ""
    for i, (design, flow, delay, stimulus) in enumerate(runs):
        what = f"{design.name}, {flow}"
        if what != last:
            _log.info("Measuring %s (%d of %d)", what, i + 1, len(runs))
            last = what

        def step(name: str, share: float, i: int = i, what: str = f"{what}, seed {stimulus.seed}") -> None:
            tell(f"{what}: {name} ({i + 1} of {len(runs)})", (i + share) / len(runs))

        level.results.append(measure(design, cells, flow, stimulus, delays=delay, progress=step))


def _designs(group: str, geometry: Geometry, level: GateLevel) -> list[Design]:
    lanes = geometry.lanes
    match group:
        case "pe":
            from tritloom.sim.energy.designs.plain import plain_ternary
            from tritloom.sim.energy.designs.shipped import shipped_element

            return [shipped_element(geometry), shipped_element(geometry, merged=True), plain_ternary()]
        case "array":
            from tritloom.sim.energy.designs.shipped import shipped_array

            return [shipped_array(geometry), *([shipped_array(geometry, 1)] if geometry.rows > 1 else []), shipped_array(geometry, merged=True)]
        case "peers":
            from tritloom.sim.energy.designs.peers import peers

            return peers(lanes)
        case "variants":
            from tritloom.sim.energy.designs.variants import variants

            return variants(lanes)
        case "widths":
            from tritloom.sim.energy.designs.widths import widths

            found = widths(lanes)
            level.widths += [(width.bits, width.design.name) for width in found]
            return [width.design for width in found]
    raise TritloomError(f"there is no gate-level group {group!r}: known are {', '.join(GROUPS)}")


def _run(result: GateResult) -> tuple[object, ...]:
    return result.flow, result.delays, result.stimulus, result.seed


def _spread(values: Sequence[float]) -> Mapping[str, float]:
    return {"value": statistics.median(values), "low": min(values), "high": max(values)}
