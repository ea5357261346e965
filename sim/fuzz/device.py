"""The compiled core with a watch on its state machines, a stalling output, and a way to run it until it rests."""

from __future__ import annotations

import ctypes
from pathlib import Path

from tritloom.host.errors import DisconnectedError
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.sim import library

__all__ = ["FuzzedCore"]

_HARNESS = Path(__file__).with_name("harness.cpp")

#: A core that is silent for so long, in cycles, has come to rest: in the campaign's geometry a frame of 246 bytes of results takes at most
#: 62 tiles of 14 beats. Where no job waits or runs, half of it is enough: the longest frame takes 600 cycles from the buffer.
_QUIET = 2400

#: Cycles after which a core that was left alone must have come to rest: the longest job that a campaign sends takes a tenth of it.
_MOST = 20_000_000


class FuzzedCore(Transport):
    """The core as `sim` compiles it, under a harness of its own. A `Transport`, so that the driver can be put on it at any time.

    Parameters
    ----------
    geometry : Geometry
    """

    name = "fuzz"
    flow_controlled = True

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._library = lib = ctypes.CDLL(str(_build(geometry)))
        lib.fuzz_open.restype = ctypes.c_void_p
        lib.fuzz_close.argtypes = [ctypes.c_void_p]
        lib.fuzz_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.fuzz_stall.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        lib.fuzz_run.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_uint64, ctypes.POINTER(ctypes.c_int)]
        lib.fuzz_run.restype = ctypes.c_size_t
        lib.fuzz_waiting.argtypes = [ctypes.c_void_p]
        lib.fuzz_waiting.restype = ctypes.c_size_t
        lib.fuzz_reached.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint32), ctypes.POINTER(ctypes.c_uint32)]
        self._buffer = ctypes.create_string_buffer(1 << 16)
        self._device = lib.fuzz_open()

    def write(self, data: bytes) -> None:
        self._library.fuzz_write(self._open(), data, len(data))

    def read(self, timeout_s: float) -> bytes:
        """For the driver: what comes out until the core rests."""
        return self._run(_MOST, _QUIET)[0]

    def stall(self, share: float) -> None:
        """Take no byte from the core in that share of all cycles, 0 to 0.75."""
        self._library.fuzz_stall(self._open(), int(share * 256))

    def run(self, cycles: int) -> bytes:
        """Run for so many clock cycles; return what came out."""
        data = b""
        while cycles:
            step = min(cycles, len(self._buffer))    # a byte a cycle at most
            data += self._run(step, 0)[0]
            cycles -= step
        return data

    def settle(self) -> tuple[bytes, bool]:
        """Run until everything was taken and nothing comes out any more.

        Returns
        -------
        data : bytes
            What came out.
        resting : bool
            False if it did not come to rest: it hangs, or babbles.
        """
        data, most = [], _MOST
        while most > 0:
            piece, resting = self._run(1_000_000, _QUIET)
            data.append(piece)
            if resting:
                return b"".join(data), True
            most -= 1_000_000
        return b"".join(data), False

    def reached(self) -> tuple[int, int]:
        """Joint states of the four state machines, and steps of the command decoder's, since the core was opened."""
        states, steps = ctypes.c_uint32(), ctypes.c_uint32()
        self._library.fuzz_reached(self._open(), states, steps)
        return states.value, steps.value

    def close(self) -> None:
        if self._device is not None:
            self._library.fuzz_close(self._device)
            self._device = None

    def _run(self, cycles: int, quiet: int) -> tuple[bytes, bool]:
        resting = ctypes.c_int()
        size = self._library.fuzz_run(self._open(), self._buffer, len(self._buffer), cycles, quiet, resting)
        return ctypes.string_at(self._buffer, size), bool(resting.value)

    def _open(self) -> int:
        if self._device is None:
            raise DisconnectedError("the fuzzed core was closed here")
        return self._device


def _build(geometry: Geometry) -> Path:
    def core() -> object:
        from tritloom.rtl.core import Core

        return Core(geometry)

    return library.build(f"fuzz-{str(geometry).replace(',', 'x')}", geometry, _HARNESS, {"cxxrtl_design": core})
