"""iCEBreaker: an iCE40UP5K, whose four SPRAMs hold 64 bits of weights a cycle, and an FT2232H with 12 Mbaud."""

from tritloom.boards.board import Board, Capacity, Flasher, Pin
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["BOARDS"]


def _platform():
    from amaranth_boards.icebreaker import ICEBreakerPlatform

    return ICEBreakerPlatform()


BOARDS = (Board(
    name="icebreaker",
    title="iCEBreaker",
    part="iCE40UP5K",
    family=Family.ICE40,
    platform=_platform,
    clock="clk12",
    input_hz=12_000_000,
    clock_hz=45_000_000,    # what seeds find; at 48 MHz, four cycles a bit would be the bridge's 12 Mbaud
    # 32 lanes because the SPRAMs give 64 bits a cycle; 16,384 words are all of them.
    geometry=Geometry(rows=1, cols=2, lanes=16, depth=2048, weight_words=16384),
    max_baud=3_000_000,    # FT2232H, which makes 12 MHz over 1, 1.5, 2, 2.125, ...: of these, 15 cycles of the core meet this one exactly
    capacity=Capacity(lut4=5280, ff=5280, block_rams=30, block_ram_bits=4096, sprams=4),
    flasher=Flasher(tool="iceprog"),
    place_options=("--up5k", "--package", "sg48"),
    leds=(Pin(name="led_g"), Pin(name="led_r")),
    button=Pin(name="button"),
    timing_met=True,
),)
