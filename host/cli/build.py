"""`tritloom build`: a bitstream that meets timing, from a board's name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import GEOMETRY, json_option
from tritloom.host.cli.output import note, print_json, show_table
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.boards.board import Board
    from tritloom.boards.build import Build

__all__ = ["build", "built_for"]


@click.command(short_help="Build a board's bitstream.")
@click.argument("board")
@click.option("--geometry", type=GEOMETRY, metavar="R,C,L", help="Rows, columns and lanes; the board's own if not given.")
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Seeds that place-and-route may try until the clock is met.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Copy the bitstream, the report and the logs there.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg", help="Draw what lies where in the part.")
@json_option
def build(board: str, geometry: Geometry | None, seeds: int | None, out: Path | None, picture: Path | None, as_json: bool) -> None:
    """Build the bitstream of BOARD with the tools that pip installs.

    Synthesises once, and places and routes with one seed after another until the clock is met. What was built is kept: the same again takes
    no time. Exit code 1, and no bitstream, if no seed meets the clock.
    """
    done = built_for(board, geometry, seeds=seeds, out=out, quiet=as_json)
    if picture is not None:
        from tritloom.boards import find
        from tritloom.boards.picture import draw_build

        draw_build(find(board), done, picture)
    if as_json:
        print_json(done.record())
        return
    _, name = min((clock.achieved_mhz / clock.constraint_mhz, name) for name, clock in done.clocks.items())
    clock = done.clocks[name]
    show_table([done.board, ""], [
        ["part", done.part],
        ["geometry", f"{done.geometry}: {done.lanes_total:,} lanes"],
        ["clock", f"{clock.achieved_mhz:.1f} MHz reached, {clock.constraint_mhz:.1f} MHz needed (seed {done.seed})"],
        ["peak", f"{done.peak_gmacs:.2f} GMAC/s"],
        ["logic", f"{done.lut4:,} LUT4, {done.lut4_per_lane:.1f} a lane"],
        ["cells", ", ".join(f"{kind} {use.used:,}/{use.available:,}" for kind, use in done.utilization.items())],
        ["slowest path", done.critical_path],
        ["built in", f"{done.wall_s:.0f} s ({', '.join(f'{name} {seconds:.0f}' for name, seconds in done.steps_s.items())})"],
    ])
    note(f"the bitstream is {done.bitstream}; `tritloom flash {done.board}` writes it to the board")


def built_for(name: str, geometry: Geometry | None, *, seeds: int | None = None, out: Path | None = None, quiet: bool = False) -> Build:
    """The bitstream of a board, built if it has to be, with its progress on standard error.

    Parameters
    ----------
    name
        The board's.
    geometry
        Its rows, columns and lanes count; the rest is the board's.

    Raises
    ------
    TritloomError
        If that is not possible.
    """
    from tritloom.boards import find

    board = find(name)
    shape = _shaped(board, geometry) if geometry else None
    # Amaranth and the tools are looked for when the board is known.
    from tritloom.boards.build import build

    with waiting(f"Building {name}", quiet=quiet):
        return build(board, shape, seeds=seeds, out=out)


def _shaped(board: Board, geometry: Geometry) -> Geometry:
    from tritloom.boards.fit import shaped

    try:
        return shaped(board, geometry.rows, geometry.cols, geometry.lanes)
    except ValueError as error:
        raise UsageError(f"{geometry} is no geometry of {board.name}: {error}") from error
