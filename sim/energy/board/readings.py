"""The board level's report: a reading of one's own, if there is one, and readings that others published, marked as theirs.

The published ones are in `readings.toml` beside this module. Where there is no reading, an energy of an FPGA can only be scaled from one of
theirs: `uncalibrated` does, and says so.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tritloom.sim.energy.board.meter import Reading
from tritloom.sim.energy.figure import Confidence, Figure, Level

__all__ = ["PublishedReading", "board_level", "published_readings", "uncalibrated"]


@dataclass(frozen=True)
class PublishedReading:
    """A reading of somebody else's.

    Parameters
    ----------
    name : str
        What, and on what.
    pj_per_operation : float
        Picojoules of a multiply-accumulate, or of a weight operation of a token: always derived here.
    where : str
        Where the meter was, and whether idle is in it.
    how : str
        How it was measured, or calculated.
    source : str
    confidence : Confidence
        Whether the source was read.
    joules_per_token : float or None
        As published, where it is of a model.
    model : str
        The model, or "".
    derived : bool
        Whether what was published is itself calculated and no reading.
    """

    name: str
    pj_per_operation: float
    where: str
    how: str
    source: str
    confidence: Confidence
    joules_per_token: float | None = None
    model: str = ""
    derived: bool = False

    def figures(self) -> list[Figure]:
        """J/token as published, where it is of a model, and pJ an operation."""
        about = f"{self.model}; {self.how}" if self.model else self.how
        found = []
        if self.joules_per_token is not None:
            found.append(Figure(Level.BOARD, f"{self.name} (theirs{', derived' if self.derived else ''}), {self.where}", self.joules_per_token, "J/token",
                                conditions=about, source=self.source, confidence=self.confidence))
        means = "J/token over the weight operations of a token" if self.model else "power over operations a second"
        found.append(Figure(Level.BOARD, f"{self.name} (theirs, derived{' by them and here' if self.derived else ''}), {self.where}", self.pj_per_operation, "pJ/op",
                            conditions=f"{about}; derived here as {means}", source=self.source, confidence=self.confidence))
        return found


@cache
def published_readings() -> tuple[PublishedReading, ...]:
    """What `readings.toml` holds, in its order."""
    data = tomllib.loads(files(__package__).joinpath("readings.toml").read_text(encoding="utf-8"))
    return tuple(_reading(row, data["models"]) for row in data["readings"])


def _reading(row: dict[str, Any], models: dict[str, Any]) -> PublishedReading:
    model = row.get("model", "")
    joules, operations = (row["joules_per_token"], models[model]["operations"]) if model else (row["watts"], row["operations_per_s"])
    return PublishedReading(
        row["name"], joules / operations * 1e12, row["where"], row["how"], row["source"], Confidence(row["confidence"]),
        joules if model else None, model, row.get("derived", False))


def uncalibrated(model: str, macs: int) -> Figure:
    """What a token of a model would take on an FPGA board, if its weight operations cost what bitnet-kv260's do: no reading, and it says so.

    Parameters
    ----------
    model : str
        Its name.
    macs : int
        Ternary multiply-accumulates of a token.

    Returns
    -------
    Figure
        Of the level `model`, in J/token: the value is theirs at the whole board, the low end theirs over idle.
    """
    wall, net = (reading for reading in published_readings()[:2])
    high, low = (reading.pj_per_operation * macs * 1e-12 for reading in (wall, net))
    return Figure(Level.MODEL, f"{model} on an FPGA board, uncalibrated", high, "J/token", low, high,
                  f"scaled by {macs:,} multiply-accumulates from a reading of another design, model and board: {wall.name}, {net.where} to {wall.where}; a board of one's "
                  "own may be an order of magnitude off: read it with a meter", wall.source, wall.confidence, ("link", "host"))


def board_level(reading: Reading | None = None) -> dict[str, Any]:
    """The level `board` of `tritloom energy --json`.

    Parameters
    ----------
    reading : Reading or None
        One's own, from `measure`.

    Returns
    -------
    dict
        ``figures``: the reading's, then the published ones (those have a confidence); ``calibrated``; ``note``: a sentence; ``reading``:
        `Reading.as_json()`, or None.
    """
    figures = [*(reading.figures() if reading else ()), *(figure for theirs in published_readings() for figure in theirs.figures())]
    note = (f"read from {reading.log}" if reading else
            "uncalibrated: no reading of a board of one's own was given (--meter FILE.csv --marks FILE), and what others read is of their designs and boards")
    return {"figures": [figure.as_json() for figure in figures], "calibrated": reading is not None, "note": note,
            "reading": reading.as_json() if reading else None}
