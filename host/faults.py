"""A line that fails on purpose: bits flip, bytes get lost, come twice or late, from a seed, so that a failure can be had again.

Whoever wants to know what a bad cable does to a program puts this between the program and any device: ``connect(..., faults="7:0.01")``
or ``--faults 7:0.01``.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tritloom.host.errors import DisconnectedError, UsageError
from tritloom.host.transport import Transport

if TYPE_CHECKING:
    from tritloom.host.link import Link

__all__ = ["Faults", "FaultyTransport"]

#: What happens to one byte, and how often beside each other: it is flipped in one bit with the stated rate, and the others come on top.
_BYTE_FAULTS = {"flipped": 1.0, "dropped": 0.1, "doubled": 0.1, "inserted": 0.1}

#: A late piece, and all behind it, waits at most so long, in seconds.
_LATE_S = 0.02


@dataclass(frozen=True)
class Faults:
    """How bad a line is.

    Each byte has one of its bits flipped with probability `rate`; on top of that it is lost, comes twice, or has a random byte put behind it,
    each with a tenth of that. Each piece, which is what was written at once or came at once, is lost, comes twice, has two neighbouring
    parts of it swapped, or comes up to 20 ms late, each with probability `rate`. Both directions suffer alike. Bytes of one piece
    never overtake those of another: no cable does that, and the protocol does not promise to notice it.

    Parameters
    ----------
    seed : int
        Of all the random numbers, at least 0.
    rate : float
        From 0 to below 0.5.
    cut_after : int, optional
        The line is cut for good after so many bytes, both directions together.

    Members
    -------
    lines : list of FaultyTransport
        Those that were made with it, for what they have to tell.

    Raises
    ------
    UsageError
        If a number is outside what is allowed.
    """

    seed: int
    rate: float
    cut_after: int | None = None
    lines: list[FaultyTransport] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise UsageError(f"the seed of faults must be at least 0, not {self.seed}")
        if not 0 <= self.rate < 0.5:
            raise UsageError(f"the rate of faults must be from 0 to below 0.5 a byte, not {self.rate:g}")
        if self.cut_after is not None and self.cut_after < 0:
            raise UsageError(f"a line can be cut after 0 bytes or more, not {self.cut_after}")

    @classmethod
    def parse(cls, text: str) -> Faults:
        """Read ``"SEED:RATE"`` or ``"SEED:RATE:CUT"``, such as ``"7:0.01"``.

        Raises
        ------
        UsageError
            If it is not that.
        """
        parts = text.split(":")
        try:
            if not 2 <= len(parts) <= 3:
                raise ValueError
            seed, rate, *cut = int(parts[0]), float(parts[1]), *map(int, parts[2:])
        except ValueError as error:
            raise UsageError("faults must be SEED:RATE, such as 7:0.01 for one byte in a hundred, or SEED:RATE:CUT to cut the line after "
                             f"CUT bytes, not {text!r}") from error
        return cls(seed, rate, *cut)

    def __str__(self) -> str:
        return f"{self.seed}:{self.rate:g}" + (f":{self.cut_after}" if self.cut_after is not None else "")


class _Direction:
    """One direction of the line: what it does to bytes, and what waits in it."""

    def __init__(self, faults: Faults, name: str) -> None:
        self._random = random.Random(f"{faults.seed} {name}")
        self._rate = faults.rate
        self._byte_rate = faults.rate * sum(_BYTE_FAULTS.values())
        self._gap = self._next_gap()
        self._waiting: deque[tuple[float, bytes]] = deque()    # (when it is due, bytes), in order
        self.bytes = 0
        self.done: Counter[str] = Counter()

    @property
    def due(self) -> float | None:
        """When the next bytes come out, None if none wait."""
        return self._waiting[0][0] if self._waiting else None

    def put(self, piece: bytes) -> None:
        """A piece goes in."""
        self.bytes += len(piece)
        due = self._waiting[-1][0] if self._waiting else 0.0
        if self._happens("late"):
            due = max(due, time.monotonic()) + _LATE_S * self._random.random()
        if self._happens("lost"):
            return
        if self._happens("repeated"):
            piece += piece
        if len(piece) > 2 and self._happens("swapped"):
            first, middle, last = sorted(self._random.sample(range(len(piece) + 1), 3))
            piece = piece[:first] + piece[middle:last] + piece[first:middle] + piece[last:]
        if piece := self._spoil(piece):
            self._waiting.append((due, piece))

    def take(self) -> bytes:
        """What has come out by now."""
        now = time.monotonic()
        out = []
        while self._waiting and self._waiting[0][0] <= now:
            out.append(self._waiting.popleft()[1])
        return b"".join(out)

    def clear(self) -> None:
        """What waits is lost."""
        self._waiting.clear()

    def _happens(self, fault: str) -> bool:
        if self._random.random() >= self._rate:
            return False
        self.done[f"pieces {fault}"] += 1
        return True

    def _next_gap(self) -> int:
        """Bytes until the next one that suffers."""
        if not self._byte_rate:
            return 1 << 62
        return int(math.log(1.0 - self._random.random()) / math.log1p(-self._byte_rate))

    def _spoil(self, piece: bytes) -> bytes:
        out, at = [], 0
        while self._gap < len(piece) - at:
            hit = at + self._gap
            out.append(piece[at:hit])
            out.append(self._hit(piece[hit]))
            at = hit + 1
            self._gap = self._next_gap()
        self._gap -= len(piece) - at
        out.append(piece[at:])
        return b"".join(out)

    def _hit(self, byte: int) -> bytes:
        fault, = self._random.choices(tuple(_BYTE_FAULTS), tuple(_BYTE_FAULTS.values()))
        self.done[f"bytes {fault}"] += 1
        match fault:
            case "flipped":
                return bytes((byte ^ 1 << self._random.randrange(8),))
            case "dropped":
                return b""
            case "doubled":
                return bytes((byte, byte))
            case _:
                return bytes((byte, self._random.randrange(256)))


class FaultyTransport(Transport):
    """Any transport, over a line that fails on purpose.

    Parameters
    ----------
    transport : Transport
        The way to the device; closed with this one.
    faults : Faults

    Members
    -------
    device : Transport
        What is behind the line.
    faults : Faults
    link : Link or None
        Whose repeats `summary` tells; `connect` sets it.
    """

    def __init__(self, transport: Transport, faults: Faults) -> None:
        self.device = self._transport = transport
        self.faults = faults
        self.name = transport.name
        self.flow_controlled = transport.flow_controlled
        self.wanted_baud = transport.wanted_baud
        self.link: Link | None = None
        faults.lines.append(self)
        self._down, self._up = _Direction(faults, "down"), _Direction(faults, "up")

    @property
    def baud(self) -> int | None:
        return self._transport.baud

    @property
    def busy(self) -> bool:
        return self._transport.busy or self._down.due is not None or self._up.due is not None

    @property
    def backlog(self) -> int:
        return self._transport.backlog

    @property
    def injected(self) -> Counter[str]:
        """How often each fault happened, both directions together."""
        return self._down.done + self._up.done

    @property
    def bytes(self) -> int:
        """Bytes that went in at either end."""
        return self._down.bytes + self._up.bytes

    def set_baud(self, baud: int) -> None:
        self._up.clear()
        self._transport.set_baud(baud)

    def write(self, data: bytes) -> None:
        self._down.put(self._uncut(data))
        self._deliver()
        self._check_cut()

    def read(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        while True:
            self._check_cut()
            self._deliver()
            due = [direction.due for direction in (self._down, self._up) if direction.due is not None]
            # What is late must not be slept through.
            data = self._transport.read(max(0.0, min([deadline, *due]) - time.monotonic()))
            if data:
                self._up.put(self._uncut(data))
            if out := self._up.take():
                return out
            now = time.monotonic()
            if now >= deadline or not data and not due:
                return b""
            if not data and self._transport.fileno() is None:
                time.sleep(max(0.0, min([deadline, *due]) - now))    # a device that is at rest does not wait

    def close(self) -> None:
        self._transport.close()

    def summary(self) -> str:
        """One sentence: what was done to the bytes, and what that cost."""
        done = ", ".join(f"{count:,} {fault}" for fault, count in sorted(self.injected.items())) or "nothing happened to them"
        text = f"faults {self.faults} over {self._down.bytes:,} bytes to the device and {self._up.bytes:,} from it: {done}"
        if self.link is not None:
            text += f"; the link synchronised {self.link.synchronisations:,} times and repeated {self.link.repeats:,} commands"
        return text

    def _deliver(self) -> None:
        if data := self._down.take():
            self._transport.write(data)

    def _uncut(self, data: bytes) -> bytes:
        """What of it still comes through."""
        left = math.inf if self.faults.cut_after is None else self.faults.cut_after - self.bytes
        return data if len(data) <= left else data[:max(0, left)]

    def _check_cut(self) -> None:
        if self.faults.cut_after is not None and self.bytes >= self.faults.cut_after and self._up.due is None:
            raise DisconnectedError(f"{self.name}: the line was cut after {self.faults.cut_after:,} bytes, as its faults {self.faults} ask")
