"""Choosing the next token from logits: greedy, or at random with a temperature, top-k, top-p and a seed."""

from __future__ import annotations

import math

import numpy as np

from tritloom.host.errors import UsageError

__all__ = ["Sampler"]


class Sampler:
    """Picks token ids; equal seeds and equal logits give equal picks.

    The order is Hugging Face's: divide by the temperature, keep the `top_k` largest, then keep the fewest of those whose probability
    reaches `top_p`, then draw. Among equal logits the lowest id comes first.

    Parameters
    ----------
    temperature
        0 takes the largest logit, always; 1 samples the model's own distribution.
    top_k
        How many of the largest logits may be drawn; ``None`` for all.
    top_p
        Probability that those that may be drawn must reach together; ``None`` for 1.
    seed
        Where the random numbers start.

    Raises
    ------
    UsageError
        (a ``ValueError``) naming the argument, the rule and the value.
    """

    def __init__(self, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0) -> None:
        if not _is_number(temperature) or not 0 <= temperature < math.inf:
            raise UsageError(f"`temperature` must be a number from 0 up, not {temperature!r}")
        if top_k is not None and (isinstance(top_k, bool) or not isinstance(top_k, int) or top_k < 1):
            raise UsageError(f"`top_k` must be an integer from 1 up, not {top_k!r}")
        if top_p is not None and (not _is_number(top_p) or not 0 < top_p <= 1):
            raise UsageError(f"`top_p` must be a number above 0 and at most 1, not {top_p!r}")
        if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
            raise UsageError(f"`seed` must be an integer from 0 up, not {seed!r}")
        self.temperature, self.top_k, self.top_p, self.seed = temperature, top_k, top_p, seed
        self._random = np.random.default_rng(seed)

    def pick(self, logits: np.ndarray) -> int:
        """Choose the next token.

        Parameters
        ----------
        logits
            ``(vocab,)``, finite.

        Returns
        -------
        int
            Its id.
        """
        if self.temperature == 0:
            return int(logits.argmax())
        ids, shares = self.candidates(logits)
        bounds = np.cumsum(shares)
        drawn = np.searchsorted(bounds, self._random.random() * bounds[-1], side="right")
        return int(ids[min(drawn, len(ids) - 1)])

    def candidates(self, logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What may be drawn, and how likely each is.

        Parameters
        ----------
        logits
            ``(vocab,)``, finite. The temperature must not be 0.

        Returns
        -------
        ids : np.ndarray
            The tokens, the likeliest first where `top_k` or `top_p` is set.
        shares : np.ndarray
            Their probabilities in float64; they sum to 1.
        """
        ids = np.arange(len(logits))
        # A temperature near 0 may overflow to -inf, whose share is 0, as it should be.
        with np.errstate(over="ignore"):
            scaled = (logits.astype(np.float64) - logits.max()) / self.temperature
        if self.top_k is not None or self.top_p is not None:
            ids = np.argsort(-logits, kind="stable")[: self.top_k]
            scaled = scaled[ids]
        shares = np.exp(scaled)
        shares /= shares.sum()
        if self.top_p is not None:
            # A token is kept when those before it have not reached top_p: so the first always is, and the one that crosses it is.
            keep = np.cumsum(shares) - shares < self.top_p
            ids, shares = ids[keep], shares[keep] / shares[keep].sum()
        return ids, shares


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
