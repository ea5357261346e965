"""Where a core sits: what it tells of itself in the IDENTITY beside its geometry. Standard library only."""

from dataclasses import dataclass

from .wire import LEAST_DIVISOR

__all__ = ["START_BAUD", "Site"]

#: Rate of every board's UART after a reset, in baud, and the one at which every host begins. All USB bridges, all operating systems and all
#: clocks can do it: an FT2232H, an FT231X, a BL702, a CH340 or a CP2102 alike, and 10 MHz or more within half a percent.
START_BAUD = 115_200

_NAME_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Site:
    """A board, seen from the core. The default is no board at all: a simulation whose link has no rate.

    Parameters
    ----------
    board : str
        Name of the board as `tritloom boards` lists it, at most 16 ASCII characters; "" if it is none.
    clock_hz : int
        Clock of the core in hertz, 0 if there is none to speak of.
    baud : int
        Rate of the UART after a reset, in baud; 0 if the link has no rate.
    max_baud : int
        Fastest rate that the way to the host takes, in baud; 0 if the link has no rate.

    Raises
    ------
    ValueError
        If a name is too long, or a rate is too fast for the clock.
    """

    board: str = ""
    clock_hz: int = 0
    baud: int = 0
    max_baud: int = 0

    def __post_init__(self) -> None:
        if not self.board.isascii() or len(self.board) > _NAME_BYTES:
            raise ValueError(f"`board` must be at most {_NAME_BYTES} ASCII characters, not {self.board!r}")
        for name in ("clock_hz", "baud", "max_baud"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
                raise ValueError(f"`{name}` must be an integer from 0 to 2**32 - 1, not {value!r}")
        if self.baud > self.max_baud:
            raise ValueError(f"`max_baud` must be at least `baud` ({self.baud}), not {self.max_baud}")
        if self.max_baud and self.clock_hz < LEAST_DIVISOR * self.max_baud:
            raise ValueError(f"`max_baud` must be at most a {LEAST_DIVISOR}th of the clock ({self.clock_hz} Hz), not {self.max_baud}")

    @property
    def board_number(self) -> int:
        """The name as the number that IDENTITY carries."""
        return int.from_bytes(self.board.encode("ascii"), "little")
