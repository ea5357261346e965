"""When a run began and ended, by two clocks, and what it did: what a power meter's log is laid beside.

``tritloom run --marks FILE`` writes it, as JSON::

    {"format": "tritloom marks 1", "model": "nano", "device": "serial:/dev/ttyUSB1", "geometry": "1,2,16",
     "phases": [{"name": "decode", "start_wall_s": 1790157043.21, "end_wall_s": 1790157045.93,
                 "start_monotonic_s": 5021.08, "end_monotonic_s": 5023.80, "tokens": 199, "macs": 97812480}, ...]}

The phases are `load` (opening the device and giving it the weights), `prompt` and `decode`. Where a phase has no tokens, it only says that the
device was not idle. Any program can write such a file for work of its own.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tritloom.host.beside import written_beside
from tritloom.host.errors import TritloomError

__all__ = ["Marks", "MarksError", "Phase"]

_FORMAT = "tritloom marks 1"


class MarksError(TritloomError):
    """A file of marks cannot be read or written, or is none."""


@dataclass(frozen=True)
class Phase:
    """A stretch of a run.

    Parameters
    ----------
    name : str
        Such as "decode".
    start_wall_s, end_wall_s : float
        Seconds since 1970 by the system's clock, which can be set while it runs, and which other machines have as well.
    start_monotonic_s, end_monotonic_s : float
        Seconds by `time.monotonic`, which all programs of one machine share until it is started anew.
    tokens : int
        Tokens that went through the model.
    macs : int
        Ternary multiply-accumulates for them: weights times tokens, without padding.
    """

    name: str
    start_wall_s: float
    end_wall_s: float
    start_monotonic_s: float
    end_monotonic_s: float
    tokens: int = 0
    macs: int = 0

    def __post_init__(self) -> None:
        for name in ("start_wall_s", "end_wall_s", "start_monotonic_s", "end_monotonic_s"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"`{name}` of {self.name!r} must be a number of seconds, not {value!r}")
        for name in ("tokens", "macs"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"`{name}` of {self.name!r} must be a whole number from 0 up, not {value!r}")
        if not self.end_monotonic_s > self.start_monotonic_s:
            raise ValueError(f"{self.name!r} must end after it starts, not {self.end_monotonic_s - self.start_monotonic_s:g} s later")

    @property
    def seconds(self) -> float:
        """How long it took, by the clock that nobody sets."""
        return self.end_monotonic_s - self.start_monotonic_s


@dataclass
class Marks:
    """What a run did, and when.

    Parameters
    ----------
    model, device, geometry : str
        As the command line names them.
    phases : list of Phase
        In order.
    """

    model: str
    device: str
    geometry: str = ""
    phases: list[Phase] = field(default_factory=list)

    def begin(self, name: str) -> Callable[[int, int], None]:
        """A phase begins now.

        Returns
        -------
        callable
            ``end(tokens, macs_a_token)``: the phase ends when it is called, the first time.
        """
        wall, monotonic = time.time(), time.monotonic()
        ended = False

        def end(tokens: int, macs_a_token: int) -> None:
            nonlocal ended
            if ended:
                return
            ended = True
            # The clock's resolution may be coarser than an empty phase is long.
            later = max(time.monotonic(), math.nextafter(monotonic, math.inf))
            self.phases.append(Phase(name, wall, time.time(), monotonic, later, tokens, tokens * macs_a_token))

        return end

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises
        ------
        MarksError
            If it cannot be written there.
        """
        record = {"format": _FORMAT, "model": self.model, "device": self.device, "geometry": self.geometry,
                  "phases": [asdict(phase) for phase in self.phases]}
        try:
            with written_beside(path) as beside:
                beside.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8", newline="\n")
        except OSError as error:
            raise MarksError(f"the marks {str(path)!r} cannot be written: {error.strerror or error}") from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises
        ------
        MarksError
            If the file cannot be read, is no file of marks, or has no phase in which tokens were made.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise MarksError(f"the marks {str(path)!r} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise MarksError(f"{path}: no marks, which `tritloom run --marks` writes, but {error}") from error
        if not isinstance(record, dict) or record.get("format") != _FORMAT:
            raise MarksError(f"{path}: the marks must have the format {_FORMAT!r}, as `tritloom run --marks` writes them")
        try:
            phases = [_phase(phase) for phase in record["phases"]]
            marks = cls(*(str(record.get(name, "")) for name in ("model", "device", "geometry")), phases)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            raise MarksError(f"{path}: the marks are damaged: {reason}") from error
        if not any(phase.tokens for phase in phases):
            raise MarksError(f"{path}: no phase of these marks has tokens, so there is nothing to divide energy by: the run did not get that far")
        return marks


def _phase(record: dict[str, Any]) -> Phase:
    """A phase; fields that a later version adds are left out."""
    known = {each.name for each in fields(Phase)}
    return Phase(**{name: value for name, value in record.items() if name in known})
