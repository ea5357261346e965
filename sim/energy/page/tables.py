"""The page's tables, from the report's JSON: every figure with its level, source and confidence, and each level's own numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tritloom.sim.energy.figure import Figure, amount
from tritloom.sim.energy.page.gate_plots import gate_designs, widths_by_flow
from tritloom.sim.energy.page.svg import escape

__all__ = ["Sources", "figures_table", "level_tables"]


class Sources:
    """The sources that a page names: each once, with a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def cite(self, text: str) -> str:
        """The numbers of what a figure names, "; " between them, as links to the list."""
        known = [self._numbers.setdefault(one, len(self._numbers) + 1) for one in dict.fromkeys(text.split("; ")) if one]
        return ", ".join(f'<a href="#source-{number}">{number}</a>' for number in known)

    def section(self) -> str:
        """The list; "" if nothing was cited."""
        items = "".join(f'<li id="source-{number}">{_linked(text)}</li>' for text, number in self._numbers.items())
        return f'<section><h2>Sources</h2><ol class="sources">{items}</ol></section>' if items else ""


def _linked(text: str) -> str:
    """Text in which an address is a link."""
    found = re.search(r"https://[^\s)]+", text)
    if not found:
        return escape(text)
    address = escape(found[0])
    return f'{escape(text[:found.start()])}<a href="{address}">{address}</a>{escape(text[found.end():])}'


def figures_table(level: str, records: Sequence[Mapping[str, Any]], sources: Sources) -> str:
    """All figures of a level: what, value, range; under it the conditions, the source, how sure it is, and what is left out."""
    rows = []
    for record in records:
        figure = Figure.from_json(record)
        small = [escape(figure.conditions)]
        if figure.confidence is not None:
            small.append(f"confidence: {figure.confidence.value}")
        if figure.excludes:
            small.append(escape(f"without {', '.join(figure.excludes)}"))
        if figure.source:
            small.append(f"source {sources.cite(figure.source)}")
        notes = f"<br/> <small>{'; '.join(line for line in small if line)}</small>"
        span = "" if figure.low is None or figure.low == figure.high else f" <small>{escape(amount(figure.low))} to {escape(amount(figure.high))}</small>"
        name = figure.level.value
        rows.append(f'<tr><td><span class="level level-{name}">{name}</span> {escape(figure.what)}{notes}</td><td class="number">{escape(figure.number)}{span}</td></tr>')
    if not rows:
        return ""
    return (f'<table><caption>All figures of the level {escape(level)}</caption><thead><tr><th>figure</th><th class="number">value, range</th></tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table>')


def level_tables(level: str, content: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """A level's own numbers; "" where it has none."""
    makers = {"table": _published, "gate": _gate, "board": _board, "model": _model}
    return "\n".join(piece for piece in makers[level](content, report) if piece)


def _table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], numbers: Iterable[int] = (), *, folded: bool = False) -> str:
    """A table, folded away if it is long; floats as amounts, None as nothing. "" without rows."""
    right = set(numbers)

    def cell(tag: str, index: int, value: Any) -> str:
        text = "" if value is None else amount(value) if isinstance(value, float) else f"{value:,}" if type(value) is int else value
        return f'<{tag}{f" class={chr(34)}number{chr(34)}" if index in right else ""}>{escape(text)}</{tag}>'

    body = "".join(f"<tr>{''.join(cell('td', index, value) for index, value in enumerate(row))}</tr>" for row in rows)
    if not body:
        return ""
    head = "".join(cell("th", index, value) for index, value in enumerate(columns))
    title = f"<caption>{escape(caption)}</caption>" if not folded else ""
    made = f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f"<details><summary>{escape(caption)}</summary>{made}</details>" if folded else made


def _range(record: Mapping[str, Any], scale: float = 1.0) -> str:
    low, high = record.get("low"), record.get("high")
    return "" if low is None or low == high else f"{amount(low * scale)} to {amount(high * scale)}"


def _published(content: Mapping[str, Any], report: Mapping[str, Any]) -> Iterable[str]:
    yield _table("Over ternary: what the field's ratio counts, and what is left of it [table]", ("over", "fp16, times", "int8, times", "fp16, as computed"), (
        (step["title"], step["ratio"]["fp16"], step["ratio"]["int8"], step["formula"]) for step in content.get("steps", ())), (1, 2))
    yield _table("Ways to count a multiply-accumulate [table]", ("way", "pJ a MAC", "range", "nJ a token", "over the array", "counts", "confidence"), (
        (way["title"], way["pj_per_mac"], _range(way), way["nj_per_token"], way["ratio_to_array"], way["formula"], way["confidence"])
        for way in content.get("arithmetic", ())), (1, 2, 3, 4))
    yield _table("Arithmetic and weights, each weight fetched once a token [table]", ("weights from", "pJ a bit", "range", "ternary, nJ", "int8, nJ", "fp16, nJ", "int8 over", "fp16 over"), (
        (row["title"], row["pj_per_bit"], _range(row), *(row["nj_per_token"].get(kind) for kind in ("ternary", "int8", "fp16")), row["ratio"]["int8"], row["ratio"]["fp16"])
        for row in content.get("fetch", ())), range(1, 8))
    yield _table("Additions of a token by the width of their sum [table]", ("bits", "additions a token", "pJ", "range", "nJ a token"), (
        (row["bits"], row["count_per_token"], row["pj"], _range(row), row["nj_per_token"]) for row in content.get("adds", ())), range(5))
    yield _table("Every BitLinear [table]", ("layer", "matrix", "N", "K", "zero weights", "MACs a token", "additions a token", "nJ a token"), (
        (row["layer"], row["name"], row["n"], row["k"], row["zero_weights"], row["macs_per_token"], row["adds_per_token"], row["nj_per_token"])
        for row in content.get("bitlinears", ())), (0, 2, 3, 4, 5, 6, 7), folded=True)
    published = content.get("published", {})
    yield _table("Published energies used [table]", ("what", "pJ", "range", "bits", "confidence", "source"), (
        (row["title"], row["pj"], _range(row), row["bits"], row["confidence"], row["source"])
        for row in (*published.get("operations", ()), *published.get("memories", ()))), (1, 2, 3), folded=True)


def _gate(content: Mapping[str, Any], report: Mapping[str, Any]) -> Iterable[str]:
    points = gate_designs(report)
    yield _table("Designs [gate]: medians, and the range over flows, delays, stimuli and seeds",
                 ("design", "what", "pJ a MAC", "range", "internal", "switching", "clock", "leakage", "\u00b5m\u00b2 a MAC and cycle"), (
        (point.name, point.what, point.pj, f"{amount(point.low)} to {amount(point.high)}" if point.high > point.low else "",
         *(point.parts[part] for part in ("internal", "switching", "clock", "leakage")), point.area) for point in points), range(2, 9))
    yield _table("Weights of 1 to 8 bits at equal throughput [gate]",
                 ("flow", "bits", "design", "pJ a MAC", "range", "over ternary", "\u00b5m\u00b2 a MAC and cycle", "over ternary"), _widths(report), (1, 3, 4, 5, 6, 7))
    yield _table("Every result [gate]", ("design", "flow", "delays", "stimulus", "seed", "pJ a MAC", "internal", "switching", "clock", "leakage", "\u00b5m\u00b2", "cells", "library"), (
        (row["design"], row["flow"], row["delays"], row["stimulus"], str(row["seed"]), row["pj_per_op"],
         *(row["parts"][part] for part in ("internal", "switching", "clock", "leakage")), row["area_um2"], row["cells"], f"{row['library']}, {row['voltage_v']} V")
        for row in content.get("results", ())), range(5, 12), folded=True)


def _widths(report: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    for flow, points in widths_by_flow(report).items():
        ternary = next((point for point in points if 1 < point.bits < 2), None)
        for point in points:
            energy, low, high = point.energy
            yield (flow, f"{point.bits:.3g}", point.design, energy, f"{amount(low)} to {amount(high)}" if high > low else "", ternary and energy / ternary.energy[0],
                   point.area[0], ternary and point.area[0] / ternary.area[0])


def _board(content: Mapping[str, Any], report: Mapping[str, Any]) -> Iterable[str]:
    reading = content.get("reading")
    if not reading:
        return
    yield _table("The run, phase by phase [board]", ("phase", "seconds", "tokens", "samples", "J at the wall", "give or take", "J over idle", "give or take"), (
        (phase["name"], phase["seconds"], phase["tokens"], phase["samples"], phase["wall_j"], phase["wall_error_j"], phase["net_j"], phase["net_error_j"])
        for phase in reading["phases"]), range(1, 8))
    yield _table("Parts of the uncertainty, as standard uncertainties in joules [board]", ("phase", "part", "J at the wall", "J over idle"), (
        (phase["name"], part, phase["wall_parts_j"].get(part), phase["net_parts_j"].get(part))
        for phase in reading["phases"] for part in dict.fromkeys((*phase["wall_parts_j"], *phase["net_parts_j"]))), (2, 3))
    if reading["notes"]:
        yield f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in reading['notes'])}</ul>"


def _model(content: Mapping[str, Any], report: Mapping[str, Any]) -> Iterable[str]:
    yield _table("Parts of a token [model]", ("phase", "format", "array from", "part", "J", "range", "share, %", "its figure is from"), (
        (token["phase"], token["format"], f"{token['source']} [{token['level']}]", part["name"], part["j"], _range(part),
         100 * part["j"] / token["j_per_token"] if token["j_per_token"] else None, part["from"])
        for token in content.get("tokens", ()) for part in token["parts"]), (4, 5, 6))
    yield _table("Where traffic eats what the adders save, one token at a time [model]",
                 ("array from", "over", "weights from", "pJ a bit", "the most it may cost", "rows that must share a weight", "lost from so many weights on"), (
        (row["source"], row["against"], row["title"], row["pj_per_bit"], row["limit_pj_per_bit"], row["rows_lost"],
         "never" if row["size_lost"] is None else "always" if row["size_lost"] == 0 else amount(row["size_lost"])) for row in content.get("crossovers", ())), (3, 4, 5, 6))
