"""What does not fit a board is refused with by how much, and with something that does."""

from __future__ import annotations

import pytest

from tritloom.boards import Board, boards, find
from tritloom.boards.errors import FitError
from tritloom.boards.fit import block_rams, check, check_cells, check_placement, nearest, shaped, sprams
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

#: Nextpnr's own words.
_LOG = """\
Info: Device utilisation:
Info: \t         ICESTORM_LC:    {used}/   5280    75%
Info: \t        ICESTORM_RAM:      21/     30    70%
Info: \t               SB_GB:       8/      8   100%
"""


@pytest.mark.parametrize("family, width, depth, expected", [
    (Family.ICE40, 16, 256, 1), (Family.ICE40, 128, 128, 8), (Family.ICE40, 2, 2048, 1), (Family.ICE40, 8, 1024, 2),
    (Family.ECP5, 36, 512, 1), (Family.ECP5, 512, 2560, 75), (Family.ECP5, 1, 16384, 1),
    (Family.GOWIN, 128, 1024, 8),
])
def test_block_rams(family: Family, width: int, depth: int, expected: int) -> None:
    assert block_rams(family, width, depth) == expected


def test_sprams() -> None:
    assert [sprams(64, 16384), sprams(32, 32768), sprams(16, 1), sprams(17, 16385)] == [4, 4, 1, 4]


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_a_boards_own_geometry_fits(board: Board) -> None:
    check(board, board.geometry)
    assert shaped(board, board.geometry.rows, board.geometry.cols, board.geometry.lanes) is board.geometry


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_what_is_offered_instead_fits(board: Board) -> None:
    large = shaped(board, 15, 30, 16)
    with pytest.raises(FitError, match=rf"^15,30,16 does not fit {board.name}: it needs at least [\d,]+ LUT4, [\d,]+ more than the "
                                       rf"{board.capacity.lut4:,} there are; the nearest that should fit is "):
        check(board, large)
    offered = nearest(board, large)
    assert offered is not None
    check(board, offered)
    assert offered.lanes_total < large.lanes_total
    assert offered.lanes_total * 2 >= board.geometry.lanes_total    # and is no toy


def test_too_many_words() -> None:
    board = find("tang_nano_9k")
    with pytest.raises(FitError, match=r"2,4,16 does not fit tang_nano_9k: it needs at least 70 block RAMs, 44 more than the 26 there are; "
                                       r"the nearest that should fit is 2,4,16 with 1,024 words of weights"):
        check(board, Geometry(rows=2, cols=4, lanes=16, weight_words=8192))
    with pytest.raises(FitError, match=r"it needs at least 8 SPRAMs, 4 more than the 4 there are"):
        check(find("icebreaker"), Geometry(rows=1, cols=2, lanes=16, depth=2048, weight_words=32768))


def test_the_weight_store_keeps_its_memory() -> None:
    board = find("icebreaker")
    assert [shaped(board, 1, cols, 16).weight_words for cols in (1, 2, 4)] == [32768, 16384, 16384]
    board = find("ulx3s_85f")
    own = block_rams(board.family, 2 * board.geometry.cols * board.geometry.lanes, board.geometry.weight_words)
    for cols in (2, 4, 7):
        other = shaped(board, 4, cols, 16)
        used = block_rams(board.family, 32 * cols, other.weight_words)
        assert used <= own < block_rams(board.family, 32 * cols, other.weight_words + other.stream_words) + 1


def test_after_synthesis() -> None:
    board = find("icebreaker")
    check_cells(board, board.geometry, {"SB_LUT4": 5280, "SB_CARRY": 3000, "SB_RAM40_4K": 30, "SB_SPRAM256KA": 4})
    for cells, told in (
        ({"SB_LUT4": 5281}, "it takes 5,281 LUT4, 1 more than the 5,280 there are"),
        ({"SB_RAM40_4KNR": 33}, "it takes 33 block RAMs, 3 more than the 30 there are"),
        ({"SB_SPRAM256KA": 5}, "it takes 5 SPRAMs, 1 more than the 4 there are"),
    ):
        with pytest.raises(FitError, match=told):
            check_cells(board, board.geometry, cells)


def test_after_placement() -> None:
    board = find("icebreaker")
    check_placement(board, board.geometry, _LOG.format(used=4931))
    check_placement(board, board.geometry, "ERROR: something else")
    with pytest.raises(FitError, match="it takes 5,400 ICESTORM_LC, 120 more than the 5,280 there are; the nearest that should fit is "):
        check_placement(board, board.geometry, _LOG.format(used=5400))
    with pytest.raises(FitError, match="it takes 5,200 of 5,280 ICESTORM_LC, which nextpnr can't place and route"):
        check_placement(board, board.geometry, _LOG.format(used=5200))
