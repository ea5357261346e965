"""What every checkpoint becomes: a config, a tokenizer, and tensors that are read one at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file_writer import Tensor

__all__ = ["Source", "check_layers", "missing_library"]


class Source(ABC):
    """A checkpoint, opened. Nothing of its tensors is in memory until it is asked for, and a tensor is made anew each time.

    Attributes
    ----------
    path : Path
        The file or folder.
    config : ModelConfig
        The model's shape.
    tokenizer : dict
        As a model file holds it; see `tritloom.host.model.tokenizer.tokenizer_from_dict`.
    facts : dict
        Where it came from and how it was read; JSON values, for the model file's ``training``.
    """

    path: Path
    config: ModelConfig
    tokenizer: dict[str, Any]
    facts: dict[str, Any]

    @property
    def names(self) -> list[str]:
        """Every tensor that the config asks for, by Hugging Face's name, in a model file's order."""
        return [name for name, _ in self.config.float_tensors()] + [name for name, _, _ in self.config.matrices()]

    @abstractmethod
    def tensor(self, name: str) -> Tensor:
        """One tensor: `Ternary` for a BitLinear, a `FloatTensor` of the checkpoint's own type for embedding and head, a float32 array for another.

        Raises
        ------
        CheckpointError
            When it is missing, misshapen, of a type that is not known, or holds what it must not.
        """

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """All of them by name, one at a time. Raises as `tensor`."""
        for name in self.names:
            yield name, self.tensor(name)


def check_layers(config: ModelConfig, tensors: int, path: Path) -> None:
    """A config with more layers than the checkpoint has tensors is refused before their names are listed: there may be millions.

    Raises
    ------
    CheckpointError
        When it has.
    """
    if config.num_hidden_layers > tensors:
        raise CheckpointError(f"the checkpoint {path} has {tensors} tensors, too few for the {config.num_hidden_layers} layers that it speaks of")


def missing_library(name: str, what: str) -> CheckpointError:
    """The error for a format whose library is not installed."""
    return CheckpointError(f"reading {what} needs the Python package {name}: pip install 'tritloom[formats]'")
