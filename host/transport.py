"""The seam between the driver and whatever carries its bytes: two byte streams, and nothing else.

A device is anything that speaks the protocol over a `Transport`: a serial port, a socket, the compiled RTL, a model. To add one:

1. Subclass `Transport` and write `write`, `read` and `close` (and `fileno` if there is a file descriptor; and `baud` and `set_baud` if
   both ends have to agree on a rate).
2. Write an opener, ``open_x(address, *, geometry=None) -> Transport``. `address` is what follows the colon in ``x:address``, "" if
   nothing does. `geometry` is what a simulated device is to be built with; a real one ignores it, and `connect` compares afterwards.
   The first line of the opener's docstring is what `tritloom devices` shows.
3. Name the opener as an entry point of the group `tritloom.transports` in the package's `pyproject.toml`::

       [project.entry-points."tritloom.transports"]
       x = "my_package.x:open_x"

The opener's module may also have two functions for `tritloom devices`: ``missing() -> str | None``, a sentence if something has to be
installed first, and ``found() -> list[Found]``, what is there now; and ``SIMULATED = True`` if it builds the device from
`geometry`.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from tritloom.host.errors import TransportError, UnknownNameError, UsageError

__all__ = ["GROUP", "PATIENCE_S", "Found", "Transport", "TransportInfo", "open_transport", "transports"]

#: How long opening, or getting rid of one piece of data, may take where the medium has no limit of its own, in seconds.
PATIENCE_S = 10.0

#: Entry point group of the openers.
GROUP = "tritloom.transports"


class Transport(ABC):
    """Two byte streams to one device, in order, used by one thread at a time.

    Bytes may be lost or damaged on the way; the link on top notices and repeats. They must not change their order.

    Members
    -------
    name : str
        How a user names this device, such as ``"serial:/dev/ttyUSB1:1000000"``; error messages begin with it.
    flow_controlled : bool
        True: bytes written wait until the device takes them, so any number may be under way. False: bytes the device has no room for are
        lost, so the link keeps to the room that the device stated.
    baud : int or None
        Symbols a second on the way, both ways. None: it has no rate that a device would have to agree with.
    wanted_baud : int or None
        The rate that the user asked for; None: as fast as device and way go.
    busy : bool
        Of a device that only moves inside `read`: it has not come to rest, even if `read` had nothing to return.
    backlog : int
        Of such a device: bytes written that it has not taken. Whoever writes for somebody else waits while there are many.
    """

    name: str
    flow_controlled: bool
    baud: int | None = None
    wanted_baud: int | None = None
    busy: bool = False
    backlog: int = 0

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send all of `data`, as one piece where the medium knows pieces.

        It may wait until the bytes are on their way, but must not wait for the caller to call `read`.

        Raises
        ------
        TransportError
            If the bytes cannot be sent.
        DisconnectedError
            If the device, or the way to it, is gone, or the transport is closed.
        """

    @abstractmethod
    def read(self, timeout_s: float) -> bytes:
        """Wait for bytes and return those that are there, at least one.

        Parameters
        ----------
        timeout_s : float
            How long to wait, in seconds; 0 does not wait.

        Returns
        -------
        bytes
            ``b""`` if none came in time. A device that only moves inside `read` and `write`, and so knows that nothing more will come
            before the next `write`, says so at once.

        Raises
        ------
        TransportError
            If the way to the device fails.
        DisconnectedError
            If the device, or the way to it, is gone, or the transport is closed.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the device. Closing twice is allowed."""

    def set_baud(self, baud: int) -> None:
        """Change `baud` at once, and drop what came in at the old rate and was not read. Only called where `baud` is not None.

        Raises
        ------
        TransportError
            If the way cannot run at that rate.
        DisconnectedError
            If the device, or the way to it, is gone, or the transport is closed.
        """
        raise NotImplementedError(f"{self.name} has no rate to set")

    def fileno(self) -> int | None:
        """File descriptor that becomes readable when `read` has bytes to return, or None if only calling `read` moves the device."""
        return None


@dataclass(frozen=True)
class Found:
    """A device that may be there, judged from outside: it was not spoken to.

    Parameters
    ----------
    device : str
        As `connect` takes it.
    description : str
        What it says of itself, for a person.
    board : str
        The board that it plausibly is, as people call it; "" if that cannot be told.
    """

    device: str
    description: str = ""
    board: str = ""


@dataclass(frozen=True)
class TransportInfo:
    """What is known of a transport without opening it.

    Parameters
    ----------
    name : str
        What stands before the colon.
    summary : str
        One line: what it is.
    missing : str or None
        What has to be installed before it can be used, as a sentence.
    found : tuple of Found
        Devices of this kind that are there now. A kind without addresses has none.
    simulated : bool
        The device is made when it is opened, with whatever geometry is asked for.
    """

    name: str
    summary: str
    missing: str | None = None
    found: tuple[Found, ...] = ()
    simulated: bool = False


def transports() -> list[TransportInfo]:
    """Every transport that is installed, sorted by name."""
    return [_describe(name, entry) for name, entry in sorted(_entries().items())]


def open_transport(device: str, **options: object) -> Transport:
    """Open a device by name.

    Parameters
    ----------
    device : str
        ``"name"`` or ``"name:address"``.
    **options
        For the transport's opener.

    Raises
    ------
    UnknownNameError
        If there is no transport of that name.
    TransportError
        If it cannot be opened.
    """
    if not isinstance(device, str) or "\0" in device:
        raise UsageError(f"a device is named by a text such as 'sim' or 'tcp:localhost:7333', not {device!r}")
    name, _, address = device.partition(":")
    entries = _entries()
    if name not in entries:
        raise UnknownNameError("device", name, entries)
    try:
        opener = entries[name].load()
    except ImportError as error:
        raise TransportError(f"the device {name!r} cannot be used, because its code cannot be imported: {error}") from error
    return opener(address, **options)


def _entries() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _describe(name: str, entry: EntryPoint) -> TransportInfo:
    try:
        opener = entry.load()
    except ImportError as error:
        return TransportInfo(name, entry.value, missing=f"its code cannot be imported: {error}")
    module = sys.modules[opener.__module__]
    missing, found = getattr(module, "missing", None), getattr(module, "found", None)
    return TransportInfo(
        name,
        (opener.__doc__ or entry.value).strip().splitlines()[0],
        missing() if missing else None,
        tuple(found()) if found else (),
        getattr(module, "SIMULATED", False),
    )
