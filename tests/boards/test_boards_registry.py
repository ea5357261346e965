"""What is known of each board: consistent, within what its parts can do, and cheap to ask for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tritloom.boards import Board, boards, find
from tritloom.boards.pll import Ecp5Pll, GowinPll, Ice40Pll
from tritloom.host.errors import UnknownNameError
from tritloom.rtl.family import Family, family_of
from tritloom.rtl.wire import LEAST_DIVISOR

#: Lanes and MHz that the project promised.
_PROMISED = {"icebreaker": (32, 45), "ulx3s_85f": (1024, 80), "tang_nano_9k": (128, 60)}


@pytest.fixture(params=boards(), ids=lambda board: board.name)
def board(request: pytest.FixtureRequest) -> Board:
    return request.param


def test_found_by_name(board: Board) -> None:
    assert find(board.name) is board
    assert board.site.board == board.name


def test_the_promised_ones_are_there() -> None:
    for name, (lanes, mhz) in _PROMISED.items():
        board = find(name)
        assert board.geometry.lanes_total >= lanes
        assert board.clock_hz >= mhz * 1e6
        assert board.peak_gmacs == pytest.approx(board.geometry.lanes_total * board.clock_hz / 1e9)
    assert find("tang_nano_9k").constraint_mhz == pytest.approx(72)


def test_an_unknown_board() -> None:
    with pytest.raises(UnknownNameError, match=r"there is no board named 'icebraker'\. Did you mean icebreaker or icepi_zero\? Known: icebreaker, icepi_zero, "):
        find("icebraker")


def test_listing_them_imports_neither_amaranth_nor_numpy() -> None:
    code = ("import sys; from tritloom.boards import boards; [board.site for board in boards()]; "
            "print([name for name in ('amaranth', 'amaranth_boards', 'numpy', 'rich') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_clocks(board: Board) -> None:
    """The PLL makes exactly the clock that the board promises."""
    assert board.pll.input_hz == board.input_hz
    assert board.pll.output == board.clock_hz
    assert isinstance(board.pll, {Family.ICE40: Ice40Pll, Family.ECP5: Ecp5Pll, Family.GOWIN: GowinPll}[board.family])


def test_rates(board: Board) -> None:
    """Some whole number of cycles comes within 2 % of the fastest and 0.5 % of the start rate."""
    site = board.site
    for baud, tolerance in ((site.max_baud, 0.02), (site.baud, 0.005)):
        divisor = round(site.clock_hz / baud)
        assert divisor >= LEAST_DIVISOR
        assert site.clock_hz / divisor == pytest.approx(baud, rel=tolerance)


def test_platform(board: Board) -> None:
    """What the board names is there in amaranth-boards, and of the family it says."""
    pytest.importorskip("amaranth_boards", reason="the extra `build` is not installed")
    platform = board.platform()
    assert family_of(platform) is board.family
    clock = platform.lookup(board.clock)
    assert clock.clock.frequency == board.input_hz
    for pin in (board.button, *board.leds, *board.high):
        resource = platform.lookup(pin.name, pin.number)
        assert not pin.part or pin.part in [part.name for part in resource.ios]
    assert {part.name for part in platform.lookup("uart", 0).ios} >= {"rx", "tx"}
