"""`tritloom devices` and `tritloom models`: what is here, how large it is, and what is missing to use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import note, print_json, show_table
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.host.transport import Found, TransportInfo

__all__ = ["devices", "models"]


@click.command()
@json_option
def devices(as_json: bool) -> None:
    """List the devices that `--device` takes.

    Serial ports are listed with what their USB descriptors say, and the board that this suggests; none of them is spoken to.
    """
    from tritloom.host.transport import transports

    standard = Geometry()
    weights = standard.resident_words * standard.cols * standard.lanes
    infos = transports()
    if as_json:
        print_json({"devices": [{
            "name": info.name, "summary": info.summary, "missing": info.missing,
            "found": [{"device": found.device, "description": found.description, "board": found.board or None} for found in info.found],
            "geometry": str(standard) if info.simulated else None,
            "macs_per_cycle": standard.lanes_total if info.simulated else None,
            "resident_weights": weights if info.simulated else None,
        } for info in infos]})
        return
    show_table(["device", "what it is", "here"], [[info.name, info.summary, info.missing or _here(info)] for info in infos])
    note(f"simulated devices have the geometry {standard} (rows, columns, lanes) unless --geometry says otherwise: "
         f"{standard.lanes_total} ternary products a cycle, and room for {weights:,} weights; larger models are streamed")


@click.command()
@json_option
def models(as_json: bool) -> None:
    """List the models that come with tritloom."""
    from tritloom.host.model.catalogue import MODELS, list_models

    infos = list_models()
    if as_json:
        print_json({"models": [{
            "name": info.name, "path": str(info.path), "nbytes": info.nbytes, "parameters": info.parameters,
            "ternary_weights": info.ternary_weights, "context": info.context,
            "config": info.config.to_dict() if info.config else None, "training": info.training, "problem": info.problem,
        } for info in infos]})
        return
    if not infos:
        note(f"no models in {MODELS}: train one with `tritloom train`, and give its file to --model")
        return
    numbers = ["file", "ternary weights", "at 2 bits", "context", "held-out"]
    show_table(["model", *numbers, "state"], [
        [info.name, f"{info.nbytes / 1000:,.0f} kB", *_sizes(info.ternary_weights, info.context, info.training.get("held_out_loss")),
         info.problem or "ready"]
        for info in infos
    ], numbers=numbers)


def _here(info: TransportInfo) -> str:
    """The devices of a kind that is ready."""
    return "\n".join(map(_found, info.found)) or ("ready" if info.simulated else "ready, with an address")


def _found(found: Found) -> str:
    """Two or three lines: what to type, what it says of itself, what it may be."""
    lines = [found.device, f"  {found.description}"] if found.description else [found.device]
    return "\n".join([*lines, f"  perhaps {found.board}"] if found.board else lines)


def _sizes(weights: int | None, context: int | None, loss: object) -> list[str]:
    if weights is None:
        return ["-"] * 4
    return [f"{weights:,}", f"{2 * weights / 1e6:,.2f} Mbit", f"{context:,}", f"{loss:.3f} nats" if isinstance(loss, float) else "-"]
