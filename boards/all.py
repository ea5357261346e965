"""Builds every board and prints what came of it: ``python -m tritloom.boards.all``, which `make boards` runs."""

from __future__ import annotations

import sys

from tritloom.boards import boards
from tritloom.boards.build import Build, build
from tritloom.boards.report import slowest
from tritloom.host.cli.output import complain, show_table
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError

__all__ = ["main"]

_NUMBERS = ["lanes", "MHz needed", "MHz reached", "LUT4", "LUT4 a lane", "GMAC/s", "seed", "s"]


def main() -> int:
    """Build all boards, one after another.

    Returns
    -------
    int
        0, or 1 if a board could not be built: the others are built all the same.
    """
    done: list[Build] = []
    failures = 0
    for board in boards():
        try:
            with waiting(f"Building {board.name}", quiet=False):
                done.append(build(board))
        except TritloomError as error:
            failures += 1
            complain(str(error))
    show_table(["board", "geometry", *_NUMBERS], [_row(made) for made in done], numbers=_NUMBERS)
    return 1 if failures else 0


def _row(made: Build) -> list[str]:
    clock = made.clocks[slowest(made.clocks)]
    return [made.board, made.geometry, f"{made.lanes_total:,}", f"{clock.constraint_mhz:.1f}", f"{clock.achieved_mhz:.1f}", f"{made.lut4:,}",
            f"{made.lut4_per_lane:.1f}", f"{made.peak_gmacs:.1f}", str(made.seed), f"{made.wall_s:.0f}"]


if __name__ == "__main__":
    sys.exit(main())
