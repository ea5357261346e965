"""One number about energy or area, with all that has to be said about it: a level, conditions, a source, and what is left out.

A published table of an ASIC's adders, a simulated netlist, a meter on a board and a calculation from any of these lie orders of magnitude
apart for the same operation. So no number of this package travels without its level, on a terminal, in JSON, or on a page.

Every level writes its figures as a list of `Figure.as_json()`, in a dictionary that also has the level's own tables (see `table`, `gate`,
`meter` and `model`)::

    {"tritloom": "0.1.0", "command": "...", "levels": {"table": {"figures": [...], ...}, "gate": {...}, "board": {...}, "model": {...}}}

where a level that was not asked for is absent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tritloom.host.errors import UsageError

__all__ = ["Confidence", "Figure", "Level", "amount"]


class Level(Enum):
    """Where a figure comes from. Figures of two levels are shown side by side, and never added."""

    TABLE = "table"
    """Published energies of operations, times counted operations."""
    GATE = "gate"
    """A synthesised netlist of standard cells, simulated, before layout."""
    BOARD = "board"
    """A reading of a meter."""
    MODEL = "model"
    """Calculated for a whole token from figures of another level, which its conditions name."""


class Confidence(Enum):
    """How sure it is that a published figure is what its source says."""

    READ = "read"
    """Read in the source itself."""
    SECOND_HAND = "second-hand"
    """Read where somebody else quotes the source."""
    UNVERIFIED = "unverified"
    """From memory, or from a place that does not say where it has it from."""

    @classmethod
    def weakest(cls, several: list[Confidence]) -> Confidence:
        """The least of several: what a figure made of them has. `READ` for none."""
        order = list(cls)
        return max(several, key=order.index, default=cls.READ)


@dataclass(frozen=True)
class Figure:
    """A number and what has to be said about it.

    Parameters
    ----------
    level : Level
        Where it comes from.
    what : str
        What it is the number of: "ternary PE of 8 lanes, per MAC".
    value : float
        The number, in `unit`.
    unit : str
        "pJ", "pJ/op", "um2", "J/token", "pJ/bit", "x" for a ratio, and so on.
    low, high : float or None
        The range that was found or is claimed, in `unit`; both or neither. `value` lies in it.
    conditions : str
        What it holds for: library, voltage, flow, delays, stimulus, seeds, model, geometry.
    source : str
        Who says so: a publication, a file, a command.
    confidence : Confidence or None
        Of a published figure; None for what was computed or measured here.
    excludes : tuple of str
        What is not in it: "wires", "clock tree".

    Raises
    ------
    UsageError
        If a number is not finite, or the range is half or does not hold the value.
    """

    level: Level
    what: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    conditions: str = ""
    source: str = ""
    confidence: Confidence | None = None
    excludes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise UsageError(f"{name} of {self.what!r} must be a finite number, not {number}")
        if (self.low is None) != (self.high is None):
            raise UsageError(f"the range of {self.what!r} must have both ends or none, not only {'high' if self.low is None else 'low'}")
        if self.low is not None and not self.low <= self.value <= self.high:
            raise UsageError(f"the range of {self.what!r} must hold its value {self.value:g}, not {self.low:g} to {self.high:g}")

    @property
    def text(self) -> str:
        """One line that always names the level: ``[gate] ternary PE, per MAC: 7.62 pJ (7.31 to 7.90)``."""
        spread = "" if self.low is None else f" ({amount(self.low)} to {amount(self.high)})"
        trust = "" if self.confidence is None else f", {self.confidence.value}"
        return f"[{self.level.value}{trust}] {self.what}: {self.number}{spread}{f'; {self.conditions}' if self.conditions else ''}"

    @property
    def number(self) -> str:
        """The value and its unit: "71.4x", "0.007 pJ"."""
        return f"{amount(self.value)}{'' if self.unit in ('x', '%') else ' '}{self.unit}".rstrip()

    def __str__(self) -> str:
        return self.text

    def as_json(self) -> dict[str, Any]:
        """All fields, enumerations by their values: what `from_json` reads, and what the page shows."""
        return {
            "level": self.level.value, "what": self.what, "value": self.value, "unit": self.unit, "low": self.low, "high": self.high,
            "conditions": self.conditions, "source": self.source, "confidence": self.confidence and self.confidence.value,
            "excludes": list(self.excludes),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Figure:
        """The figure that `as_json` wrote.

        Raises
        ------
        UsageError
            If a field is missing, unknown or of another kind.
        """
        try:
            trust = record.get("confidence")
            return cls(**{
                **record, "level": Level(record["level"]), "confidence": None if trust is None else Confidence(trust),
                "excludes": tuple(record.get("excludes", ())),
            })
        except (KeyError, TypeError, ValueError) as error:
            what = record.get("what", "without a name") if isinstance(record, Mapping) else record
            raise UsageError(f"the figure {what!r} is not one that `tritloom energy --json` wrote: {error}") from None


def amount(number: float) -> str:
    """A number in three significant digits, or all of them left of the point: "0.007", "71.4", "1,521", "3.2e-09"."""
    size = abs(number)
    if size >= 1e9 or (size and size < 1e-4):
        return f"{number:.3g}"
    if size >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
