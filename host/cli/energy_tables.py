"""A report of `tritloom energy` on a terminal: every table begins with the level that its figures are of.

It reads the report as JSON has it (`tritloom.sim.energy.report`), so that a saved one is shown as a fresh one is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tritloom.host.cli.output import note, show_table

__all__ = ["show_report"]

_UNVERIFIED = "unverified"

#: Parts of a token, as headings.
_SHORT = {"weight memory": "weights", "activation memory": "acts", "external memory": "outside"}


def show_report(report: Mapping[str, Any], *, layers: bool = False) -> None:
    """All levels of a report, in the order from paper to chip; with `layers`, what was counted for every matrix."""
    levels = report["levels"]
    if layers and "table" in levels:
        _show_layers(levels["table"])
    for name, show in (("table", _show_table), ("gate", _show_gate), ("board", _show_board), ("model", _show_model)):
        if name in levels:
            show(levels[name])


def _show_table(level: Mapping[str, Any]) -> None:
    unit, scale = _unit(way["nj_per_token"] * 1e-9 for way in level["arithmetic"])
    numbers = ["pJ/MAC", f"{unit}/token", "x array"]
    show_table([f"[table] {_node(level['node'])}: arithmetic", *numbers], [
        [way["title"] + _mark(way), _amount(way["pj_per_mac"]), _amount(way["nj_per_token"] * 1e-9 * scale), _amount(way["ratio_to_array"])]
        for way in level["arithmetic"]
    ], numbers=numbers, caption=f"{level['model']} on {level['geometry']}, a token of decode; nothing but additions and multiplications")
    show_table([f"[table] {_node(level['node'])}: over", "fp16", "int8", "fp16 as computed"], [
        [step["title"], *(f"{step['ratio'][name]:.1f}x" for name in ("fp16", "int8")), step["formula"]] for step in level["steps"]
    ], numbers=["fp16", "int8"], caption="multiply-accumulates over ternary additions: what the field's 71.4x counts, and what is left of it")

    unit, scale = _unit(fetch["nj_per_token"]["ternary"] * 1e-9 for fetch in level["fetch"])
    numbers = ["pJ/bit", f"{unit}/token", "int8", "fp16"]
    show_table([f"[table] {_node(level['node'])}: and the weights from", *numbers], [
        [fetch["title"] + _mark(fetch), _amount(fetch["pj_per_bit"]), _amount(fetch["nj_per_token"]["ternary"] * 1e-9 * scale),
         f"{fetch['ratio']['int8']:.1f}x", f"{fetch['ratio']['fp16']:.1f}x"]
        for fetch in level["fetch"]
    ], numbers=numbers, caption="int8, fp16: the same model with their arithmetic and 8 or 16 bits a weight, over this array")
    note(f"published figures, quoted second-hand; a ? marks unverified ones. Not in them: {', '.join(level['excludes'])}")


def _show_layers(level: Mapping[str, Any]) -> None:
    counted = level["operations"]
    numbers = ["MACs", "w=0", "x=0", "pad", "w B", "x B", "link", "cycles"]
    for phase in ("prefill", "decode"):
        tokens = counted[f"{phase}_tokens"]
        matrices = [(f"{matrix['layer']} {matrix['name']}", matrix[phase]) for matrix in counted["matrices"]]
        show_table(["matrix", *numbers], [
            [name, _count(counts["macs"] / tokens), *(f"{counts[key] / counts['macs']:.0%}" for key in ("zero_weights", "zero_activations")),
             f"{counts['padding'] / counts['slots']:.1%}", *(_count(counts[key] / 8 / tokens) for key in ("weight_bits_read", "act_bits_read")),
             _count(counts["link_bytes"] / tokens), _count(counts["cycles"] / tokens)]
            for name, counts in [*matrices, ("all", counted[phase])]
        ], numbers=numbers, caption=f"counted, of a token of {phase}")
    note("counted in a run, no energy yet. w, x: weights and activations; =0: products with a zero one; pad: share of the array's products that no weight asked "
         "for; w B, x B: bytes read from their memories; link: bytes; --json has adds by width, and more")


def _show_gate(level: Mapping[str, Any]) -> None:
    flows = list(dict.fromkeys(flow for row in level["summary"] for flow in row["flows"]))
    numbers = ["pJ/op", "range", *(flows if len(flows) > 1 else []), "clock", "um2"]
    show_table(["[gate] design", *numbers], [
        [row["design"], _amount(row["pj_per_op"]["value"]), f"{_amount(row['pj_per_op']['low'])} to {_amount(row['pj_per_op']['high'])}",
         *(_amount(row["flows"][flow]) if flow in row["flows"] else "-" for flow in (flows if len(flows) > 1 else [])),
         _amount(row["parts"]["clock"]), _amount(row["um2_per_lane"]["value"])]
        for row in level["summary"]
    ], numbers=numbers, caption="of one multiply-accumulate; clock: its part in pJ; um2: area over multiply-accumulates a cycle")
    ratios = [figure for figure in level["figures"] if figure["unit"] == "x"]
    if ratios:
        show_table(["[gate] energy", "ratio", "range"], [
            [figure["what"], f"{figure['value']:.2f}x", f"{figure['low']:.2f} to {figure['high']:.2f}"] for figure in ratios], numbers=["ratio"])
    note(level["note"])


def _show_board(level: Mapping[str, Any]) -> None:
    numbers = ["value", "unit", "range"]
    show_table(["[board] reading", *numbers], [
        [_short(figure), _amount(figure["value"]), figure["unit"],
         "" if figure["low"] is None else f"{_amount(figure['low'])} to {_amount(figure['high'])}"]
        for figure in level["figures"] if figure["confidence"] is None or figure["unit"] == "pJ/op"
    ], numbers=["value"], caption="theirs: published readings of other designs and boards, pJ of a weight's operation")
    note(level["note"])


def _show_model(level: Mapping[str, Any]) -> None:
    for source in level["sources"]:
        shown = [token for token in level["tokens"] if token["source"] == source["name"]]
        names = {part["name"]: _SHORT.get(part["name"], part["name"]) + _mark(part) for token in shown for part in token["parts"]}
        columns = [*names.values(), "all", *(["range"] if source["whole"] else [])]
        unit, scale = _unit(token["j_per_token"] for token in shown)
        show_table([f"[model] {unit}/token", *columns], [
            [f"{token['phase']}, {token['format']}", *(_amount(part["j"] * scale) for part in token["parts"]), _amount(token["j_per_token"] * scale),
             *([f"{_amount(token['low'] * scale)} to {_amount(token['high'] * scale)}"] if source["whole"] else [])]
            for token in shown
        ], numbers=columns, caption=f"{level['model']} on {level['geometry']}, from {source['name']} [{source['level']}]; not included: the host")
    if any(source["level"] == "gate" for source in level["sources"]):
        note("memories and link are published figures of the table's process, whatever the process of an array's cells: a sum of both is of no one chip")
    note(level["note"])
    for figure in level["figures"]:
        if "uncalibrated" in figure["what"]:
            note(f"[model] {figure['what']}: {_amount(figure['value'])} J/token ({_amount(figure['low'])} to {_amount(figure['high'])}); {figure['conditions']}")
    for source in dict.fromkeys(one["source"] for one in level["crossovers"]):
        _show_crossover([one for one in level["crossovers"] if one["source"] == source], source)


def _show_crossover(crossed: list[Mapping[str, Any]], source: str) -> None:
    against = list(dict.fromkeys(one["against"] for one in crossed))
    columns = ["pJ/bit", *(f"{name} rows" for name in against), *(f"{name} size" for name in against)]
    rows = []
    for memory in dict.fromkeys(one["memory"] for one in crossed):
        found = {one["against"]: one for one in crossed if one["memory"] == memory}
        some = found[against[0]]
        rows.append([some["title"] + _mark(some), _amount(some["pj_per_bit"]), *(_amount(found[name]["rows_lost"]) for name in against),
                     *(_size(found[name]["size_lost"]) for name in against)])
    show_table(["[model] memory", *columns], rows, numbers=columns, caption=f"arithmetic: {source}")
    note("rows: so many must share a fetched weight, or its fetch costs more than the adders save against that format; size: weights of a model from "
         "which on a single row loses that saving, where the geometry's weight store is all the memory on the chip")


def _short(figure: Mapping[str, Any]) -> str:
    """What a reading is of; a published one without what holds for all of them."""
    return (figure["what"].replace("(theirs, derived)", "(theirs)") if figure["confidence"] else figure["what"]) + _mark(figure)


def _size(size: float | None) -> str:
    if size is None:
        return "never"
    return _amount(size) if size else "any"


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _unit(joules: Iterable[float]) -> tuple[str, float]:
    """The unit in which the largest of these has five digits at most, and how many of it a joule is."""
    most = max(joules)
    return next((unit, scale) for unit, scale in (("nJ", 1e9), ("uJ", 1e6), ("mJ", 1e3), ("J", 1.0)) if most * scale < 2e5 or scale == 1.0)


def _node(name: str) -> str:
    return name.replace("nm", " nm")


def _mark(entry: Mapping[str, Any]) -> str:
    return " ?" if entry.get("confidence") == _UNVERIFIED else ""


def _amount(number: float) -> str:
    from tritloom.sim.energy.figure import amount

    return amount(number)
