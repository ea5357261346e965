"""`Model`: what a user of the Python API holds. It joins file, tokenizer and runtime, and remembers which accelerators it is loaded on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from tritloom.host.errors import ModelFileError, UsageError
from tritloom.host.model.accelerator import Accelerator
from tritloom.host.model.bound import BoundModel
from tritloom.host.model.catalogue import find_model
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import ModelFile, open_model
from tritloom.host.model.fitting import fitting_geometry
from tritloom.host.model.generation import Generation
from tritloom.host.model.runtime import Session, check_ids
from tritloom.host.model.sampling import Sampler
from tritloom.host.model.shape import shape_of_file
from tritloom.host.model.tokenizer import Tokenizer, tokenizer_from_dict
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import Geometry

__all__ = ["Model"]


class Model:
    """A language model from a file, for any accelerator.

    The first use on an accelerator loads the weights there; later uses find them. They stay until the accelerator is closed, or until
    `release` or `close`.

    Parameters
    ----------
    file
        What `open_model` gave; `load` does both.

    Attributes
    ----------
    config : ModelConfig
        Its shape.
    tokenizer : Tokenizer
        Text to ids and back.
    training : dict
        How it was trained and what it scored, as the file says.
    path : Path
        The file.

    Raises
    ------
    ModelFileError
        When the file's tokenizer is of an unknown kind or does not fit the vocabulary.
    """

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self.config: ModelConfig = file.config
        self.training: dict[str, Any] = file.training
        self.path: Path = file.path
        try:
            self.tokenizer: Tokenizer = tokenizer_from_dict(file.tokenizer)
        except UsageError as error:
            raise ModelFileError(f"{file.path}: {error}") from error
        if self.tokenizer.vocab_size != self.config.vocab_size:
            raise ModelFileError(
                f"{file.path}: its tokenizer has {self.tokenizer.vocab_size} tokens and its config {self.config.vocab_size}: they must be equal"
            )
        self._bound: dict[int, BoundModel] = {}

    @classmethod
    def load(cls, name_or_path: str | os.PathLike[str]) -> Self:
        """Open a shipped model by name, or any by path.

        Raises
        ------
        UnknownNameError
            (a ``ValueError``) when there is no such name, with the nearest ones.
        ModelFileError
            When the file is missing, damaged, or of a newer version.
        """
        return cls(open_model(find_model(name_or_path)))

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r})"

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return self.path.stem

    @property
    def nbytes(self) -> int:
        """Size of the file in bytes."""
        return self._file.nbytes

    @property
    def order(self) -> ArrayOrder | None:
        """For which arrays its file has the matrices in words; ``None`` when they lie row by row."""
        return self._file.order

    def fitting_geometry(self) -> Geometry:
        """A geometry whose weight store holds all of the model, and whose array reads its file's words: the default one if that does."""
        return fitting_geometry(shape_of_file(self._file).matrices, self.order)

    def bind(self, acc: Accelerator) -> BoundModel:
        """The model on an accelerator: loaded there the first time, then the same again."""
        for key, bound in list(self._bound.items()):
            if bound.acc.closed:
                del self._bound[key]
        # Keyed by identity: an accelerator need not be hashable, and the entry keeps it alive, so its id stays its own.
        if id(acc) not in self._bound:
            self._bound[id(acc)] = BoundModel(self._file, acc)
        return self._bound[id(acc)]

    def release(self, acc: Accelerator) -> None:
        """Free the memory the model takes on an accelerator; nothing happens where it is not loaded."""
        bound = self._bound.pop(id(acc), None)
        if bound is not None:
            bound.close()

    def session(self, acc: Accelerator, context: int | None = None, *, kv_cache: str = "float32") -> Session:
        """A new sequence: see `Session`."""
        return Session(self.bind(acc), context, kv_cache)

    def generate(
        self,
        prompt: str,
        acc: Accelerator,
        *,
        max_tokens: int = 200,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
        kv_cache: str = "float32",
        chat: bool = False,
    ) -> Generation:
        """Go on from a prompt.

        Parameters
        ----------
        prompt
            Text; characters outside the vocabulary are dropped, which `Generation.notes` says. An empty prompt starts from a newline.
        acc
            The accelerator.
        max_tokens
            Tokens to make at most; the context may end the text earlier, which `Generation.stop_reason` says.
        temperature, top_k, top_p, seed
            See `Sampler`.
        kv_cache
            How keys and values are kept: ``"float32"``, ``"float16"`` or ``"int8"`` (see `KeyValueCache`).
        chat
            Whether the prompt is a user's message, to be put into the model's chat template.

        Returns
        -------
        Generation
            An iterator over the pieces of text. Arguments are checked before it is returned.

        Raises
        ------
        UsageError
            (a ``ValueError``) naming an argument that will not do.
        PromptError
            When no character of the prompt is in the vocabulary.
        ContextError
            When the prompt is longer than the context.
        """
        sampler = Sampler(temperature, top_k, top_p, seed)
        return Generation(self.session(acc, kv_cache=kv_cache), self.tokenizer, sampler, prompt, max_tokens, chat)

    def logits(self, token_ids: Sequence[int] | np.ndarray, acc: Accelerator) -> np.ndarray:
        """The logits after each token of a sequence.

        Parameters
        ----------
        token_ids
            ``(T,)`` integers, T from 1 to the context.
        acc
            The accelerator.

        Returns
        -------
        np.ndarray
            ``(T, vocab)`` float32; row ``t`` says what follows token ``t``.

        Raises
        ------
        UsageError
            (a ``ValueError``) when the ids are not a row of integers in the vocabulary.
        ContextError
            When there are more than the context holds.
        """
        ids = check_ids(token_ids, self.config)
        return self.session(acc, context=min(len(ids), self.config.max_position_embeddings)).extend(ids)
