"""A device behind a serial port: a board's USB bridge, a UART, or a pseudo-terminal. pyserial comes with the extra `serial`."""

from __future__ import annotations

import errno
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.transport import PATIENCE_S, Transport

if TYPE_CHECKING:
    import serial

__all__ = ["DEFAULT_BAUD", "SerialTransport", "found", "missing", "open_serial"]

#: Symbols a second, where the address names none.
DEFAULT_BAUD = 1_000_000

_INSTALL = "serial ports need pyserial: install it with `pip install 'tritloom[serial]'`"


class SerialTransport(Transport):
    """Transport over an open serial port, without flow control.

    Parameters
    ----------
    port : serial.Serial
        Open; the transport closes it.
    name : str
    """

    flow_controlled = False

    def __init__(self, port: serial.Serial, name: str) -> None:
        self.name = name
        self._port = port

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


def found() -> list[str]:
    """Serial ports of USB devices on this machine, as `connect` takes them; the others are never boards."""
    if missing():
        return []
    from serial.tools import list_ports

    return [f"serial:{port.device}" for port in sorted(list_ports.comports()) if port.vid is not None]


def open_serial(address: str, **options: object) -> SerialTransport:
    """A board on a serial port: serial:PORT[:BAUD], 1,000,000 baud where none is given.

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
        port = serial.Serial(path, baud, timeout=0, write_timeout=PATIENCE_S, exclusive=True)
    except ValueError as error:
        raise UsageError(f"the serial port {path} cannot run at {baud} baud: {error}") from error
    except OSError as error:
        raise TransportError(_explain(path, error)) from error
    return SerialTransport(port, f"serial:{address}")


def _split(address: str) -> tuple[str, int]:
    path, colon, baud = address.rpartition(":")
    if not colon:
        path, baud = address, str(DEFAULT_BAUD)
    if not path or not (baud.isascii() and baud.isdigit()) or int(baud) == 0:
        raise UsageError(f"a serial address must be PORT or PORT:BAUD, such as /dev/ttyUSB1:{DEFAULT_BAUD}, not {address!r}")
    return path, int(baud)


def _explain(path: str, error: OSError) -> str:
    """One sentence for a port that does not open."""
    reason = error.errno
    if reason == errno.ENOENT or not Path(path).exists():
        here = ", ".join(name.removeprefix("serial:") for name in found()) or "none"
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
