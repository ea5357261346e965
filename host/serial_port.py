"""A device behind a serial port: a board's USB bridge, a UART, or a pseudo-terminal. pyserial comes with the extra `serial`."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.transport import PATIENCE_S, Found, Transport
from tritloom.host.usb import describe, is_link
from tritloom.rtl.site import START_BAUD

if TYPE_CHECKING:
    import serial

__all__ = ["SerialTransport", "found", "missing", "open_serial"]

try:
    import termios
except ImportError:    # where there are none, pyserial says it with the other
    _REFUSED: tuple[type[Exception], ...] = (ValueError,)
else:
    _REFUSED = ValueError, termios.error

_INSTALL = "serial ports need pyserial: install it with `pip install 'tritloom[serial]'`"


class SerialTransport(Transport):
    """Transport over an open serial port, without flow control.

    Parameters
    ----------
    port : serial.Serial
        Open; the transport closes it.
    name : str
    wanted_baud : int, optional
        Rate to end at; as fast as it goes if none is given.
    """

    flow_controlled = False

    def __init__(self, port: serial.Serial, name: str, wanted_baud: int | None = None) -> None:
        self.name = name
        self.wanted_baud = wanted_baud
        self._port = port

    @property
    def baud(self) -> int:
        return self._port.baudrate

    def set_baud(self, baud: int) -> None:
        port, before = self._open(), self._port.baudrate
        try:
            port.baudrate = baud
            port.reset_input_buffer()
        except _REFUSED as error:
            with contextlib.suppress(OSError, *_REFUSED):
                port.baudrate = before
            raise TransportError(f"{self.name} cannot run at {baud} baud: {error}") from error
        except OSError as error:
            raise DisconnectedError(f"{self.name} is gone: {error}") from error

    def write(self, data: bytes) -> None:
        try:
            self._open().write(data)
        except OSError as error:    # pyserial's exceptions are
            from serial import SerialTimeoutException

            if isinstance(error, SerialTimeoutException):
                raise TransportError(f"{self.name} took no bytes for {PATIENCE_S:g} s") from error
            raise DisconnectedError(f"{self.name} is gone: {error}") from error

    def read(self, timeout_s: float) -> bytes:
        port = self._open()
        try:
            if port.timeout != timeout_s:
                port.timeout = timeout_s
            first = port.read(1)
            return first + port.read(port.in_waiting)
        except OSError as error:
            raise DisconnectedError(f"{self.name} is gone: {error}") from error

    def close(self) -> None:
        self._port.close()

    def fileno(self) -> int | None:
        return self._open().fileno()

    def _open(self) -> serial.Serial:
        if not self._port.is_open:
            raise DisconnectedError(f"{self.name} was closed here")
        return self._port


def missing() -> str | None:
    """What has to be installed before a serial port can be used."""
    return None if importlib.util.find_spec("serial") else _INSTALL


def found() -> list[Found]:
    """Serial ports of USB devices on this machine that may lead to a board; the others never do."""
    if missing():
        return []
    from serial.tools import list_ports

    return [Found(f"serial:{port.device}", *describe(port)) for port in sorted(list_ports.comports()) if is_link(port)]


def open_serial(address: str, **options: object) -> SerialTransport:
    """A board on a serial port: serial:PORT, as fast as it goes, or serial:PORT:BAUD.

    The port is opened at `START_BAUD`, where every device begins; the link then agrees with the device on a faster rate.

    Parameters
    ----------
    address : str
        ``"PORT"`` or ``"PORT:BAUD"``, such as ``"/dev/ttyUSB1:3000000"``.
    **options
        `geometry` means nothing here.

    Raises
    ------
    UsageError
        If the address is not one.
    TransportError
        If pyserial is missing, or the port is absent, in use, or not allowed.
    """
    path, baud = _split(address)
    try:
        import serial
    except ImportError as error:
        raise TransportError(_INSTALL) from error
    try:
        port = serial.Serial(path, START_BAUD, timeout=0, write_timeout=PATIENCE_S, exclusive=True)
    except OSError as error:
        raise TransportError(_explain(path, error)) from error
    # An FTDI bridge holds short answers back for 16 ms otherwise, each of the several that a token takes. Other ports do not know of it.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        port.set_low_latency_mode(True)
    return SerialTransport(port, f"serial:{address}", baud)


def _split(address: str) -> tuple[str, int | None]:
    """Port and rate, None where none is named."""
    path, colon, baud = address.rpartition(":")
    if not colon:
        path, baud = address, ""
    if not path or colon and (not (baud.isascii() and baud.isdigit()) or int(baud) == 0):
        raise UsageError(f"a serial address must be PORT or PORT:BAUD, such as /dev/ttyUSB1 or /dev/ttyUSB1:3000000, not {address!r}")
    return path, int(baud) if baud else None


def _explain(path: str, error: OSError) -> str:
    """One sentence for a port that does not open."""
    reason = error.errno
    if reason == errno.ENOENT or not Path(path).exists():
        here = ", ".join(port.device.removeprefix("serial:") for port in found()) or "none"
        return f"there is no serial port {path} (USB serial ports here: {here}): is the board plugged in?"
    if reason in (errno.EACCES, errno.EPERM):
        return f"no permission to open {path}: join the group {_group(path)!r} (`sudo usermod -aG {_group(path)} $USER`) and log in again"
    if reason in (errno.EBUSY, errno.EAGAIN) or "lock" in str(error):
        return f"the serial port {path} is in use by another program: close it first"
    return f"the serial port {path} does not open: {error}"


def _group(path: str) -> str:
    import grp  # only where there are groups

    try:
        return grp.getgrgid(Path(path).stat().st_gid).gr_name
    except KeyError:
        return "dialout"
