"""`tritloom energy --html FILE`: one page with the plots and all numbers of a report, that needs nothing else: no script, no font, no network.

It reads the JSON of `tritloom energy --json` (see `report`), of which it needs nothing but ``levels``: what is not there is left out. Of the gate
level it takes ``summary``, ``results``, ``variants`` (forms of one element, which get a plot of their own) and ``widths`` (see `gate.level`).

It is HTML that is XML as well, so that a test can read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tritloom.sim.energy.figure import Level
from tritloom.sim.energy.page import gate_plots, plots
from tritloom.sim.energy.page.style import STYLE
from tritloom.sim.energy.page.svg import escape
from tritloom.sim.energy.page.tables import Sources, figures_table, level_tables

__all__ = ["page"]

#: What each level is, in a sentence for who reads nothing else.
_LEVELS = {
    "table": "Published energies of single operations on other people's chips, times the operations that a model run really does. What such tables lack (registers, clock, "
             "wires, control) is not in it.",
    "gate": "The circuit as cells of a real library, simulated with the cells' delays; every toggle counted. Before layout: no wires, no clock tree, no memories.",
    "board": "What a meter showed: everything behind it, from the memory to the regulator.",
    "model": "Calculated: the parts of a token, from another level's energy of one multiply-accumulate. Each figure names that level.",
}


def page(report: Mapping[str, Any]) -> str:
    """The page of a report.

    Parameters
    ----------
    report : mapping
        What `tritloom energy --json` writes.

    Returns
    -------
    str
        HTML, to be written as UTF-8.
    """
    levels = [level.value for level in Level if level.value in report["levels"]]
    model = next((report["levels"][name]["model"] for name in ("model", "table") if report["levels"].get(name, {}).get("model")), "")
    title = f"Energy of {model}" if model else "Energy of an operation"
    sources = Sources()
    return "\n".join([
        "<!DOCTYPE html>",
        '<html lang="en" xmlns="http://www.w3.org/1999/xhtml">',
        '<head><meta charset="utf-8"/><meta name="viewport" content="width=device-width, initial-scale=1"/>',
        f"<title>{escape(title)}, by tritloom</title><style>{STYLE}</style></head>",
        "<body>",
        *_head(report, title, levels),
        "<main>",
        *(section for section in _sections(report) if section),
        *(_level(report, level, sources) for level in levels),
        sources.section(),
        "</main>",
        "</body></html>",
    ]) + "\n"


def _head(report: Mapping[str, Any], title: str, levels: list[str]) -> list[str]:
    made = f"tritloom {escape(report['tritloom'])}" if report.get("tritloom") else "tritloom"
    command = f", <code>{escape(report['command'])}</code>" if report.get("command") else ""
    items = "".join(f'<li><svg width="16" height="16" aria-hidden="true">{plots.level_mark(level)}</svg> <a href="#level-{level}">{level}</a></li>' for level in levels)
    advice = ("Every figure here has a <strong>level</strong>, which says what kind of number it is. Figures of two levels are for different things and lie orders of "
              "magnitude apart; compare within one.")
    lines = [
        f"<header><h1>{escape(title)}</h1>", f'<p class="soft">{made}{command}</p>',
        f"<p>{advice}</p>", f'<ul class="legend">{items}</ul>',
    ]
    for level, sentence in report.get("problems", {}).items():
        what = "is not complete" if level in levels and level != "board" else "could not be had"
        lines.append(f'<p class="note">Level {escape(level)} {what}: {escape(_sentence(sentence))}</p>')
    return [*lines, "</header>"]


def _sections(report: Mapping[str, Any]) -> list[str]:
    points = gate_plots.gate_designs(report)
    others, forms = ([point for point in points if point.variant == wanted] for wanted in (False, True))
    return [
        _figure("ladder", "The ladder: energy of an operation", plots.ladder(report),
                "Each mark is a figure and each bar its range; the mark's shape and colour are its level. The scale is logarithmic. An operation of one level is not an operation of "
                "another: an addition in a table has no registers, a board's has a regulator and a memory."),
        _figure("breakdown", "Where the energy of a token goes", plots.breakdown(report),
                "Each bar is a token, all of it; the number on the right says how much that is. The host's own work is not in it. Level model throughout."),
        _figure("crossover", "What is left of the adders' gain as models grow", plots.crossover(report),
                "How many times less a token takes with ternary adders than with the same weights through multipliers, one token at a time. A model that outgrows the chip's memory reads "
                "its weights from the one named: near 1 (dashed), nothing is left of the adders' gain, only that of the fewer bits. Level model."),
        _figure("anatomy", "What in a design takes the energy", gate_plots.anatomy(report),
                "Level gate. Internal is what cells take when their outputs change, switching the charge of the nets between them, clock the clock pins of the registers."),
        _figure("area", "Area against energy", gate_plots.scatter("area", "Area against energy of designs [gate]", others, log=True),
                "Level gate: medians over flows, delays, stimuli and seeds; bars are the range. Numbered from the least energy on. Both scales are logarithmic."),
        _figure("variants", "Forms of the ternary element", gate_plots.scatter("variants", "Area against energy of the forms of a ternary element [gate]", forms, log=False),
                "Level gate, linear scales that do not begin at 0."),
        _figure("widths", "If fewer bits need more parameters, do the adders eat the gain?", gate_plots.widths_chart(report),
                "Level gate: elements for weights of 1 to 8 bits, of one make, at equal throughput. Where a multiply-accumulate takes half the energy, a model may have twice the parameters "
                "before its arithmetic takes as much. The diamond is the ternary one. A line for each way to make adders of cells. How many parameters a model needs at which width is not known here."),
    ]


def _figure(name: str, title: str, body: str, caption: str) -> str:
    """A section with a plot; "" without one."""
    if not body:
        return ""
    return f'<section id="{name}-figure"><h2>{escape(title)}</h2><figure>{body}<figcaption>{escape(caption)}</figcaption></figure></section>'


def _level(report: Mapping[str, Any], level: str, sources: Sources) -> str:
    content = report["levels"][level]
    facts = [f"{name}: {content[name]}" for name in ("node", "model", "geometry") if content.get(name)]
    note = f'<p class="note">{escape(_sentence(content["note"]))}</p>' if content.get("note") else ""
    return "\n".join([
        f'<section id="level-{level}"><h2>Level {level}</h2><p>{escape(_LEVELS[level])}</p>', f'<p class="soft">{escape("; ".join(facts))}</p>' if facts else "", note,
        figures_table(level, content.get("figures", ()), sources), level_tables(level, content, report), "</section>",
    ])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
