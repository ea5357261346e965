"""What a stretch of work cost: its time, the array's cycles and the link's bytes, from the device's own counters."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any

from tritloom.host.driver import Accelerator, Counters

__all__ = ["Meter", "Usage"]


@dataclass(frozen=True)
class Usage:
    """The cost of some tokens. Figures a token are None where there were none.

    Parameters
    ----------
    tokens : int
        Tokens that went through the model.
    seconds : float
        On the wall.
    cycles, busy : int
        The device's counters of those names (see `tritloom.rtl.wire.COUNTERS`).
    link_bytes : int
        Both ways, framing and repeats included.
    """

    tokens: int = 0
    seconds: float = 0.0
    cycles: int = 0
    busy: int = 0
    link_bytes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(mine + theirs for mine, theirs in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    @property
    def tokens_per_s(self) -> float | None:
        """Speed on the wall."""
        return self.tokens / self.seconds if self.tokens and self.seconds else None

    @property
    def cycles_per_token(self) -> float | None:
        """Cycles of the array."""
        return self.cycles / self.tokens if self.tokens else None

    @property
    def array_utilization(self) -> float | None:
        """Busy beats a cycle, where a cycle counts from a job's first beat to its last result."""
        return self.busy / self.cycles if self.cycles else None

    @property
    def link_bytes_per_token(self) -> float | None:
        """Both ways."""
        return self.link_bytes / self.tokens if self.tokens else None

    def figures(self) -> dict[str, Any]:
        """The four figures, as JSON values."""
        return {
            "tokens_per_s": self.tokens_per_s,
            "cycles_per_token": self.cycles_per_token,
            "array_utilization": self.array_utilization,
            "link_bytes_per_token": self.link_bytes_per_token,
        }


class Meter:
    """Measures an accelerator from one `take` to the next; reading the counters is not measured.

    Parameters
    ----------
    acc : Accelerator
    """

    def __init__(self, acc: Accelerator) -> None:
        self._acc = acc
        self._start(acc.counters())

    def take(self, tokens: int) -> Usage:
        """What was used since the last call (or since the meter was made), for this many tokens.

        The counters wrap at 2**32: call it before that many cycles have passed.
        """
        seconds, link_bytes = time.perf_counter() - self._began, self._moved() - self._bytes
        now = self._acc.counters()
        passed = now - self._counters
        self._start(now)
        return Usage(tokens, seconds, passed.cycles, passed.busy, link_bytes)

    def _start(self, counters: Counters) -> None:
        self._counters = counters
        self._bytes = self._moved()
        self._began = time.perf_counter()

    def _moved(self) -> int:
        return self._acc.link.bytes_sent + self._acc.link.bytes_received
