"""What would make a model fit a machine, or make the array what bounds it: the smallest change of each kind, and what it would bring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tritloom.boards import boards
from tritloom.boards.errors import FitError
from tritloom.boards.fit import check
from tritloom.boards.machine import Machine
from tritloom.boards.plan import Plan, plan
from tritloom.boards.workload import UART_BITS
from tritloom.host.model.cache import CACHE_KINDS
from tritloom.host.model.placement import resident_weights
from tritloom.rtl.geometry import MOST_WEIGHT_WORDS, Geometry

__all__ = ["Change", "cache_change", "changes"]


@dataclass(frozen=True)
class Change:
    """Something else than what was planned.

    Parameters
    ----------
    kind : str
        "words" of the weight store, "board", "memory" or "link" (bytes a second), "cache" (a type), "context".
    value : int, float or str
        How much, or which.
    fits : bool
        All weights then have a place beside the array; what only makes it faster is False.
    decode : float or None
        Tokens a second with it; None where it does not touch the speed.
    note : str
        What else is to be said of it.
    """

    kind: str
    value: int | float | str
    fits: bool
    decode: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {"kind": self.kind, "value": self.value, "fits": self.fits, "decode_tokens_per_s": self.decode, "note": self.note}


def changes(planned: Plan) -> list[Change]:
    """The smallest changes: first what makes the model fit, the least of these in front, then what makes the array bound it.

    Parameters
    ----------
    planned : Plan
    """
    return [*(_fitting(planned) if not planned.fits else ()), *_faster(planned)]


def cache_change(planned: Plan, room: int) -> Change | None:
    """What would make the host's part fit into its memory: a narrower cache, or else a shorter context.

    Parameters
    ----------
    planned : Plan
    room : int
        Bytes that the host has.

    Returns
    -------
    Change or None
        None if a float32 cache fits; a context of 0 if nothing does.
    """
    needs = planned.needs
    for kind in CACHE_KINDS:
        if needs.host(kind, "float32") <= room:
            return None if kind == "float32" else Change("cache", kind, fits=True)
    left = room - (needs.host("int8", "float32") - needs.cache("int8"))
    return Change("context", max(0, left // needs.position("int8")), fits=left > 0, note="with an int8 cache")


def _fitting(planned: Plan) -> Iterator[Change]:
    machine = planned.machine
    words = planned.words_needed
    if words <= MOST_WEIGHT_WORDS:
        wider = replace(machine.geometry, weight_words=words)
        if machine.board is None:
            yield _with("words", words, planned, replace(machine, geometry=wider))
        elif _has_room(machine, wider):
            yield _with("words", words, planned, replace(machine, geometry=wider), "the part has the memory for it; such a bitstream was never built")
    holding = [board for board in boards() if board != machine.board and resident_weights(planned.model.matrices, board.geometry) == planned.model.config.ternary_weights]
    if holding:
        least = min(holding, key=lambda board: board.capacity.lut4)
        yield _with("board", least.name, planned, Machine.of(least), "" if least.timing_met else "defined, never built")
    yield _with_memory(planned)


def _faster(planned: Plan) -> Iterator[Change]:
    decode, machine = planned.decode, planned.machine
    if decode.bound == "link" and machine.baud:
        rate = machine.baud * decode.link_s / decode.array_s
        times = decode.link_s / decode.array_s
        note = f"{times:,.0f} times the UART; array and link then take as long"
        yield _with("link", rate / UART_BITS, planned, replace(machine, baud=rate), note)
    elif decode.bound == "memory":
        yield _with_memory(planned)


def _with_memory(planned: Plan) -> Change:
    """A memory that feeds the array as fast as it can take weights."""
    machine = planned.machine
    fed = plan(planned.model, replace(machine, bandwidth=1.0), sequences=planned.needs.sequences, host_s=planned.host_s).decode
    bandwidth = fed.memory_s / fed.array_s
    size = planned.streamed_words * machine.word_bytes
    return _with("memory", bandwidth, planned, replace(machine, bandwidth=bandwidth), f"{size:,} bytes at least; no board has one here")


def _with(kind: str, value: int | float | str, planned: Plan, machine: Machine, note: str = "") -> Change:
    changed = plan(planned.model, machine, context=planned.needs.context, sequences=planned.needs.sequences, host_s=planned.host_s)
    return Change(kind, value, changed.fits, changed.decode.tokens_per_s, note)


def _has_room(machine: Machine, geometry: Geometry) -> bool:
    try:
        check(machine.board, geometry)
    except FitError:
        return False
    return True
