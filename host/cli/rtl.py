"""`tritloom rtl`: the gateware as Verilog, for whoever builds or simulates it with other tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from tritloom.host.beside import written_beside
from tritloom.host.cli.options import GEOMETRY
from tritloom.host.cli.output import note, write
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import COARSEST_TREE_PITCH, Geometry

__all__ = ["rtl"]


@click.command()
@click.option("--geometry", type=GEOMETRY, default=Geometry(), metavar="R,C,L", help=f"Rows, columns and lanes; {Geometry()} if not given.")
@click.option("--part", type=click.Choice(["pe", "array", "core"]), default="core", show_default=True,
              help="One processing element, the array, or all of it.")
@click.option("--family", type=click.Choice([family.value for family in Family]), default=Family.GENERIC.value, show_default=True,
              help="Whose carry cells and memories to instantiate.")
@click.option("--tree-pitch", type=click.IntRange(1, COARSEST_TREE_PITCH), metavar="N",
              help=f"Levels of adders between two registers: {COARSEST_TREE_PITCH} if not given for asic, so that there is none, and otherwise {Geometry().tree_pitch}.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), required=True, metavar="FILE",
              help="Where to write it; - is standard output.")
def rtl(geometry: Geometry, part: str, family: str, tree_pitch: int | None, output: Path) -> None:
    """Write the gateware as Verilog. The same options give the same text."""
    if tree_pitch is None and Family(family) is Family.ASIC:
        tree_pitch = COARSEST_TREE_PITCH
    if tree_pitch is not None:
        geometry = replace(geometry, tree_pitch=tree_pitch)
    with waiting(f"Converting {part} {geometry}", quiet=False):
        # The only place in the host that is about gateware; Amaranth takes a second to import, so it is imported when the command runs.
        from amaranth.back.verilog import YosysError

        from tritloom.rtl.verilog import convert

        try:
            text = convert(part, geometry, Family(family))
        except YosysError as error:
            raise TritloomError(f"Yosys did not convert the {part}: {error}") from error
    if str(output) == "-":
        write(text)
        return
    try:
        with written_beside(output) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise TritloomError(f"{str(output)!r} cannot be written: {error.strerror or error}") from error
    lines = text.count("\n")
    note(f"wrote {output}: tritloom_{part}, geometry {geometry}, cells of {family}, {lines:,} lines")
