"""A device's counters: what every figure of speed and utilisation comes from."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Counters"]


@dataclass(frozen=True)
class Counters:
    """A device's counters (`tritloom.rtl.wire.COUNTERS` says what each counts). They wrap at 2**32: subtract two readings."""

    cycles: int
    busy: int
    ramp: int
    stall_weights: int
    stall_results: int
    jobs: int
    results: int
    bad_frames: int

    def __sub__(self, earlier: Counters) -> Counters:
        """What was counted since `earlier`, if less than 2**32 of each."""
        if not isinstance(earlier, Counters):
            return NotImplemented
        return Counters(*((getattr(self, field.name) - getattr(earlier, field.name)) & 0xFFFFFFFF for field in fields(self)))

    @property
    def utilization(self) -> float:
        """Share of the cycles in which the array took a tile's weights; 0 if there were none."""
        return self.busy / self.cycles if self.cycles else 0.0

    @property
    def drain(self) -> int:
        """Cycles in which nothing was issued and sums were still on their way out, or one job followed another."""
        return self.cycles - self.busy - self.ramp - self.stall_weights - self.stall_results
