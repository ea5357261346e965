"""`tritloom convert`: a checkpoint of another program as a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import GEOMETRY, json_option
from tritloom.host.cli.output import note, print_json
from tritloom.host.cli.progress import progress
from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.host.words import ArrayOrder

__all__ = ["convert"]


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--packing", type=click.Choice(["base3", "2bit"]), default="2bit", show_default=True,
              help="Five ternary weights a byte, or four.")
@click.option("--for", "board", metavar="BOARD", help="Store the matrices in the words that this board's array reads, so that streaming is a linear read of the file.")
@click.option("--geometry", type=GEOMETRY, metavar="R,C,L", help="The same for a simulated device of these rows, columns and lanes.")
@click.option("--embedding", type=click.Choice(["int8"]),
              help="Quantise embedding and head to 8 bits, each row by its largest value: a quarter to half the size, and no longer exact.")
@click.option("--quantize", type=click.Choice(["absmean"]),
              help="Make float matrices ternary of which nothing says that they are to be. A model that was not trained for it gets much worse.")
@click.option("--tokenizer", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A tokenizer.json instead of the checkpoint's own.")
@click.option("--i2s-layout", type=click.Choice(["x86", "arm"]), help="The order of a GGUF's I2_S weights, which the file does not tell.")
@json_option
def convert(source: Path, destination: Path, packing: str, board: str | None, geometry: Geometry | None, embedding: str | None,
            quantize: str | None, tokenizer: Path | None, i2s_layout: str | None, as_json: bool) -> None:
    """Write the checkpoint SRC as the model file DST.

    SRC is a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a *.gguf file. Needs pip install 'tritloom[formats]'.
    Embedding and head keep the checkpoint's type. A file made with --for or --geometry runs on every device; on others it is packed anew.
    """
    from tritloom.host.formats import convert as formats

    order = _order(board, geometry)
    _check_destination(destination)
    opened = formats.open_source(source, quantize=quantize, tokenizer=tokenizer, i2s_layout=i2s_layout)
    with progress(f"Converting {source.name}", quiet=as_json) as update:
        formats.convert(opened, destination, packing, update, order=order, int8_embedding=embedding == "int8")
    if quantize is not None and not opened.facts["matrices"]["absmean by option"] and not as_json:
        note("--quantize changed nothing: the checkpoint's matrices were ternary already, or declared to be quantised")
    if embedding is not None and not as_json:
        note("embedding and head were rounded to 8 bits: the model's output is no longer exactly the checkpoint's")
    nbytes = destination.stat().st_size
    if as_json:
        print_json({"destination": str(destination), "nbytes": nbytes, "packing": packing,
                    "order": None if order is None else order.to_dict(), "embedding": embedding, "ternary_weights": opened.config.ternary_weights,
                    "float_weights": opened.config.float_weights, "matrices": dict(opened.facts["matrices"])})
        return
    how = ", ".join(f"{count} {kind}" for kind, count in opened.facts["matrices"].items())
    note(f"wrote {destination}: {nbytes:,} bytes, {opened.config.ternary_weights:,} ternary weights ({how} matrices), "
         f"{opened.config.float_weights:,} floats; `tritloom inspect {destination}` shows it")


def _check_destination(path: Path) -> None:
    """A model file may be replaced; a checkpoint or a tokenizer, which was named twice by mistake, must not be."""
    from tritloom.host.model.layout import MAGIC

    if path.is_file() and path.stat().st_size:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise UsageError(f"{path} is there already and is no model file, so it is not replaced: give another DST")


def _order(board: str | None, geometry: Geometry | None) -> ArrayOrder | None:
    """In which array's words matrices are to be stored, if any."""
    from tritloom.host.words import ArrayOrder

    if board is not None and geometry is not None:
        raise UsageError("--for and --geometry both say for which array the file is to be: leave one of them out")
    if board is not None:
        from tritloom.boards import find

        geometry = find(board).geometry
    return None if geometry is None else ArrayOrder.of(geometry)
