"""`tritloom convert`: a checkpoint of another program as a model file."""

from __future__ import annotations

from pathlib import Path

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import note, print_json
from tritloom.host.cli.progress import progress

__all__ = ["convert"]


@click.command()
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@click.argument("destination", metavar="DST", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--packing", type=click.Choice(["base3", "2bit"]), default="2bit", show_default=True,
              help="Five ternary weights a byte, or four.")
@click.option("--quantize", type=click.Choice(["absmean"]),
              help="Make float matrices ternary of which nothing says that they are to be. A model that was not trained for it gets much worse.")
@click.option("--tokenizer", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="A tokenizer.json instead of the checkpoint's own.")
@click.option("--i2s-layout", type=click.Choice(["x86", "arm"]), help="The order of a GGUF's I2_S weights, which the file does not tell.")
@json_option
def convert(source: Path, destination: Path, packing: str, quantize: str | None, tokenizer: Path | None, i2s_layout: str | None,
            as_json: bool) -> None:
    """Write the checkpoint SRC as the model file DST.

    SRC is a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a *.gguf file. Needs pip install 'tritloom[formats]'.
    """
    from tritloom.host.formats import convert as formats

    opened = formats.open_source(source, quantize=quantize, tokenizer=tokenizer, i2s_layout=i2s_layout)
    with progress(f"Converting {source.name}", quiet=as_json) as update:
        formats.convert(opened, destination, packing, update)
    if quantize is not None and not opened.facts["matrices"]["absmean by option"] and not as_json:
        note("--quantize changed nothing: the checkpoint's matrices were ternary already, or declared to be quantised")
    nbytes = destination.stat().st_size
    if as_json:
        print_json({"destination": str(destination), "nbytes": nbytes, "packing": packing, "ternary_weights": opened.config.ternary_weights,
                    "float_weights": opened.config.float_weights, "matrices": dict(opened.facts["matrices"])})
        return
    how = ", ".join(f"{count} {kind}" for kind, count in opened.facts["matrices"].items())
    note(f"wrote {destination}: {nbytes:,} bytes, {opened.config.ternary_weights:,} ternary weights ({how} matrices), "
         f"{opened.config.float_weights:,} floats; `tritloom inspect {destination}` shows it")
