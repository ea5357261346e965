"""The page: well-formed, with every figure and its level, nothing from elsewhere, and no plot of what is not there."""

from __future__ import annotations

import copy
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.energy.test_meter import box, log_of, run_of
from tritloom.sim.energy.board.meter import MeterOptions, measure
from tritloom.sim.energy.board.readings import board_level
from tritloom.sim.energy.costs import from_gate, from_reading, from_table
from tritloom.sim.energy.figure import Figure, Level, amount
from tritloom.sim.energy.gate.level import GateLevel
from tritloom.sim.energy.gate.measure import GateResult
from tritloom.sim.energy.model import Surroundings
from tritloom.sim.energy.operations import count
from tritloom.sim.energy.page.page import page
from tritloom.sim.energy.page.style import STYLE
from tritloom.sim.energy.page.svg import Linear, Log, escape, wrap
from tritloom.sim.energy.published import published
from tritloom.sim.energy.report import model_level
from tritloom.sim.energy.table import Table

SVG = "{http://www.w3.org/2000/svg}"
HTML = "{http://www.w3.org/1999/xhtml}"

LEVELS = [level.value for level in Level]


def gate_result(design: str, pj: float, area: float, seed: int) -> GateResult:
    """A result of the gate level with made-up numbers: 16 lanes, 2,000 cycles."""
    return GateResult(
        design=design, lanes=16, flow="fa", delays=True, stimulus="nano", seed=seed, operations=32_000, cycles=2_000, pj_per_op=pj,
        parts={"internal": 0.3 * pj, "switching": 0.3 * pj, "clock": 0.37 * pj, "leakage": 0.03 * pj}, area_um2=16 * area, cells=900, nets=1000, flip_flops=60,
        nets_without_toggles_found=0, period_ns=40.0, settled_ns=9.5, library="osu018_stdcells", voltage_v=1.8)


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """A report with all levels: table, board and model as they are, the gate level with made-up numbers."""
    known = published()
    node = known.node("7nm")
    operations = count("nano", tokens=3)
    gate = GateLevel(16, widths=[(1, "binary-16"), (1.585, "ternary-16-a"), (8, "int8-16")])
    for name, group, pj, area in (("pe-1x1x16", "pe", 5.5, 500), ("binary-16", "widths", 4.1, 310), ("ternary-16-a", "variants", 5.2, 420), ("ternary-16-b", "variants", 6.3, 400),
                                  ("int8-16", "peers", 23.7, 1640), ("fp16-16", "peers", 71.3, 3520)):
        gate.groups[name], gate.about[name] = [group], f"{name} with made-up numbers"
        gate.results += [gate_result(name, pj * factor, area, seed) for seed, factor in ((1, 1.0), (2, 1.1))]
    level = gate.as_json()
    marks = run_of(("prompt", 0, 0.5, 6, 6 * operations.weights), ("decode", 0.5, 2.0, 20, 20 * operations.weights))
    reading = measure(log_of(box(), np.round(np.arange(-5, 7, 0.01), 2)), marks, MeterOptions(gain=0.01))
    costs = [from_table(node, operations.geometry), *from_gate(level, operations.geometry), *from_reading(reading)]
    model = model_level(operations, costs, Surroundings(node, known.links["uart"]), known, calibrated=True)
    report = {"tritloom": "0.1.0", "command": "tritloom energy --model nano", "levels": {
        "table": Table(known, node, operations).as_json(), "gate": level, "board": board_level(reading), "model": model}}
    return json.loads(json.dumps(report, allow_nan=False))


def parse(report: dict[str, Any]) -> ET.Element:
    """The page's elements."""
    text = page(report)
    assert text.startswith("<!DOCTYPE html>\n")
    return ET.fromstring(text)


def plots_of(root: ET.Element) -> set[str]:
    """What plots there are, by the id of their title."""
    return {plot.find(f"{SVG}title").get("id").removesuffix("-title") for plot in root.iter(f"{SVG}svg") if plot.get("role") == "img"}


def text_of(element: ET.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def rows_of(root: ET.Element) -> list[str]:
    return [" ".join(text_of(cell) for cell in row) for row in root.iter(f"{HTML}tr")]


def test_every_figure_is_there_with_its_level_and_what_is_said_about_it(whole) -> None:
    root = parse(whole)
    rows = rows_of(root)
    cited = {item.get("id"): text_of(item) for item in root.iter(f"{HTML}li") if item.get("id", "").startswith("source-")}
    figures = [Figure.from_json(record) for level in whole["levels"].values() for record in level["figures"]]
    assert {figure.level.value for figure in figures} == set(LEVELS)
    for figure in figures:
        matching = {row for row in rows if row.startswith(f"{figure.level.value} {figure.what} {figure.conditions};") and figure.number in row}
        assert len(matching) == 1, figure
        [row] = matching
        assert figure.low is None or figure.low == figure.high or f"{amount(figure.low)} to {amount(figure.high)}" in row
        assert figure.confidence is None or f"confidence: {figure.confidence.value}" in row
        assert not figure.excludes or f"without {', '.join(figure.excludes)}" in row
        for source in figure.source.split("; "):
            assert source in cited.values()
    for level in LEVELS:
        assert any(element.get("id") == f"level-{level}" for element in root.iter(f"{HTML}section"))


def test_the_plots(whole) -> None:
    root = parse(whole)
    names = plots_of(root)
    assert {"ladder", "breakdown", "anatomy", "area", "variants", "widths-energy", "widths-area"} < names
    assert sum(name.startswith("crossover-") for name in names) == 4    # over int8 and over fp16, by the table and by the gate level
    for plot in root.iter(f"{SVG}svg"):
        if plot.get("role") == "img":
            title, description = plot.find(f"{SVG}title"), plot.find(f"{SVG}desc")
            assert title.text
            assert description.text
            assert plot.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
            numbers = [value for child in plot.iter() for name, value in child.attrib.items() if name in ("x", "y", "x1", "x2", "y1", "y2", "width", "height", "d")]
            assert not any("nan" in value or "inf" in value for value in numbers)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


def test_the_ladder_names_levels_and_shows_ranges(whole) -> None:
    root = parse(whole)
    [ladder] = [plot for plot in root.iter(f"{SVG}svg") if (plot.get("aria-labelledby") or "").startswith("ladder-")]
    heads = [text.text for text in ladder.iter(f"{SVG}text") if text.get("class") == "head"]
    assert heads == [f"level: {level}" for level in LEVELS]
    tips = [title.text for title in ladder.iter(f"{SVG}title")]
    assert "[gate] int8-16, a MAC: 24.9 pJ, 23.7 to 26.1" in tips
    assert "[table] int8 add (7nm): 0.007 pJ" in tips
    assert any(tip.startswith("[board] bitnet-kv260 on a Kria KV260, decode (theirs, derived), whole board, idle included: 158 pJ") for tip in tips)
    assert any(tip.startswith("[board] decode of nano, at the wall") for tip in tips)
    assert any(tip.startswith("[model] all of a token, a MAC, ternary") for tip in tips)
    assert not any("ternary-16" in tip for tip in tips)    # forms of one element have a plot of their own
    places = {level: [float(mark.get("x").removesuffix("%")) for mark in ladder.iter(f"{SVG}svg") if mark.find(f"{SVG}path") is not None
                      and (mark.find(f"{SVG}path").get("class") or "").startswith(level)] for level in LEVELS}
    for level in LEVELS:
        assert places[level] == sorted(places[level])
        assert all(0 <= place <= 100 for place in places[level])


def test_the_levels_own_tables(whole) -> None:
    root = parse(whole)
    captions = {text_of(caption) for caption in root.iter(f"{HTML}caption")} | {text_of(caption) for caption in root.iter(f"{HTML}summary")}
    for level in LEVELS:
        assert sum(f"[{level}]" in caption for caption in captions) >= 2
    rows = rows_of(root)
    assert any(row.startswith("one int8 add 71.4 14.3") for row in rows)
    assert any(row.startswith("fa 1.58 ternary-16-a 5.46 5.2 to 5.72 1 420 1") for row in rows)
    assert any(row.startswith("fa 8 int8-16 24.9 23.7 to 26.1 4.56 1,640 3.9") for row in rows)
    assert any(row.startswith("decode gain ") for row in rows)


def test_two_flows_are_two_lines(whole) -> None:
    report = copy.deepcopy(whole)
    gate = report["levels"]["gate"]
    gate["results"] += [result | {"flow": "abc", "pj_per_op": 2 * result["pj_per_op"]} for result in gate["results"]]
    root = parse(report)
    [plot] = [plot for plot in root.iter(f"{SVG}svg") if (plot.get("aria-labelledby") or "").startswith("widths-energy-")]
    assert [path.get("class") for path in plot.iter(f"{SVG}path") if "trace" in path.get("class")] == ["trace flow-1", "trace flow-2"]
    said = plot.find(f"{SVG}desc").text
    assert "flow fa: 1 bits 4.3, 1.58 bits 5.46, 8 bits 24.9" in said
    assert "flow abc: 1 bits 8.61, 1.58 bits 10.9, 8 bits 49.8" in said
    assert any(row.startswith("abc 8 int8-16 49.8") for row in rows_of(root))


def test_shares_of_a_token_fill_their_bar(whole) -> None:
    root = parse(whole)
    [plot] = [plot for plot in root.iter(f"{SVG}svg") if (plot.get("aria-labelledby") or "").startswith("breakdown-")]
    ends: dict[str, float] = {}
    for bar in plot.iter(f"{SVG}rect"):
        ends[bar.get("y")] = float(bar.get("x").removesuffix("%")) + float(bar.get("width").removesuffix("%"))
    assert len(ends) == len(whole["levels"]["model"]["tokens"])
    assert all(end == pytest.approx(100, abs=0.01) for end in ends.values())


def test_one_level_alone_leaves_no_empty_plot(whole) -> None:
    expected = {"table": {"ladder"}, "gate": {"ladder", "anatomy", "area", "variants", "widths-energy", "widths-area"}, "board": {"ladder"}}
    for level, plots in expected.items():
        root = parse(whole | {"levels": {level: whole["levels"][level]}})
        assert plots_of(root) == plots
        assert [element.get("id") for element in root.iter(f"{HTML}section") if (element.get("id") or "").startswith("level-")] == [f"level-{level}"]
    names = plots_of(parse(whole | {"levels": {"model": whole["levels"]["model"]}}))
    assert {"ladder", "breakdown"} < names
    assert all(name in ("ladder", "breakdown") or name.startswith("crossover-") for name in names)
    assert plots_of(parse({"levels": {}})) == set()


def test_a_level_with_nothing_in_it(whole) -> None:
    for level in whole["levels"]:
        root = parse({"levels": {level: {"figures": []}}})
        assert plots_of(root) == set()
        assert not list(root.iter(f"{HTML}table"))


def test_without_a_reading_the_board_is_uncalibrated() -> None:
    notes = [text_of(element) for element in parse({"levels": {"board": board_level()}}).iter(f"{HTML}p") if element.get("class") == "note"]
    assert any(note.startswith("Uncalibrated: no reading of a board of one's own") for note in notes)


@pytest.mark.parametrize("there", [True, False])
def test_what_could_not_be_had_is_said(whole, there: bool) -> None:
    report = whole if there else {"levels": {"table": whole["levels"]["table"]}}
    text = page(report | {"problems": {"gate": "iverilog is not installed: apt install iverilog"}})
    assert f"Level gate {'is not complete' if there else 'could not be had'}: Iverilog is not installed: apt install iverilog." in text


def test_text_of_others_stays_text(whole) -> None:
    """Whatever a report's texts hold, they are shown, and nothing of them is run or breaks the page."""
    nasty = '<script>alert("1")</script> & ]]> \' " <!-- \x00\x1b \u2028 </style> {{'
    shown = nasty.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: poisoned(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [poisoned(each, key) for each in value]
        return nasty if isinstance(value, str) and key in ("what", "conditions", "source", "title", "command", "note", "how", "what", "library", "model", "from") else value

    report = poisoned(copy.deepcopy(whole))
    for part in ("results", "summary"):
        for one in report["levels"]["gate"][part]:
            one["design"] += nasty
    root = parse(report | {"problems": {"gate": nasty}})
    assert not list(root.iter(f"{HTML}script"))
    assert " ".join(shown.split()) in text_of(root)
    assert len(list(root.iter(f"{HTML}style"))) == 1


def test_the_page_needs_nothing_else(whole) -> None:
    root = parse(whole)
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "use", "image", "foreignObject"}
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name != "href" or value.startswith(("#", "https://"))
            assert name not in ("src", "srcset", "style")
    targets = {element.get("id") for element in root.iter()}
    assert {element.get("href")[1:] for element in root.iter(f"{HTML}a") if element.get("href").startswith("#")} <= targets


def test_colours_have_contrast() -> None:
    """WCAG 2: 4.5:1 for text, 3:1 for marks, on the page's colour and on panels, in light and in dark and on paper."""

    def luminance(colour: str) -> float:
        channels = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4 for channel in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    blocks = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in re.findall(r":root \{([^}]*)\}", STYLE)]
    assert len(blocks) == 3
    for colours in blocks:
        assert set(colours) == set(blocks[0])
        for name, colour in colours.items():
            if name in ("page", "panel", "rule"):
                continue
            for ground in ("page", "panel"):
                light, dark = sorted((luminance(colour), luminance(colours[ground])), reverse=True)
                needed = 4.5 if name in ("ink", "soft", *LEVELS) else 3.0
                assert (light + 0.05) / (dark + 0.05) >= needed, f"{name} {colour} on {ground} {colours[ground]}"


def test_classes_have_a_style(whole) -> None:
    classes = {name for element in parse(whole).iter() for name in (element.get("class") or "").split()}
    assert {name for name in classes if f".{name}" not in STYLE} <= {"sources"}


class TestScales:
    """Where values are."""

    def test_log(self) -> None:
        scale = Log.around([0.007, 0, 188], 0, 100)
        assert (scale.low, scale.high) == (pytest.approx(0.001), pytest.approx(1000))
        assert scale.at(1) == pytest.approx(50)
        assert scale.at(0) == scale.at(1e-9) == 0
        assert scale.at(1e9) == 100
        assert scale.ticks() == pytest.approx([0.001, 0.01, 0.1, 1, 10, 100, 1000])
        assert scale.ticks(4) == pytest.approx([0.001, 0.1, 10, 1000])

    def test_linear(self) -> None:
        scale = Linear.around([3, 17.2], 0, 100)
        assert (scale.low, scale.high) == (0, 20)
        assert scale.at(5) == 25
        assert scale.ticks() == [0, 5, 10, 15, 20]
    def test_linear_of_a_single_value(self) -> None:
        scale = Linear.around([7.0, 7.0], 0, 1, zero=False)
        assert 0 <= scale.at(7) < 1
        assert scale.low < scale.high

    def test_linear_upside_down(self) -> None:
        upside = Linear.around([0, 10], 200, 0)
        assert (upside.at(0), upside.at(10)) == (200, 0)


def test_lines_are_as_long_as_words_allow() -> None:
    assert wrap("a long label of many words", 10) == ["a long", "label of", "many words"]
    assert wrap("incomprehensibilities", 10) == ["incomprehensibilities"]
    assert wrap("", 10) == [""]


def test_escaping() -> None:
    assert escape('<a href="x">&\x00') == "&lt;a href=&quot;x&quot;&gt;&amp;\ufffd"


def test_a_page_of_the_command_line(whole, tmp_path: Path) -> None:
    """What `tritloom energy --json` wrote is what the page takes."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(whole))
    from tritloom.sim.energy.report import read_report

    assert page(read_report(path)) == page(whole)
