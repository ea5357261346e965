"""The picture of a placed design: what is kept of nextpnr's netlist, and that every cell of it is in the drawing, where it lies."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from tritloom.boards import Board, find
from tritloom.boards.build import build
from tritloom.boards.picture import draw, draw_build
from tritloom.boards.placement import PARTS, Placement, part_of
from tritloom.host.errors import TritloomError
from tritloom.rtl.geometry import Geometry

#: Names, kinds and sites as nextpnr gives them.
_ICE40 = {
    "device.core.array.pe0_1.total_SB_LUT4_O_LC": ("ICESTORM_LC", "X1/Y0/lc0"),
    "device.core.array.pe0_1.dot.stage2_0_SB_DFF_Q_2_D_SB_LUT4_O_I2_SB_LUT4_O_LC": ("ICESTORM_LC", "X1/Y0/lc1"),
    "device.core.array.pe1_0.total_SB_LUT4_O_LC": ("ICESTORM_LC", "X1/Y0/lc2"),
    "device.core.array.acts0_0_SB_DFFE_Q_31_DFFLC": ("ICESTORM_LC", "X25/Y31/lc7"),
    "device.core.weights$172.words.cell0_0": ("ICESTORM_SPRAM", "X0/Y0/spram_1"),
    "device.core.acts.bank0.words.0.0": ("ICESTORM_RAM", "X6/Y1/ram"),
    "device.front.uart.divisor_SB_DFF_Q_LC": ("ICESTORM_LC", "X3/Y3/lc0"),
    "device.core.commands.$signal$50_SB_DFFSR_Q_LC": ("ICESTORM_LC", "X3/Y3/lc1"),
    "device.core.packer.room_SB_DFFESR_Q_LC": ("ICESTORM_LC", "X3/Y3/lc2"),
    "$nextpnr_ICESTORM_LC_98": ("ICESTORM_LC", "X9/Y9/lc0"),
    "rx.io0": ("SB_IO", "X9/Y0/io1"),
    "not_placed": ("ICESTORM_LC", None),
}
_ECP5 = {
    "device.core.array.pe0_0.total_CCU2C_S0_3$CCU2_COMB0": ("TRELLIS_COMB", "X2/Y3/SLICEA.K0"),
    "device.core.array.pe0_0.total_TRELLIS_FF_Q_1": ("TRELLIS_FF", "X2/Y3/SLICEA.FF0"),
    "device.core.weights.words.0.0": ("DP16KD", "X10/Y25/EBR3"),
}
_GOWIN = {
    "device.core.array.pe0_0.total_DFF_Q": ("DFFRE", "X4Y5/DFF3"),
    "device.core.array.weights[3][7]": ("LUT4", "X4Y5/LUT3"),
    "device.core.weights.words.0.0": ("SDPB", "X10Y9/BSRAM"),
}

_SPACE = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def placed(tmp_path: Path):
    """A function: the placement of such cells."""

    def make(cells: dict[str, tuple[str, str | None]]) -> Placement:
        path = tmp_path / "placed.json"
        path.write_text(json.dumps({"modules": {"top": {"cells": {
            name: {"type": kind, "attributes": {"NEXTPNR_BEL": site} if site else {}} for name, (kind, site) in cells.items()}}}}))
        return Placement.of_netlist(path)

    return make


def _paths(text: str) -> dict[str, list[tuple[float, float]]]:
    """Of each colour, the corners that its shapes begin at."""
    root = ElementTree.fromstring(text)
    return {path.get("fill"): [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", path.get("d"))] for path in root.iter(f"{_SPACE}path")}


def _texts(text: str) -> list[str]:
    return [found.text for found in ElementTree.fromstring(text).iter(f"{_SPACE}text")]


def test_parts() -> None:
    for component, part in {
        "device.core.array.pe3_1.dot": "array", "device.core.array": "array", "device.core.weights.words": "weights", "device.core.acts": "activations",
        "device.core.packer.queue0": "results", "device.front.uart": "link", "device.core.deframer": "link", "device.core.counters": "control",
        "device": "other", "pll": "other", "": "other",
    }.items():
        assert part_of(component) == part


def test_what_is_read(placed) -> None:
    placement = placed(_ICE40)
    assert sum(placement.cells.values()) == 11
    assert placement.cells["ICESTORM_LC", 1, 0, "lc1", "device.core.array.pe0_1.dot"] == 1
    assert placement.cells["ICESTORM_SPRAM", 0, 0, "spram_1", "device.core.weights.words"] == 1
    assert placement.cells["ICESTORM_LC", 9, 9, "lc0", ""] == 1
    assert placement.parts == {"array": 4, "weights": 1, "activations": 1, "results": 1, "link": 1, "control": 1, "other": 2}
    assert list(placement.parts) == list(PARTS)


def test_written_and_read(placed, tmp_path: Path) -> None:
    placement = placed(_ICE40)
    for name in ("a", "b"):
        placement.write(tmp_path / name)
    assert Placement.read(tmp_path / "a") == placement
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_picture(placed) -> None:
    text = draw(find("icebreaker"), placed(_ICE40), "<a board>")
    assert ElementTree.fromstring(text).find(f"{_SPACE}title").text == "<a board>"
    texts = _texts(text)
    assert texts[:2] == ["<a board>", "8 logic cells in use, of which"]
    assert texts[2:] == [
        "array: elements of row 0: 25.0%", "array: elements of row 1: 12.5%", "array: weights, activations, drain: 12.5%",
        "weight store: 0.0%, 1 SPRAM", "activation buffer: 0.0%, 1 block RAM", "results: 12.5%", "link: 12.5%", "control: 12.5%",
        "clock, reset, what the tools added: 12.5%",
    ]
    paths = _paths(text)
    assert len(paths) == 9
    # iCE40's row 0 is at the bottom: the two rows' cells share a tile, one bar above the other.
    [first, *_], [second, *_] = list(paths.values())[:2]
    assert first[0] == second[0] == 10
    assert second[1] < first[1] and 310 <= second[1] and first[1] < 320
    [(x, y)] = paths["#4f6d8f"]
    assert (x, y) == (250, pytest.approx(8, abs=1))    # the upper right corner
    assert paths["#8a9a2b"][0] == (60, 290)    # from row 2 down to row 1
    assert "fill=\"#fff" not in text and "background" not in text


@pytest.mark.parametrize("board, cells, at, memory", [
    ("ulx3s_85f", _ECP5, (20, 30), (100, 250)),
    ("tang_nano_9k", _GOWIN, (40, 50), (100, 90)),
])
def test_other_families(placed, board: str, cells: dict, at: tuple[int, int], memory: tuple[int, int]) -> None:
    """Row 0 is at the top there."""
    text = draw(find(board), placed(cells), board)
    assert _texts(text)[1] == "2 logic cells in use, of which"
    assert "weight store: 0.0%, 1 block RAM" in _texts(text)
    x, y = next(iter(_paths(text).values()))[0]
    assert x == at[0] and at[1] <= y < at[1] + 10
    assert _paths(text)["#c8862a"][0] == memory


def test_many_rows_have_one_entry(placed) -> None:
    cells = {f"device.core.array.pe{row}_0.total_SB_LUT4_O_LC": ("ICESTORM_LC", f"X{row}/Y1/lc0") for row in range(8)}
    text = draw(find("icebreaker"), placed(cells), "eight")
    assert _texts(text)[2:] == ["array: elements of rows 0 to 7: 100.0%"]
    assert len(_paths(text)) == 8    # all colours differ


def test_a_full_part_is_a_small_file(placed) -> None:
    """85,000 LUT4 with as many flip-flops, of two parts in each tile."""
    sites = [(x, y, place) for x in range(1, 127) for y in range(1, 85) for place in range(8)]
    cells = {f"device.core.{'array.pe0_0' if place % 2 else 'commands'}.s{x}_{y}_{place}": ("TRELLIS_COMB", f"X{x}/Y{y}/SLICEA.K{place}")
             for x, y, place in sites}
    text = draw(find("ulx3s_85f"), placed(cells), "full")
    assert 100_000 < len(text) < 600_000


@pytest.mark.skipif("CI" not in os.environ and not importlib.util.find_spec("amaranth_boards"), reason="the extra `build` is not installed")
def test_a_build_is_drawn(tools, icebreaker: Board, small: Geometry, tmp_path: Path) -> None:
    done = build(icebreaker, small, out=tmp_path / "out")
    path = tmp_path / "picture.svg"
    draw_build(icebreaker, done, path)
    assert _texts(path.read_text())[0] == "iCEBreaker, 1,2,2: 4 lanes, 50.0 MHz"
    with pytest.raises(TritloomError, match=r"^the picture '.*missing/a.svg' cannot be written: No such file or directory$"):
        draw_build(icebreaker, done, tmp_path / "missing" / "a.svg")
    (tmp_path / "out" / "placement.json.gz").write_bytes(b"no")
    with pytest.raises(TritloomError, match=r"^there is nothing to draw: '.*placement.json.gz' cannot be read "):
        draw_build(icebreaker, done, path)
