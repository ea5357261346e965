"""The models that are shipped with the package: where they lie, what is in them, and how a name becomes a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritloom.host.errors import ModelFileError, UnknownNameError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import open_model

__all__ = ["MODELS", "ModelInfo", "find_model", "list_models"]

MODELS = Path(__file__).resolve().parent.parent / "models"
"""The folder of the shipped models."""

_SUFFIX = ".trit"


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """One shipped model, for a list of them.

    Parameters
    ----------
    name
        What `Model.load` and ``--model`` take.
    path
        The file.
    nbytes
        Its size.
    config
        The model's shape; ``None`` when the file cannot be used.
    training
        Facts about how it was trained.
    problem
        Why the file cannot be used, or ``None``.
    """

    name: str
    path: Path
    nbytes: int
    config: ModelConfig | None
    training: dict[str, Any]
    problem: str | None = None

    @property
    def parameters(self) -> int | None:
        """All weights, ternary and float."""
        return None if self.config is None else self.config.ternary_weights + self.config.float_weights

    @property
    def ternary_weights(self) -> int | None:
        """Weights that the accelerator holds."""
        return None if self.config is None else self.config.ternary_weights

    @property
    def context(self) -> int | None:
        """Tokens a sequence may have."""
        return None if self.config is None else self.config.max_position_embeddings


def list_models(folder: Path = MODELS) -> list[ModelInfo]:
    """The shipped models by name, damaged ones with their problem."""
    models = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        facts: dict[str, Any] = {"name": path.stem, "path": path, "nbytes": path.stat().st_size}
        try:
            file = open_model(path)
        except ModelFileError as error:
            models.append(ModelInfo(**facts, config=None, training={}, problem=str(error)))
        else:
            models.append(ModelInfo(**facts, config=file.config, training=file.training))
    return models


def find_model(name_or_path: str | os.PathLike[str], folder: Path = MODELS) -> Path:
    """The file of a shipped model's name, or the path that was given.

    A string that has a folder in it or ends in ``.trit`` is a path, and so is any ``os.PathLike``; another is a shipped model's name, or
    else a file that exists.

    Raises
    ------
    UnknownNameError
        (a ``ValueError``) when it is neither, with the nearest names and all of them.
    """
    if isinstance(name_or_path, os.PathLike):
        return Path(name_or_path)
    if not isinstance(name_or_path, str) or "\0" in name_or_path:
        raise UsageError(f"a model is named by a text or a path, not {name_or_path!r}")
    path = Path(name_or_path)
    shipped = {file.stem: file for file in folder.glob(f"*{_SUFFIX}")}
    if name_or_path in shipped:
        return shipped[name_or_path]
    if path.suffix == _SUFFIX or path.name != name_or_path or path.is_file():
        return path
    raise UnknownNameError("model", name_or_path, shipped, hint="A path to a *.trit file will do as well.")
