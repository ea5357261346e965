"""Which rates are tried, and what becomes of those that do not work: over a virtual board, whose wires are real enough to fail."""

import logging
import os
import threading
import time
import tty
from dataclasses import replace

import pytest

from tritloom.boards import boards, find
from tritloom.host.errors import DeviceResetError, IncompatibleDeviceError, LinkError, UsageError
from tritloom.host.identity import Identity
from tritloom.host.link import Link
from tritloom.host.negotiation import PREAMBLE_BYTES, candidates
from tritloom.host.serial_port import open_serial
from tritloom.host.transport import open_transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import START_BAUD
from tritloom.rtl.uart import MOST_ERRORS
from tritloom.rtl.wire import IDENTITY, LEAST_DIVISOR, RATE, Op
from tritloom.sim.virtual_board import VirtualBoard, build

#: With more rates to choose from than the shipped one.
BOARD = replace(find("icebreaker"), clock_hz=48_000_000, max_baud=12_000_000)


@pytest.fixture
def board():
    """A virtual board, or one of a subclass."""
    made = []

    def make(kind=VirtualBoard, *args):
        made.append(kind(build(BOARD, BOARD.geometry), BOARD.site, *args))
        return made[-1]

    yield make
    for one in made:
        one.close()


class Limited(VirtualBoard):
    """A cable or a bridge that carries nothing above a rate: what is sent faster is lost, in one direction or both."""

    def __init__(self, path, site, limit, up=True, down=True):
        super().__init__(path, site)
        self.limit, self.up, self.down = limit, up, down
        self.tried = []

    def set_baud(self, baud):
        super().set_baud(baud)
        if hasattr(self, "tried"):
            self.tried.append(baud)

    def write(self, data):
        super().write(bytes(len(data)) if self.down and self.baud > self.limit else data)

    def read(self, timeout_s):
        data = super().read(timeout_s)
        return b"\xff" * len(data) if self.up and self.baud > self.limit else data


# The rates

@pytest.mark.parametrize("name", [board.name for board in boards()])
def test_rates_of_every_board(name):
    """The fastest first, each near enough to what the device makes, and something near its fastest among them."""
    site = find(name).site
    found = candidates(site.clock_hz, site.max_baud)
    bauds = [candidate.baud for candidate in found]
    assert bauds == sorted(set(bauds), reverse=True) and bauds[-1] > START_BAUD
    assert 0.9 * site.max_baud < bauds[0] <= site.max_baud
    for candidate in found:
        assert candidate.divisor >= LEAST_DIVISOR
        assert abs(site.clock_hz / candidate.divisor / candidate.baud - 1) <= 0.02


@pytest.mark.parametrize("clock_hz, max_baud, expected", [
    (48_000_000, 12_000_000, [(12_000_000, 4), (8_000_000, 6), (6_000_000, 8), (4_000_000, 12), (3_000_000, 16)]),
    (80_000_000, 3_000_000, [(3_000_000, 27), (2_000_000, 40)]),
    (27_000_000, 2_000_000, [(1_928_571, 14), (1_500_000, 18), (1_000_000, 27)]),
    (10_000_000, 3_000_000, [(2_500_000, 4), (2_000_000, 5), (1_000_000, 10)]),
])
def test_rates(clock_hz, max_baud, expected):
    found = [(candidate.baud, candidate.divisor) for candidate in candidates(clock_hz, max_baud)]
    assert found[:len(expected)] == expected


def test_no_rates():
    assert candidates(48_000_000, 0) == candidates(48_000_000, START_BAUD) == []


def test_the_zeros_are_enough():
    """They bring a device back from any faster rate, and some are left to show where bytes begin."""
    assert PREAMBLE_BYTES >= MOST_ERRORS + 2


# Opening

def test_the_highest_rate(board):
    wire = board()
    link = Link(wire)
    assert link.baud == wire.baud == BOARD.max_baud
    assert (link.identity.board, link.identity.clock_hz, link.geometry) == ("icebreaker", 48_000_000, BOARD.geometry)


@pytest.mark.parametrize("fast", [12_000_000, 3_000_000, 921_600, 230_400])
def test_a_device_left_at_a_fast_rate(board, fast):
    """A program that was killed there: the next one gets through, from the start rate on."""
    wire = board(Limited, 12_000_000)
    wire.wanted_baud = fast
    Link(wire)
    wire.wanted_baud, wire.tried = None, []
    wire.set_baud(9600)    # what another program may have set
    begin = time.monotonic()
    assert Link(wire).baud == BOARD.max_baud
    assert wire.tried == [9600, START_BAUD, BOARD.max_baud]
    assert time.monotonic() - begin < 10    # of which a loaded machine may need most


@pytest.mark.parametrize("up, down", [(True, True), (True, False), (False, True)])
def test_rates_that_fail_are_said_and_left(board, caplog, up, down):
    caplog.set_level(logging.INFO, "tritloom")
    wire = board(Limited, 6_000_000, up, down)
    assert Link(wire).baud == 6_000_000
    assert caplog.messages == [f"board:icebreaker: nothing comes through at {baud} baud, trying a lower rate" for baud in (12_000_000, 8_000_000)]


def test_no_rate_but_the_first_works(board):
    wire = board(Limited, START_BAUD)
    link = Link(wire)
    assert link.baud == START_BAUD
    assert len(set(wire.tried)) == 1 + len(candidates(48_000_000, 12_000_000))


@pytest.mark.parametrize("baud", [START_BAUD, 1_000_000, 250_000, 57_600])
def test_an_explicit_rate_is_where_it_ends(board, baud):
    wire = board()
    wire.wanted_baud = baud
    assert Link(wire).baud == baud


def test_an_explicit_rate_that_does_not_work(board):
    wire = board(Limited, 1_000_000)
    wire.wanted_baud = 2_000_000
    with pytest.raises(LinkError, match="answers at 115200 baud and not at 2000000: name a lower rate, or none for the fastest that works"):
        Link(wire)


@pytest.mark.parametrize("baud", [13_000_000, 11_000_000, 24_000_000])
def test_an_explicit_rate_that_the_device_cannot_make(board, baud):
    wire = board()
    wire.wanted_baud = baud
    with pytest.raises(UsageError, match=f"cannot run its link at {baud} baud, with a clock of 48 MHz and 12000000 baud at most: name 12000000, "):
        Link(wire)


@pytest.mark.parametrize("baud", [300_000, 57_600])
def test_a_wrong_rate_is_garbage(board, baud):
    """As on a wire: nothing of what is said at another rate is understood."""
    wire = board()
    wire.set_baud(baud)
    wire.write(b"\0" * 4 + bytes(range(1, 60)) + b"\0")
    got = b""
    while wire.busy:
        got += wire.read(0.1)
    assert not any(frame for frame in got.split(b"\0") if frame.startswith(bytes([Op.IDENTITY])))
    assert wire.leds[1]    # error


# Afterwards

def counted(link):
    from tritloom.host.driver import Accelerator

    return Accelerator(link).counters()


def test_a_device_that_fell_back_is_found_again(board):
    """Noise beyond what it puts up with, in the middle of a session: the weights are still there, and so is the rate."""
    wire = board()
    link = Link(wire, timeout_s=0.2)
    counted(link)
    wire.set_baud(START_BAUD)
    wire.write(bytes(PREAMBLE_BYTES))
    while wire.busy:
        wire.read(0.1)
    wire.set_baud(BOARD.max_baud)
    counted(link)
    assert link.baud == BOARD.max_baud


def test_a_reset_is_noticed(board):
    """The button: the device is at its start rate then, with nobody's weights in it."""
    wire = board()
    link = Link(wire, timeout_s=0.2)
    wire.reset()
    with pytest.raises(DeviceResetError, match="board:icebreaker: the device was reset, or used by another program"):
        counted(link)
    assert Link(wire).baud == BOARD.max_baud


# Ports without a device

@pytest.fixture
def port():
    """Path of a pseudo-terminal and its other end."""
    other, end = os.openpty()
    tty.setraw(end)
    yield os.ttyname(end), other
    os.close(other)
    os.close(end)


def test_a_silent_port(port):
    begin = time.monotonic()
    with pytest.raises(LinkError, match=r"the device does not answer: is it powered, configured, and connected there\? \(tried 115200 baud and others\)"):
        Link(open_serial(port[0]))
    assert time.monotonic() - begin < 3.2


def test_a_port_that_talks_nonsense(port):
    path, other = port
    stop = threading.Event()

    def babble():
        while not stop.wait(0.01):
            os.write(other, b"login: \0")

    thread = threading.Thread(target=babble)
    thread.start()
    begin = time.monotonic()
    try:
        with pytest.raises(LinkError, match=r"the device sends bytes \(\d+\), but no reply: is it a tritloom device, and is the speed right\?"):
            Link(open_serial(path))
    finally:
        stop.set()
        thread.join()
    assert time.monotonic() - begin < 3.2


# What does not fit

def payload(geometry=BOARD.geometry, board=BOARD.site.board_number, **changes):
    fields = {name: getattr(geometry, name) for name in Geometry.names()}
    fields |= {"nonce": 1, "owner": 2, "version": 2, "rx_bytes": 1023, "digest": geometry.digest, "clock_hz": 48_000_000,
               "max_baud": 12_000_000, "board": board}
    return IDENTITY.pack(**fields | changes)


def test_a_digest_that_does_not_fit():
    with pytest.raises(IncompatibleDeviceError, match=r"serial:x: .* is not the one that its digest 0000000000000001 stands for \(.*\): "
                                                      r"flash this version with `tritloom flash icebreaker --geometry 1,2,16`"):
        Identity.parse("serial:x", payload(digest=1))
    with pytest.raises(IncompatibleDeviceError, match="rebuild it with this version"):
        Identity.parse("serial:x", payload(digest=1, board=0))


def test_another_geometry_than_was_asked_for():
    identity = Identity.parse("serial:x", payload())
    with pytest.raises(IncompatibleDeviceError, match=r"serial:x has another geometry than was asked for: cols 2 instead of 4, lanes 16 instead of 8: "
                                                      r"flash it with `tritloom flash icebreaker --geometry 1,4,8`, or ask for 1,2,16"):
        identity.require("serial:x", Geometry.parse("1,4,8"))
    with pytest.raises(IncompatibleDeviceError, match="depth 2048 instead of 99: flash"):
        identity.require("serial:x", Geometry.parse("1,2,16", depth=99))
    identity.require("serial:x", Geometry.parse("1,2,16"))    # its memories are the board's affair
    identity.require("serial:x", BOARD.geometry)


def test_another_geometry_of_no_board():
    identity = Identity.parse("tcp:x", payload(board=0))
    with pytest.raises(IncompatibleDeviceError, match="asked for: depth 2048 instead of 6912$"):
        identity.require("tcp:x", Geometry.parse("1,2,16"))


def test_a_link_without_a_rate_stays_as_it_is():
    link = Link(open_transport("model"))
    assert link.baud is None and link.identity.board == ""
    assert RATE.size == 2
