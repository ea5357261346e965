"""A board without the board: its exact device, compiled, with bits on the wires, and a host whose rate may be right or wrong.

The device is what `boards` builds, UART, rate and fall-back included; only pins, PLL and USB bridge are not there. Its clock runs only inside
`read`, and only while something moves and for 0.3 s of its own time after that, which is longer than any wait of the UART.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tritloom.boards import Board, boards, find
from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.transport import Found, Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import START_BAUD, Site
from tritloom.sim import library
from tritloom.sim.library import missing

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["HARNESS", "VirtualBoard", "build", "designs", "found", "missing", "open_board"]

#: C++ around the two designs.
HARNESS = Path(__file__).with_name("harness_board.cpp")

#: Cycles run between two looks at the clock on the wall: some milliseconds.
_CYCLES_AT_ONCE = 50_000

#: For how long the device's clock runs on when nothing moves, in seconds of its own time.
_QUIET_S = 0.3

#: What a host may set, in cycles of the device a bit: faster, there would be no middle to sample; slower, its UART cannot be.
_BITS = range(2, 1 << 20)


class VirtualBoard(Transport):
    """A board's device and its host's end of the serial line.

    Parameters
    ----------
    path : Path
        Library, as `build` makes it.
    site : Site
        What it was built with.

    Members
    -------
    busy : bool
        Bytes are on the wires, or a job is at work: `read` gets on with it.
    """

    flow_controlled = False

    def __init__(self, path: Path, site: Site):
        self.name = f"board:{site.board}"
        self._site = site
        self._library = lib = ctypes.CDLL(str(path))
        for name, restype, argtypes in (
            ("open", ctypes.c_void_p, []), ("close", None, [ctypes.c_void_p]), ("reset", None, [ctypes.c_void_p]),
            ("set_bit", None, [ctypes.c_void_p, ctypes.c_int64]), ("write", None, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]),
            ("read", ctypes.c_size_t, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint64]),
            ("quiet", ctypes.c_uint64, [ctypes.c_void_p]), ("backlog", ctypes.c_size_t, [ctypes.c_void_p]), ("leds", ctypes.c_uint, [ctypes.c_void_p]),
            ("computed", ctypes.c_uint64, [ctypes.c_void_p]), ("cycles", ctypes.c_uint64, [ctypes.c_void_p]),
        ):
            function = getattr(lib, f"board_{name}")
            function.restype, function.argtypes = restype, argtypes
        self._buffer = ctypes.create_string_buffer(4096)
        self._quiet = int(site.clock_hz * _QUIET_S)
        self._board = lib.board_open()
        self.set_baud(START_BAUD)

    def set_baud(self, baud: int) -> None:
        bit = round((self._site.clock_hz << 32) / baud) if baud > 0 else 0
        if bit >> 32 not in _BITS:
            raise TransportError(f"{self.name} cannot run at {baud} baud with a clock of {self._site.clock_hz} Hz")
        self._library.board_set_bit(self._open(), bit)
        self.baud = baud

    def write(self, data: bytes) -> None:
        self._library.board_write(self._open(), data, len(data))

    def read(self, timeout_s: float) -> bytes:
        """Run the clock until a frame has come out, nothing has moved for a while, or for `timeout_s` seconds (at least 50,000 cycles)."""
        board = self._open()
        deadline = time.monotonic() + timeout_s
        while True:
            size = self._library.board_read(board, self._buffer, len(self._buffer), _CYCLES_AT_ONCE, self._quiet)
            if size:
                return ctypes.string_at(self._buffer, size)
            if time.monotonic() >= deadline or self._library.board_quiet(board) >= self._quiet:
                return b""

    @property
    def backlog(self) -> int:
        return self._library.board_backlog(self._open())

    @property
    def busy(self) -> bool:
        return self._library.board_quiet(self._open()) < self._quiet

    @property
    def cycles(self) -> tuple[int, int]:
        """Clock cycles so far, and those of them in which the core could do something else than repeat itself, and was computed."""
        return self._library.board_cycles(self._open()), self._library.board_computed(self._open())

    @property
    def leds(self) -> tuple[bool, bool, bool, bool]:
        """Which lights are on, in the order of `tritloom.rtl.front.Leds`."""
        lights = self._library.board_leds(self._open())
        return tuple(bool(lights >> i & 1) for i in range(4))

    def reset(self) -> None:
        """Press the reset button."""
        self._library.board_reset(self._open())

    def close(self) -> None:
        if self._board is not None:
            self._library.board_close(self._board)
            self._board = None

    def _open(self) -> int:
        if self._board is None:
            raise DisconnectedError(f"{self.name} was closed here")
        return self._board


def found() -> list[Found]:
    """Every board, as `connect` takes it."""
    return [Found(f"board:{board.name}") for board in boards()]


def open_board(address: str = "", geometry: Geometry | None = None) -> VirtualBoard:
    """A board's exact device, compiled, with its serial line: board:NAME.

    Parameters
    ----------
    address : str
        Name of the board.
    geometry : Geometry, optional
        The board's own if none is given.

    Raises
    ------
    UsageError
        If no board is named.
    UnknownNameError
        If there is none of that name.
    TransportError
        If there is no C++ compiler, or it fails.
    """
    if not address:
        raise UsageError("a virtual board must be named, as in board:icebreaker; `tritloom boards` lists them")
    board = find(address)
    return library.opened(lambda: build(board, geometry or board.geometry), lambda path: VirtualBoard(path, board.site))


def build(board: Board, geometry: Geometry) -> Path:
    """Compile a board's device, unless that was done before.

    Returns
    -------
    Path
        Shared library, in the user's cache folder.

    Raises
    ------
    TransportError
        If there is no C++ compiler, or it fails.
    """
    name = f"{board.name}-{str(geometry).replace(',', 'x')}"
    return library.build(name, (geometry, board.site), HARNESS, designs(geometry, board.site))


def designs(geometry: Geometry, site: Site) -> dict[str, Callable[[], Component]]:
    """The two parts of a device, by their namespaces in the harness, which connects them as `Device` does."""
    def core() -> Component:
        from tritloom.rtl.core import Core

        return Core(geometry, site)

    def front() -> Component:
        from tritloom.rtl.front import Front

        return Front(site)

    return {"cxxrtl_core": core, "cxxrtl_front": front}
