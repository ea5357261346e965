"""What can go wrong between a board's name and its bitstream, one sentence each."""

from collections.abc import Mapping

from tritloom.host.errors import TritloomError, UsageError

__all__ = ["FitError", "TimingError", "ToolError"]


class FitError(UsageError):
    """A geometry is larger than the board."""


class TimingError(TritloomError):
    """No seed met the clock. There is no bitstream.

    Parameters
    ----------
    message
        The sentence.
    achieved_mhz
        What the best seed reached.
    cells
        Cells after synthesis, by yosys' names.
    """

    def __init__(self, message: str, achieved_mhz: float, cells: Mapping[str, int]) -> None:
        super().__init__(message)
        self.achieved_mhz = achieved_mhz
        self.cells = cells


class ToolError(TritloomError):
    """A tool is missing, or failed."""
