"""Training of small BitNets: the one part of tritloom that needs PyTorch.

Importing this package needs no PyTorch; `train` does, and says so where it is missing.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from tritloom.host.errors import TritloomError
from tritloom.host.train.presets import PRESETS, preset_named
from tritloom.host.train.result import Progress, TrainResult

__all__ = ["PRESETS", "MissingTorchError", "Progress", "TrainResult", "resume_path", "train"]


class MissingTorchError(TritloomError):
    """PyTorch is not installed."""


def resume_path(out: Path) -> Path:
    """The checkpoint that the run writing `out` keeps beside it: what to resume from."""
    _require_torch()
    from tritloom.host.train.checkpoint import checkpoint_path

    return checkpoint_path(out)


def train(
    text: Path,
    preset: str,
    out: Path,
    *,
    steps: int | None = None,
    seed: int | None = None,
    resume: Path | None = None,
    threads: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> TrainResult:
    """Train a model on a text and write it as a model file.

    A checkpoint is kept beside `out` (``<out>.ckpt``). The same text, preset, steps, seed, thread count, PyTorch and processor
    give the same model, interrupted and resumed or not.

    Parameters
    ----------
    text : Path
        UTF-8 text; its last part (the preset's ``held_out``) is only measured, never trained on.
    preset : str
        A name in `PRESETS`.
    out : Path
        The model file to write.
    steps, seed : int, optional
        Instead of the preset's.
    resume : Path, optional
        A checkpoint of the same run to go on from; `resume_path` names the one beside `out`.
    threads : int
        PyTorch's. More than one is not faster for models this small.
    progress : callable, optional
        Called after every step.

    Returns
    -------
    TrainResult
        Losses, and where the files are.

    Raises
    ------
    MissingTorchError
        PyTorch is not installed.
    UnknownNameError
        There is no such preset.
    UsageError
        The text is missing, not UTF-8 or too short; a number is out of range; the checkpoint is of another run; or one of an
        unfinished run would be overwritten.
    CheckpointError
        The checkpoint to resume is missing or damaged.
    """
    found = preset_named(preset)
    _require_torch()
    from tritloom.host.train.loop import run_training

    return run_training(text, found, out, steps=steps, seed=seed, resume=resume, threads=threads, progress=progress)


def _require_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise MissingTorchError("training needs PyTorch, which is not installed; run: pip install 'tritloom[train]'")
