"""How well a model predicts a text: nats and perplexity a token, measured on the accelerator it runs on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tritloom.host.errors import PromptError, UsageError
from tritloom.host.model.accelerator import Accelerator
from tritloom.host.model.model import Model

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """The score of a model on a text.

    Parameters
    ----------
    nats_per_token
        Mean negative log-likelihood, natural logarithm.
    tokens
        Tokens scored: all of the text but the first.
    window
        Tokens that each pass starts afresh with.
    notes
        What was done to the text, in sentences for the user: characters dropped.
    """

    nats_per_token: float
    tokens: int
    window: int
    notes: tuple[str, ...]

    @property
    def perplexity(self) -> float:
        """``exp(nats_per_token)``; infinite where a float64 cannot hold it."""
        try:
            return math.exp(self.nats_per_token)
        except OverflowError:
            return math.inf


def evaluate(
    model: Model,
    acc: Accelerator,
    text: str,
    *,
    window: int | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Score a text in windows that follow each other without overlap.

    Each window takes in ``window`` tokens with an empty cache and predicts the token after each of them, so that every token but the text's
    first is scored once. Tokens at a window's start have little context; a shorter window gives a worse score.

    Parameters
    ----------
    model, acc
        What is measured.
    text
        At least two characters of the vocabulary.
    window
        Tokens a window takes in; the model's context by default, and at most that.
    limit
        Tokens to score at most, from the text's start.
    progress
        Called after each window with the tokens scored so far and the tokens to score in all.

    Raises
    ------
    UsageError
        (a ``ValueError``) when `window` or `limit` is out of range.
    PromptError
        When fewer than two tokens are left.
    """
    context = model.config.max_position_embeddings
    window = context if window is None else window
    if isinstance(window, bool) or not isinstance(window, int) or not 1 <= window <= context:
        raise UsageError(f"`window` must be an integer from 1 to {context} (the model's context), not {window!r}")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise UsageError(f"`limit` must be an integer from 1 up, not {limit!r}")
    encoding = model.tokenizer.encode(text)
    ids = encoding.ids if limit is None else encoding.ids[: limit + 1]
    total = len(ids) - 1
    if total < 1:
        raise PromptError(f"a text needs at least 2 characters of the model's vocabulary to be scored, and this one has {len(ids)}")
    losses = []
    for start in range(0, total, window):
        stop = min(start + window, total)
        logits = model.logits(ids[start:stop], acc).astype(np.float64)
        peak = logits.max(axis=1)
        spread = np.log(np.exp(logits - peak[:, None]).sum(axis=1))
        losses.append(float((peak + spread - logits[np.arange(stop - start), ids[start + 1 : stop + 1]]).sum()))
        if progress is not None:
            progress(stop, total)
    return Evaluation(math.fsum(losses) / total, total, window, (encoding.note,) if encoding.note else ())
