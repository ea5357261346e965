"""A text as character numbers, split into the part that is trained on and the part that is only measured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tritloom.host.errors import UsageError

__all__ = ["CharText", "sample_batch"]


@dataclass(frozen=True)
class CharText:
    """A text file read as characters.

    Attributes
    ----------
    chars : str
        Every character that occurs, sorted: the vocabulary; a character's number is its place here.
    train, held_out : Tensor
        int64 ``(T,)``: the text up to the split, and the rest.
    sha256 : str
        Of the file's bytes, hexadecimal.
    length : int
        Characters in all.
    """

    chars: str
    train: Tensor
    held_out: Tensor
    sha256: str
    length: int

    @classmethod
    def read(cls, path: Path, *, held_out: float, block: int) -> CharText:
        """Read and split a UTF-8 text.

        Parameters
        ----------
        path : Path
            The file.
        held_out : float
            Last part of the characters to keep for evaluation.
        block : int
            Characters of the longest training sequence.

        Raises
        ------
        UsageError
            The file cannot be read, is not UTF-8, or is too short for one sequence and its target.
        """
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(f"the training text {str(path)!r} cannot be read ({error.strerror}); give --text a readable file") from error
        try:
            # No newline translation: the model must see the characters that the file's checksum stands for.
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(f"the training text {str(path)!r} is not UTF-8 at byte {error.start}; convert it to UTF-8 first") from error
        split = int(len(text) * (1.0 - held_out))
        if split < block + 1 or len(text) - split < 2:
            needed = int((block + 2) / (1.0 - held_out)) + 2
            raise UsageError(
                f"the training text {str(path)!r} has {len(text)} characters, which is shorter than one block of {block} and the part "
                f"kept for evaluation; give a text of {needed} characters or more"
            )
        chars = "".join(sorted(set(text)))
        number = {char: i for i, char in enumerate(chars)}
        ids = torch.tensor([number[char] for char in text], dtype=torch.int64)
        return cls(chars, ids[:split], ids[split:], hashlib.sha256(data).hexdigest(), len(text))


def sample_batch(ids: Tensor, batch: int, block: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw `batch` sequences of `block` characters and, for each place, the character that follows: two int64 ``(batch, block)``."""
    starts = torch.randint(len(ids) - block, (batch, 1), generator=generator)
    windows = ids[starts + torch.arange(block + 1)]
    return windows[:, :-1], windows[:, 1:]
