"""Boards: pins, clocks and links around the core, one file a board. Naming them needs no Amaranth; building them does.

The only package that knows of pins. `boards` and `find` are all that a program needs to know what there is.
"""

from tritloom.boards import icebreaker, icepi_zero, tang_nano_9k, tang_primer_20k, ulx3s
from tritloom.boards.board import Board
from tritloom.host.errors import UnknownNameError

__all__ = ["Board", "boards", "find"]

_BOARDS = {board.name: board for module in (icebreaker, ulx3s, tang_nano_9k, icepi_zero, tang_primer_20k) for board in module.BOARDS}


def boards() -> tuple[Board, ...]:
    """All of them, those that more people have first."""
    return tuple(_BOARDS.values())


def find(name: str) -> Board:
    """The board of that name.

    Raises
    ------
    UnknownNameError
        If there is none.
    """
    if name not in _BOARDS:
        raise UnknownNameError("board", name, _BOARDS)
    return _BOARDS[name]
