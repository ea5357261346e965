"""What a model is planned for: a board, or an array that nobody has built."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite

from tritloom.boards.board import Board
from tritloom.host.errors import UsageError
from tritloom.host.trits import PACKINGS
from tritloom.rtl.geometry import Geometry

__all__ = ["Machine"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """An array, its clock, and the ways to it.

    Parameters
    ----------
    geometry : Geometry
    clock_hz : float
        In hertz.
    baud : float or None
        Symbols a second of the UART to the host; None for a link that takes and gives a byte in every cycle.
    bandwidth : float or None
        Bytes a second of a memory of its own, from which come the weights that do not stay in the weight store; None if the host streams them.
    packing : str
        How that memory holds them: ``"2bit"``, or ``"base3"`` with a decoder that the gateware does not have.
    board : Board or None
        If it is one.

    Raises
    ------
    UsageError
        If the clock or the bandwidth is no positive number.
    """

    geometry: Geometry
    clock_hz: float
    baud: float | None = None
    bandwidth: float | None = None
    packing: str = "2bit"
    board: Board | None = None

    def __post_init__(self) -> None:
        for name, value, unit in (("clock", self.clock_hz, "hertz"), ("bandwidth", self.bandwidth, "bytes a second")):
            if value is not None and not (isfinite(value) and value > 0):
                raise UsageError(f"the {name} must be a positive number of {unit}, not {value:g}")
        if self.packing not in PACKINGS:
            raise UsageError(f"`packing` must be {' or '.join(PACKINGS)}, not {self.packing!r}")

    @classmethod
    def of(cls, board: Board, *, bandwidth: float | None = None, packing: str = "2bit") -> Machine:
        """A board, with its own geometry, clock and UART; and a memory that it would get, if a bandwidth is given."""
        return cls(geometry=board.geometry, clock_hz=board.pll.output_hz, baud=board.baud, bandwidth=bandwidth, packing=packing, board=board)

    @property
    def name(self) -> str:
        """The board's, or the geometry's numbers."""
        return self.board.name if self.board else str(self.geometry)

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of weights in the memory."""
        return ceil(self.geometry.cols * self.geometry.lanes / PACKINGS[self.packing].per_byte)

    def __str__(self) -> str:
        text = f"{self.geometry} at {self.clock_hz / 1e6:g} MHz"
        text += f", {self.baud / 1e6:.3g} Mbaud" if self.baud else ", a byte a cycle"
        return f"{text}, weights at {self.bandwidth / 1e9:.4g} GB/s" if self.bandwidth else text
