"""The page's plots of the gate level: what takes the energy in a design, area against energy, and the bits of a weight."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tritloom.sim.energy.figure import amount
from tritloom.sim.energy.page.plot_axes import SHAPES, TOP, axes, legend
from tritloom.sim.energy.page.svg import Linear, Log, escape, figure, label, line, mark, path, rect

__all__ = ["DesignPoint", "WidthPoint", "anatomy", "gate_designs", "scatter", "widths_by_flow", "widths_chart"]

#: Parts of a design's energy, and their classes.
_CELL_PARTS = {"internal": "part-1", "switching": "part-4", "clock": "part-3", "leakage": "part-2"}

#: Where a number may stand beside its mark, in pixels; the best first.
_BESIDE = ((9, 4), (-9, 4), (9, -8), (-9, -8), (9, 16), (-9, 16), (0, -12), (0, 20))


@dataclass(frozen=True)
class DesignPoint:
    """A design at the gate level: medians over flows, delays, stimuli and seeds, and the range of the energy.

    Parameters
    ----------
    name, what : str
        Short, and in words.
    variant : bool
        It is one of the forms of one element.
    pj, low, high : float
        Picojoules a multiply-accumulate.
    area : float
        Square micrometres for one multiply-accumulate a cycle.
    parts : mapping of str to float
        Of the energy: "internal", "switching", "clock", "leakage".
    """

    name: str
    what: str
    variant: bool
    pj: float
    low: float
    high: float
    area: float
    parts: Mapping[str, float]


def gate_designs(report: Mapping[str, Any]) -> list[DesignPoint]:
    """The designs of the gate level, in the order of the report."""
    gate = report["levels"].get("gate", {})
    variants = set(gate.get("variants", ()))
    return [
        DesignPoint(one["design"], one["what"], one["design"] in variants, *(one["pj_per_op"][end] for end in ("value", "low", "high")), one["um2_per_lane"]["value"], one["parts"])
        for one in gate.get("summary", ())
    ]


def anatomy(report: Mapping[str, Any]) -> str:
    """What of a design's energy is the cells' own, their outputs', the clock's and leakage, as shares; forms of one element left out."""
    points = sorted((point for point in gate_designs(report) if not point.variant), key=lambda point: point.pj)
    if not points:
        return ""
    body, y = [], 0.0
    for point in points:
        y += 16
        body += [label(0, y, f"[gate] {point.name}"), label(100, y, f"{amount(point.pj)} pJ/MAC", kind="number", anchor="end")]
        y += 6
        x, total = 0.0, sum(point.parts.values())
        for part, kind in _CELL_PARTS.items():
            share = 100 * point.parts[part] / total if total else 0.0
            body.append(rect(x, y, share, 14, kind, f"[gate] {point.name}, {part}: {amount(point.parts[part])} pJ/MAC ({share:.3g} %)"))
            x += share
        y += 20
    text = "; ".join(f"{point.name}: {', '.join(f'{part} {amount(point.parts[part])}' for part in _CELL_PARTS)} pJ/MAC" for point in points)
    return f'{legend(_CELL_PARTS)}\n{figure("anatomy", "Parts of the energy of a design [gate]", text, y + 4, body)}'


def scatter(name: str, title: str, points: Sequence[DesignPoint], *, log: bool) -> str:
    """Area against energy: numbered marks, and a list of what the numbers are.

    Parameters
    ----------
    name : str
        Unique on the page.
    title : str
    points : sequence of DesignPoint
    log : bool
        Logarithmic scales, for designs that are far apart; otherwise linear ones.
    """
    if not points:
        return ""
    height, left = 320.0, 12.0
    if log:
        across, up = (_tight([point.area for point in points], left, 97), _tight([end for point in points for end in (point.low, point.high)], height - 44, TOP))
    else:
        across = Linear.around([point.area for point in points], left, 97, zero=False)
        up = Linear.around([end for point in points for end in (point.low, point.high)], height - 44, TOP, zero=False)
    body = axes(across, up, height, left, "\u00b5m\u00b2 a MAC and cycle", "pJ/MAC")
    ordered = sorted(points, key=lambda point: point.pj)
    taken: list[tuple[float, float]] = [(across.at(point.area), up.at(point.pj)) for point in ordered]
    # Ranges below marks below numbers, whatever is drawn first.
    body += [line(across.at(point.area), up.at(point.low), across.at(point.area), up.at(point.high), "range gate") for point in ordered if point.high > point.low]
    body += [mark(across.at(point.area), up.at(point.pj), SHAPES["gate"], "gate fill", f"[gate] {point.name}: {amount(point.pj)} pJ/MAC, {amount(point.area)} \u00b5m\u00b2")
             for point in ordered]
    for number, point in enumerate(ordered, 1):
        x, y = across.at(point.area), up.at(point.pj)
        dx, dy = next((place for place in _BESIDE if _free(x, y, place, taken)), _BESIDE[0])
        taken.append(_middle(x, y, (dx, dy)))
        body.append(label(x, y + dy, number, anchor="start" if dx > 0 else "end" if dx < 0 else "middle", dx=dx, kind="number"))
    items = "".join(f"<li>{escape(point.name)}: {amount(point.pj)} pJ{_range(point)}, {amount(point.area)} \u00b5m\u00b2</li>" for point in ordered)
    text = f"{len(points)} designs at the gate level; the list below the plot has all numbers."
    return f'{figure(name, title, text, height, body)}\n<ol class="keys">{items}</ol>'


def _middle(x: float, y: float, place: tuple[float, float]) -> tuple[float, float]:
    """Where the middle of a number beside a mark is; in percent, at a telephone's width of about 3.4 pixels a percent, and in pixels."""
    return x + place[0] * 1.6 / 3.4, y + place[1] - 4


def _free(x: float, y: float, place: tuple[float, float], taken: Sequence[tuple[float, float]]) -> bool:
    """Whether a number there touches no other and no mark but its own."""
    middle = _middle(x, y, place)
    return all(abs(middle[0] - other[0]) > 3.6 or abs(middle[1] - other[1]) > 11 for other in taken if other != (x, y))


def _range(point: DesignPoint) -> str:
    return f" ({amount(point.low)} to {amount(point.high)})" if point.high > point.low else ""


def _tight(values: Sequence[float], start: float, end: float) -> Log:
    """A logarithmic scale that ends at the values, with a tenth of a decade to spare, not at whole decades."""
    return Log(min(values) / 1.25, max(values) * 1.25, start, end)


@dataclass(frozen=True)
class WidthPoint:
    """An element for weights of so many bits, in one flow: medians, and ranges over the rest."""

    bits: float
    design: str
    energy: tuple[float, float, float]
    area: tuple[float, float, float]


def widths_by_flow(report: Mapping[str, Any]) -> dict[str, list[WidthPoint]]:
    """The widths of each flow: the two differ by more than the widths do, and are not to be mixed."""
    gate = report["levels"].get("gate", {})
    found: dict[str, list[WidthPoint]] = {}
    for entry in sorted(gate.get("widths", ()), key=lambda entry: entry["bits"]):
        for flow in dict.fromkeys(result["flow"] for result in gate["results"]):
            results = [result for result in gate["results"] if (result["design"], result["flow"]) == (entry["design"], flow)]
            if results:
                energies = [result["pj_per_op"] for result in results]
                areas = [result["area_um2"] * result["cycles"] / result["operations"] for result in results]
                found.setdefault(flow, []).append(WidthPoint(entry["bits"], entry["design"], _spread(energies), _spread(areas)))
    return {flow: widths for flow, widths in found.items() if len(widths) > 1}


def _spread(values: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(values), min(values), max(values)


def widths_chart(report: Mapping[str, Any]) -> str:
    """Energy and area of a processing element over the bits of a weight, at equal throughput, a line for each flow."""
    flows = widths_by_flow(report)
    if not flows:
        return ""
    height, left = 300.0, 12.0
    across = Linear(0, 8.5, left, 97)
    plots = []
    for name, unit, of in (("energy", "pJ/MAC", lambda width: width.energy), ("area", "\u00b5m\u00b2 a MAC and cycle", lambda width: width.area)):
        up = Linear.around([of(width)[2] for widths in flows.values() for width in widths], height - 44, TOP)
        body, said = axes(Linear(0, 8, left, across.at(8)), up, height, left, "bits of a weight; 1.58 is ternary", unit), []
        for number, (flow, widths) in enumerate(flows.items()):
            body.append(path([(across.at(width.bits), up.at(of(width)[0])) for width in widths], height, f"trace flow-{number + 1}"))
            for width in widths:
                value, low, high = of(width)
                x, y, ternary = across.at(width.bits), up.at(value), 1 < width.bits < 2
                # Where there is a line for each of two flows, 1 to 2 bits have no room for numbers, which the table has.
                below = number == 0 if len(flows) > 1 else ternary
                at = max(y, up.at(low)) + 18 if below else min(y, up.at(high)) - 10
                shown = amount(value) if len(flows) == 1 or width.bits > 2 else ""
                tip = f"[gate] {width.bits:.3g} bits, {width.design}, flow {flow}: {amount(value)} {unit}"
                body += [line(x, up.at(low), x, up.at(high), "range gate")] if high > low else []
                body += [mark(x, y, "diamond" if ternary else SHAPES["gate"], "gate fill", tip), *([label(x, at, shown, kind="number", anchor="middle")] if shown else [])]
            said.append(f"flow {flow}: " + ", ".join(f"{width.bits:.3g} bits {amount(of(width)[0])}" for width in widths))
        title = f"{name.capitalize()} of a processing element over the bits of a weight [gate]"
        plots.append(f"<div>{figure(f'widths-{name}', title, f'{unit}, level gate; ' + '; '.join(said), height, body)}</div>")
    keys = "".join(f'<li><svg width="28" height="14" aria-hidden="true"><path d="M0 7H28" class="trace flow-{number}"/></svg> flow {escape(flow)}</li>'
                   for number, flow in enumerate(flows, 1))
    return f'<ul class="legend">{keys}</ul><div class="pair">{"".join(plots)}</div>'
