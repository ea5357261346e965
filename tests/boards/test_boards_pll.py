"""PLL settings, against the data sheets' limits and against the settings that the vendors' own calculators give."""

from __future__ import annotations

import random
from fractions import Fraction

import pytest

from tritloom.boards.pll import Ecp5Pll, GowinPll, Ice40Pll, PllError, find_pll
from tritloom.rtl.family import Family

_MHZ = 1_000_000


def test_ice40() -> None:
    """icepll -i 12 -o 48: DIVR 0, DIVF 63, DIVQ 4, FILTER_RANGE 1, VCO 768 MHz."""
    pll = find_pll(Family.ICE40, 12 * _MHZ, 48 * _MHZ)
    assert pll == Ice40Pll(input_hz=12 * _MHZ, divr=0, divf=63, divq=4)
    assert (pll.filter_range, pll.vco, pll.output_hz) == (1, 768 * _MHZ, 48 * _MHZ)


def test_ecp5() -> None:
    """ecppll -i 25 -o 80: dividers 5, 16 and 7, VCO 560 MHz."""
    pll = find_pll(Family.ECP5, 25 * _MHZ, 80 * _MHZ)
    assert pll == Ecp5Pll(input_hz=25 * _MHZ, clki_div=5, clkfb_div=16, clkop_div=7)
    assert (pll.vco, pll.output_hz) == (560 * _MHZ, 80 * _MHZ)


def test_gowin() -> None:
    """gowin_pll -i 27 -o 60: IDIV_SEL 8, FBDIV_SEL 19; its ODIV_SEL of 8 (480 MHz) is below what a GW2A takes, so 16 (960 MHz)."""
    pll = find_pll(Family.GOWIN, 27 * _MHZ, 60 * _MHZ)
    assert pll == GowinPll(input_hz=27 * _MHZ, idiv=8, fbdiv=19, odiv=16)
    assert (pll.vco, pll.output_hz) == (960 * _MHZ, 60 * _MHZ)


def test_the_filter_follows_the_phase_detector() -> None:
    """Where icepll changes it."""
    ranges = [Ice40Pll(input_hz=mhz * _MHZ, divr=0, divf=15, divq=3).filter_range for mhz in (16, 17, 25, 26, 43, 44, 65, 66, 100, 101, 133)]
    assert ranges == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


#: (detector, oscillator, output) in MHz.
_LIMITS = {
    Family.ICE40: ((10, 133), (533, 1066), (16, 275)),
    Family.ECP5: ((3.125, 400), (400, 800), (3.125, 400)),
    Family.GOWIN: ((3, 400), (500, 1200), (3.90625, 600)),
}


@pytest.mark.parametrize("family", _LIMITS)
def test_nothing_leaves_the_data_sheets_limits(family: Family) -> None:
    """Whatever is asked for: a setting within all limits and half a percent, never too fast, or an error."""
    seed = 20
    numbers = random.Random(seed)
    found = 0
    for _ in range(60):
        input_hz, output_hz = numbers.randrange(4, 140) * 500_000, numbers.randrange(1, 800) * 500_000
        where = f"seed {seed}: {family.value}, {input_hz} to {output_hz} Hz"
        try:
            pll = find_pll(family, input_hz, output_hz)
        except PllError:
            continue
        found += 1
        assert Fraction(995, 1000) * output_hz <= pll.output <= output_hz, where
        for value, (low, high) in zip((pll.detector, pll.vco, pll.output), _LIMITS[family], strict=True):
            assert low * _MHZ <= value <= high * _MHZ, f"{where}: {pll}"
    assert found >= 10


@pytest.mark.parametrize("family, input_mhz, output_mhz", [
    (Family.ICE40, 5, 48), (Family.ICE40, 12, 300), (Family.ECP5, 1, 80), (Family.ECP5, 25, 500), (Family.GOWIN, 27, 64), (Family.GOWIN, 2, 60),
])
def test_what_cannot_be_made(family: Family, input_mhz: int, output_mhz: int) -> None:
    with pytest.raises(PllError) as failure:
        find_pll(family, input_mhz * _MHZ, output_mhz * _MHZ)
    assert str(failure.value) == f"the PLL of {family.value} makes no clock of {output_mhz} MHz from one of {input_mhz} MHz"


def test_a_family_without_one() -> None:
    with pytest.raises(PllError, match="a PLL needs one of the families ecp5, ice40 and gowin, not generic"):
        find_pll(Family.GENERIC, 12 * _MHZ, 48 * _MHZ)
