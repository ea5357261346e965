"""The device `sim`: the gateware itself, compiled, beat by beat.

It is spoken to through its two byte streams only, so whatever works here is what a board would do.
"""

import ctypes
import time
from pathlib import Path

from tritloom.host.errors import DisconnectedError, UsageError
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.sim import library
from tritloom.sim.library import missing

__all__ = ["CompiledDevice", "build", "missing", "open_sim"]

#: For `tritloom.host.transport`.
SIMULATED = True

_HARNESS = Path(__file__).with_name("harness.cpp")

#: Cycles run between two looks at the clock on the wall.
_CYCLES_AT_ONCE = 2_000


class CompiledDevice(Transport):
    """The compiled core and its clock, which runs only inside `read`.

    Parameters
    ----------
    library : Path
        As `build` makes it.
    """

    name = "sim"
    flow_controlled = True

    def __init__(self, library: Path):
        self._library = lib = ctypes.CDLL(str(library))
        lib.tritloom_open.restype = ctypes.c_void_p
        lib.tritloom_close.argtypes = [ctypes.c_void_p]
        lib.tritloom_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.tritloom_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
        lib.tritloom_read.restype = ctypes.c_size_t
        lib.tritloom_backlog.argtypes = [ctypes.c_void_p]
        lib.tritloom_backlog.restype = ctypes.c_size_t
        self._buffer = ctypes.create_string_buffer(4096)
        self._device = lib.tritloom_open()

    def write(self, data: bytes) -> None:
        self._library.tritloom_write(self._open(), data, len(data))

    @property
    def backlog(self) -> int:
        return self._library.tritloom_backlog(self._open())

    def read(self, timeout_s: float) -> bytes:
        """Run the clock until a frame has come out, whole or the first bytes of it, or for `timeout_s` seconds (at least 2,000 cycles)."""
        device = self._open()
        deadline = time.monotonic() + timeout_s
        while True:
            size = self._library.tritloom_read(device, self._buffer, len(self._buffer), _CYCLES_AT_ONCE)
            if size:
                return ctypes.string_at(self._buffer, size)
            if time.monotonic() >= deadline:
                return b""

    def close(self) -> None:
        if self._device is not None:
            self._library.tritloom_close(self._device)
            self._device = None

    def _open(self) -> int:
        if self._device is None:
            raise DisconnectedError("the device `sim` was closed here")
        return self._device


def open_sim(address: str = "", geometry: Geometry | None = None) -> CompiledDevice:
    """The gateware, compiled, beat by beat.

    Parameters
    ----------
    address : str
        Must be empty.
    geometry : Geometry, optional
        The default geometry if none is given.

    Raises
    ------
    UsageError
        If there is an address.
    TransportError
        If there is no C++ compiler, or it fails.
    """
    if address:
        raise UsageError(f"the device `sim` has no address, so nothing may follow it, not {address!r}")
    return library.opened(lambda: build(geometry or Geometry()), CompiledDevice)


def build(geometry: Geometry) -> Path:
    """Compile the core, unless that was done before.

    Returns
    -------
    Path
        Shared library, in the user's cache folder.

    Raises
    ------
    TransportError
        If there is no C++ compiler, or it fails.
    """
    def core() -> object:
        from tritloom.rtl.core import Core

        return Core(geometry)

    return library.build(f"core-{str(geometry).replace(',', 'x')}", geometry, _HARNESS, {"cxxrtl_design": core})
