"""Which serial ports may lead to a board, and to which, from what their USB descriptors say. Nothing is sent to them."""

from __future__ import annotations

from typing import Protocol

__all__ = ["UsbPort", "describe", "is_link"]


class UsbPort(Protocol):
    """What pyserial's `ListPortInfo` has of a port; None where it is not known."""

    device: str
    vid: int | None
    pid: int | None
    location: str | None
    manufacturer: str | None
    product: str | None


#: Two channels, the first of which programs the FPGA. Sipeed's BL702 pretends to be one.
_FT2232H = 0x0403, 0x6010
_FT231X = 0x0403, 0x6015

#: Words in a descriptor's texts (manufacturer and product, in small letters), the first that occurs, and the board that has them.
_WORDS = (
    ("icebreaker", "icebreaker"),
    ("icepi", "icepi_zero"),
    ("ulx3s", "ulx3s"),
    ("sipeed", "tang_nano_9k or tang_primer_20k"),
)

#: Boards by their bridge, where the texts are the chip's own.
_BRIDGES = {_FT2232H: "icebreaker, tang_nano_9k or tang_primer_20k", _FT231X: "ulx3s or icepi_zero"}

#: In the ULX3S' text, and the name of that size.
_ULX3S_SIZES = {"12k": "ulx3s_25f", "25k": "ulx3s_25f", "45k": "ulx3s_45f", "85k": "ulx3s_85f"}


def is_link(port: UsbPort) -> bool:
    """Whether a board's UART may be behind a port: a USB device, and not the channel of a bridge that is wired to the FPGA's JTAG or SPI."""
    if port.vid is None:
        return False
    first_channel = (port.location or "").endswith(":1.0")
    return not (first_channel and (port.vid, port.pid) == _FT2232H)


def describe(port: UsbPort) -> tuple[str, str]:
    """What a USB port says of itself, and the board that it plausibly is, "" if that cannot be told."""
    told = [text for text in (port.manufacturer, port.product) if text]
    text = " ".join(told).lower()
    board = next((board for word, board in _WORDS if word in text), _BRIDGES.get((port.vid, port.pid), ""))
    if board == "ulx3s":
        board = next((name for size, name in _ULX3S_SIZES.items() if size in text), board)
    return f"{', '.join(told) or 'USB serial port'} ({port.vid:04x}:{port.pid:04x})", board
