"""How a model's rotary frequencies were stretched so that it reads texts longer than those it was first trained on."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from tritloom.host.errors import UsageError

__all__ = ["RopeScaling", "is_positive"]

# What each rule needs and may have besides `rope_type`; the rest must be left out, so that nothing that is written down is without effect.
_NEEDED = {
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("factor", "original_max_position_embeddings"),
    "divisors": ("divisors",),
}
_OPTIONAL = {"yarn": ("attention_factor", "beta_fast", "beta_slow")}
_NUMBERS = ("factor", "low_freq_factor", "high_freq_factor", "attention_factor", "beta_fast", "beta_slow")
_MAX_DIVISORS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """One of the rules of transformers' ``modeling_rope_utils``, or divisors as a GGUF file lists them.

    ``"linear"`` divides every frequency by `factor`. ``"llama3"`` divides those whose wavelength is longer than
    ``original_max_position_embeddings / low_freq_factor``, leaves those shorter than ``original_max_position_embeddings / high_freq_factor``,
    and goes from one to the other in between. ``"yarn"`` does so between the pairs that turn `beta_slow` and `beta_fast` times in the original
    context, and multiplies queries and keys besides. ``"divisors"`` divides each frequency by its own number.

    Parameters
    ----------
    rope_type
        ``"linear"``, ``"llama3"``, ``"yarn"`` or ``"divisors"``; it says which of the others must be there, and which must be ``None``.
    factor
        How much longer; at least 1.
    low_freq_factor, high_freq_factor
        For ``"llama3"``: wavelengths in the original context, the second number greater than the first.
    original_max_position_embeddings
        That context, for ``"llama3"`` and ``"yarn"``.
    attention_factor
        For ``"yarn"``: what queries and keys are multiplied by; ``0.1 ln(factor) + 1`` when ``None``.
    beta_fast, beta_slow
        For ``"yarn"``: turns; 32 and 1 when ``None``.
    divisors
        For ``"divisors"``: one positive number a pair.

    Raises
    ------
    UsageError
        (a ``ValueError``) naming the field, the rule and the value.
    """

    rope_type: str
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    divisors: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        _require(isinstance(self.rope_type, str) and self.rope_type in _NEEDED, "rope_type", f"one of {', '.join(map(repr, _NEEDED))}", self.rope_type)
        needed, optional = _NEEDED[self.rope_type], _OPTIONAL.get(self.rope_type, ())
        for field in fields(self)[1:]:
            value = getattr(self, field.name)
            _require(value is None or field.name in (*needed, *optional), field.name, f"left out for the rope_type {self.rope_type!r}", value)
            _require(value is not None or field.name not in needed, field.name, f"given for the rope_type {self.rope_type!r}", value)
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                _require(is_positive(value), name, "a positive finite number", value)
                object.__setattr__(self, name, float(value))
        _require(self.factor is None or self.factor >= 1, "factor", "at least 1", self.factor)
        if self.rope_type == "llama3":
            low, high = self.low_freq_factor, self.high_freq_factor
            _require(high > low, "high_freq_factor", f"greater than low_freq_factor ({low:g})", high)
        if self.rope_type == "yarn":
            fast, slow = self.beta_fast or 32.0, self.beta_slow or 1.0
            _require(fast > slow, "beta_fast", f"greater than beta_slow ({slow:g})", fast)
        original = self.original_max_position_embeddings
        if original is not None:
            integer = isinstance(original, int) and not isinstance(original, bool)
            _require(integer and 1 <= original <= 1 << 20, "original_max_position_embeddings", f"an integer from 1 to {1 << 20}", original)
        if self.divisors is not None:
            numbers = isinstance(self.divisors, list | tuple) and 1 <= len(self.divisors) <= _MAX_DIVISORS and all(map(is_positive, self.divisors))
            _require(numbers, "divisors", "positive finite numbers", self.divisors)
            object.__setattr__(self, "divisors", tuple(map(float, self.divisors)))

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """From the fields as JSON values.

        Raises
        ------
        UsageError
            On an unknown key, which it names, or a value out of range.
        """
        _require(isinstance(values, Mapping), "rope_scaling", "an object or null", values)
        known = {field.name for field in fields(cls)}
        for key in sorted(set(values) - known):
            raise UsageError(f"`rope_scaling` has the unknown key {key!r}; known are {', '.join(sorted(known))}")
        return cls(**{"rope_type": None, **values})

    @property
    def amplitude(self) -> float:
        """What cosines and sines are multiplied by."""
        if self.rope_type != "yarn":
            return 1.0
        return self.attention_factor or 0.1 * math.log(self.factor) + 1.0

    def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        """Frequencies after scaling.

        Parameters
        ----------
        frequencies
            ``(head_dim / 2,)`` float32, radians a position for each pair.
        theta
            The base that they were made from.

        Returns
        -------
        np.ndarray
            ``(head_dim / 2,)`` float32, a new array.
        """
        if self.rope_type == "divisors":
            return frequencies / np.array(self.divisors, np.float32)
        slow = frequencies / np.float32(self.factor)
        if self.rope_type == "linear":
            return slow
        kept = (self._kept_by_wavelength(frequencies) if self.rope_type == "llama3" else self._kept_by_turns(2 * len(frequencies), theta)).astype(np.float32)
        return (1 - kept) * slow + kept * frequencies

    def _kept_by_wavelength(self, frequencies: np.ndarray) -> np.ndarray:
        """Llama 3.1's share of the unchanged frequency: 0 at and beyond the long wavelength, 1 at and below the short one."""
        turns = np.float32(self.original_max_position_embeddings) * frequencies / np.float32(2 * math.pi)
        return np.clip((turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor), 0, 1)

    def _kept_by_turns(self, head_dim: int, theta: float) -> np.ndarray:
        """YaRN's share of the unchanged frequency, a ramp over the pairs' indices between two whole ones."""

        def pair(turns: float) -> float:
            return head_dim * math.log(self.original_max_position_embeddings / (turns * 2 * math.pi)) / (2 * math.log(theta))

        low, high = max(math.floor(pair(self.beta_fast or 32.0)), 0), min(math.ceil(pair(self.beta_slow or 1.0)), head_dim - 1)
        # transformers' width of a ramp that has none.
        ramp = (np.arange(head_dim // 2, dtype=np.float32) - low) / (high - low or 0.001)
        return 1 - np.clip(ramp, 0, 1)


def is_positive(value: object) -> bool:
    """Whether `value` is a number above 0 that a float holds."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    except OverflowError:    # an integer of hundreds of digits
        return False


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise UsageError(f"`{name}` must be {rule}, not {reprlib.repr(value)}")
