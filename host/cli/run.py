"""`tritloom run`: from a prompt to text, and what it cost."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tritloom.host.cli.options import device_option, faults_option, geometry_option, json_option, model_option, simulated_geometry
from tritloom.host.cli.output import console, note, print_json, show_table, write
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError
from tritloom.host.faults import Faults
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.host.cli.meter import Meter, Usage
    from tritloom.host.marks import Marks
    from tritloom.host.model.generation import Generation

__all__ = ["run"]

#: The counters are read after so many tokens: 2**32 cycles are then enough for 67 million cycles a token, a model of 2 * 10**9 weights.
_TOKENS_A_READING = 64

_STOPS = {
    "context": "Stopped because the model's context of {context} tokens is full",
    "end": "Stopped because the model ended the text",
    "interrupted": "Stopped by Ctrl-C after {made} of {asked} tokens",
}


@dataclass
class _Outcome:
    """Text and costs of a run, finished or not."""

    text: str
    stop_reason: str
    prefill: Usage
    decode: Usage


@click.command(short_help="Go on from a prompt, and say what it cost.")
@click.argument("prompt", default="ROMEO:")
@model_option
@device_option("sim")
@click.option("--tokens", type=click.IntRange(min=0), default=200, show_default=True, metavar="N", help="Tokens to make at most.")
@click.option("--temperature", type=click.FloatRange(min=0), default=0.8, show_default=True, metavar="T",
              help="0 always takes the likeliest token; 1 draws as the model would; small models repeat themselves near 0.")
@click.option("--top-k", type=click.IntRange(min=1), metavar="K", help="Draw from the K likeliest tokens only.")
@click.option("--top-p", type=click.FloatRange(min=0, max=1, min_open=True), metavar="P",
              help="Draw from the fewest tokens that reach probability P together.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, metavar="S",
              help="Same seed, same text, on every device.")
@click.option("--kv-cache", type=click.Choice(["float32", "float16", "int8"]), default="float32", show_default=True,
              help="How keys and values of earlier tokens are kept: float16 takes half the memory, int8 a quarter, and both round.")
@click.option("--chat", is_flag=True, help="PROMPT is what you say to the model: put it into the model's chat template.")
@click.option("--marks", "marks_file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write when prompt and decode began and ended, for `tritloom energy --meter`.")
@click.option("--verify", is_flag=True, help="At the end, check that the weights in the device's store still are what was loaded.")
@faults_option
@geometry_option
@json_option
def run(
    prompt: str, model: str, device: str, tokens: int, temperature: float, top_k: int | None, top_p: float | None, seed: int,
    kv_cache: str, chat: bool, marks_file: Path | None, verify: bool, faults: Faults | None, geometry: Geometry | None, as_json: bool,
) -> None:
    """Go on from PROMPT ("ROMEO:" if none is given), and say what it cost.

    The figures are the device's own: cycles of the array from a job's first beat to its last result, the share of them in which it
    multiplied, and bytes over the link both ways. The first token follows from the prompt; decode counts the steps after that.
    """
    from tritloom.host.cli.meter import Meter
    from tritloom.host.driver import connect
    from tritloom.host.marks import Marks
    from tritloom.host.model.model import Model

    marks = Marks(model, device)
    with ExitStack() as opened:
        loads = marks.begin("load")
        with waiting(f"Opening {device}", quiet=as_json) as say:
            loaded = Model.load(model)
            geometry = geometry or simulated_geometry(device, loaded)
            acc = opened.enter_context(connect(device, geometry=geometry, faults=faults, verifiable=verify))
            say(f"Loading {loaded.name} into {device}")
            sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed, "kv_cache": kv_cache}
            generation = loaded.generate(prompt, acc, max_tokens=tokens, chat=chat, **sampling)
        for remark in generation.notes:
            note(f"Note: {remark}")
        loads(0, 0)
        marks.geometry = str(acc.geometry)
        if marks_file:
            marks.write(marks_file)    # now, so that a file that cannot be written is said before the run
        taken = loaded.tokenizer.decode(generation.prompt_ids)
        if not as_json:
            _write_prompt(taken)
        outcome = _generate(generation, Meter(acc), marks, loaded.config.ternary_weights, show=not as_json)
        geometry = acc.geometry
        verified = acc.verify() if verify else None
    if marks_file:
        marks.write(marks_file)

    if as_json:
        print_json({
            "text": outcome.text, "tokens": len(generation.tokens), **outcome.decode.figures(),
            "prefill": _phase(outcome.prefill), "decode": _phase(outcome.decode),
            "device": device, "model": model, "geometry": str(geometry),
            "prompt": taken, **sampling, "stop_reason": outcome.stop_reason, "notes": list(generation.notes),
            **({"verified_outputs": verified} if verify else {}),
        })
    else:
        _show(outcome, f"{model} on {device}, geometry {geometry}; temperature {temperature:g}, seed {seed}")
    if verified is not None:
        note(f"The weight store holds what was loaded: {verified:,} outputs checked, with {acc.resident_parts:,} matrices or parts of them")
    if outcome.stop_reason in _STOPS:
        note(_STOPS[outcome.stop_reason].format(context=generation.session.context, made=len(generation.tokens), asked=tokens))
    if outcome.stop_reason == "interrupted":
        click.get_current_context().exit(130)


def _generate(generation: Generation, meter: Meter, marks: Marks, macs: int, *, show: bool) -> _Outcome:
    """Take the prompt in and make the text, until it ends or Ctrl-C. `macs` are the array's for a token."""
    from tritloom.host.cli.meter import Usage

    prompt_tokens, pieces = len(generation.prompt_ids), []
    prefill = decode = Usage()
    reason = None
    ends = marks.begin("prompt")
    try:
        try:
            generation.start()
            ends(prompt_tokens, macs)
            prefill = meter.take(prompt_tokens)
            ends = marks.begin("decode")
            for piece in generation:
                pieces.append(piece)
                if show:
                    write(piece)
                if len(pieces) % _TOKENS_A_READING == 0:
                    decode += meter.take(generation.session.position - prompt_tokens - decode.tokens)
        except KeyboardInterrupt:
            reason = "interrupted"
        ends(max(0, generation.session.position - prompt_tokens), macs)
        # After an interrupted prompt, what has passed belongs to it, and none of its tokens counts: it was not taken in.
        if generation.session.position:
            decode += meter.take(generation.session.position - prompt_tokens - decode.tokens)
        else:
            prefill = meter.take(0)
    except TritloomError:
        if show:
            write("\n")    # the sentence about it has a line of its own
        raise
    if show and not "".join(pieces).endswith("\n"):
        write("\n")
    return _Outcome("".join(pieces), reason or str(generation.stop_reason), prefill, decode)


def _write_prompt(prompt: str) -> None:
    """The prompt, dimmed where that can be seen, and otherwise byte for byte."""
    write(click.style(prompt, dim=True) if console().is_interactive else prompt)


def _phase(usage: Usage) -> dict[str, Any]:
    return {"tokens": usage.tokens, "seconds": usage.seconds, **usage.figures()}


def _show(outcome: _Outcome, caption: str) -> None:
    def cells(show: str, figure: str) -> list[str]:
        values = (getattr(phase, figure) for phase in (outcome.prefill, outcome.decode))
        return ["-" if value is None else format(value, show) for value in values]

    show_table(["", "prompt", "decode"], [
        ["tokens", *cells(",", "tokens")],
        ["tokens/s", *cells(",.1f", "tokens_per_s")],
        ["array cycles a token", *cells(",.0f", "cycles_per_token")],
        ["array utilisation", *cells(".1%", "array_utilization")],
        ["link bytes a token", *cells(",.0f", "link_bytes_per_token")],
    ], caption=caption, numbers=["prompt", "decode"])
