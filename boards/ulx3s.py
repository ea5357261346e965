"""ULX3S: an ECP5 of three sizes, weights in block RAM, and an FT231X with 3 Mbaud."""

from functools import partial

from tritloom.boards.board import Board, Capacity, Flasher, Pin
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["BOARDS"]

#: Size: LUT4, block RAMs of 18 kbit, geometry.
_SIZES = {
    "25f": (24288, 56, Geometry(rows=4, cols=8, lanes=16, weight_words=2048)),
    "45f": (43848, 108, Geometry(rows=4, cols=8, lanes=16, weight_words=4352)),
    # `nano` takes 3,924 words, so the streaming window is smaller than elsewhere. More words would want a multiplexer behind the block RAMs.
    "85f": (83640, 208, Geometry(rows=8, cols=8, lanes=16, weight_words=4096, stream_words=128)),
}


def _platform(size: str):
    from amaranth_boards import ulx3s

    return getattr(ulx3s, f"ULX3S_{size.upper()}_Platform")()


BOARDS = tuple(Board(
    name=f"ulx3s_{size}",
    title=f"ULX3S {size.upper()}{' or 12F' if size == '25f' else ''}",
    part=f"LFE5U-{size.upper()}",
    family=Family.ECP5,
    platform=partial(_platform, size),
    clock="clk25",
    input_hz=25_000_000,
    clock_hz=80_000_000,
    geometry=geometry,
    max_baud=3_000_000,    # FT231X
    capacity=Capacity(lut4=lut4, ff=lut4, block_rams=block_rams, block_ram_bits=16384),
    flasher=Flasher(tool="openFPGALoader", flash=("-b", "ulx3s", "-f"), ram=("-b", "ulx3s")),
    place_options=(f"--{size[:-1]}k", "--package", "CABGA381", "--speed", "6"),
    pack_options=("--compress",),
    leds=tuple(Pin(name="led", number=number) for number in range(8)),
    button=Pin(name="button_fire"),
    # The ESP32's boot pin: low while the board starts, it would stay in its loader and hold the bus of the SD card and the JTAG pins.
    high=(Pin(name="esp32", part="gpio0"),),
    timing_met=size == "85f",
) for size, (lut4, block_rams, geometry) in _SIZES.items())
