"""The state of a training run on disk, complete enough that a resumed run equals an uninterrupted one bit for bit."""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tritloom.host.beside import written_beside
from tritloom.host.errors import TritloomError, UsageError

__all__ = ["Checkpoint", "CheckpointError", "RunKey", "checkpoint_path"]

_FORMAT = 1


class CheckpointError(TritloomError):
    """A training checkpoint is missing, unreadable, or of another run."""


@dataclass(frozen=True, kw_only=True)
class RunKey:
    """What must be the same for a run to go on: preset, steps, seed, and the text's SHA-256."""

    preset: str
    steps: int
    seed: int
    text_sha256: str


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run after some step.

    Attributes
    ----------
    key : RunKey
        Which run.
    step : int
        Steps done.
    model, optimizer : dict
        Their ``state_dict``.
    generator : Tensor
        State of the random generator.
    curve : list of tuple
        Evaluations so far, as `CurvePoint`'s fields.
    loss_sum : float
        Of the training losses since the last evaluation.
    seconds : float
        Spent so far.
    """

    key: RunKey
    step: int
    model: dict[str, Any]
    optimizer: dict[str, Any]
    generator: torch.Tensor
    curve: list[tuple[int, float, float]]
    loss_sum: float
    seconds: float

    def save(self, path: Path) -> None:
        """Write beside and rename, so that an interrupted write leaves the last good checkpoint."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        try:
            with written_beside(path) as beside:
                torch.save({"format": _FORMAT, **fields, "key": asdict(self.key)}, beside)
        except (OSError, RuntimeError) as error:    # PyTorch's writer raises the latter
            raise CheckpointError(f"the training checkpoint {str(path)!r} cannot be written: {error}") from error

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        CheckpointError
            There is none at `path`, or it is not one of ours.
        """
        try:
            fields = torch.load(path, weights_only=True)
        except FileNotFoundError as error:
            raise CheckpointError(f"there is no training checkpoint {str(path)!r} to resume; leave --resume out to start anew") from error
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise CheckpointError(f"{str(path)!r} is not a readable training checkpoint; delete it to start anew") from error
        if not isinstance(fields, dict) or fields.pop("format", None) != _FORMAT:
            raise CheckpointError(f"{str(path)!r} is not a training checkpoint of format {_FORMAT}; delete it to start anew")
        return cls(**{**fields, "key": RunKey(**fields["key"])})

    def check(self, key: RunKey, path: Path) -> None:
        """Refuse to go on with another run's state.

        Raises
        ------
        UsageError
            Preset, steps, seed or text differ from `key`'s.
        """
        for name, ours in asdict(self.key).items():
            asked = getattr(key, name)
            if ours != asked:
                raise UsageError(
                    f"the checkpoint {str(path)!r} was made with {name} {ours!r}, not {asked!r}; give the same settings, or another --out"
                )


def checkpoint_path(out: Path) -> Path:
    """Where the run that writes the model file `out` keeps its checkpoint: beside it, with ``.ckpt`` added."""
    return out.with_name(out.name + ".ckpt")
