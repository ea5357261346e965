"""What training tells its caller, while it runs and at the end; without PyTorch, so that the command line can name the types."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CurvePoint", "Progress", "TrainResult"]


@dataclass(frozen=True)
class Progress:
    """One finished step.

    Attributes
    ----------
    step, steps : int
        Steps done, and in all.
    loss : float
        Of this step's batch, nats a character.
    held_out_loss : float or None
        Of the held-out text at the last evaluation, nats a character; None before the first.
    learning_rate : float
        Used in this step.
    """

    step: int
    steps: int
    loss: float
    held_out_loss: float | None
    learning_rate: float


@dataclass(frozen=True)
class CurvePoint:
    """One evaluation: steps done, mean training loss since the last one, held-out loss; both in nats a character."""

    step: int
    train_loss: float
    held_out_loss: float


@dataclass(frozen=True)
class TrainResult:
    """A finished run.

    Attributes
    ----------
    out, checkpoint : Path
        The model file, and the checkpoint of the run beside it.
    preset : str
        Name of the recipe.
    steps, seed : int
        As run.
    train_loss, held_out_loss : float
        At the last evaluation, nats a character.
    held_out_chars : int
        Characters that were predicted for `held_out_loss`.
    curve : tuple of CurvePoint
        All evaluations.
    seconds : float
        Time in training steps and evaluations, over all resumptions.
    """

    out: Path
    checkpoint: Path
    preset: str
    steps: int
    seed: int
    train_loss: float
    held_out_loss: float
    held_out_chars: int
    curve: tuple[CurvePoint, ...]
    seconds: float
