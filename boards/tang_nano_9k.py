"""Tang Nano 9K: a GW1NR-9, small and cheap; a BL702 as its USB bridge."""

from tritloom.boards.board import Board, Capacity, Flasher, Pin
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["BOARDS"]


def _platform():
    from amaranth.build import Attrs, PinsN, Resource
    from amaranth_boards.tang_nano_9k import TangNano9kPlatform

    platform = TangNano9kPlatform()
    # Lights and buttons are on bank 3, which has 1.8 V. Without its pull-up the button would float, and the device stay in reset.
    platform.add_resources([
        *(Resource("light", number, PinsN(pin, dir="o"), Attrs(IO_TYPE="LVCMOS18"))
          for number, pin in enumerate("10 11 13 14 15 16".split())),
        Resource("reset_button", 0, PinsN("3", dir="i"), Attrs(IO_TYPE="LVCMOS18", PULL_MODE="UP")),
    ])
    return platform


BOARDS = (Board(
    name="tang_nano_9k",
    title="Tang Nano 9K",
    part="GW1NR-9C",
    family=Family.GOWIN,
    platform=_platform,
    clock="clk27",
    input_hz=27_000_000,
    clock_hz=60_000_000,
    geometry=Geometry(rows=2, cols=4, lanes=16, weight_words=1024),
    max_baud=2_000_000,    # its BL702 was reported to do 3 Mbaud (sipeed/TangNano-9K-example, issue 7), and to lose bytes with some hosts
    capacity=Capacity(lut4=8640, ff=6480, block_rams=26, block_ram_bits=16384),
    flasher=Flasher(tool="openFPGALoader", flash=("-b", "tangnano9k", "-f"), ram=("-b", "tangnano9k")),
    place_options=("--device", "GW1NR-LV9QN88PC6/I5", "--vopt", "family=GW1N-9C"),
    pack_options=("-d", "GW1N-9C", "--sspi_as_gpio", "--mspi_as_gpio"),
    leds=tuple(Pin(name="light", number=number) for number in range(6)),
    button=Pin(name="reset_button"),
    timing_met=True,
    margin=1.2,    # nextpnr's timing of Gowin parts is known to be optimistic
),)
