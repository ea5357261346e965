"""`tritloom train`: a model of one's own, from a text."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import json_option
from tritloom.host.cli.output import note, print_json, show_table
from tritloom.host.cli.progress import progress

if TYPE_CHECKING:
    from tritloom.host.train import Progress

__all__ = ["train"]


@click.command()
@click.option("--text", type=click.Path(path_type=Path), required=True, metavar="FILE",
              help="UTF-8 text to train on; its last tenth is only measured.")
@click.option("--preset", default="nano", show_default=True, metavar="NAME",
              help="The recipe: nano (the shipped model), or pico (seconds, to try).")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE", help="The model file to write.")
@click.option("--steps", type=click.IntRange(min=1), metavar="N", help="Instead of the preset's.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Instead of the preset's.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="PyTorch's; more are rarely faster for small models.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint beside --out.")
@json_option
def train(text: Path, preset: str, out: Path, steps: int | None, seed: int | None, threads: int, resume: bool, as_json: bool) -> None:
    """Train a model on a text. Needs PyTorch: pip install 'tritloom[train]'.

    A checkpoint (FILE.ckpt) is kept beside the model file; --resume goes on from it, to the same result as without the interruption.
    """
    from tritloom.host import train as training

    evaluated = None
    try:
        with progress(f"Training {preset}", quiet=as_json) as update:

            def report(done: Progress) -> None:
                nonlocal evaluated
                held_out = "" if done.held_out_loss is None else f", held-out {done.held_out_loss:.3f}"
                update(done.step, done.steps, f"loss {done.loss:.3f}{held_out}")
                if done.held_out_loss != evaluated and not as_json:
                    evaluated = done.held_out_loss
                    note(f"step {done.step:,} of {done.steps:,}: held-out loss {done.held_out_loss:.4f} nats a character")

            result = training.train(text, preset, out, steps=steps, seed=seed, resume=training.resume_path(out) if resume else None,
                                    threads=threads, progress=report)
    except KeyboardInterrupt:
        if training.resume_path(out).exists():
            note(f"the last checkpoint is {training.resume_path(out)}: go on with --resume")
        raise
    if as_json:
        print_json({**asdict(result), "out": str(result.out), "checkpoint": str(result.checkpoint)})
        return
    columns = ["steps", "seed", "training loss", "held-out loss", "held-out characters", "minutes"]
    show_table(columns, [[
        f"{result.steps:,}", str(result.seed), f"{result.train_loss:.4f}", f"{result.held_out_loss:.4f}", f"{result.held_out_chars:,}",
        f"{result.seconds / 60:.1f}",
    ]], numbers=columns, caption=f"{result.out}, preset {result.preset}; losses in nats a character")
