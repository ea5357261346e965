"""A device behind a TCP socket: what `tritloom serve-device` offers, or a board on a network bridge."""

from __future__ import annotations

import socket

from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.transport import PATIENCE_S, Transport

__all__ = ["TcpTransport", "open_tcp", "split_address"]

_CHUNK = 1 << 16


class TcpTransport(Transport):
    """Transport over a connected socket.

    Parameters
    ----------
    connection : socket.socket
        Connected; the transport closes it.
    name : str
    """

    flow_controlled = True

    def __init__(self, connection: socket.socket, name: str) -> None:
        self.name = name
        self._socket: socket.socket | None = connection
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)    # a command is small and waits for its reply

    def write(self, data: bytes) -> None:
        connection = self._connection()
        try:
            connection.settimeout(PATIENCE_S)
            connection.sendall(data)
        except TimeoutError as error:
            raise TransportError(f"{self.name} took no bytes for {PATIENCE_S:g} s") from error
        except OSError as error:
            raise self._gone() from error

    def read(self, timeout_s: float) -> bytes:
        connection = self._connection()
        try:
            connection.settimeout(max(0.0, timeout_s))
            data = connection.recv(_CHUNK)
        except (TimeoutError, BlockingIOError):
            return b""
        except OSError as error:
            raise self._gone() from error
        if not data:
            raise self._gone()
        return data

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def fileno(self) -> int | None:
        return self._connection().fileno()

    def _gone(self) -> DisconnectedError:
        return DisconnectedError(f"{self.name} closed the connection (the device is gone, or serves someone else already)")

    def _connection(self) -> socket.socket:
        if self._socket is None:
            raise DisconnectedError(f"{self.name} was closed here")
        return self._socket


def split_address(address: str) -> tuple[str, int]:
    """Split ``"HOST:PORT"`` (IPv6: ``"[HOST]:PORT"``); HOST may be empty.

    Raises
    ------
    UsageError
        If it is not an address.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise UsageError(f"a TCP address must be HOST:PORT, such as localhost:7333, not {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def open_tcp(address: str, **options: object) -> TcpTransport:
    """A device behind a TCP socket, such as one that `tritloom serve-device` offers: tcp:HOST:PORT.

    Parameters
    ----------
    address : str
        ``"HOST:PORT"``; without HOST, this machine.
    **options
        `geometry` means nothing here.

    Raises
    ------
    UsageError
        If the address is not one.
    TransportError
        If nobody answers there.
    """
    host, port = split_address(address)
    host = host or "localhost"
    try:
        connection = socket.create_connection((host, port), timeout=PATIENCE_S)
    except ConnectionRefusedError as error:
        raise TransportError(f"nothing listens at {host}:{port}: start a device there, "
                             f"for example with `tritloom serve-device --device sim --listen {host}:{port}`") from error
    except OSError as error:
        raise TransportError(f"no connection to {host}:{port}: {_reason(error)}") from error
    return TcpTransport(connection, f"tcp:{address}")


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
