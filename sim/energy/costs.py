"""What one multiply-accumulate costs, from whichever level says it: what the model level calculates with."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.counts import adders
from tritloom.sim.energy.figure import Confidence, Level
from tritloom.sim.energy.published import Node
from tritloom.sim.energy.table import EXCLUDES, arithmetic_of

if TYPE_CHECKING:
    from tritloom.sim.energy.board.meter import Reading

__all__ = ["FORMATS", "Costs", "Spread", "from_gate", "from_reading", "from_table", "given"]

#: Of weights, as people name them, and the bits of one in memory.
FORMATS = {"ternary": 2, "int8": 8, "fp16": 16}


@dataclass(frozen=True)
class Spread:
    """A number in a range."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The median of several, and the range they lie in."""
        return cls(statistics.median(values), min(values), max(values))

    def __mul__(self, factor: float) -> Spread:
        return Spread(self.value * factor, self.low * factor, self.high * factor)

    def __add__(self, other: Spread) -> Spread:
        return Spread(self.value + other.value, self.low + other.low, self.high + other.high)


@dataclass(frozen=True)
class Costs:
    """Picojoules of one multiply-accumulate, and who says so.

    Parameters
    ----------
    name : str
        "table 7nm".
    level : Level
        Where the figures come from.
    pj : mapping of str to Spread
        By format ("ternary", "int8", "fp16"; not all need be known): of one product and its addition in an element at work, whether the model
        asked for it or it is padding.
    idle : mapping of str to Spread
        By format, of a lane in a cycle in which it does nothing: clock pins and leakage. Empty where the source knows of neither.
    whole : bool
        It is all that a board draws, memories, link and idle rows included.
    padded : bool
        `pj` is of the products that the model asks for, with padding in their energy; otherwise of any product, and padding is counted.
    phases : tuple of str
        Where it holds: "decode", "prefill".
    conditions, source : str
    confidence : Confidence or None
        Of published figures.
    excludes : tuple of str
    """

    name: str
    level: Level
    pj: Mapping[str, Spread]
    idle: Mapping[str, Spread] = field(default_factory=dict)
    whole: bool = False
    padded: bool = False
    phases: tuple[str, ...] = ("decode", "prefill")
    conditions: str = ""
    source: str = ""
    confidence: Confidence | None = None
    excludes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return {
            "name": self.name, "level": self.level.value, "pj_per_mac": {name: spread.__dict__ for name, spread in self.pj.items()},
            "idle_pj": {name: spread.__dict__ for name, spread in self.idle.items()}, "whole": self.whole, "phases": list(self.phases), "conditions": self.conditions, "source": self.source,
            "confidence": self.confidence and self.confidence.value, "excludes": list(self.excludes),
        }


def from_table(node: Node, geometry: Geometry) -> Costs:
    """From published energies: the adders of an element, divided by its lanes, and the multiply-accumulates beside them."""
    entries = {bits: node.add(bits) for bits in adders(geometry)}
    ternary = Spread(*(
        sum(number * (getattr(entries[bits], end) or entries[bits].pj) for bits, number in adders(geometry).items()) / geometry.lanes
        for end in ("pj", "low", "high")))
    others = {way.name: way for way in arithmetic_of(node) if way.name in FORMATS}
    return Costs(
        f"table {node.name}", Level.TABLE, {"ternary": ternary, **{name: Spread(way.pj, way.low, way.high) for name, way in others.items()}},
        conditions=node.title, source="; ".join(dict.fromkeys([*(entry.source for entry in entries.values()), *(way.source for way in others.values())])),
        confidence=Confidence.weakest([*(entry.confidence for entry in entries.values()), *(way.confidence for way in others.values())]),
        excludes=EXCLUDES)


def from_gate(level: Mapping[str, Any], geometry: Geometry, name: str = "gate") -> list[Costs]:
    """From a report's gate level (`tritloom.sim.energy.gate.level`): the element that was measured, and this geometry's array if it was.

    The element is the shipped one, or, where only others were measured, the first ternary one; int8 and fp16 are those of equal lanes, of their
    forms the one that takes least. Ranges are over all results. An array of which a single row works stands for decode, one with all rows at work for a prompt.

    Parameters
    ----------
    level : mapping
        Its JSON.
    geometry : Geometry
        Whose array.
    name : str
        What it is called.

    Returns
    -------
    list of Costs
        None if there is neither.

    Raises
    ------
    UsageError
        If a result lacks a number.
    """
    several: dict[str, list[Mapping[str, Any]]] = {}
    for result in level.get("results", ()):
        several.setdefault(str(result.get("design")), []).append(result)
    found = []
    ternary = next((design for start in ("pe-", "ternary-") for design in several if design.startswith(start)), None)
    if ternary is not None:
        lanes = several[ternary][0].get("lanes")
        of = {"ternary": several[ternary]}
        for kind in ("int8", "fp16"):
            forms = [results for design, results in several.items() if f"{design}-".startswith(f"{kind}-{lanes}-")]
            if forms:
                of[kind] = min(forms, key=lambda results: _energy(results).value)
        found.append(Costs(
            f"{name} {ternary}", Level.GATE, {kind: _energy(results) for kind, results in of.items()},
            idle={kind: _idle(results) for kind, results in of.items()}, conditions=_conditions(of.values()), source="simulated netlists",
            excludes=("wires", "clock tree", "registers around an element")))
    whole = f"array-{geometry.rows}x{geometry.cols}x{geometry.lanes}-"
    for design, results in several.items():
        if design.startswith(whole):
            one = f"1of{geometry.rows}" in design
            phases = ("decode", "prefill") if geometry.rows == 1 else ("decode",) if one else ("prefill",)
            share = Spread.of([_number(result, "operations") / _number(result, "cycles") / geometry.lanes_total for result in results]).value
            found.append(Costs(
                f"{name} {design}", Level.GATE, {"ternary": _energy(results)}, idle={"ternary": _idle(results) * share}, padded=True, phases=phases, conditions=_conditions([results]),
                source="simulated netlists", excludes=("wires", "clock tree")))
    return found


def _energy(results: Sequence[Mapping[str, Any]]) -> Spread:
    return Spread.of([_number(result, "pj_per_op") for result in results])


def _idle(results: Sequence[Mapping[str, Any]]) -> Spread:
    """What the clock's pins and leakage take of a multiply-accumulate."""
    def of(result: Mapping[str, Any]) -> float:
        parts = result.get("parts")
        return sum(_number({**result, **(parts if isinstance(parts, Mapping) else {})}, part) for part in ("clock", "leakage"))

    return Spread.of([of(result) for result in results])


def _conditions(results: Iterable[Iterable[Mapping[str, Any]]]) -> str:
    flat = [result for several in results for result in several]

    def all_of(key: str) -> str:
        return ", ".join(dict.fromkeys(str(result.get(key, "?")) for result in flat))

    return f"{all_of('design')}; {all_of('library')}, {all_of('voltage_v')} V, flow {all_of('flow')}, {all_of('stimulus')}, seeds {all_of('seed')}"


def from_reading(reading: Reading) -> list[Costs]:
    """From a board's reading, at the wall and over idle: everything is in it, and it can't be taken apart. Of decode where it was read."""
    found = []
    phases = [phase for phase in reading.phases if phase.name == "decode" and phase.macs] or [phase for phase in reading.phases if phase.macs]
    for phase in phases[:1]:
        for where, joules, error in (("at the wall", phase.wall_j, phase.wall_error_j), ("over idle", phase.net_j, phase.net_error_j)):
            scale = 1e12 / phase.macs
            found.append(Costs(
                f"meter, {where}", Level.BOARD, {"ternary": Spread(joules * scale, (joules - error) * scale, (joules + error) * scale)}, whole=True,
                phases=("prefill",) if phase.name == "prompt" else ("decode",),
                conditions=f"{phase.name} of {reading.model} on {reading.device}, geometry {reading.geometry}", source=reading.log,
                excludes=("what is not behind the meter",)))
    return found


def given(pj: float) -> Costs:
    """From a number of the user's own.

    Raises
    ------
    UsageError
        If it is none that can be.
    """
    if not math.isfinite(pj) or pj <= 0:
        raise UsageError(f"the energy of a multiply-accumulate must be a number of pJ above 0, not {pj:g}")
    return Costs(f"given, {pj:g} pJ", Level.MODEL, {"ternary": Spread(pj, pj, pj)}, conditions=f"{pj:g} pJ a multiply-accumulate, as given", source="given")


def _number(record: Mapping[str, Any], key: str) -> float:
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise UsageError(f"a gate-level result must have a number from 0 up as {key!r}, not {value!r} (design {record.get('design', 'unknown')})")
    return float(value)
