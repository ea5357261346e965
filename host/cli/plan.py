"""`tritloom plan`: how fast a model would be on a board, what bounds it, and whether it fits, before there is either."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.options import GEOMETRY, json_option
from tritloom.host.cli.output import console, note, print_json, show_table
from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.boards.machine import Machine
    from tritloom.boards.plan import Plan, Rate
    from tritloom.boards.remedy import Change

__all__ = ["amount", "plan", "rate"]

#: What a change is, with its value in it.
_CHANGES = {
    "words": "a weight store of {:,} words", "board": "{}", "memory": "a memory of {} beside the array", "link": "a link of {}",
    "cache": "a {} cache", "context": "a context of {:,}",
}


@click.command(short_help="Foresee a model's speed on a board.")
@click.option("--model", default="nano", show_default=True, metavar="NAME|FILE",
              help="A shipped or published model's name, a *.trit or *.gguf file, a checkpoint's folder, or a config.json alone.")
@click.option("--board", metavar="BOARD", help="One of `tritloom boards`.")
@click.option("--geometry", type=GEOMETRY, metavar="R,C,L", help="Rows, columns and lanes of an array that nobody has built; needs --clock.")
@click.option("--clock", type=float, metavar="HZ", help="Its clock, in hertz.")
@click.option("--bandwidth", type=float, metavar="BYTES_PER_S",
              help="A memory of its own for weights that do not stay on the device, in place of the link.")
@click.option("--packing", type=click.Choice(["2bit", "base3"]), help="How weights lie in that memory; 2bit if not given.")
@click.option("--context", type=int, metavar="N", help="Positions of the key/value cache; the model's context if not given.")
@click.option("--batch", type=int, default=1, show_default=True, metavar="R", help="Sequences decoded together, a token each.")
@click.option("--host-time", type=float, metavar="SECONDS", help="What the host takes for a token, as you measured it; not counted if not given.")
@json_option
def plan(
    model: str, board: str | None, geometry: Geometry | None, clock: float | None, bandwidth: float | None, packing: str | None, context: int | None,
    batch: int, host_time: float | None, as_json: bool,
) -> None:
    """Foresee how fast a model would be on a board, what bounds it, and whether it fits.

    Nothing is run and no weights are needed: jobs, cycles and bytes follow from the sizes, by the cycle model that the gateware is held to. A
    board's figures hold at its clock and through its UART; an array of your own has a link of a byte a cycle.
    """
    machine = _machine(board, geometry, clock, bandwidth, packing)
    from tritloom.boards.plan import plan as make
    from tritloom.boards.remedy import cache_change, changes
    from tritloom.host.model.shape import shape_of

    planned = make(shape_of(model), machine, context=context, sequences=batch, host_s=host_time)
    others, room = changes(planned), _host_bytes()
    narrower = None if room is None else cache_change(planned, room)
    if as_json:
        print_json({**planned.as_json(), "changes": [change.as_json() for change in others], "host_bytes": room,
                    "host_change": None if narrower is None else narrower.as_json()})
        return
    _show(planned, others)
    if narrower is not None:
        would = f"{_named(narrower)}{f' {narrower.note}' if narrower.note else ''} would fit" if narrower.fits else "no context is short enough"
        note(f"this computer's {amount(room)} do not hold the model and a float32 cache of {planned.needs.context:,} positions; {would}")


def rate(tokens_per_s: float) -> str:
    """Tokens a second, with three digits."""
    return _digits(tokens_per_s)


def amount(size: float, unit: str = "B") -> str:
    """Bytes, or bytes a second, with three digits."""
    for prefix, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{size / factor:.3g} {prefix}{unit}" if size < 1000 * factor else f"{size / factor:,.0f} {prefix}{unit}"
    return f"{size:.3g} {unit}"


def _machine(board: str | None, geometry: Geometry | None, clock: float | None, bandwidth: float | None, packing: str | None) -> Machine:
    from tritloom.boards import find
    from tritloom.boards.machine import Machine

    if packing is not None and bandwidth is None:
        raise UsageError(f"--packing {packing} says how weights lie in a memory of their own: give its --bandwidth as well")
    packing = packing or "2bit"
    if board is not None and geometry is not None:
        raise UsageError(f"--board {board} has a geometry of its own: give --board or --geometry, not both")
    if board is not None:
        if clock is not None:
            raise UsageError(f"--board {board} has a clock of its own: leave --clock out, or give --geometry instead of the board")
        return Machine.of(find(board), bandwidth=bandwidth, packing=packing)
    if geometry is None:
        raise UsageError("it is not said what to plan for: give --board BOARD, or --geometry R,C,L with --clock HZ")
    if clock is None:
        raise UsageError(f"an array of {geometry} needs a clock as well: give --clock HZ")
    return Machine(geometry=geometry, clock_hz=clock, bandwidth=bandwidth, packing=packing)


def _host_bytes() -> int | None:
    """Memory of this computer, where it tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _show(planned: Plan, others: list[Change]) -> None:
    prefill, decode, machine, needs = planned.prefill, planned.decode, planned.machine, planned.needs
    together = f" for {needs.sequences} sequences" if needs.sequences > 1 else ""
    columns = ["prefill", "decode"]
    show_table([f"{planned.model.name} on {machine.name}", *columns], [
        ["tokens/s", *(rate(phase.tokens_per_s) for phase in (prefill, decode))],
        ["bound by", *(_bound(phase) for phase in (prefill, decode))],
        *([name, *(_part(phase, part) for phase in (prefill, decode))]
          for part, name in (("array", "a token: array"), ("memory", "  weight memory"), ("link", "  link"), ("host", "  host"))
          if part != "memory" or machine.bandwidth is not None),
        ["array at work", *(_percent(phase.at_work) for phase in (prefill, decode))],
        ["of its peak", *(_percent(phase.of_peak) for phase in (prefill, decode))],
    ], caption=f"{machine}; a prompt of {prefill.phase.tokens}, then a token{together}", numbers=columns)
    types = ["float32", "16 bits", "int8"]
    show_table(["memory needed", *types], [
        ["embedding and head", *(amount(needs.table(dtype)) for dtype in ("float32", "bfloat16", "int8"))],
        [f"cache of {needs.context:,}{together}", *(amount(needs.cache(dtype)) for dtype in ("float32", "float16", "int8"))],
    ], caption=f"on the host; ternary weights: {amount(needs.weights('2bit'))} at 2 bits, {amount(needs.weights('base3'))} at 1.6", numbers=types)
    _judge(planned)
    if others:
        show_table(["change", "decode", "which is"], [
            [_named(change), "" if change.decode is None else rate(change.decode), change.note] for change in others
        ], caption="tokens/s with it" + ("" if planned.fits else "; the first is the smallest with which it fits"), numbers=["decode"])
    if planned.host_s is None:
        note("the host's own time (norms, attention, head, packing) is not counted; --host-time SECONDS adds what you measured")
    if machine.board is not None and not machine.board.timing_met:
        note(f"{machine.name} is defined, and no build of it has met its clock yet")


def _judge(planned: Plan) -> None:
    """Whether it fits, in sentences."""
    from rich.text import Text

    share = planned.resident_share
    stays = f"{f'{share:.1%}' if share >= 0.001 else 'less than 0.1%'} of the weights stay on the device, the rest" if share else "all weights"
    verb = "is" if share else "are"
    if share == 1:
        text = f"fits: all weights stay on the device, and are put there in {_time(planned.load_s)}."
    elif planned.fits:
        text = f"fits, with that memory: {stays} {verb} read for every token."
    else:
        words = f"{planned.words_needed:,} words, not {planned.machine.geometry.weight_words:,}"
        text = f"does not fit: {stays} {verb} sent over the link for every token. To hold all, the weight store would need {words}."
    console().print(Text(f"{planned.model.name} {text}"), width=min(console().width, 100))


def _bound(phase: Rate) -> str:
    return "weight memory" if phase.bound == "memory" else phase.bound


def _part(phase: Rate, part: str) -> str:
    return "not counted" if part not in phase.parts else _time(phase.parts[part] / phase.phase.tokens)


def _named(change: Change) -> str:
    value = amount(float(change.value), "B/s") if change.kind in ("memory", "link") else change.value
    return _CHANGES[change.kind].format(value)


def _time(seconds: float) -> str:
    """Three digits and a unit that a person reads them in."""
    if not seconds:
        return "0"
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3)):
        if seconds >= (2 * size if size > 1 else size):
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds * 1e6)} us"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%" if share >= 0.1 else f"{100 * share:.2g}%"
