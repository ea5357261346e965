"""A device for another process: its byte streams, offered as a TCP socket or a pseudo-terminal.

What is on the other side then drives a simulated device exactly as it would a board, through the same transports.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import selectors
import socket
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.framing import DELIMITER
from tritloom.host.tcp import split_address
from tritloom.host.transport import Transport

__all__ = ["REFUSAL", "Server", "line_rate", "serve"]

#: What a second client is told before it is sent away: one line, between two delimiters, so that a reader of frames sees one bad frame.
REFUSAL = DELIMITER + b"tritloom: this device serves another client\n" + DELIMITER

_log = logging.getLogger("tritloom.serve")

_CHUNK = 1 << 16

#: Bytes that may wait for a slow client before the device waits too, and for a slow device before the client does.
_MOST_PENDING = _MOST_BACKLOG = 1 << 20

#: Linux's way to read any rate, not just those that POSIX knows, and where it is in what comes back (`struct termios2`).
_TCGETS2, _TERMIOS2_BYTES, _OSPEED_AT = 0x802C542A, 44, 40

#: How long a device that moves only inside `read` may take at a time, in seconds.
_SLICE_S = 0.02

#: Pause after such a device was silent, doubled each time, and how long after the last byte it is asked at all, in seconds.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _ASK_FOR_S = 0.001, 0.25, 5.0


class _Client(Protocol):
    def fileno(self) -> int: ...
    def recv(self, size: int) -> bytes: ...
    def send(self, data: bytes) -> int: ...
    def close(self) -> None: ...


class _Terminal:
    """A pseudo-terminal that looks like a socket; `path` is its other end.

    The other end is kept open here too: else the first client's leaving would be an error on this one.
    """

    def __init__(self) -> None:
        self._fd, self._other = os.openpty()
        tty.setraw(self._other)
        os.set_blocking(self._fd, False)
        self.path = os.ttyname(self._other)

    def fileno(self) -> int:
        return self._fd

    def recv(self, size: int) -> bytes:
        return os.read(self._fd, size)

    def send(self, data: bytes) -> int:
        return os.write(self._fd, data)

    def close(self) -> None:
        os.close(self._fd)
        os.close(self._other)


class Server:
    """Offers a device to one client at a time, for as long as `run` runs.

    Parameters
    ----------
    transport : Transport
        The device; the caller closes it.
    listen : str, optional
        ``"HOST:PORT"``: a TCP socket. Without HOST, this machine only; port 0 takes a free one.
    pty : bool
        A pseudo-terminal instead.

    Members
    -------
    where : str
        How `connect` reaches it, such as ``"tcp:127.0.0.1:7333"`` or ``"serial:/dev/pts/4"``.

    Raises
    ------
    UsageError
        If not exactly one of `listen` and `pty` is given, or `listen` is no address.
    TransportError
        If the address cannot be had.
    """

    def __init__(self, transport: Transport, *, listen: str | None = None, pty: bool = False) -> None:
        if pty == (listen is not None):
            raise UsageError("a served device must have one way in: HOST:PORT to listen at, or a pseudo-terminal")
        self._transport = transport
        self._listener: socket.socket | None = None
        self._client: _Client | None = None
        self._pending = bytearray()    # for the client
        if listen is None:
            terminal = _Terminal()
            self._client = terminal
            self.where = f"serial:{terminal.path}"
        else:
            self._listener = _listen(listen)
            host, port = self._listener.getsockname()[:2]
            self.where = f"tcp:[{host}]:{port}" if ":" in host else f"tcp:{host}:{port}"
        self._wake, self._waker = socket.socketpair()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def run(self) -> None:
        """Pass bytes on until `stop`.

        Raises
        ------
        TransportError
            If the device fails.
        """
        device = self._transport.fileno()
        active, pause = time.monotonic(), _FIRST_PAUSE_S
        while True:
            if device is not None or time.monotonic() - active > _ASK_FOR_S:
                pause = None    # bytes from the device wake the selector, or none are to be expected before the client writes
            woken = self._wait(device, pause)
            if self._wake in woken:
                return
            if self._listener in woken:
                self._accept()
            self._follow_rate()
            moved = self._client in woken and self._take()
            moved |= self._hand_on(_SLICE_S if device is None else 0.0)
            if moved or self._transport.busy or self._transport.backlog and len(self._pending) < _MOST_PENDING:
                active, pause = time.monotonic(), 0.0
            elif pause is not None:
                pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def stop(self) -> None:
        """Make `run` return. May be called from another thread or a signal handler."""
        self._waker.send(b"\0")

    def close(self) -> None:
        """Stop listening and send the client away. Not while `run` runs."""
        for thing in (self._listener, self._client, self._wake, self._waker):
            if thing is not None:
                thing.close()
        self._listener = self._client = None

    def _wait(self, device: int | None, timeout_s: float | None) -> set[object]:
        """Wait for something to do; return what can be read."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            if self._listener is not None:
                selector.register(self._listener, selectors.EVENT_READ)
            if self._client is not None:
                # A client that does not read is not read either: its commands would only make more replies.
                room = len(self._pending) < _MOST_PENDING and self._transport.backlog < _MOST_BACKLOG
                if events := (selectors.EVENT_READ if room else 0) | (selectors.EVENT_WRITE if self._pending else 0):
                    selector.register(self._client, events)
            if device is not None and len(self._pending) < _MOST_PENDING:
                selector.register(device, selectors.EVENT_READ)
            return {key.fileobj for key, events in selector.select(timeout_s) if events & selectors.EVENT_READ}

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._client is not None and _has_left(self._client):
            self._leave()    # what it sent last is still unread, but nobody waits for the replies
        if self._client is None:
            self._client = client
            return
        with client:
            client.send(REFUSAL)    # an empty send buffer surely has room

    def _follow_rate(self) -> None:
        """A device with a rate is on a line that runs at the rate to which the client has set its end."""
        if self._transport.baud is None or not isinstance(self._client, _Terminal):
            return
        baud = line_rate(self._client.fileno())
        if baud != self._transport.baud:
            try:
                self._transport.set_baud(baud)
            except DisconnectedError:
                raise
            except TransportError:
                _log.debug("the client's rate of %d baud is none that the line can have", baud)

    def _take(self) -> bool:
        """Pass the client's bytes to the device."""
        try:
            data = self._client.recv(_CHUNK)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if data:
            self._transport.write(data)
        else:
            self._leave()
        return True

    def _hand_on(self, timeout_s: float) -> bool:
        """Pass the device's bytes to the client; without a client they are lost, like those of an unplugged board."""
        data = self._transport.read(timeout_s) if len(self._pending) < _MOST_PENDING else b""
        if self._client is None:
            return bool(data)
        self._pending += data
        try:
            while self._pending:
                del self._pending[:self._client.send(bytes(self._pending[:_CHUNK]))]
        except BlockingIOError:
            pass    # the selector says when there is room again
        except ConnectionError:
            self._leave()
        return bool(data)

    def _leave(self) -> None:
        """The client is gone: forget what was for it, and end the frame that it may have left unfinished."""
        self._client.close()
        self._client = None
        self._pending.clear()
        self._transport.write(DELIMITER)


def serve(
    transport: Transport,
    *,
    listen: str | None = None,
    pty: bool = False,
    announce: Callable[[str], None] = print,
) -> None:
    """Offer a device to other processes, one at a time, until interrupted. The transport is closed at the end.

    Parameters
    ----------
    transport : Transport
        The device.
    listen : str, optional
        ``"HOST:PORT"``: a TCP socket. Without HOST, this machine only; port 0 takes a free one.
    pty : bool
        A pseudo-terminal instead.
    announce : callable
        Called once with what to give to `connect`, when the device can be reached.

    Raises
    ------
    UsageError
        If not exactly one of `listen` and `pty` is given, or `listen` is no address.
    TransportError
        If the address cannot be had, or the device fails.
    """
    try:
        with Server(transport, listen=listen, pty=pty) as server:
            announce(server.where)
            server.run()
    finally:
        transport.close()


def line_rate(fd: int) -> int:
    """Symbols a second to which a terminal is set, whatever they are.

    Parameters
    ----------
    fd : int
        Either end of a pseudo-terminal, or a serial port.
    """
    if sys.platform != "linux":
        return termios.tcgetattr(fd)[5]
    record = bytearray(_TERMIOS2_BYTES)
    fcntl.ioctl(fd, _TCGETS2, record)
    return struct.unpack_from("I", record, _OSPEED_AT)[0]


def _has_left(client: _Client) -> bool:
    """The other side has closed, even if bytes of it are still to be read."""
    poll = select.poll()
    poll.register(client, getattr(select, "POLLRDHUP", 0))    # a Linux speciality; elsewhere POLLHUP, always reported, says as much
    return bool(poll.poll(0))


def _listen(address: str) -> socket.socket:
    host, port = split_address(address)
    host = host or "127.0.0.1"
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place, family=family)
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise TransportError(f"cannot listen at {host}:{port}: {why}") from error
