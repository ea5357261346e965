"""What can go wrong at the gate level, one sentence each. A tool that is missing or fails is `tritloom.boards.errors.ToolError`."""

from tritloom.host.errors import TritloomError

__all__ = ["LibraryError", "NetlistError"]


class LibraryError(TritloomError):
    """A cell library is missing, damaged, or lacks what a figure needs."""


class NetlistError(TritloomError):
    """A netlist does not do what its design is for, or not all of it was seen: it gives no figure."""
