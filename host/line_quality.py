"""How good a line has been lately, and what follows from that: how much to risk in one frame, and how long to wait for an answer."""

from __future__ import annotations

import math

from tritloom.rtl.wire import PAYLOAD_BYTES

__all__ = ["LineQuality"]

#: Troubles are forgotten with this constant, in bytes: then ``troubles / _MEMORY_BYTES`` is their rate a byte.
_MEMORY_BYTES = 4000

#: What a frame costs beside its payload, its own header and CRC and the acknowledgement: about so many bytes. With a chance p that a byte
#: is damaged, the share of the line that arrives, ``g / (g + c) * (1 - p) ** (g + c)``, is largest near a payload g of ``sqrt(c / p)``.
_COST_BYTES = 25

#: Shortest payload worth a frame.
_LEAST_GRAIN = 16

#: A trouble is recent for about 3,700 bytes.
_RECENT = 0.4

#: After a recent trouble an answer is waited for as many times as long as the slowest lately took; at least, and before any was seen, in seconds.
_SLACK, _LEAST_WAIT_S, _FIRST_WAIT_S = 4.0, 0.01, 0.25

#: The slowest answer seen is forgotten by this factor with each answer.
_FORGETTING = 0.95


class LineQuality:
    """What a link knows of its line.

    Parameters
    ----------
    timeout_s : float
        How long to wait for an answer, in seconds; after a recent trouble less, and never longer.

    Members
    -------
    grain : int
        Payload bytes to send, or to ask for, in one frame: as many as fit on a good line, fewer on a bad one.
    bad : bool
        Whether that is fewer.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._troubles = 0.0
        self._slowest_s: float | None = None

    @property
    def grain(self) -> int:
        if self._troubles * PAYLOAD_BYTES ** 2 <= _COST_BYTES * _MEMORY_BYTES:
            return PAYLOAD_BYTES
        return max(_LEAST_GRAIN, int(math.sqrt(_COST_BYTES * _MEMORY_BYTES / self._troubles)))

    @property
    def bad(self) -> bool:
        return self.grain < PAYLOAD_BYTES

    def passed(self, count: int) -> None:
        """So many bytes were sent or received."""
        self._troubles *= math.exp(-count / _MEMORY_BYTES)

    def trouble(self, *, silence: bool = False) -> None:
        """Something was damaged; or nothing came, for which the device may have its own reasons, unless there was damage lately."""
        if not silence or self._troubles > _RECENT:
            self._troubles += 1.0

    def answered(self, after_s: float) -> None:
        """An answer came after so many seconds."""
        self._slowest_s = after_s if self._slowest_s is None else max(after_s, _FORGETTING * self._slowest_s)

    def changed(self) -> None:
        """The line has another rate now: how long answers took says nothing any more."""
        self._slowest_s = None

    def patience_s(self, in_vain: int = 0) -> float:
        """How long to wait for an answer.

        Parameters
        ----------
        in_vain : int
            How often none came, one time after the other, just before: it doubles with each.
        """
        recent = self._troubles > _RECENT
        return min(self._timeout_s, self.settled_s * 2.0 ** min(in_vain, 32)) if recent else self._timeout_s

    @property
    def settled_s(self) -> float:
        """After so many seconds without a byte from a device that was answering, nothing more is to be expected."""
        expected_s = _FIRST_WAIT_S if self._slowest_s is None else max(_LEAST_WAIT_S, _SLACK * self._slowest_s)
        return min(self._timeout_s, expected_s)
