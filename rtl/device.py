"""The device: what a board wraps with pins, a clock and a reset, and what the virtual board simulates."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .core import Core
from .front import Front, Leds
from .geometry import Geometry
from .site import Site
from .uart import start_divisor

__all__ = ["Device"]


class Device(wiring.Component):
    """The core and its front, connected.

    A reset brings the UART back to its start rate and makes the core forget its jobs and its owner. Memories keep what they hold, but nobody
    relies on that: a host finds that the device is no longer its own, says so, and has to load its weights again.

    Parameters
    ----------
    geometry : Geometry
    site : Site
        With a rate.

    Members
    -------
    rx_pin, tx_pin : In(1, init=1), Out(1, init=1)
        The serial line, 8N1, idle high; `rx_pin` needs no synchroniser in front.
    leds : Out(Leds)
        Lights, high is on; those of events stay on for 1/8 s at least, so that the eye sees them.

    Raises
    ------
    ValueError
        If the site has no rate, or one that its clock cannot make (see `start_divisor`).
    """

    def __init__(self, geometry: Geometry, site: Site):
        start_divisor(site)
        self._geometry = geometry
        self._site = site
        super().__init__({
            "rx_pin": In(1, init=1),
            "tx_pin": Out(1, init=1),
            "leds":   Out(Leds),
        })

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @property
    def site(self) -> Site:
        return self._site

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = Core(self._geometry, self._site)
        m.submodules.front = front = Front(self._site)
        # sim/harness_board.cpp makes the same connections; a test compares the two cycle by cycle.
        wiring.connect(m, front.received, core.rx)
        wiring.connect(m, core.tx, front.transmit)
        wiring.connect(m, core.rates, front.rates)
        m.d.comb += [
            front.good_frame.eq(core.good_frame),
            front.bad_frame.eq(core.bad_frame),
            front.working.eq(core.working),
            front.rx_pin.eq(self.rx_pin),
            self.tx_pin.eq(front.tx_pin),
            self.leds.eq(front.leds),
        ]
        return m
