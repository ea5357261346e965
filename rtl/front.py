"""The front of a device: the UART, and the lights."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .site import Site
from .uart import UART, start_divisor

__all__ = ["TICKS_PER_S", "Front", "Leds"]

#: Beats of the slow clock that times what people and hosts wait for.
TICKS_PER_S = 64


class Leds(data.Struct):
    """What the lights tell, the most telling first: a board with fewer shows the first ones.

    ``alive`` blinks once a second, from the reset on: there is power, a bitstream, and a clock that runs at the right speed.
    ``error`` lights up for one to two seconds when something on the line was wrong: a damaged frame, a stop bit that was none, a byte lost.
    ``link`` flickers as frames arrive: somebody talks to the device, at the right rate.
    ``working`` lights up while a job waits or runs.
    """

    alive: 1
    error: 1
    link: 1
    working: 1


class Front(wiring.Component):
    """All of a `Device` but its core: what people and cables meet.

    Parameters
    ----------
    site : Site
        With a rate.

    Members
    -------
    rx_pin, tx_pin, leds
        As those of `Device`.
    received : Out(stream.Signature(8)), transmit : In(stream.Signature(8)), rates : In(stream.Signature(16, always_ready=True))
        To and from the core: see `UART`.
    good_frame, bad_frame, working : In(1)
        From the core.

    Raises
    ------
    ValueError
        See `start_divisor`.
    """

    def __init__(self, site: Site):
        start_divisor(site)
        self._site = site
        super().__init__({
            "rx_pin":     In(1, init=1),
            "tx_pin":     Out(1, init=1),
            "leds":       Out(Leds),
            "received":   Out(stream.Signature(8)),
            "transmit":   In(stream.Signature(8)),
            "rates":      In(stream.Signature(16, always_ready=True)),
            "good_frame": In(1),
            "bad_frame":  In(1),
            "working":    In(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.uart = uart = UART(self._site)
        wiring.connect(m, uart.received, wiring.flipped(self.received))
        wiring.connect(m, wiring.flipped(self.transmit), uart.transmit)
        wiring.connect(m, wiring.flipped(self.rates), uart.rates)

        cycles_a_tick = max(2, self._site.clock_hz // TICKS_PER_S)
        cycle = Signal(range(cycles_a_tick))
        tick = Signal()
        ticks = Signal(range(TICKS_PER_S))
        m.d.sync += [cycle.eq(cycle + 1), tick.eq(cycle == cycles_a_tick - 2), ticks.eq(ticks + tick)]
        with m.If(tick):
            m.d.sync += cycle.eq(0)
        eighth, second = tick & ticks[:-3].all(), tick & ticks.all()
        m.d.comb += [
            uart.rx_pin.eq(self.rx_pin),
            self.tx_pin.eq(uart.tx_pin),
            uart.good_frame.eq(self.good_frame),
            uart.tick.eq(tick),
            self.leds.alive.eq(~ticks[-1]),
            self.leds.error.eq(_stretched(m, self.bad_frame | uart.error, second)),
            self.leds.link.eq(_stretched(m, self.good_frame, eighth)),
            self.leds.working.eq(_stretched(m, self.working, eighth)),
        ]
        return m


def _stretched(m: Module, event: Value, beat: Value) -> Value:
    """High from the cycle after an event on, for one to two beats."""
    now, before = Signal(name="now"), Signal(name="before")
    with m.If(beat):
        m.d.sync += [before.eq(now), now.eq(0)]
    with m.If(event):
        m.d.sync += now.eq(1)
    return now | before
