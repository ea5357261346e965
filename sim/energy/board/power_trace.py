"""Power over time as a function that can be integrated, and what is known about how well."""

from __future__ import annotations

import numpy as np

__all__ = ["PowerTrace"]


class PowerTrace:
    """Samples of power, linear between them.

    Parameters
    ----------
    times_s : (n,) float64
        Rising.
    watts : (n,) float64
    """

    def __init__(self, times_s: np.ndarray, watts: np.ndarray) -> None:
        self.times_s, self.watts = times_s, watts
        pieces = np.diff(times_s) * (watts[1:] + watts[:-1]) / 2
        self._joules = np.concatenate(([0.0], np.cumsum(pieces)))

    @property
    def start_s(self) -> float:
        """The first sample's time."""
        return float(self.times_s[0])

    @property
    def end_s(self) -> float:
        """The last sample's time."""
        return float(self.times_s[-1])

    def inside(self, start_s: float, end_s: float) -> np.ndarray:
        """Indices of the samples in a closed range."""
        return np.arange(np.searchsorted(self.times_s, start_s, "left"), np.searchsorted(self.times_s, end_s, "right"))

    def joules_until(self, at_s: np.ndarray | float) -> np.ndarray:
        """The integral from the first sample; times outside of the log count as its ends."""
        at = np.clip(at_s, self.start_s, self.end_s)
        before = np.clip(np.searchsorted(self.times_s, at, "right") - 1, 0, len(self.times_s) - 2)
        power = np.interp(at, self.times_s, self.watts)
        return self._joules[before] + (at - self.times_s[before]) * (self.watts[before] + power) / 2

    def joules(self, start_s: float, end_s: float) -> float:
        """The integral over a range within the log, by the trapezoidal rule."""
        return float(self.joules_until(end_s) - self.joules_until(start_s))

    def edge_joules(self, at_s: float) -> float:
        """The most by which a step of power at about this time, between two samples, makes the integral wrong.

        It may be in the interval of this time or in one beside it: a mark can lie on a sample.
        """
        after = int(np.clip(np.searchsorted(self.times_s, at_s, "right"), 1, len(self.times_s) - 1))
        near = slice(max(0, after - 2), after + 2)
        return float((np.diff(self.times_s[near]) * np.abs(np.diff(self.watts[near]))).max() / 2)

    def mean_error_w(self, samples: np.ndarray) -> float:
        """Standard uncertainty of the mean of these samples: their deviation over the root of how many of them are independent.

        Neighbours that resemble one another (correlation r) count less: n (1 - r) / (1 + r) of n.
        """
        watts = self.watts[samples]
        deviation = watts - watts.mean()
        variance = float(deviation @ deviation) / (len(watts) - 1)
        if variance == 0:
            return 0.0
        alike = float(np.clip(deviation[1:] @ deviation[:-1] / (deviation @ deviation), 0.0, 0.99))
        return float(np.sqrt(variance / max(1.0, len(watts) * (1 - alike) / (1 + alike))))
