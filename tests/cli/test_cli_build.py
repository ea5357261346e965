"""`tritloom build`: what it prints, what it refuses, and with which exit code. The FPGA tools are stand-ins (tests/conftest.py)."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("amaranth_boards") is None and "CI" not in os.environ,
                                reason="the extra `build` is not installed")

_KEYS = {"board", "part", "bitstream", "clocks", "utilization", "lanes_total", "geometry", "lut4_per_lane", "peak_gmacs", "seed", "wall_s"}


def test_json(record, tools, tmp_path: Path) -> None:
    done = record("build", "icebreaker", "--geometry", "1,2,2", "--out", tmp_path / "out")
    assert done.keys() >= _KEYS
    assert (done["board"], done["geometry"], done["lanes_total"], done["seed"]) == ("icebreaker", "1,2,2", 4, 1)
    assert done["clocks"] == {"core_clk": {"achieved_mhz": 50.0, "constraint_mhz": 48.0}}
    assert done["bitstream"] == str(tmp_path / "out" / "icebreaker.bin")
    assert Path(done["bitstream"]).is_file()


def test_text_and_progress(succeed, tools) -> None:
    result = succeed("build", "icebreaker", "--geometry", "1,2,2")
    for text in ("1,2,2: 4 lanes", "50.0 MHz reached, 48.0 MHz needed (seed 1)", "640 LUT4, 160.0 a lane", "0.18 GMAC/s", "ICESTORM_LC 4,931/5,280"):
        assert text in " ".join(result.stdout.split())
    for text in ("Synthesising with Yosys.\n", "Placing and routing with seed 1 of at most 8.\n", "`tritloom flash icebreaker` writes it to the board.\n"):
        assert text in result.stderr
    again = succeed("build", "icebreaker", "--geometry", "1,2,2")
    assert again.stdout == result.stdout
    assert "Yosys" not in again.stderr
    assert len(tools.ran) == 3


def test_picture(succeed, tools, tmp_path: Path) -> None:
    path = tmp_path / "parts.svg"
    succeed("build", "icebreaker", "--geometry", "1,2,2", "--picture", path)
    assert "iCEBreaker, 1,2,2: 4 lanes, 50.0 MHz" in path.read_text(encoding="utf-8")


def test_timing_not_met(tritloom, tools, tmp_path: Path) -> None:
    """Exit code 1, no bitstream, and after the progress one sentence that says where the time goes."""
    tools.works(mhz=(30.0, 31.0))
    result = tritloom("build", "icebreaker", "--geometry", "1,2,2", "--seeds", "2", "--out", tmp_path / "out", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    *_, progress, sentence = result.stderr.splitlines()
    assert progress.endswith("Placing and routing with seed 2 of at most 2 (30.0 of 45.0 MHz so far).")
    assert sentence.startswith("Error: icebreaker with 1,2,2 needs 45.0 MHz, and the best of 2 seeds reaches 31.0; its slowest path takes 14.8 ns from ")
    assert not (tmp_path / "out").exists()


def test_bad_input(fail, tools) -> None:
    assert fail(2, "build", "icebraker").startswith("there is no board named 'icebraker'. Did you mean icebreaker")
    assert fail(2, "build", "icebreaker", "--geometry", "4,8,16").startswith(
        "4,8,16 does not fit icebreaker: it needs at least 8,192 LUT4, 2,912 more than the 5,280 there are; the nearest that should fit is ")
    assert fail(2, "build", "icebreaker", "--geometry", "1,2").startswith("Invalid value for '--geometry': a geometry must be three integers R,C,L")
    assert fail(2, "build", "icebreaker", "--seeds", "0").startswith("Invalid value for '--seeds'")
    assert tools.ran == []


def test_a_missing_tool(fail, tools, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NEXTPNR_ICE40")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    assert fail(1, "build", "icebreaker") == "nextpnr-ice40 is not installed: pip install 'tritloom[build]'."


def test_ctrl_c(process, tools, folders, tmp_path: Path) -> None:
    tools.replace("YOSYS", f"import pathlib, time\npathlib.Path({str(tmp_path / 'mark')!r}).touch()\ntime.sleep(600)")
    with process("build", "icebreaker", "--geometry", "1,2,2") as started:
        deadline = time.monotonic() + 60
        while not (tmp_path / "mark").exists():
            assert time.monotonic() < deadline and started.poll() is None
            time.sleep(0.02)
        started.send_signal(signal.SIGINT)
        out, err = started.communicate(timeout=30)
    assert started.returncode == 130
    assert out == ""
    assert err.splitlines()[-1] == "Stopped: interrupted."
    assert folders() == []
