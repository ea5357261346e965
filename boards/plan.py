"""What a model will do on a machine before there is either: tokens a second, what bounds them, memory, and whether it fits.

A token goes back and forth: the host sends activations, the array multiplies, the results come back, and the next matrix needs them. So the
parts of its time add up. Only the array and a memory that feeds it work at the same time: of these two, the slower counts.

======= =====================================================================================================================
array   the cycle model's cycles, without those in which the array waited for the link
memory  bytes of weights from a memory of their own, over its bandwidth. Every byte is taken to come at that rate
link    through a UART, the bytes of both ways one after another, 10 bits each: what overlaps in truth makes it faster. Without one, the cycles
        in which the array waited for a link of a byte a cycle; what is sent before a job starts is then not in it
host    norms, attention, head, packing: what was measured and given, or else not counted
======= =====================================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tritloom.boards.machine import Machine
from tritloom.boards.workload import UART_BITS, Phase, Speed, Workload
from tritloom.host.errors import ContextError, UsageError
from tritloom.host.model.needs import Needs
from tritloom.host.model.placement import place, store_words
from tritloom.host.model.shape import ModelShape

__all__ = ["Plan", "Rate", "plan"]

#: Sequences of a step: more are counted just as well, and take their time.
_MOST_SEQUENCES = 4096


@dataclass(frozen=True)
class Rate:
    """How fast one phase is, and why.

    Parameters
    ----------
    phase : Phase
    machine : Machine
    weights : int
        Ternary weights of the model.
    host_s : float or None
        Seconds of the host for a token; None: not counted.
    """

    phase: Phase
    machine: Machine
    weights: int
    host_s: float | None = None

    @property
    def array_s(self) -> float:
        """Seconds of the array for all tokens."""
        return self.phase.array_cycles / self.machine.clock_hz

    @property
    def memory_s(self) -> float:
        """Seconds of the weights' memory; 0 if there is none."""
        return self.phase.memory_words * self.machine.word_bytes / self.machine.bandwidth if self.machine.bandwidth else 0.0

    @property
    def link_s(self) -> float:
        """Seconds of the link."""
        if self.machine.baud:
            return self.phase.link_s(self.machine.baud)
        return (self.phase.counters.cycles - self.phase.array_cycles) / self.machine.clock_hz

    @property
    def parts(self) -> dict[str, float]:
        """Seconds of each part; without the host where that is not counted."""
        parts = {"array": self.array_s, "memory": self.memory_s, "link": self.link_s}
        return parts if self.host_s is None else {**parts, "host": self.host_s * self.phase.tokens}

    @property
    def seconds(self) -> float:
        """For all tokens."""
        parts = self.parts
        return max(parts.pop("array"), parts.pop("memory")) + sum(parts.values())

    @property
    def tokens_per_s(self) -> float:
        """The rate."""
        return self.phase.tokens / self.seconds

    @property
    def bound(self) -> str:
        """The part that takes longest."""
        return max(self.parts, key=self.parts.__getitem__)

    @property
    def at_work(self) -> float:
        """Share of the time in which the array takes weights."""
        return self.phase.counters.busy / self.machine.clock_hz / self.seconds

    @property
    def of_peak(self) -> float:
        """Products of the model, as a share of what all lanes could make in that time."""
        return self.weights * self.phase.tokens / (self.machine.geometry.lanes_total * self.machine.clock_hz * self.seconds)

    def as_json(self) -> dict[str, Any]:
        """All of it; seconds are those of a token."""
        phase = self.phase
        return {
            "tokens": phase.tokens, "tokens_per_s": self.tokens_per_s, "bound": self.bound, "at_work": self.at_work, "of_peak": self.of_peak,
            "seconds_a_token": {name: seconds / phase.tokens for name, seconds in self.parts.items()}, "host_counted": self.host_s is not None,
            "cycles": phase.counters.cycles, "busy": phase.counters.busy, "stall_weights": phase.counters.stall_weights,
            "stall_results": phase.counters.stall_results, "jobs": phase.counters.jobs, "link_bytes": phase.link_bytes,
            "memory_bytes": phase.memory_words * self.machine.word_bytes,
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A model on a machine.

    Parameters
    ----------
    model : ModelShape
    machine : Machine
    needs : Needs
    speed : Speed
    host_s : float or None
        Seconds of the host for a token; None: not counted.
    """

    model: ModelShape
    machine: Machine
    needs: Needs
    speed: Speed
    host_s: float | None

    @property
    def resident_share(self) -> float:
        """Of the ternary weights, those that stay in the weight store."""
        return 1.0 - self.speed.streamed

    @property
    def fits(self) -> bool:
        """All weights stay in the weight store, or there is a memory for the others. What does not fit runs all the same, by streaming."""
        return not self.speed.streamed or self.machine.bandwidth is not None

    @cached_property
    def prefill(self) -> Rate:
        """Of a prompt."""
        return self._rate(self.speed.prefill)

    @cached_property
    def decode(self) -> Rate:
        """Of one token more for each sequence."""
        return self._rate(self.speed.decode)

    def _rate(self, phase: Phase) -> Rate:
        return Rate(phase, self.machine, self.model.config.ternary_weights, self.host_s)

    @property
    def load_s(self) -> float:
        """Seconds to put what stays in the weight store there, once."""
        bytes_per_s = self.machine.baud / UART_BITS if self.machine.baud else self.machine.clock_hz
        return self.speed.load_bytes / bytes_per_s

    @property
    def words_needed(self) -> int:
        """Words of the weight store that would hold all weights, the streaming window included."""
        return store_words(self.model.matrices, self.machine.geometry)

    @property
    def streamed_words(self) -> int:
        """Words of what does not stay in the weight store."""
        geometry = self.machine.geometry
        return sum(geometry.words(part.n, part.k) for loaded in place(self.model.matrices, geometry) for parts in loaded for part in parts if part.at is None)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        machine, geometry = self.machine, self.machine.geometry
        return {
            "model": self.model.name, "ternary_weights": self.model.config.ternary_weights, "context": self.needs.context,
            "sequences": self.needs.sequences, "machine": machine.name, "geometry": str(geometry), "clock_hz": machine.clock_hz, "baud": machine.baud,
            "bandwidth": machine.bandwidth, "packing": machine.packing if machine.bandwidth else None, "host_s": self.host_s,
            "prefill": self.prefill.as_json(), "decode": self.decode.as_json(), "needs": self.needs.as_json(),
            "resident_share": self.resident_share, "fits": self.fits, "load_s": self.load_s, "weight_words": geometry.weight_words,
            "weight_words_needed": self.words_needed,
        }


def plan(model: ModelShape, machine: Machine, *, context: int | None = None, sequences: int = 1, host_s: float | None = None) -> Plan:
    """Plan a model on a machine, by shapes alone.

    Parameters
    ----------
    model : ModelShape
    machine : Machine
    context : int, optional
        Positions of the cache; the model's own context if not given.
    sequences : int
        Decoded together, a token each.
    host_s : float, optional
        Seconds of the host for a token, as somebody measured them; not counted if not given.

    Raises
    ------
    ContextError
        If the model has no such context.
    UsageError
        If another number is out of its range.
    """
    limit = model.config.max_position_embeddings
    for name, value in (("context", context), ("batch", sequences)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise UsageError(f"the {name} must be an integer from 1 up, not {value!r}")
    if sequences > _MOST_SEQUENCES:
        raise UsageError(f"the batch must be at most {_MOST_SEQUENCES:,} sequences, not {sequences:,}")
    if context is not None and context > limit:
        raise ContextError(f"the context must be at most {limit:,}, which is all that {model.name} has, not {context:,}")
    if host_s is not None and not 0 <= host_s < float("inf"):
        raise UsageError(f"the host's time must be a number of seconds from 0 up, not {host_s:g}")
    speed = Workload(model).run(machine.geometry, sequences=sequences, memory=machine.bandwidth is not None)
    return Plan(model=model, machine=machine, needs=Needs(model.config, context or limit, sequences), speed=speed, host_s=host_s)
