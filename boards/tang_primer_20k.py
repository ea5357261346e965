"""Tang Primer 20K on its Dock: a GW2A-18, and a BL702 on the Dock as its USB bridge."""

from tritloom.boards.board import Board, Capacity, Flasher, Pin
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["BOARDS"]


def _platform():
    from amaranth.build import Attrs, PinsN, Resource
    from amaranth_boards.tang_primer_20k import TangPrimer20kDockPlatform

    platform = TangPrimer20kDockPlatform()
    # Without its pull-up the button would float, and the device stay in reset.
    platform.add_resources([Resource("reset_button", 0, PinsN("T10", dir="i"), Attrs(IO_TYPE="LVCMOS33", PULL_MODE="UP"))])
    return platform


BOARDS = (Board(
    name="tang_primer_20k",
    title="Tang Primer 20K, Dock",
    part="GW2A-18C",
    family=Family.GOWIN,
    platform=_platform,
    clock="clk27",
    input_hz=27_000_000,
    clock_hz=54_000_000,
    geometry=Geometry(rows=4, cols=4, lanes=16, weight_words=2048),
    max_baud=2_000_000,    # BL702; see tang_nano_9k
    capacity=Capacity(lut4=20736, ff=15552, block_rams=46, block_ram_bits=16384),
    flasher=Flasher(tool="openFPGALoader", flash=("-b", "tangprimer20k", "-f"), ram=("-b", "tangprimer20k")),
    place_options=("--device", "GW2A-LV18PG256C8/I7", "--vopt", "family=GW2A-18C"),
    pack_options=("-d", "GW2A-18C", "--sspi_as_gpio", "--mspi_as_gpio", "--ready_as_gpio", "--done_as_gpio"),
    leds=tuple(Pin(name="led", number=number) for number in range(6)),
    button=Pin(name="reset_button"),
    margin=1.2,    # nextpnr's timing of Gowin parts is known to be optimistic
),)
