"""Level "model": joules a token of a model on a geometry, by part, from another level's energy of one multiply-accumulate.

The parts of a token:

================= ===================================================================================================
array             products of the elements at work, padding included, times the energy of one
idle              all other lane-cycles while a job runs, times clock pins and leakage: idle rows, waiting, the drain.
                  Only a gate-level source knows of it
weight memory     bits read (and, where weights are streamed, written) times the energy of a bit of an SRAM that large
activation memory the same for a row's activation buffer; and sums into the queue of results and out of it, at the same energy a bit
link              bytes both ways times the energy of one
external memory   bits of streamed weights, where it is said which memory they come from
================= ===================================================================================================

The host is not in it: float arithmetic, attention and its cache. With another format, weights and their memory have its bits, activations and
the bytes about them are as wide as the format (8 or 16 bits), and everything else is as it is.

SRAM and link are published figures at the table's node, whatever the array's library: a sum of both is of no one process, and each part
says where it is from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tritloom.host.errors import UsageError
from tritloom.sim.energy.costs import FORMATS, Costs, Spread
from tritloom.sim.energy.figure import Confidence, Figure, Level
from tritloom.sim.energy.operations import Operations
from tritloom.sim.energy.published import Entry, Node

__all__ = ["Part", "Surroundings", "TokenEnergy", "fit_note", "token", "tokens"]


@dataclass(frozen=True)
class Surroundings:
    """What is around the array.

    Parameters
    ----------
    node : Node
        Whose SRAM.
    link : Entry
        The way to the host.
    external : Entry or None
        Where streamed weights come from; None where that is the host's affair.
    """

    node: Node
    link: Entry
    external: Entry | None = None


@dataclass(frozen=True)
class Part:
    """A part of a token's energy.

    Parameters
    ----------
    name : str
    joules : Spread
    source : str
        What says so: "table 7nm", "SRAM of 128 KB".
    confidence : Confidence or None
        Of what is published.
    """

    name: str
    joules: Spread
    source: str
    confidence: Confidence | None = None

    @classmethod
    def of_bits(cls, name: str, entry: Entry, bits: float) -> Part:
        """So many bits through a memory or a link; `bits` times 1e-12."""
        ends = (entry.pj, entry.pj) if entry.low is None else (entry.low, entry.high)
        return cls(name, Spread(entry.pj, *ends) * (bits / entry.bits), entry.title, entry.confidence)


@dataclass(frozen=True)
class TokenEnergy:
    """A token's energy.

    Parameters
    ----------
    operations : Operations
    costs : Costs
    phase : str
        "prefill" or "decode".
    format : str
        "ternary", "int8" or "fp16".
    parts : tuple of Part
    """

    operations: Operations
    costs: Costs
    phase: str
    format: str
    parts: tuple[Part, ...]

    @property
    def joules(self) -> Spread:
        """The sum."""
        return sum((part.joules for part in self.parts), Spread(0.0, 0.0, 0.0))

    @property
    def memory_share(self) -> float | None:
        """What of it goes into memories and the link; None if the source can't be taken apart."""
        if self.costs.whole:
            return None
        return sum(part.joules.value for part in self.parts if part.name not in ("array", "idle")) / self.joules.value

    @property
    def confidence(self) -> Confidence | None:
        """The least of all its published parts; None if nothing of it is published."""
        known = [part.confidence for part in self.parts if part.confidence is not None]
        return Confidence.weakest(known) if known else None

    @property
    def figure(self) -> Figure:
        """To quote."""
        joules, costs = self.joules, self.costs
        return Figure(
            Level.MODEL, f"{self.phase} of {self.operations.model} in {self.format}", joules.value, "J/token", joules.low, joules.high,
            conditions=f"geometry {self.operations.geometry}; array: {costs.level.value} level, {costs.conditions}; "
                       f"the rest: {'in it' if costs.whole else ', '.join(dict.fromkeys(part.source for part in self.parts[2:]))}",
            source=costs.source, confidence=self.confidence, excludes=tuple(dict.fromkeys((*costs.excludes, "host"))))

    def as_json(self) -> dict[str, Any]:
        """All of it, as `tritloom.sim.energy.report` says."""
        joules = self.joules
        return {
            "source": self.costs.name, "level": self.costs.level.value, "phase": self.phase, "format": self.format, "whole": self.costs.whole,
            "parts": [{"name": part.name, "j": part.joules.value, "low": part.joules.low, "high": part.joules.high, "from": part.source,
                       "confidence": part.confidence and part.confidence.value}
                      for part in self.parts],
            "j_per_token": joules.value, "low": joules.low, "high": joules.high, "pj_per_mac": joules.value * 1e12 / self.operations.weights,
            "memory_share": self.memory_share,
        }


def token(operations: Operations, costs: Costs, around: Surroundings, phase: str = "decode", kind: str = "ternary") -> TokenEnergy:
    """The energy of one token.

    Another format than ternary is the same array with other elements in it, and a weight store as many times as large.

    Parameters
    ----------
    operations : Operations
        What the model run did.
    costs : Costs
        Of one multiply-accumulate.
    around : Surroundings
    phase : str
        "prefill" or "decode".
    kind : str
        The format, of those that `costs` knows.

    Raises
    ------
    UsageError
        If `costs` does not know the format.
    """
    if kind not in costs.pj:
        raise UsageError(f"{costs.name} has no energy of a multiply-accumulate in {kind}; it has {', '.join(costs.pj)}")
    taken = operations.decode if phase == "decode" else operations.prefill
    geometry, counts, tokens = operations.geometry, taken.counts, taken.tokens
    each = 1e-12 / tokens
    if costs.whole:
        return TokenEnergy(operations, costs, phase, kind, (Part("board", costs.pj[kind] * (counts.macs * each), costs.name),))

    wider_weights, wider_acts = FORMATS[kind] / FORMATS["ternary"], FORMATS[kind] // 8 or 1
    store = around.node.memory(round(geometry.weight_words * geometry.word_bytes * wider_weights))
    buffer = around.node.memory(geometry.act_words * geometry.lanes * wider_acts)
    lane_cycles = counts.cycles * geometry.lanes_total
    # Of an array as a whole, idle rows are in the energy of those at work.
    at_work = (counts.busy + counts.ramp) * geometry.lanes_total if costs.padded else counts.slots
    others = counts.link_bytes - counts.streamed_bytes
    parts = [
        Part("array", costs.pj[kind] * ((counts.macs if costs.padded else counts.slots) * each), costs.name, costs.confidence),
        Part("idle", costs.idle.get(kind, Spread(0.0, 0.0, 0.0)) * (max(0, lane_cycles - at_work) * each), costs.name),
        Part.of_bits("weight memory", store, (counts.weight_bits_read + counts.weight_bits_written) * wider_weights * each),
        Part.of_bits("activation memory", buffer, ((counts.act_bits_read + counts.act_bits_written) * wider_acts + 2 * counts.output_bits) * each),
        Part.of_bits("link", around.link, (others * wider_acts + counts.streamed_bytes * wider_weights) * 8 * each),
    ]
    if around.external is not None and counts.streamed_bytes:
        parts.append(Part.of_bits("external memory", around.external, counts.streamed_bytes * 8 * wider_weights * each))
    return TokenEnergy(operations, costs, phase, kind, tuple(parts))


def fit_note(operations: Operations, external: Entry | None = None) -> str:
    """Whether the model fits the geometry's weight store, as a sentence."""
    geometry = operations.geometry
    room = geometry.resident_words * geometry.cols * geometry.lanes
    have = f"{operations.model} has {operations.weights:,} ternary weights and the weight store of {geometry} room for {room:,}"
    if not operations.streamed:
        return f"{have}: they stay there"
    source = f"; they are read from {external.title}" if external else "; where the host has them from is not counted"
    return f"{have}: {operations.streamed:.0%} of them are sent over the link for every job{source}"


def tokens(operations: Operations, several: Sequence[Costs], around: Surroundings) -> list[TokenEnergy]:
    """In every phase that each source holds for, and every format that it knows."""
    return [token(operations, costs, around, phase, kind) for costs in several for phase in costs.phases for kind in costs.pj]

