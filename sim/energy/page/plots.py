"""The page's plots of all levels, from the report's JSON. Each gives SVG, or "" where the report has nothing for it. Those of the gate level alone are in `gate_plots`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tritloom.sim.energy.figure import amount
from tritloom.sim.energy.page.gate_plots import gate_designs
from tritloom.sim.energy.page.plot_axes import SHAPES, TOP, axes, legend, short
from tritloom.sim.energy.page.svg import Linear, Log, escape, figure, label, line, mark, path, rect, wrap

__all__ = ["breakdown", "crossover", "ladder", "level_mark"]

#: Parts of a token in the order in which they are drawn, and their classes.
_PARTS = {
    "array": "part-1", "idle": "part-2", "weight memory": "part-3", "activation memory": "part-4", "link": "part-5", "external memory": "part-6", "board": "part-7",
}

#: Letters of a label that fit a telephone's width beside a number.
_LETTERS = 44

_UNITS = ("pJ", "pJ/op", "pJ/MAC")


@dataclass(frozen=True)
class _Rung:
    """A row of the ladder, in picojoules."""

    level: str
    name: str
    value: float
    low: float | None = None
    high: float | None = None


def _rungs(report: Mapping[str, Any]) -> list[_Rung]:
    levels = report["levels"]
    rungs = []
    table = levels.get("table", {})
    node = f" ({table['node']})" if "node" in table else ""
    for entry in table.get("published", {}).get("operations", ()):
        rungs.append(_Rung("table", f"{entry['title']}{node}", entry["pj"], entry.get("low"), entry.get("high")))
    for way in table.get("arithmetic", ()):
        rungs.append(_Rung("table", f"a MAC as {way['title']}", way["pj_per_mac"], way.get("low"), way.get("high")))
    for entry in table.get("published", {}).get("memories", ()):
        scale = 1 / entry["bits"]
        ends = (None, None) if entry.get("low") is None else (entry["low"] * scale, entry["high"] * scale)
        rungs.append(_Rung("table", f"one bit of {entry['title']}", entry["pj_per_bit"], *ends))
    points = gate_designs(report)
    rungs += [_Rung("gate", f"{point.name}, a MAC", point.pj, point.low, point.high) for point in points if not point.variant]
    for name in ("gate", "board", "model"):
        if name == "gate" and points:
            continue
        rungs += [_Rung(name, record["what"], record["value"], record["low"], record["high"]) for record in levels.get(name, {}).get("figures", ())
                  if record["unit"] in _UNITS]
    model = levels.get("model", {})
    for token in model.get("tokens", ()):
        if token["phase"] == "decode":
            scale = 1e12 / model["weights"]
            rungs.append(_Rung("model", f"all of a token, a MAC, {token['format']}, from {token['source']}", token["pj_per_mac"], token["low"] * scale, token["high"] * scale))
    # What is 0 or less has no place on a logarithmic scale; the tables have it.
    return [rung for rung in rungs if rung.value > 0]


def level_mark(level: str) -> str:
    """A level's mark, for a legend of 16 pixels."""
    return mark(50, 8, SHAPES[level], f"{level} fill")


def ladder(report: Mapping[str, Any]) -> str:
    """Picojoules of every operation that the report knows of, level by level, on one logarithmic scale; ranges as bars."""
    rungs = _rungs(report)
    if not rungs:
        return ""
    scale = Log.around([end for rung in rungs for end in (rung.value, rung.low, rung.high) if end and end > 0], 1.5, 98.5)
    body, y = [], 10.0
    for level in SHAPES:
        mine = sorted((rung for rung in rungs if rung.level == level), key=lambda rung: rung.value)
        if not mine:
            continue
        y += 26
        body.append(label(0, y, f"level: {level}", kind="head"))
        y += 4
        for rung in mine:
            lines = wrap(rung.name, _LETTERS)
            for text in lines:
                y += 16
                body.append(label(0, y, text))
            shown = f"{amount(rung.value)} pJ"
            body.append(label(100, y, shown, kind="number", anchor="end"))
            y += 12
            body.append(line(scale.start, y, scale.end, y, "rail"))
            if rung.low is not None and rung.high is not None and rung.high > rung.low:
                left, right = scale.at(rung.low), scale.at(rung.high)
                body += [line(left, y, right, y, f"range {level}"), *(line(x, y - 4, x, y + 4, f"range {level}") for x in (left, right))]
                shown += f", {amount(rung.low)} to {amount(rung.high)}"
            body.append(mark(scale.at(rung.value), y, SHAPES[level], f"{level} fill", f"[{level}] {rung.name}: {shown}"))
            y += 6
        y += 6
    y += 6
    grid = []
    for tick in scale.ticks(7):
        x = scale.at(tick)
        grid.append(line(x, 16, x, y, "grid"))
        # At both ends, because the plot is taller than a screen.
        body += [label(x, place, short(tick), kind="tick", anchor="start" if x < 3 else "end" if x > 97 else "middle") for place in (10, y + 14)]
    body.append(label(50, y + 32, "pJ, on a logarithmic scale", kind="tick", anchor="middle"))
    spread = f"From {amount(min(rung.value for rung in rungs))} to {amount(max(rung.value for rung in rungs))} pJ; levels: {', '.join(dict.fromkeys(rung.level for rung in rungs))}."
    return figure("ladder", "Energy of an operation, by level", f"{spread} All numbers are in the tables below.", y + 40, [*grid, *body])


def breakdown(report: Mapping[str, Any]) -> str:
    """The parts of a token as shares, for every source, phase and format of the level `model`."""
    tokens = report["levels"].get("model", {}).get("tokens", ())
    if not tokens:
        return ""
    body, y = [], 4.0
    drawn: dict[str, None] = {}
    for token in tokens:
        y += 18
        body.append(label(0, y, f"[model, array: {token['level']}] {token['phase']}, {token['format']}"))
        y += 15
        body += [label(0, y, token["source"], kind="tick"), label(100, y, f"{_joules(token['j_per_token'])}/token", kind="number", anchor="end")]
        y += 6
        x, total = 0.0, token["j_per_token"]
        for part in sorted(token["parts"], key=lambda part: list(_PARTS).index(part["name"])):
            share = 100 * part["j"] / total if total else 0.0
            if share > 0:
                drawn[part["name"]] = None
                body.append(rect(x, y, share, 14, _PARTS[part["name"]], f"[model] {part['name']}: {_joules(part['j'])} ({share:.3g} %), {part['from']}"))
                x += share
        y += 18
    names = [name for name in _PARTS if name in drawn]
    text = f"{len(tokens)} bars of 100 %, by part: {', '.join(names)}. The numbers are in the table of parts."
    return f'{legend({name: _PARTS[name] for name in names})}\n{figure("breakdown", "Where the energy of a token goes", text, y + 4, body)}'


def _joules(joules: float) -> str:
    """Joules in a unit that leaves a handy number."""
    for unit, size in (("J", 1.0), ("mJ", 1e-3), ("\u00b5J", 1e-6), ("nJ", 1e-9)):
        if abs(joules) >= size:
            return f"{amount(joules / size)} {unit}"
    return f"{amount(joules / 1e-12)} pJ"


def crossover(report: Mapping[str, Any]) -> str:
    """What the adders alone gain over int8 and fp16 in a token, over the size of the model, by the memory that holds the weights."""
    curves = [curve for curve in report["levels"].get("model", {}).get("curves", ()) if curve["rows"] == 1]
    if not curves:
        return ""
    names = list(dict.fromkeys(curve["title"] for curve in curves))
    sources = dict.fromkeys(curve["source"] for curve in curves)
    levels = {source["name"]: source["level"] for source in report["levels"]["model"].get("sources", ())}
    height, left, plots = 260.0, 12.0, []
    for number, (source, against) in enumerate((source, against) for source in sources for against in ("int8", "fp16")):
        mine = [curve for curve in curves if (curve["source"], curve["against"]) == (source, against)]
        if not mine:
            continue
        sizes = [point["weights"] for curve in mine for point in curve["points"]]
        across = Log(min(sizes), max(sizes), left, 97)
        up = Linear.around([point["gain_by_adders"] for curve in mine for point in curve["points"]], height - 44, TOP)
        body = [*axes(across, up, height, left, "ternary weights of the model", "times less"), line(left, up.at(1), 97, up.at(1), "one")]
        for curve in mine:
            body.append(path([(across.at(point["weights"]), up.at(point["gain_by_adders"])) for point in curve["points"]], height, f"trace line-{names.index(curve['title']) + 1}"))
        title = f"Gain of the adders over {against}, {source} [model, array: {levels.get(source, '?')}]"
        ends = ", ".join(f"{curve['title']}: {amount(curve['points'][0]['gain_by_adders'])} to {amount(curve['points'][-1]['gain_by_adders'])}" for curve in mine)
        plots.append(f"<div><h3>{escape(title)}</h3>{figure(f'crossover-{number}', title, f'From the smallest model to the largest: {ends}.', height, body)}</div>")
    keys = legend({name: f"line-{index}" for index, name in enumerate(names, 1)})
    return f'{keys}\n<div class="pair">{"".join(plots)}</div>'
