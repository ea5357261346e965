"""The emitted Verilog in Icarus, driven by cocotb. The benches themselves are in the folder `cocotb` beside this file.

The Verilog that Amaranth writes is what synthesis gets; so it, and not only Amaranth's own simulator, has to pass.
"""

import pytest
from amaranth.back import verilog

from tritloom.rtl.array import Array
from tritloom.rtl.core import Core
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.memory import WeightStore
from tritloom.rtl.pe import PE
from tritloom.rtl.ports import ports
from tritloom.sim.cocotb_runner import BENCHES, CELLS, run_bench

PES = [Geometry(cols=1, lanes=lanes, tree_pitch=pitch, depth=8 * lanes) for lanes, pitch in ((1, 1), (3, 1), (4, 2), (5, 3), (8, 2), (16, 2), (7, 8))]

ARRAYS = [
    Geometry(rows=rows, cols=cols, lanes=lanes, col_pitch=pitch, tree_pitch=tree, depth=24)
    for rows, cols, lanes, pitch, tree in ((1, 1, 1, 1, 1), (2, 1, 3, 1, 1), (3, 2, 1, 2, 2), (1, 3, 5, 2, 1), (2, 8, 4, 4, 2), (2, 5, 2, 9, 2), (2, 3, 5, 2, 8))
]

#: Block RAM; SPRAM side by side, one behind the other, and not filled.
STORES = [
    (Geometry(rows=1, cols=2, lanes=5, weight_words=48, stream_words=8), Family.GENERIC),
    (Geometry(rows=1, cols=2, lanes=5, weight_words=48, stream_words=8), Family.ICE40),
    (Geometry(rows=1, cols=2, lanes=16, weight_words=16384), Family.ICE40),
    (Geometry(rows=1, cols=1, lanes=6, weight_words=3 * 16384 + 256), Family.ICE40),
]

CORES = [
    Geometry(rows=2, cols=8, lanes=4, depth=128, weight_words=256, stream_words=16, queue=4),
    Geometry(rows=1, cols=3, lanes=5, col_pitch=1, depth=40, weight_words=128, stream_words=8, queue=3),
    Geometry(rows=3, cols=2, lanes=1, tree_pitch=1, depth=12, weight_words=96, stream_words=2, queue=2),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=3, weight_words=32, stream_words=2, queue=1),
]


def simulate(component, bench, geometry, folder, family=Family.GENERIC):
    """Emit the Verilog for a family, build it with the models of its cells and run a bench's tests in it."""
    source = folder / "top.v"
    source.write_text(verilog.convert(component, name="top", platform=family, ports=ports(component), emit_src=False))
    run_bench(bench, geometry, [source, *CELLS], folder)


@pytest.fixture(autouse=True)
def benches(monkeypatch):
    """Where the simulator's Python finds the benches: the runner hands this process's path on."""
    monkeypatch.syspath_prepend(str(BENCHES))


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("geometry", PES, ids=lambda g: f"{g}-{g.tree_pitch}")
def test_pe(geometry, family, tmp_path):
    simulate(PE(geometry), "bench_pe", geometry, tmp_path, family)


@pytest.mark.parametrize(("geometry", "family"), [
    *((geometry, Family.GENERIC) for geometry in ARRAYS),
    *((ARRAYS[i], family) for i, family in zip((2, 3, 4, 6), (Family.ECP5, Family.ICE40, Family.GOWIN, Family.ASIC), strict=True)),
], ids=lambda value: value if isinstance(value, Family) else f"{value}-{value.col_pitch}-{value.tree_pitch}")
def test_array(geometry, family, tmp_path):
    simulate(Array(geometry), "bench_array", geometry, tmp_path, family)


@pytest.mark.parametrize(("geometry", "family"), STORES, ids=str)
def test_store(geometry, family, tmp_path):
    simulate(WeightStore(geometry), "bench_store", geometry, tmp_path, family)


@pytest.mark.parametrize("geometry", CORES, ids=str)
def test_core(geometry, tmp_path):
    simulate(Core(geometry), "bench_core", geometry, tmp_path)


def test_core_with_spram(tmp_path):
    """What an SPRAM shows in other cycles than those behind a read is unknown, and must not reach a sum."""
    geometry = Geometry(rows=1, cols=2, lanes=16, depth=128, weight_words=1024, stream_words=16, queue=4)
    simulate(Core(geometry), "bench_core", geometry, tmp_path, Family.ICE40)
