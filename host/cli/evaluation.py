"""`tritloom eval`: how well a model predicts a text, measured on the device that it would run on."""

from __future__ import annotations

import math
import time
from pathlib import Path

import click

from tritloom.host.cli.options import (
    device_option,
    faults_option,
    geometry_option,
    json_option,
    model_option,
    read_text,
    simulated_geometry,
)
from tritloom.host.cli.output import note, print_json, show_table
from tritloom.host.cli.progress import progress, waiting
from tritloom.host.errors import UsageError
from tritloom.host.faults import Faults
from tritloom.rtl.geometry import Geometry

__all__ = ["eval_command"]


@click.command("eval")
@click.option("--text", type=click.Path(path_type=Path), required=True, metavar="FILE", help="UTF-8 text to predict.")
@model_option
@device_option("model")
@click.option("--last", type=click.FloatRange(min=0, max=1, min_open=True), default=1.0, metavar="FRACTION",
              help="Only this last part of the text's characters; 0.1 is what training keeps for evaluation.")
@click.option("--window", type=click.IntRange(min=1), metavar="N",
              help="Tokens that each pass starts afresh with; the model's context if not given.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N",
              help="Score at most so many tokens, from the start of the text (or its last part).")
@faults_option
@geometry_option
@json_option
def eval_command(
    text: Path, model: str, device: str, last: float, window: int | None, limit: int | None, faults: Faults | None, geometry: Geometry | None, as_json: bool,
) -> None:
    """Score a model on a text: nats and perplexity a token.

    The text is cut into windows without overlap; every token but the first is predicted once, from those before it in its window.
    """
    from tritloom.host.driver import connect
    from tritloom.host.model.evaluate import evaluate
    from tritloom.host.model.model import Model

    if math.isnan(last):    # which is in every range, as click compares
        raise UsageError("`--last` must be a number above 0 and at most 1, not nan")
    chars = read_text(text)
    chars = chars[int(len(chars) * (1.0 - last)):]    # as training splits it
    began = time.perf_counter()
    with waiting(f"Opening {device}", quiet=as_json):
        loaded = Model.load(model)
        acc = connect(device, geometry=geometry or simulated_geometry(device, loaded), faults=faults)
    with acc, progress(f"Scoring {loaded.name}", quiet=as_json) as update:
        result = evaluate(loaded, acc, chars, window=window, limit=limit, progress=lambda done, total: update(done, total, ""))
    seconds = time.perf_counter() - began
    for remark in result.notes:
        note(f"Note: {remark}")
    if as_json:
        print_json({
            "nats_per_token": result.nats_per_token, "tokens": result.tokens,
            "perplexity": result.perplexity if math.isfinite(result.perplexity) else None, "window": result.window,
            "device": device, "model": model, "geometry": str(acc.geometry), "seconds": seconds, "notes": list(result.notes),
        })
        return
    columns = ["nats a token", "perplexity", "tokens", "window", "seconds"]
    show_table(columns, [[
        f"{result.nats_per_token:.4f}", f"{result.perplexity:.4g}", f"{result.tokens:,}", f"{result.window:,}", f"{seconds:.1f}",
    ]], caption=f"{model} on {device}, geometry {acc.geometry}", numbers=columns)
