"""Icepi Zero: an ECP5-25F in the shape of a Raspberry Pi Zero, with an FT231X."""

from tritloom.boards.board import Board, Capacity, Flasher, Pin
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["BOARDS"]


def _platform():
    from amaranth_boards.icepi_zero import IcepiZero1_3Platform

    return IcepiZero1_3Platform()


BOARDS = (Board(
    name="icepi_zero",
    title="Icepi Zero",
    part="LFE5U-25F",
    family=Family.ECP5,
    platform=_platform,
    clock="clk50",
    input_hz=50_000_000,
    clock_hz=80_000_000,
    geometry=Geometry(rows=4, cols=8, lanes=16, weight_words=2048),
    max_baud=3_000_000,    # FT231X
    capacity=Capacity(lut4=24288, ff=24288, block_rams=56, block_ram_bits=16384),
    flasher=Flasher(tool="openFPGALoader", flash=("-b", "icepi-zero", "-f"), ram=("-b", "icepi-zero")),
    place_options=("--25k", "--package", "CABGA256", "--speed", "6"),
    pack_options=("--compress",),
    leds=tuple(Pin(name="led", number=number) for number in range(5)),
    button=Pin(name="button"),
),)
