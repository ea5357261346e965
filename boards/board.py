"""What tritloom knows of a board: numbers and names only, so that listing boards costs nothing. Amaranth is imported by the factory alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from tritloom.boards.pll import Pll, find_pll
from tritloom.host.negotiation import candidates
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import START_BAUD, Site

if TYPE_CHECKING:
    from amaranth.build import Platform

__all__ = ["Board", "Capacity", "Flasher", "Pin"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a part has.

    Parameters
    ----------
    lut4, ff : int
        Four-input tables and flip-flops.
    block_rams, block_ram_bits : int
        Block RAMs, and the bits of one that a power-of-two width uses.
    sprams : int
        Single-ported memories of 16,384 x 16 bits (UP5K).
    """

    lut4: int
    ff: int
    block_rams: int
    block_ram_bits: int
    sprams: int = 0


@dataclass(frozen=True, kw_only=True)
class Flasher:
    """How the bitstream gets into the board.

    Parameters
    ----------
    tool : str
        The program's name.
    flash : tuple of str
        Its arguments, the file excluded, to write the memory that the board starts from.
    ram : tuple of str, optional
        The same to load the FPGA only, until the power goes; None if this board can't.
    """

    tool: str
    flash: tuple[str, ...] = ()
    ram: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A pin as amaranth-boards or the board's factory names it: ``Pin(name="led", number=3)``, ``Pin(name="esp32", part="gpio0")``."""

    name: str
    number: int = 0
    part: str = ""


@dataclass(frozen=True, kw_only=True)
class Board:
    """One board.

    Parameters
    ----------
    name : str
        As in ``tritloom build NAME``; the device tells it in its IDENTITY.
    title : str
        What to buy.
    part : str
        The FPGA.
    family : Family
    platform : callable
        Makes the Amaranth platform. It imports amaranth-boards.
    clock : str
        Resource of the oscillator.
    input_hz, clock_hz : int
        Clock of the oscillator, and of the core, in hertz.
    geometry : Geometry
        What is built unless something else is asked for.
    max_baud : int
        Fastest rate that the board's USB bridge takes, in baud.
    capacity : Capacity
    flasher : Flasher
    place_options, pack_options : tuple of str
        What nextpnr and the packer have to be told of the part.
    leds : tuple of Pin
        In the order of `Device.leds`: what the board has no light for is not shown.
    button : Pin
        Resets the device.
    high : tuple of Pin
        Outputs that have to be high.
    margin : float
        The constraint is the clock times this: more than 1 where the timing model is known to be optimistic.
    seeds : int
        Seeds that place-and-route may try.
    timing_met : bool
        This very geometry and clock were built, and met timing. A board without that is a definition, and not supported yet.
    """

    name: str
    title: str
    part: str
    family: Family
    platform: Callable[[], Platform]
    clock: str
    input_hz: int
    clock_hz: int
    geometry: Geometry
    max_baud: int
    capacity: Capacity
    flasher: Flasher
    place_options: tuple[str, ...]
    leds: tuple[Pin, ...]
    button: Pin
    high: tuple[Pin, ...] = ()
    pack_options: tuple[str, ...] = ()
    margin: float = 1.0
    seeds: int = 8
    timing_met: bool = False

    @cached_property
    def pll(self) -> Pll:
        """The setting that makes `clock_hz`."""
        return find_pll(self.family, self.input_hz, self.clock_hz)

    @property
    def site(self) -> Site:
        """What the core tells of this board."""
        return Site(board=self.name, clock_hz=self.pll.output_hz, baud=START_BAUD, max_baud=self.max_baud)

    @property
    def baud(self) -> float:
        """The rate that a host settles on with this board, in baud."""
        return self.pll.output_hz / candidates(self.pll.output_hz, self.max_baud)[0].divisor

    @property
    def constraint_mhz(self) -> float:
        """What place-and-route has to reach, in MHz."""
        return self.clock_hz * self.margin / 1e6

    @property
    def peak_gmacs(self) -> float:
        """Ternary multiply-accumulates a second with all rows at work, in billions."""
        return self.peak_gmacs_of(self.geometry)

    def peak_gmacs_of(self, geometry: Geometry) -> float:
        """The same with another geometry."""
        return geometry.lanes_total * self.clock_hz / 1e9
