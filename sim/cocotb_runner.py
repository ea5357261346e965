"""Runs the benches in the folder `cocotb` on Verilog in Icarus, for the tests beside this file."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from tritloom.rtl.geometry import Geometry

__all__ = ["BENCHES", "CELLS", "run_bench"]

BENCHES = Path(__file__).with_name("cocotb")

#: Models of the cells that the families' gateware instantiates.
CELLS = sorted((BENCHES / "cells").glob("*.v"))

_LOG_LINES = 60


def run_bench(bench: str, geometry: Geometry, sources: Sequence[Path], folder: Path) -> None:
    """Build Verilog whose module is `top`, run a bench's tests in it, and fail the running test with the log's end if one of them does.

    Parameters
    ----------
    bench : str
        Module in the folder `cocotb`, which must be on ``sys.path``: the runner hands this process's path on to the simulator's Python.
    geometry : Geometry
        What the design was made with.
    sources : sequence of Path
        Verilog files.
    folder : Path
        Where to work.
    """
    if shutil.which("iverilog") is None:
        pytest.fail("the gateware's tests need Icarus Verilog and there is no `iverilog`: install it (such as Debian's package iverilog)", pytrace=False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("default")    # cocotb's runner is experimental, and says so
            from cocotb_tools.runner import get_runner
            runner = get_runner("icarus")
    except ImportError as error:
        pytest.fail(f"the gateware's tests need cocotb 2 ({error}): install it with pip install 'tritloom[test]'", pytrace=False)

    scale, log = ("1ns", "1ps"), folder / "test.log"
    # Not as SystemVerilog, where initial values are no events: an `always @*` whose inputs keep theirs would then never run.
    runner.build(sources=sources, hdl_toplevel="top", build_dir=folder, timescale=scale, always=True, build_args=["-g2005"], log_file=folder / "build.log")
    try:
        results = runner.test(test_module=bench, hdl_toplevel="top", build_dir=folder, test_dir=folder, timescale=scale, log_file=log,
                              extra_env={"TRITLOOM_GEOMETRY": json.dumps(asdict(geometry)), "PYGPI_PYTHON_BIN": sys.executable})
    except SystemExit:
        pytest.fail("\n".join(log.read_text().splitlines()[-_LOG_LINES:]) if log.exists() else "the simulation did not start", pytrace=False)
    assert results.exists()
