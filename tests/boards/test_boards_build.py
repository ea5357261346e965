"""The build: its steps and their order, what it keeps, and every way in which it can fail. The tools are stand-ins, but for the last test."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tritloom.boards.board import Board
from tritloom.boards.build import Build, build, built
from tritloom.boards.errors import FitError, TimingError, ToolError
from tritloom.boards.placement import Placement
from tritloom.boards.toolchain import find_toolchain, last_error
from tritloom.host.errors import TritloomError, UsageError
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

pytestmark = pytest.mark.skipif(importlib.util.find_spec("amaranth_boards") is None and "CI" not in os.environ,
                                reason="the extra `build` is not installed")

_KEYS = {"board", "part", "bitstream", "clocks", "utilization", "lanes_total", "geometry", "lut4_per_lane", "peak_gmacs", "seed", "wall_s"}


def test_what_comes_out(tools, folders, icebreaker: Board, small: Geometry, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tritloom.boards"):
        done = build(icebreaker, small)
    assert tools.ran == ["YOSYS", "NEXTPNR_ICE40", "ICEPACK"]
    assert done.bitstream.read_text() == "bits of seed 1"
    assert done.bitstream.name == "icebreaker.bin"
    assert {path.name for path in done.bitstream.parent.iterdir()} == {"icebreaker.bin", "report.json", "placement.json.gz", "nextpnr.json", "nextpnr.log", "yosys.log"}
    assert folders() == [done.bitstream.parent.name]
    record = json.loads((done.bitstream.parent / "report.json").read_text())
    assert record.keys() >= _KEYS
    assert record["clocks"] == {"core_clk": {"achieved_mhz": 50.0, "constraint_mhz": 48.0}}
    assert record["utilization"]["ICESTORM_LC"] == {"used": 4931, "available": 5280}
    assert (record["lanes_total"], record["geometry"], record["seed"]) == (4, "1,2,2", 1)
    assert record["lut4_per_lane"] == 640 / 4
    assert record["peak_gmacs"] == pytest.approx(4 * 45e6 / 1e9)
    assert record["parts"]["array"] == 1 == sum(record["parts"].values())
    placement = Placement.read(done.bitstream.parent / "placement.json.gz")
    assert placement.cells == {("ICESTORM_LC", 3, 4, "lc2", "device.core.array.pe0_0"): 1}
    assert done == Build.read(done.bitstream.parent / "report.json")
    assert json.loads(json.dumps(done.record()))["bitstream"] == str(done.bitstream)
    said = [message.getMessage() for message in caplog.records]
    assert [line.rsplit(". ")[-1] for line in said] == [
        "Elaborating 1,2,2 for icebreaker", "Synthesising with Yosys", "Placing and routing with seed 1 of at most 8", "Packing the bitstream"]


def test_the_second_time_nothing_runs(tools, icebreaker: Board, small: Geometry) -> None:
    assert built(icebreaker, small) is None
    first = build(icebreaker, small)
    assert build(icebreaker, small, seeds=3) == built(icebreaker, small) == first
    assert len(tools.ran) == 3
    build(icebreaker, replace(small, depth=65))
    assert len(tools.ran) == 6


def test_what_is_damaged_is_built_again(tools, folders, icebreaker: Board, small: Geometry) -> None:
    done = build(icebreaker, small)
    done.bitstream.unlink()
    assert build(icebreaker, small).bitstream.exists()
    (done.bitstream.parent / "report.json").write_text("{")
    assert build(icebreaker, small).bitstream.exists()
    assert len(tools.ran) == 9
    assert len(folders()) == 1


def test_another_tool_is_another_build(tools, icebreaker: Board, small: Geometry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(icebreaker, small)
    other = tmp_path / "other"
    other.write_text(f"#!/bin/sh\nexec {os.environ['YOSYS']} \"$@\"\n")
    other.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(other))
    assert build(icebreaker, small).bitstream != first.bitstream


def test_a_copy(tools, icebreaker: Board, small: Geometry, tmp_path: Path) -> None:
    out = tmp_path / "out" / "there"
    done = build(icebreaker, small, out=out)
    assert done.bitstream == out / "icebreaker.bin"
    assert {path.name for path in out.iterdir()} == {"icebreaker.bin", "report.json", "placement.json.gz", "nextpnr.json", "nextpnr.log", "yosys.log"}
    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(TritloomError, match=rf"^'{blocked}' cannot be written: "):
        build(icebreaker, small, out=blocked)


def test_seeds_until_the_clock_is_met(tools, icebreaker: Board, small: Geometry) -> None:
    tools.works(mhz=(40.0, 47.9, 48.5, 60.0))
    done = build(icebreaker, small)
    assert done.seed == 3
    assert done.bitstream.read_text() == "bits of seed 3"
    assert tools.ran == ["YOSYS", *["NEXTPNR_ICE40"] * 3, "ICEPACK"]


def test_no_seed_is_good_enough(tools, cache: Path, folders, icebreaker: Board, small: Geometry) -> None:
    tools.works(mhz=(40.0, 44.25, 41.0))
    with pytest.raises(TimingError) as failure:
        build(icebreaker, small, seeds=3)
    assert str(failure.value) == (
        "icebreaker with 1,2,2 needs 45.0 MHz, and the best of 3 seeds reaches 44.2; its slowest path takes 14.8 ns from "
        "device.core.commands.$signal to device.core.commands.address, 3.6 ns in 2 cells and 11.3 ns in wires: "
        f"try a smaller --geometry, or more --seeds (logs: {cache / 'failed-icebreaker'})")
    assert folders() == ["failed-icebreaker"]
    assert {path.name for path in (cache / "failed-icebreaker").iterdir()} == {"yosys.log", "nextpnr.log", "nextpnr.json"}
    assert not list(cache.rglob("*.bin"))
    assert "ICEPACK" not in tools.ran


def test_no_seeds(tools, icebreaker: Board) -> None:
    with pytest.raises(UsageError, match="`seeds` must be at least 1, not 0"):
        build(icebreaker, seeds=0)


def test_too_large_to_begin(tools, folders, icebreaker: Board) -> None:
    with pytest.raises(FitError, match="4,8,16 does not fit icebreaker"):
        build(icebreaker, Geometry(rows=4, cols=8, lanes=16))
    assert (tools.ran, folders()) == ([], [])


def test_too_large_when_synthesised(tools, folders, icebreaker: Board, small: Geometry) -> None:
    tools.works(cells={"SB_LUT4": 6000})
    with pytest.raises(FitError, match="it takes 6,000 LUT4, 720 more than the 5,280 there are; the nearest that should fit is"):
        build(icebreaker, small)
    assert (tools.ran, folders()) == (["YOSYS"], [])


def test_too_large_when_placed(tools, folders, icebreaker: Board, small: Geometry) -> None:
    tools.replace("NEXTPNR_ICE40", "print('Info:   ICESTORM_LC:  5300/ 5280  100%')\nraise SystemExit(1)")
    with pytest.raises(FitError, match="it takes 5,300 ICESTORM_LC, 20 more than"):
        build(icebreaker, small)
    assert folders() == []


@pytest.mark.parametrize("tool, name", [("YOSYS", "yosys"), ("NEXTPNR_ICE40", "nextpnr-ice40"), ("ICEPACK", "icepack")])
def test_a_tool_that_fails(tools, cache: Path, folders, icebreaker: Board, small: Geometry, tool: str, name: str) -> None:
    tools.replace(tool, "print('Info: all is well')\nprint('ERROR: it broke')\nprint('1 warning')\nraise SystemExit(3)")
    with pytest.raises(ToolError) as failure:
        build(icebreaker, small)
    assert str(failure.value) == f"{name} failed: ERROR: it broke (logs: {cache / 'failed-icebreaker'})"
    assert folders() == ["failed-icebreaker"]
    tools.works()
    assert build(icebreaker, small).bitstream.exists()


def test_a_tool_that_cannot_be_started(tools, icebreaker: Board, small: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOSYS", "/nowhere/yosys")
    with pytest.raises(ToolError, match=r"'/nowhere/yosys' cannot be started \(No such file or directory\): install it with pip install"):
        build(icebreaker, small)
    monkeypatch.setenv("YOSYS", "yosys '")
    with pytest.raises(ToolError, match=r"\$YOSYS is \"yosys '\", which is no command: No closing quotation"):
        build(icebreaker, small)


@pytest.mark.parametrize("family, name", [(Family.ICE40, "yosys"), (Family.ECP5, "yosys"), (Family.GOWIN, "yosys")])
def test_a_missing_tool(family: Family, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))    # a Python with nothing installed beside it
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("YOSYS", raising=False)
    with pytest.raises(ToolError) as failure:
        find_toolchain(family)
    assert str(failure.value) == f"{name} is not installed: pip install 'tritloom[build]'"


@pytest.mark.parametrize("log, told", [
    ("Info: x\nERROR: no such cell\nInfo: bye\n", "ERROR: no such cell"),
    ("Traceback (most recent call last):\n  File ...\nValueError: bad bit\n", "ValueError: bad bit"),
    ("top.ys:3: ERROR: No such command: synth\n", "top.ys:3: ERROR: No such command: synth"),
    ("only this\n\n", "only this"),
    ("", "it printed nothing, and ended with code 7"),
])
def test_the_line_that_says_why(log: str, told: str) -> None:
    assert last_error(log, 7) == told


def test_ctrl_c_leaves_nothing(tools, folders, cache: Path, tmp_path: Path) -> None:
    """While yosys runs: the build and its tool end, and the cache is as it was."""
    tools.replace("YOSYS", f"import os, pathlib, time\npathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\ntime.sleep(600)")
    code = ("from tritloom.boards import find; from tritloom.boards.build import build; from tritloom.rtl.geometry import Geometry; "
            "build(find('icebreaker'), Geometry(rows=1, cols=2, lanes=2, depth=64, weight_words=512))")
    with subprocess.Popen([sys.executable, "-P", "-c", code], stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 60
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.stderr is not None
            assert process.stderr.read().rstrip().endswith("KeyboardInterrupt")
        finally:
            process.kill()
    assert folders() == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_cache_that_cannot_be_written(tools, tmp_path: Path, icebreaker: Board, small: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(TritloomError, match=r"what is built cannot be kept in .* \(Not a directory\): make room there, or name another folder"):
        build(icebreaker, small)
