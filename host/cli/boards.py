"""`tritloom boards`: what a bitstream can be built for."""

from __future__ import annotations

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import note, print_json, show_table

__all__ = ["boards"]


@click.command()
@json_option
def boards(as_json: bool) -> None:
    """List the boards that `build` and `flash` know."""
    from tritloom.boards import boards

    found = boards()
    if as_json:
        print_json({"boards": [{
            "name": board.name, "title": board.title, "part": board.part, "family": board.family.value, "geometry": str(board.geometry),
            "lanes_total": board.geometry.lanes_total, "clock_hz": board.clock_hz, "baud": board.site.baud, "max_baud": board.max_baud,
            "peak_gmacs": board.peak_gmacs, "timing_met": board.timing_met,
            "resident_weights": board.geometry.resident_words * board.geometry.cols * board.geometry.lanes,
        } for board in found]})
        return
    numbers = ["lanes", "clock", "link"]
    show_table(["board", "what it is", "part", *numbers], [
        [board.name, board.title, board.part, f"{board.geometry.lanes_total:,}",
         f"{board.clock_hz / 1e6:g} MHz{' ' if board.timing_met else '?'}", f"{board.max_baud / 1e6:g} Mbaud"]
        for board in found
    ], numbers=numbers)
    note("lanes are ternary products a cycle; a ? marks clocks that no build has met yet; `tritloom build BOARD` makes a bitstream, "
         "`tritloom flash BOARD` also writes it to the board")
