"""A board's top: clock, reset and pins around the `Device`. The only place where clock domains meet."""

from math import ceil

from amaranth import *
from amaranth.lib import io
from amaranth.lib.cdc import FFSynchronizer

from tritloom.boards.board import Board, Pin
from tritloom.boards.pll import Ecp5Pll, GowinPll, Ice40Pll
from tritloom.rtl.device import Device
from tritloom.rtl.geometry import Geometry

__all__ = ["Top"]

#: Reset after the PLL's lock and after the button, in seconds: iCE40's block RAMs read as zeros for up to 15 us after configuration.
_RESET_S = 20e-6


class Top(Elaboratable):
    """What is built for a board.

    The core's clock comes from the PLL. It is in reset until the PLL has been locked, and the button up, for 20 us; a PLL that
    loses its lock, or a press of the button, starts that again.

    Parameters
    ----------
    board : Board
    geometry : Geometry
    """

    def __init__(self, board: Board, geometry: Geometry):
        self._board = board
        self._geometry = geometry

    def elaborate(self, platform):
        m = Module()
        board = self._board

        # Named, and not assigned as part of a tuple: nextpnr's reports and constraints go by this name.
        core_clk = Signal(name="core_clk")
        locked = Signal()
        m.submodules.pll = _pll(m, platform, board, core_clk, locked)

        m.domains.sync = sync = ClockDomain()
        m.domains.por = por = ClockDomain(reset_less=True, local=True)
        sync.clk = por.clk = core_clk

        m.submodules.button = button = io.Buffer("i", _port(platform, board.button))
        steady = Signal()
        m.submodules.steady = FFSynchronizer(locked & ~button.i, steady, o_domain="por")
        cycles = Signal(range(ceil(_RESET_S * board.clock_hz)))
        reset = Signal(init=1)
        m.d.por += reset.eq(~cycles.all())
        with m.If(~steady):
            m.d.por += cycles.eq(0)
        with m.Elif(~cycles.all()):
            m.d.por += cycles.eq(cycles + 1)
        m.d.comb += ResetSignal("sync").eq(reset)

        m.submodules.device = device = Device(self._geometry, board.site)
        uart = platform.request("uart", dir="-")
        m.submodules.rx = rx = io.Buffer("i", uart.rx)
        m.submodules.tx = tx = io.Buffer("o", uart.tx)
        m.d.comb += [device.rx_pin.eq(rx.i), tx.o.eq(device.tx_pin)]

        for index, (pin, light) in enumerate(zip(board.leds, device.leds.as_value(), strict=False)):
            m.submodules[f"led{index}"] = led = io.Buffer("o", _port(platform, pin))
            m.d.comb += led.o.eq(light)
        for index, pin in enumerate(board.high):
            m.submodules[f"high{index}"] = high = io.Buffer("o", _port(platform, pin))
            m.d.comb += high.o.eq(1)
        return m


def _port(platform, pin: Pin) -> io.PortLike:
    port = platform.request(pin.name, pin.number, dir="-")
    return getattr(port, pin.part) if pin.part else port


def _pll(m: Module, platform, board: Board, core_clk: Signal, locked: Signal) -> Instance:
    pll = board.pll
    port = platform.request(board.clock, dir="-")
    if isinstance(pll, Ice40Pll):
        return Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=Const(pll.divr, 4), p_DIVF=Const(pll.divf, 7), p_DIVQ=Const(pll.divq, 3), p_FILTER_RANGE=Const(pll.filter_range, 3),
            i_PACKAGEPIN=port.io, i_RESETB=Const(1), i_BYPASS=Const(0),
            o_PLLOUTGLOBAL=core_clk, o_LOCK=locked,
        )
    m.submodules.oscillator = oscillator = io.Buffer("i", port)
    oscillator_clk = Signal(name="oscillator_clk")
    m.d.comb += oscillator_clk.eq(oscillator.i)
    platform.add_clock_constraint(oscillator_clk, board.input_hz)
    if isinstance(pll, Ecp5Pll):
        return Instance(
            "EHXPLLL",
            # Charge pump and loop filter as Project Trellis' ecppll sets them for every frequency.
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8", a_MFG_ENABLE_FILTEROPAMP="1", a_MFG_GMCREF_SEL="2",
            a_FREQUENCY_PIN_CLKI=f"{board.input_hz / 1e6:g}", a_FREQUENCY_PIN_CLKOP=f"{pll.output_hz / 1e6:g}",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED", p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA", p_CLKOP_ENABLE="ENABLED", p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=pll.clki_div, p_CLKFB_DIV=pll.clkfb_div, p_CLKOP_DIV=pll.clkop_div,
            p_CLKOP_CPHASE=pll.clkop_div // 2, p_CLKOP_FPHASE=0,
            i_CLKI=oscillator_clk, i_CLKFB=core_clk, i_RST=Const(0), i_STDBY=Const(0), i_PLLWAKESYNC=Const(0), i_ENCLKOP=Const(0),
            i_PHASESEL0=Const(0), i_PHASESEL1=Const(0), i_PHASEDIR=Const(1), i_PHASESTEP=Const(1), i_PHASELOADREG=Const(1),
            o_CLKOP=core_clk, o_LOCK=locked,
        )
    assert isinstance(pll, GowinPll)
    return Instance(
        "rPLL",
        p_DEVICE=platform.family, p_FCLKIN=f"{board.input_hz / 1e6:g}",
        p_IDIV_SEL=pll.idiv, p_FBDIV_SEL=pll.fbdiv, p_ODIV_SEL=pll.odiv,
        p_DYN_IDIV_SEL="false", p_DYN_FBDIV_SEL="false", p_DYN_ODIV_SEL="false", p_DYN_SDIV_SEL=2, p_DYN_DA_EN="false",
        p_PSDA_SEL="0000", p_DUTYDA_SEL="1000", p_CLKFB_SEL="internal",
        p_CLKOUT_FT_DIR=Const(1, 1), p_CLKOUTP_FT_DIR=Const(1, 1), p_CLKOUT_DLY_STEP=0, p_CLKOUTP_DLY_STEP=0,
        p_CLKOUT_BYPASS="false", p_CLKOUTP_BYPASS="false", p_CLKOUTD_BYPASS="false", p_CLKOUTD_SRC="CLKOUT", p_CLKOUTD3_SRC="CLKOUT",
        i_CLKIN=oscillator_clk, i_CLKFB=Const(0), i_RESET=Const(0), i_RESET_P=Const(0),
        i_FBDSEL=Const(0, 6), i_IDSEL=Const(0, 6), i_ODSEL=Const(0, 6), i_PSDA=Const(0, 4), i_DUTYDA=Const(0, 4), i_FDLY=Const(0, 4),
        o_CLKOUT=core_clk, o_LOCK=locked,
    )
