"""``tokenizer.json`` through the `tokenizers` library, kept whole inside a model file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.errors import CheckpointError, PromptError, UsageError
from tritloom.host.formats.hf_config import read_json
from tritloom.host.formats.source import missing_library
from tritloom.host.model.tokenizer import Encoding

__all__ = ["HuggingFaceTokenizer", "read_tokenizer"]


class HuggingFaceTokenizer:
    """A tokenizer of the `tokenizers` library.

    Parameters
    ----------
    definition
        What ``tokenizer.json`` holds.
    vocab_size
        Tokens of the model; the tokenizer may have fewer, and ids it does not know decode to nothing.
    start
        The id a text begins with, if there is one. `encode` adds it where the definition says so; an empty prompt is made of it.
    end
        The ids that end a text.
    chat_template
        As the checkpoint has it; kept, not used.

    Raises
    ------
    UsageError
        (a ``ValueError``) when the definition is none, or has ids outside the model's vocabulary.
    """

    kind = "huggingface"
    start_name = "the model's first token"

    def __init__(self, definition: Mapping[str, Any], vocab_size: int, start: int | None = None, end: Iterable[int] = (),
                 chat_template: str | None = None) -> None:  # fmt: skip
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise missing_library("tokenizers", "this model's text") from error
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(definition))
        except Exception as error:    # the library raises no narrower class
            raise UsageError(f"the tokenizer is not one the tokenizers library reads: {error}") from error
        self._definition = definition
        self.vocab_size = vocab_size
        self.end_ids = tuple(end)
        self.start = start
        self.chat_template = chat_template
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest < 0:
            raise UsageError("the tokenizer has no tokens")
        for name, value in (("the tokenizer's highest id", highest), ("`start`", start), *(("`end`", value) for value in self.end_ids)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < vocab_size):
                raise UsageError(f"{name} must be from 0 to {vocab_size - 1} (the model's vocabulary), not {value!r}")

    def __repr__(self) -> str:
        return f"HuggingFaceTokenizer({self._tokenizer.get_vocab_size()} tokens)"

    @property
    def end_id(self) -> int | None:
        """The first of the ids that end a text, if there is one."""
        return self.end_ids[0] if self.end_ids else None

    @property
    def start_id(self) -> int:
        """The id an empty prompt starts from.

        Raises
        ------
        PromptError
            When the checkpoint names none.
        """
        if self.start is None:
            raise PromptError("the prompt is empty, and the model has no token to start from: give at least one character")
        return self.start

    def encode(self, text: str) -> Encoding:
        """The ids of a text, with those around it that the definition adds."""
        return Encoding(np.array(self._tokenizer.encode(text).ids, np.int64))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, special ones left out. A character of which only a part is there becomes U+FFFD."""
        return self._tokenizer.decode(list(ids))

    def stream(self) -> Callable[[int], str]:
        """A function to be called with one id after another, giving the text that each adds: nothing, until a character is whole."""
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=True)
        return lambda token: stream.step(self._tokenizer, token) or ""

    def to_dict(self) -> dict[str, Any]:
        """The form in which a model file holds it."""
        return {"kind": self.kind, "definition": self._definition, "vocab_size": self.vocab_size, "start": self.start,
                "end": list(self.end_ids), "chat_template": self.chat_template}  # fmt: skip


def read_tokenizer(path: Path, vocab_size: int, ids: Mapping[str, Any]) -> dict[str, Any]:
    """A ``tokenizer.json`` as a model file holds it, tried out.

    Parameters
    ----------
    path
        The file.
    vocab_size
        Of the model.
    ids
        ``start``: an id or ``None``; ``end``: an id, several, or ``None``; ``chat_template``: text or ``None``; all may be missing.

    Raises
    ------
    CheckpointError
        When it is missing, damaged, or does not fit the model.
    """
    if not path.exists():
        raise CheckpointError(f"there is no tokenizer {path}: give a tokenizer.json with --tokenizer")
    end = ids.get("end")
    end = [] if end is None else end if isinstance(end, list) else [end]
    template = ids.get("chat_template")
    if template is not None and not isinstance(template, str):
        raise CheckpointError(f"the chat_template beside {path} must be text, not {type(template).__name__}")
    try:
        return HuggingFaceTokenizer(read_json(path), vocab_size, ids.get("start"), end, template).to_dict()
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
