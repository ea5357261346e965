"""`tritloom explore`: what it shows, draws and refuses. The FPGA tools are stand-ins (tests/conftest.py)."""

from __future__ import annotations

import importlib.util
import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("amaranth_boards") is None and "CI" not in os.environ,
                                reason="the extra `build` is not installed")


def test_json(record, adding, tiny: str) -> None:
    found = record("explore", "icebreaker", "--model", tiny, "--lanes", "32")
    assert (found["board"], found["model"], found["clock_mhz"], found["baud"]) == ("icebreaker", "tiny", 45.0, 3e6)
    assert 5 < len(found["candidates"]) <= 60
    [own] = [candidate for candidate in found["candidates"] if candidate["own"]]
    assert own["geometry"] == "1,2,16"
    assert own["estimated"]["lut4"] == 2 * 11 + 120
    assert own["sprams"] == 4
    assert own["resident"] is True and own["streamed_share"] == 0
    assert own["placed"] is None
    fronts = [candidate["front"] for candidate in found["candidates"]]
    assert True in fronts and fronts == sorted(fronts, reverse=True)
    for candidate in found["candidates"]:
        assert candidate["lanes_total"] <= 32
        for phase, tokens in (("prefill", 32), ("decode", 1)):
            figures = candidate[phase]
            assert figures["tokens"] == tokens
            assert figures["core_tokens_per_s"] == pytest.approx(tokens * 45e6 / figures["cycles"], rel=0.01)
            assert 0 < figures["uart_tokens_per_s"] < tokens * 12e5 / figures["link_bytes"]
            assert 0 < figures["utilization"] <= 1


def test_table(succeed, adding, tiny: str) -> None:
    result = succeed("explore", "icebreaker", "--model", tiny, "--lanes", "32")
    head = " ".join(result.stdout.split())
    assert head.startswith("geometry LUT4 FF RAM ")
    assert ">1,2,16 /2 2" in head
    assert "tiny on iCEBreaker at 45 MHz: tokens/s of the core alone; UART: of decode." in head
    assert "LUT4 and FF are estimates, and nothing else was built to say how far they are off" in result.stderr
    assert "10 bits a byte both ways" in result.stderr
    assert "Running tiny on 1,2,16 (1 of " in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_placed(succeed, record, adding, tiny: str) -> None:
    arguments = ("explore", "icebreaker", "--model", tiny, "--lanes", "4")
    table = succeed(*arguments, "--place", "1")
    assert "MHz" in table.stdout and "50.0" in table.stdout
    assert "Placing 1 of at most 1: " in table.stderr
    [placed] = [candidate for candidate in record(*arguments)["candidates"] if candidate["placed"]]
    assert (placed["placed"]["achieved_mhz"], placed["placed"]["met"]) == (50.0, True)


def test_plot(succeed, adding, tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "front.svg"
    path.write_text("old")
    succeed("explore", "icebreaker", "--model", tiny, "--lanes", "32", "--plot", path)
    text = path.read_text(encoding="utf-8")
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for word in ("iCEBreaker at 45 MHz", "LUT4", "1,2,16", "front, estimated"):
        assert word in text
    assert "fill: #ffffff" not in text    # nothing white behind it
    assert len(text) < 300_000
    assert [found.name for found in tmp_path.iterdir() if found.suffix != ".svg" and found.is_file()] == []
    succeed("explore", "icebreaker", "--model", tiny, "--lanes", "32", "--plot", path)
    assert path.read_text(encoding="utf-8") == text


def test_bad_input(fail, adding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fail(2, "explore", "icebraker").startswith("there is no board named 'icebraker'. Did you mean icebreaker")
    assert fail(2, "explore", "icebreaker", "--model", "nino").startswith("there is no model named 'nino'. Did you mean nano?")
    assert fail(1, "explore", "icebreaker", "--model", tmp_path / "none.trit") == f"there is no model file {tmp_path / 'none.trit'}."
    assert fail(2, "explore", "icebreaker", "--place", "-1").startswith("Invalid value for '--place': -1 is not in the range x>=0")
    assert fail(2, "explore", "icebreaker", "--lanes", "0").startswith("Invalid value for '--lanes'")
    assert fail(2, "explore", "icebreaker", "--lanes", "1").startswith("there is no shape of at most 1 lanes for icebreaker")
    missing = tmp_path / "missing" / "plot.svg"
    assert fail(1, "explore", "icebreaker", "--plot", missing) == f"the plot {str(missing)!r} cannot be written: No such file or directory."
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert fail(1, "explore", "icebreaker", "--plot", tmp_path / "plot.svg") == \
        "the plot needs matplotlib, which is not installed: pip install 'tritloom[plot]'."
    assert not (tmp_path / "plot.svg").exists()
    assert adding.ran == []


def test_a_missing_tool(fail, adding, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("YOSYS")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert fail(1, "explore", "icebreaker") == "yosys is not installed: pip install 'tritloom[build]'."
