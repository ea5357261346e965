"""`tritloom rtl`: the gateware as Verilog, for whoever builds or simulates it with other tools."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from pathlib import Path

import click

from tritloom.host.cli.options import GEOMETRY
from tritloom.host.cli.output import note, write
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError
from tritloom.rtl.geometry import Geometry

__all__ = ["rtl"]

_PARTS = {"pe": "PE", "array": "Array", "core": "Core"}


@click.command()
@click.option("--geometry", type=GEOMETRY, default=Geometry(), metavar="R,C,L", help=f"Rows, columns and lanes; {Geometry()} if not given.")
@click.option("--part", type=click.Choice(list(_PARTS)), default="core", show_default=True,
              help="One processing element, the array, or all of it.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), required=True, metavar="FILE",
              help="Where to write it; - is standard output.")
def rtl(geometry: Geometry, part: str, output: Path) -> None:
    """Write the gateware as Verilog. The same geometry gives the same text."""
    with waiting(f"Converting {part} {geometry}", quiet=False):
        text = _verilog(geometry, part)
    if str(output) == "-":
        write(text)
        return
    beside = output.with_name(f"{output.name}.part")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(output)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise TritloomError(f"{str(output)!r} cannot be written: {error.strerror or error}") from error
    lines = text.count("\n")
    note(f"wrote {output}: tritloom_{part}, geometry {geometry}, {lines:,} lines")


def _verilog(geometry: Geometry, part: str) -> str:
    # The host does without Amaranth, which takes a second to import; this command alone is about the gateware. So modules are named here,
    # not imported above.
    component = getattr(importlib.import_module(f"tritloom.rtl.{part}"), _PARTS[part])(geometry)
    hdl, verilog = importlib.import_module("amaranth.hdl"), importlib.import_module("amaranth.back.verilog")
    # The `ready` of a stream that always is ready is a constant, and no port.
    values = {"__".join(map(str, path)): hdl.Value.cast(value) for path, _, value in component.signature.flatten(component)}
    ports = {name: (value, None) for name, value in values.items() if not isinstance(value, hdl.Const)}
    try:
        text = verilog.convert(component, name=f"tritloom_{part}", ports=ports, emit_src=False, strip_internal_attrs=True)
    except verilog.YosysError as error:
        raise TritloomError(f"Yosys did not convert the {part}: {error}") from error
    return f"// tritloom {version('tritloom')}, {part}, geometry {geometry} (rows, columns, lanes)\n{text}"
