"""The rate of a serial line: found, and raised as far as it goes.

Every device starts at `START_BAUD`, and goes back there when it hears nothing sensible at another rate. So a host starts there too, asks for
something faster, and goes back if that does not work: a rate that fails costs half a second, and never the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from tritloom.host.errors import DisconnectedError, LinkError, TransportError, UsageError
from tritloom.host.identity import Identity
from tritloom.host.transport import Transport
from tritloom.rtl.site import START_BAUD
from tritloom.rtl.wire import LEAST_DIVISOR

__all__ = ["GREETING_S", "PREAMBLE_BYTES", "Candidate", "Negotiation", "candidates"]

_log = logging.getLogger("tritloom.link")

#: How long a reply to SYNC may take while the rate is looked for, in seconds. At the start rate both take 10 ms, and a USB bridge adds up to 16 ms
#: each way; a device that tries a rate in vain has given it up after 0.25 s.
GREETING_S = 0.5

#: Attempts at the start rate. The first one may be spent on bringing the device there.
_GREETINGS = 3

#: How long a reply may take at the rates that are only tried because nothing answered at the start rate, in seconds.
_LONG_SHOT_S = 0.2

#: Zeros ahead of each SYNC. Each is at least one framing error to a device that listens at a faster rate, and 16 of these bring it back to
#: the start rate: what is left of the zeros then tells it where bytes begin.
PREAMBLE_BYTES = 20

#: How far the two ends' rates may be apart. The UART is tested to 2 % at its least divisor.
_TOLERANCE = 0.02

#: Rates that USB bridges make exactly or nearly: quotients of 12 MHz (FT2232H), of 3 MHz (FT231X), and the customary ones.
_USUAL = (12_000_000, 8_000_000, 6_000_000, 4_000_000, 3_000_000, 2_000_000, 1_500_000, 1_000_000, 921_600, 500_000, 460_800, 230_400)

#: Where a device may be that does not answer at the start rate, and does not go back to it.
_LONG_SHOTS = (1_000_000, 3_000_000, 2_000_000, 12_000_000, 921_600)

_DIVISORS = range(LEAST_DIVISOR, 1 << 16)


@dataclass(frozen=True)
class Candidate:
    """A rate to try: what the port is set to, and how many cycles of the device's clock come nearest to it."""

    baud: int
    divisor: int


def candidates(clock_hz: int, max_baud: int) -> list[Candidate]:
    """Rates above the start rate that a device can make, the fastest first.

    The usual ones that a whole number of cycles meets within 2 %; and the fastest that the device makes, if that is another one, for bridges
    that make any rate.

    Parameters
    ----------
    clock_hz : int
        Clock of the device, in hertz.
    max_baud : int
        Fastest rate allowed.
    """
    fastest = max(LEAST_DIVISOR, -(-clock_hz // max_baud)) if max_baud else 0
    bauds = {baud for baud in _USUAL if baud <= max_baud and _divisor(clock_hz, baud)}
    if fastest and not any(_divisor(clock_hz, baud) == fastest for baud in bauds):
        bauds.add(clock_hz // fastest)
    return [Candidate(baud, _divisor(clock_hz, baud)) for baud in sorted(bauds, reverse=True) if baud > START_BAUD]


def _divisor(clock_hz: int, baud: int) -> int:
    """Cycles in a bit at a rate, 0 if no whole number comes near enough."""
    divisor = round(clock_hz / baud)
    return divisor if divisor in _DIVISORS and abs(clock_hz / divisor / baud - 1) <= _TOLERANCE else 0


class Negotiation:
    """The rate between one transport and its device.

    Parameters
    ----------
    transport : Transport
        With a rate.
    greet : callable
        Sends SYNC and waits for so many seconds: the identity, or None if none came.
    change : callable
        Sends RATE with a divisor: whether it was acknowledged.
    """

    def __init__(self, transport: Transport, greet: Callable[[float], Identity | None], change: Callable[[int], bool]) -> None:
        self._transport = transport
        self._greet = greet
        self._change = change

    def find(self) -> Identity | None:
        """Ask who is there: at the start rate, and then at others, where a device might be that does not go back to it.

        Without an answer that takes less than 3 s.
        """
        if identity := self.start_again():
            return identity
        wanted = self._transport.wanted_baud
        for baud in dict.fromkeys([*([wanted] if wanted else []), *_LONG_SHOTS]):
            if identity := self._greet_at(baud, _LONG_SHOT_S):
                return identity
        return None

    def start_again(self) -> Identity | None:
        """Go to the start rate, bring the device there, and ask who is there."""
        for _ in range(_GREETINGS):
            if identity := self._greet_at(START_BAUD, GREETING_S):
                return identity
        return None

    def speed_up(self, identity: Identity) -> Identity:
        """Go to the rate that was asked for, or to the fastest one that works; stay where it is if none does.

        Parameters
        ----------
        identity : Identity
            The device, found at the transport's rate.

        Returns
        -------
        Identity
            As it came at the rate that holds from now on.

        Raises
        ------
        UsageError
            If the device cannot make the rate that was asked for.
        LinkError
            If that one does not work, or the device does not come back from one that does not.
        """
        transport = self._transport
        if not identity.max_baud:
            return self._follow(identity)
        for candidate in self._candidates(identity):
            if candidate.baud == transport.baud:
                return identity
            if not self._change(candidate.divisor):
                _log.info("%s: the device refused %d baud", transport.name, candidate.baud)
            elif faster := self._greet_at(candidate.baud, GREETING_S):
                _log.debug("%s: %d baud, %d cycles a bit", transport.name, candidate.baud, candidate.divisor)
                return faster
            else:
                _log.info("%s: nothing comes through at %d baud, trying a lower rate", transport.name, candidate.baud)
            back = self.start_again()
            if back is None:
                raise LinkError(f"{transport.name}: the device does not answer any more after {candidate.baud} baud was tried: reset it, "
                                f"or name a lower rate, such as serial:PORT:{START_BAUD}")
            identity = back
        if transport.wanted_baud not in (None, transport.baud):
            raise LinkError(f"{transport.name}: the device answers at {transport.baud} baud and not at {transport.wanted_baud}: "
                            "name a lower rate, or none for the fastest that works")
        return identity

    def _candidates(self, identity: Identity) -> list[Candidate]:
        wanted = self._transport.wanted_baud
        if wanted is None:
            return candidates(identity.clock_hz, identity.max_baud)
        divisor = _divisor(identity.clock_hz, wanted)
        if wanted > identity.max_baud or not divisor:
            known = ", ".join(str(candidate.baud) for candidate in candidates(identity.clock_hz, identity.max_baud))
            raise UsageError(f"{self._transport.name}: the device cannot run its link at {wanted} baud, with a clock of "
                             f"{identity.clock_hz / 1e6:g} MHz and {identity.max_baud} baud at most: name {known} or {START_BAUD}, or none")
        return [Candidate(wanted, divisor)]

    def _follow(self, identity: Identity) -> Identity:
        """A device whose link has no rate: it is wherever it answers."""
        wanted, at = self._transport.wanted_baud, self._transport.baud
        if wanted in (None, at):
            return identity
        if there := self._greet_at(wanted, GREETING_S):
            return there
        raise LinkError(f"{self._transport.name}: the device answers at {at} baud, cannot change its rate, and does not answer at {wanted}: "
                        f"name {at}, or no rate")

    def _greet_at(self, baud: int, timeout_s: float) -> Identity | None:
        try:
            if self._transport.baud != baud:
                self._transport.set_baud(baud)
        except DisconnectedError:
            raise
        except TransportError as error:
            _log.debug("%s", error)
            return None
        return self._greet(timeout_s)
