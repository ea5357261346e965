"""The dividers of each family's PLL, from the clock of the board and the clock that the core wants. Standard library only.

Every result was checked against the ranges of the data sheet: a PLL outside them may lock on the desk and not on a warm day.
"""

from dataclasses import dataclass
from fractions import Fraction

from tritloom.rtl.family import Family

__all__ = ["Ecp5Pll", "GowinPll", "Ice40Pll", "Pll", "PllError", "find_pll"]

_MHZ = 1_000_000


class PllError(ValueError):
    """No setting of this PLL makes that clock."""


@dataclass(frozen=True, kw_only=True)
class Pll:
    """What all of them have.

    Parameters
    ----------
    input_hz : int
        Clock of the board in hertz.
    """

    input_hz: int

    @property
    def output(self) -> Fraction:
        """Clock of the core in hertz, exactly."""
        raise NotImplementedError

    @property
    def vco(self) -> Fraction:
        """Clock of the oscillator inside in hertz."""
        raise NotImplementedError

    @property
    def output_hz(self) -> int:
        """Clock of the core in whole hertz."""
        return round(self.output)


@dataclass(frozen=True, kw_only=True)
class Ice40Pll(Pll):
    """SB_PLL40 with its simple feedback: ``output = input / (divr + 1) * (divf + 1) / 2**divq``.

    Ranges are those of Lattice's FPGA-TN-02052: input and phase detector 10 to 133 MHz, oscillator 533 to 1,066 MHz, output 16 to 275 MHz.
    """

    divr: int
    divf: int
    divq: int

    @property
    def detector(self) -> Fraction:
        """Clock of the phase detector in hertz."""
        return Fraction(self.input_hz, self.divr + 1)

    @property
    def vco(self) -> Fraction:
        return self.detector * (self.divf + 1)

    @property
    def output(self) -> Fraction:
        return self.vco / (1 << self.divq)

    @property
    def filter_range(self) -> int:
        """FILTER_RANGE that belongs to the phase detector's clock: the table of IceStorm's icepll."""
        limits = (17, 26, 44, 66, 101)
        return 1 + sum(self.detector >= limit * _MHZ for limit in limits)


@dataclass(frozen=True, kw_only=True)
class Ecp5Pll(Pll):
    """EHXPLLL with its feedback from CLKOP: ``output = input / clki_div * clkfb_div``.

    Ranges are those of Lattice's FPGA-DS-02012: input 8 to 400 MHz, phase detector from 3.125 MHz, oscillator 400 to 800 MHz, output up to
    400 MHz.
    """

    clki_div: int
    clkfb_div: int
    clkop_div: int

    @property
    def detector(self) -> Fraction:
        """Clock of the phase detector in hertz."""
        return Fraction(self.input_hz, self.clki_div)

    @property
    def vco(self) -> Fraction:
        return self.output * self.clkop_div

    @property
    def output(self) -> Fraction:
        return self.detector * self.clkfb_div


@dataclass(frozen=True, kw_only=True)
class GowinPll(Pll):
    """rPLL: ``output = input / (idiv + 1) * (fbdiv + 1)``, with an oscillator `odiv` times as fast.

    Ranges are those of Gowin's DS117 (GW1NR, speed C6/I5): phase detector 3 to 400 MHz, oscillator 400 to 1,200 MHz, output 3.125 to
    600 MHz. GW2A (DS102, C8/I7) has 3 to 500, 500 to 1,250 and 3.90625 to 625 MHz. What is used here lies within both.
    """

    idiv: int
    fbdiv: int
    odiv: int

    @property
    def detector(self) -> Fraction:
        """Clock of the phase detector in hertz."""
        return Fraction(self.input_hz, self.idiv + 1)

    @property
    def vco(self) -> Fraction:
        return self.output * self.odiv

    @property
    def output(self) -> Fraction:
        return self.detector * (self.fbdiv + 1)


def find_pll(family: Family, input_hz: int, output_hz: int) -> Pll:
    """The setting that comes nearest to a clock without being faster; of equal ones that with the fastest phase detector (least jitter),
    then that whose oscillator is nearest to the middle of its range.

    Parameters
    ----------
    family : Family
    input_hz, output_hz : int
        Clock there is, and clock wanted, in hertz.

    Raises
    ------
    PllError
        If no setting is within half a percent, or the family has no PLL.
    """
    search = {Family.ICE40: _ice40, Family.ECP5: _ecp5, Family.GOWIN: _gowin}.get(family)
    if search is None:
        raise PllError(f"a PLL needs one of the families ecp5, ice40 and gowin, not {family.value}")
    usable = search(input_hz, Fraction(output_hz) * Fraction(995, 1000), Fraction(output_hz))
    if not usable:
        raise PllError(f"the PLL of {family.value} makes no clock of {output_hz / _MHZ:g} MHz from one of {input_hz / _MHZ:g} MHz")
    middle = {Family.ICE40: 800, Family.ECP5: 600, Family.GOWIN: 850}[family] * _MHZ
    return max(usable, key=lambda pll: (pll.output, pll.detector, -abs(pll.vco - middle)))


def _ice40(input_hz: int, least: Fraction, most: Fraction) -> list[Ice40Pll]:
    if not 10 * _MHZ <= input_hz <= 133 * _MHZ or not 16 * _MHZ <= most <= 275 * _MHZ:
        return []
    return [pll for divr in range(16) if 10 * _MHZ <= Fraction(input_hz, divr + 1)
            for divf in range(64) for divq in range(1, 7)
            if least <= (pll := Ice40Pll(input_hz=input_hz, divr=divr, divf=divf, divq=divq)).output <= most
            and 533 * _MHZ <= pll.vco <= 1066 * _MHZ]


def _ecp5(input_hz: int, least: Fraction, most: Fraction) -> list[Ecp5Pll]:
    if not 8 * _MHZ <= input_hz <= 400 * _MHZ or most > 400 * _MHZ:
        return []
    ratios = ((clki, clkfb) for clki in range(1, 129) if 3_125_000 <= Fraction(input_hz, clki)
              for clkfb in range(1, 81) if least <= Fraction(input_hz * clkfb, clki) <= most)
    return [pll for clki, clkfb in ratios for clkop in range(1, 129)
            if 400 * _MHZ <= (pll := Ecp5Pll(input_hz=input_hz, clki_div=clki, clkfb_div=clkfb, clkop_div=clkop)).vco <= 800 * _MHZ]


def _gowin(input_hz: int, least: Fraction, most: Fraction) -> list[GowinPll]:
    if not 3_906_250 <= most <= 600 * _MHZ:
        return []
    ratios = ((idiv, fbdiv) for idiv in range(64) if 3 * _MHZ <= Fraction(input_hz, idiv + 1) <= 400 * _MHZ
              for fbdiv in range(64) if least <= Fraction(input_hz * (fbdiv + 1), idiv + 1) <= most)
    return [pll for idiv, fbdiv in ratios for odiv in (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)
            if 500 * _MHZ <= (pll := GowinPll(input_hz=input_hz, idiv=idiv, fbdiv=fbdiv, odiv=odiv)).vco <= 1200 * _MHZ]
