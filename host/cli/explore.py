"""`tritloom explore`: which geometry a board could have, what each would take, and how fast a model would run on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import json_option, model_option
from tritloom.host.cli.output import note, print_json, show_table
from tritloom.host.cli.progress import waiting

if TYPE_CHECKING:
    from tritloom.boards.explore import Candidate, Exploration

__all__ = ["explore"]


@click.command(short_help="Search for a board's geometry.")
@click.argument("board")
@model_option
@click.option("--place", type=click.IntRange(min=0), default=0, show_default=True, metavar="N",
              help="Place and route N candidates of the front, a minute to half an hour each: only that tells a clock rate.")
@click.option("--lanes", type=click.IntRange(min=1), metavar="MAX", help="Leave out what has more lanes in all.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.svg", help="Draw it as well.")
@json_option
def explore(board: str, model: str, place: int, lanes: int | None, plot: Path | None, as_json: bool) -> None:
    """Compare geometries for BOARD: what each takes of the part, and how fast a model runs on it.

    Shown are those that no other beats in LUT4, decode and prefill, and the board's own; JSON has all. LUT4 and FF are estimated from
    synthesised parts unless a candidate was built; cycles are those of the model's jobs on the device `model`. Everything is at the board's
    clock, which only a candidate with MHz is known to reach.
    """
    from tritloom.boards import find

    found = find(board)
    # Amaranth and the tools are looked for when the board is known.
    from tritloom.boards.explore import explore

    if plot is not None:
        from tritloom.boards.pareto_plot import check_plotting

        check_plotting(plot)
    with waiting(f"Exploring {board}", quiet=as_json):
        result = explore(found, model, place=place, most_lanes=lanes)
        if plot is not None:
            from tritloom.boards.pareto_plot import plot as draw

            draw(result, plot)
    if as_json:
        print_json(result.record())
        return
    _show(result)


def _show(result: Exploration) -> None:
    board = result.board
    own = [candidate for candidate in result.others if candidate.own]
    missed = [candidate for candidate in result.others if candidate.missed]
    shown = [*result.front, *own, *(candidate for candidate in missed if not candidate.own)]
    streams, placed = any(candidate.speed.streamed for candidate in shown), any(candidate.placed for candidate in shown)
    columns = ["LUT4", "FF", "RAM", *(["sent"] if streams else []), "decode", "prefill", "UART", *(["MHz"] if placed else [])]
    rows = [_cells(candidate) for candidate in shown]
    show_table(["geometry", *columns], [[row[name] for name in ("geometry", *columns)] for row in rows], numbers=columns,
               caption=f"{result.model} on {board.title} at {board.clock_hz / 1e6:g} MHz: tokens/s of the core alone; UART: of decode.")
    note("> is the board's own geometry; / is followed by the levels of adders between registers and the columns that share an activation "
         "register; RAM is block RAMs + SPRAMs")
    if streams:
        note("sent is the share of the weights that does not stay on the board, but is sent for every job")
    note("UART is decode through the board's UART: array and link one after the other, 10 bits a byte both ways, without the host's own time")
    if missed:
        note(f"what has less than {board.constraint_mhz:.1f} MHz does not meet the clock with this seed, and is not on the front")
    _judge_estimate(result, any(not candidate.placed for candidate in shown))
    if left := len(result.front) + len(result.others) - len(shown):
        note(f"{left} more that others beat are left out; --json has them")


def _judge_estimate(result: Exploration, estimated: bool) -> None:
    """What of the figures is an estimate, and how good it is."""
    if not estimated:
        return
    what = "LUT4 and FF are estimates, but for those with MHz" if any(c.placed for c in result.front) else "LUT4 and FF are estimates"
    if errors := result.errors:
        worst = max(errors.values(), key=abs)
        note(f"{what}; in {len(errors)} built {'geometry' if len(errors) == 1 else 'geometries'} LUT4 was off by {worst:+.1%} at most")
    else:
        note(f"{what}, and nothing else was built to say how far they are off; --place N builds some, which also tells their clock")


def _cells(candidate: Candidate) -> dict[str, str]:
    from tritloom.boards.candidates import pitches

    geometry, cost, speed, placed = candidate.geometry, candidate.cost, candidate.speed, candidate.placed
    return {
        "geometry": f"{'>' if candidate.own else ' '}{geometry} /{' '.join(map(str, pitches(geometry)))}",
        "LUT4": f"{cost.lut4:,}",
        "FF": f"{cost.ff:,}",
        "RAM": f"{cost.block_rams}{f'+{candidate.sprams}' if candidate.sprams else ''}",
        "sent": f"{speed.streamed:.0%}",
        "decode": f"{candidate.decode_tokens_per_s:,.0f}",
        "prefill": f"{candidate.prefill_tokens_per_s:,.0f}",
        "UART": f"{candidate.through_link(speed.decode):,.0f}",
        "MHz": f"{placed.achieved_mhz:.1f}" if placed else "-",
    }
