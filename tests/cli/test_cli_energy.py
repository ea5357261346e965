"""`tritloom energy`: tables that name their level, JSON, saved reports, a meter's log, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tritloom.sim.energy.figure import Figure
from tritloom.sim.energy.gate import standard_cells

needs_cells = pytest.mark.skipif(not Path("/usr/share/qflow/tech/osu018").exists() and "CI" not in os.environ,
                                 reason=f"the cell library of Debian's {standard_cells.PACKAGE} is not installed")


@pytest.fixture
def no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was measured before. Only our own cache is another one: the tools' compiled code stays."""
    monkeypatch.setattr("tritloom.sim.energy.gate.measure.user_cache_path", lambda name: tmp_path / "cache" / name)


def test_tables(succeed) -> None:
    began = time.perf_counter()
    result = succeed("energy")
    assert time.perf_counter() - began < 10
    text = " ".join(result.stdout.split())
    assert "one int8 add 71.4x 14.3x 0.5 / 0.007" in text
    assert "one int32 add 16.7x" in text
    for heading in ("[table] 7 nm: arithmetic", "[table] 7 nm: over", "[table] 7 nm: and the weights from", "[board] reading", "[model] nJ/token",
                    "[model] memory"):
        assert heading in text
    assert "nano on 2,8,4" in text
    assert "they stay there" in result.stderr
    assert "uncalibrated" in result.stderr
    assert "Not in them: registers, clock" in result.stderr
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith(" multiply")) <= 100


def test_json(record) -> None:
    report = record("energy", "--tokens", "2", "--geometry", "1,2,16", "--table", "45nm", "--per-op", "7.5")
    assert report["command"] == "tritloom energy --tokens 2 --geometry 1,2,16 --table 45nm --per-op 7.5"
    assert set(report["levels"]) == {"table", "board", "model"}
    assert "problems" not in report
    for name, level in report["levels"].items():
        figures = [Figure.from_json(figure) for figure in level["figures"]]
        assert {figure.level.value for figure in figures} <= {name, "model"}
    table, model = report["levels"]["table"], report["levels"]["model"]
    assert (table["node"], table["geometry"], table["operations"]["decode_tokens"]) == ("45nm", "1,2,16", 2)
    assert [round(step["ratio"]["fp16"], 1) for step in table["steps"][:2]] == [50, 15]
    assert [source["name"] for source in model["sources"]] == ["table 45nm", "given, 7.5 pJ"]
    [given] = [token for token in model["tokens"] if token["source"] == "given, 7.5 pJ" and token["phase"] == "decode"]
    assert given["parts"][0]["j"] == pytest.approx(7.5e-12 * 491_520, rel=0.01)


def test_layers(succeed) -> None:
    text = succeed("energy", "--tokens", "2", "--layers").stdout
    lines = [line.split() for line in text.splitlines()]
    assert [line for line in lines if line[:2] == ["2", "gate_up"]][0][2] == "81,920"
    whole = [line for line in lines if line[:1] == ["all"]]
    assert [line[1] for line in whole] == ["491,520"] * 2
    assert "counted, of a token of decode" in text
    assert max(map(len, text.splitlines()[:40])) <= 80


def test_a_board(record) -> None:
    report = record("energy", "--tokens", "1", "--board", "icebreaker")
    assert report["levels"]["table"]["geometry"] == "1,2,16"
    assert report["levels"]["model"]["fits"] is True


def test_a_model_that_does_not_fit(succeed, tiny: str) -> None:
    result = succeed("energy", "--model", tiny, "--prompt", "to be", "--tokens", "3", "--board", "tang_nano_9k", "--memory", "sdr")
    assert "tiny on " in result.stdout


def test_another_link(record) -> None:
    links = []
    for name in ("uart", "pcie"):
        parts = record("energy", "--tokens", "1", "--link", name)["levels"]["model"]["tokens"][0]["parts"]
        links.append(next(part for part in parts if part["name"] == "link"))
    assert [part["confidence"] for part in links] == ["unverified", "second-hand"]
    assert links[0]["j"] / links[1]["j"] == pytest.approx(599 / 60)


def test_a_saved_report(succeed, record, tmp_path: Path) -> None:
    report = record("energy", "--tokens", "1")
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report))
    assert record("energy", "--from", path) == report
    shown = succeed("energy", "--from", path)
    assert shown.stdout == succeed("energy", "--tokens", "1").stdout


def log_and_marks(folder: Path, idle_w: float = 1.0, busy_w: float = 1.5) -> tuple[Path, Path]:
    """A meter's log of a run of 200 tokens in 10 s, and the run's marks."""
    start = 1_790_000_000.0
    phase = {"name": "decode", "start_wall_s": start, "end_wall_s": start + 10, "start_monotonic_s": 100.0, "end_monotonic_s": 110.0,
             "tokens": 200, "macs": 200 * 491_520}
    record = {"format": "tritloom marks 1", "model": "nano", "device": "serial:/dev/ttyUSB1", "geometry": "1,2,16", "phases": [phase]}
    marks_file, log = folder / "marks.json", folder / "log.csv"
    marks_file.write_text(json.dumps(record))
    lines = ["time (s),voltage (V),current (mA)"]
    for i in range(400):
        at = start - 10 + i / 10
        watts = busy_w if start <= at < start + 10 else idle_w
        lines.append(f"{at:.3f},5.000,{watts / 5 * 1000:.3f}")
    log.write_text("\n".join(lines) + "\n")
    return log, marks_file


def test_a_meter(record, succeed, tmp_path: Path) -> None:
    log, marks = log_and_marks(tmp_path)
    report = record("energy", "--tokens", "1", "--meter", log, "--marks", marks, "--gain-error", "0.01")
    board, model = report["levels"]["board"], report["levels"]["model"]
    assert board["calibrated"] is True
    wall = next(figure for figure in board["figures"] if figure["what"] == "decode of nano, at the wall" and figure["unit"] == "J/token")
    assert wall["value"] == pytest.approx(1.5 * 10 / 200, rel=0.02)
    assert wall["low"] < wall["value"] < wall["high"]
    net = next(token for token in model["tokens"] if token["source"] == "meter, over idle" and token["phase"] == "decode")
    assert net["whole"] is True
    assert net["j_per_token"] == pytest.approx(0.5 * 10 / 200, rel=0.05)
    assert not any("uncalibrated" in figure["what"] for figure in model["figures"])
    shown = " ".join(succeed("energy", "--tokens", "1", "--meter", log, "--marks", marks).stdout.split())
    assert "decode of nano, over idle" in shown
    assert "from meter, over idle [board]" in shown


def test_a_log_that_will_not_do_ends_its_level_only(tritloom, tmp_path: Path) -> None:
    log, marks = log_and_marks(tmp_path)
    log.write_text(log.read_text().replace("voltage (V)", "voltage (miles)"))
    result = tritloom("energy", "--tokens", "1", "--meter", log, "--marks", marks)
    assert result.exit_code == 1
    assert "[table] 7 nm: arithmetic" in result.stdout
    [complaint] = [line for line in result.stderr.splitlines() if line.startswith("No reading of the board: ")]
    assert str(log) in complaint and "line 1" in complaint
    as_json = tritloom("energy", "--tokens", "1", "--meter", log, "--marks", marks, "--json")
    assert as_json.exit_code == 1
    assert str(log) in json.loads(as_json.stdout)["problems"]["board"]


@needs_cells
def test_the_gate_level(tritloom, no_results, tmp_path: Path) -> None:
    line = ("energy", "--tokens", "2", "--geometry", "2,2,2", "--gate", "pe", "--gate", "array", "--flow", "fa", "--seeds", "2", "--json")
    result = tritloom(*line)
    assert result.exit_code == 0, result.output
    assert "Measuring pe-2-pitch2, fa (1 of 12)." in result.stderr
    report = json.loads(result.stdout)
    gate, model = report["levels"]["gate"], report["levels"]["model"]
    assert gate["library"].startswith("osu018")
    [element] = [row for row in gate["summary"] if row["design"] == "pe-2-pitch2"]
    runs = [run for run in gate["results"] if run["design"] == "pe-2-pitch2"]
    assert {run["seed"] for run in runs} == {1, 2}
    assert all(run["nets_without_toggles_found"] == 0 for run in runs)
    assert element["pj_per_op"]["low"] == min(run["pj_per_op"] for run in runs) < element["pj_per_op"]["high"]
    assert sum(element["parts"].values()) == pytest.approx(element["pj_per_op"]["value"], rel=0.05)
    sources = {source["name"]: source for source in model["sources"]}
    assert list(sources) == ["table 7nm", "gate pe-2-pitch2", "gate array-2x2x2-pitch2-share4", "gate array-2x2x2-pitch2-share4-1of2",
                             "gate array-2x2x2-merged-share4"]
    tokens = {(token["source"], token["phase"]): token for token in model["tokens"] if token["level"] == "gate"}
    assert set(tokens) == {("gate pe-2-pitch2", "decode"), ("gate pe-2-pitch2", "prefill"), ("gate array-2x2x2-pitch2-share4", "prefill"),
                           ("gate array-2x2x2-pitch2-share4-1of2", "decode"), ("gate array-2x2x2-merged-share4", "prefill")}
    # The whole array has more in it than its elements, idle ones included.
    part = {source: {part["name"]: part["j"] for part in token["parts"]} for (source, phase), token in tokens.items() if phase == "decode"}
    elements, array = part["gate pe-2-pitch2"], part["gate array-2x2x2-pitch2-share4-1of2"]
    assert array["array"] > elements["array"] + elements["idle"]
    # What was measured is kept, and saved reports say the same.
    began = time.perf_counter()
    assert json.loads(tritloom(*line).stdout)["levels"]["gate"]["results"] == gate["results"]
    assert time.perf_counter() - began < 10
    saved = tmp_path / "report.json"
    saved.write_text(result.stdout)
    shown = tritloom("energy", "--from", saved)
    assert "[gate] design" in shown.stdout and "pe-2-pitch2" in shown.stdout
    again = json.loads(tritloom("energy", "--tokens", "2", "--geometry", "2,2,2", "--per-op", saved, "--json").stdout)
    assert [token["j_per_token"] for token in again["levels"]["model"]["tokens"]] == [token["j_per_token"] for token in model["tokens"]]


@needs_cells
def test_ratios_are_at_equal_lanes(record, no_results) -> None:
    report = record("energy", "--tokens", "1", "--geometry", "1,2,2", "--gate", "pe", "--gate", "widths", "--flow", "fa", "--seeds", "1", "--stimulus", "random")
    gate = report["levels"]["gate"]
    ratios = {figure["what"]: figure["value"] for figure in gate["figures"] if figure["unit"] == "x"}
    assert {name.split(" over ")[1] for name in ratios} == {"pe-2-pitch2", "pe-2-merged"}
    assert not any("plain" in name for name in ratios)    # it has one lane
    int8 = next(value for name, value in ratios.items() if name.startswith("int8-2") and name.endswith(" over pe-2-pitch2"))
    assert int8 > 1
    assert [round(width["bits"], 2) for width in gate["widths"]] == [1, 1.58, 2, 3, 4, 8]
    crossed = [one for one in report["levels"]["model"]["crossovers"] if one["source"] == "gate pe-2-pitch2"]
    assert {one["against"] for one in crossed} == {"int8"}


def test_without_a_library_the_other_levels_run(tritloom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standard_cells, "_FOLDER", tmp_path)
    result = tritloom("energy", "--tokens", "1", "--gate", "pe")
    assert result.exit_code == 1
    assert "[table] 7 nm: arithmetic" in result.stdout and "[model] nJ/token" in result.stdout
    [complaint] = [line for line in result.stderr.splitlines() if line.startswith("No gate level: ")]
    assert "apt install qflow-tech-osu018" in complaint
    report = json.loads(tritloom("energy", "--tokens", "1", "--gate", "pe", "--json").stdout)
    assert "gate" not in report["levels"]
    assert "qflow-tech-osu018" in report["problems"]["gate"]


@needs_cells
@pytest.mark.parametrize(("hide", "package"), [("YOSYS", "tritloom[build]"), ("iverilog", "iverilog")])
def test_without_a_tool_the_other_levels_run(tritloom, no_results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hide: str, package: str) -> None:
    if hide == "YOSYS":
        monkeypatch.setenv("YOSYS", str(tmp_path / "no-yosys"))
    else:
        monkeypatch.setenv("PATH", str(tmp_path))
    result = tritloom("energy", "--tokens", "1", "--geometry", "1,1,2", "--gate", "pe", "--seeds", "1", "--flow", "fa")
    assert result.exit_code == 1
    assert "[table] 7 nm: arithmetic" in result.stdout
    assert "[gate]" not in result.stdout
    [complaint] = [line for line in result.stderr.splitlines() if line.startswith("No gate level: ")]
    assert package in complaint or hide == "YOSYS" and "no-yosys" in complaint


def test_a_page(succeed, record, tmp_path: Path, fail) -> None:
    page = tmp_path / "energy.html"
    result = succeed("energy", "--tokens", "1", "--html", page)
    assert f"wrote {page}" in result.stderr
    text = page.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text.split("\n", 1)[1]).tag.endswith("html")
    assert "71.4" in text
    for level in ("table", "board", "model"):
        assert f'id="level-{level}"' in text
    saved = tmp_path / "report.json"
    saved.write_text(json.dumps(record("energy", "--tokens", "1")))
    succeed("energy", "--from", saved, "--html", page)
    assert page.read_text(encoding="utf-8") == text
    missing = tmp_path / "missing" / "energy.html"
    assert fail(1, "energy", "--from", saved, "--html", missing) == f"the page {str(missing)!r} cannot be written: No such file or directory."


def test_bad_input(fail, tmp_path: Path) -> None:
    log, _ = log_and_marks(tmp_path)
    assert fail(2, "energy", "--model", "nino").startswith("there is no model named 'nino'. Did you mean nano?")
    assert fail(1, "energy", "--model", tmp_path / "none.trit") == f"there is no model file {tmp_path / 'none.trit'}."
    assert fail(2, "energy", "--table", "5nm").startswith("there is no table named '5nm'. Did you mean 45nm or 7nm?")
    assert fail(2, "energy", "--memory", "core").startswith("there is no memory named 'core'.")
    assert fail(2, "energy", "--link", "usb").startswith("there is no link named 'usb'.")
    assert fail(2, "energy", "--tokens", "0").startswith("Invalid value for '--tokens': 0 is not in the range x>=1")
    assert "must be three integers" in fail(2, "energy", "--geometry", "2,8")
    assert fail(2, "energy", "--board", "icebraker").startswith("there is no board named 'icebraker'. Did you mean icebreaker")
    assert fail(2, "energy", "--board", "icebreaker", "--geometry", "1,2,16") == \
        "--board icebreaker has a geometry of its own: give --board or --geometry, not both."
    assert "must be a number of pJ above 0, not -1" in fail(2, "energy", "--per-op", "-1")
    assert fail(1, "energy", "--per-op", tmp_path / "none.json").startswith(f"the report {str(tmp_path / 'none.json')!r} cannot be read: No such file")
    assert "as --marks" in fail(2, "energy", "--meter", log)
    assert "--marks goes with --meter: give both, or neither" in fail(2, "energy", "--marks", log)
    assert fail(2, "energy", "--seeds", "2") == "--seeds goes with --gate: give both, or neither."
    assert fail(2, "energy", "--gate", "pe", "--liberty", log) == \
        "a cell library is two files: give both --liberty FILE (its tables) and --cells FILE (its cells in Verilog)."
    assert "'pea' is not one of 'pe', 'array'" in fail(2, "energy", "--gate", "pea")
    assert fail(2, "energy", "--idle", "ten").startswith("Invalid value for '--idle': 'ten' is no range of seconds such as 0:10")
    assert "context" in fail(2, "energy", "--tokens", "300")
    assert "vocabulary" in fail(2, "energy", "--prompt", "\u4e2d")
    assert "--from shows a report as it was saved, so --tokens cannot change it" in fail(2, "energy", "--from", log, "--tokens", "3")
    assert "is no JSON" in fail(1, "energy", "--from", log)


def test_the_host_does_not_import_amaranth() -> None:
    code = ("import sys\nfrom tritloom.host.cli.program import program\nimport click.testing\n"
            "assert 'tritloom.sim.energy' not in sys.modules\n"
            "assert click.testing.CliRunner().invoke(program, ['energy', '--tokens', '1', '--json']).exit_code == 0\n"
            "print([name for name in ('amaranth', 'torch', 'matplotlib') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
