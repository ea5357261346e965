"""``tokenizer.json`` through the `tokenizers` library, kept whole inside a model file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.errors import CheckpointError, PromptError, UsageError
from tritloom.host.formats.chat_template import render_chat
from tritloom.host.formats.hf_config import read_json
from tritloom.host.formats.source import missing_library
from tritloom.host.formats.text_stream import TextStream
from tritloom.host.model.tokenizer import Encoding

__all__ = ["HuggingFaceTokenizer", "library_errors", "read_tokenizer"]


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
        As the checkpoint has it, in Jinja's language; what `encode_chat` needs.
    special_tokens
        Texts that the template may name, as ``bos_token``. Where the checkpoint does not say: those of `start` and of the first of `end`.

    Raises
    ------
    UsageError
        (a ``ValueError``) when the definition is none, or has ids outside the model's vocabulary.
    """

    kind = "huggingface"
    start_name = "the model's first token"

    def __init__(self, definition: Mapping[str, Any], vocab_size: int, start: int | None = None, end: Iterable[int] = (),
                 chat_template: str | None = None, special_tokens: Mapping[str, str] | None = None) -> None:  # fmt: skip
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise missing_library("tokenizers", "this model's text") from error
        if not _is_number(vocab_size):
            raise UsageError(f"`vocab_size` must be a number of tokens, not {vocab_size!r}")
        if not isinstance(end, list | tuple):
            raise UsageError(f"`end` must be a list of ids, not {end!r}")
        if chat_template is not None and not isinstance(chat_template, str):
            raise UsageError(f"`chat_template` must be text, not {chat_template!r}")
        if special_tokens is not None and not (isinstance(special_tokens, Mapping) and all(isinstance(text, str) for text in special_tokens.values())):
            raise UsageError(f"`special_tokens` must be texts by name, not {special_tokens!r}")
        with library_errors("the tokenizer is not one the tokenizers library reads"):
            self._tokenizer = Tokenizer.from_str(json.dumps(definition))
        self._definition = definition
        self.vocab_size = vocab_size
        self.end_ids = tuple(end)
        self.start = start
        self.chat_template = chat_template
        self._special_tokens = special_tokens
        self._bytes_of: dict[int, int] = {}
        if '"ByteFallback"' in json.dumps(definition.get("decoder")):
            found = {value: self._tokenizer.token_to_id(f"<0x{value:02X}>") for value in range(256)}
            self._bytes_of = {token: value for value, token in found.items() if token is not None}
        highest = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        if highest < 0:
            raise UsageError("the tokenizer has no tokens")
        for name, value in (("the tokenizer's highest id", highest), ("`start`", start), *(("`end`", value) for value in self.end_ids)):
            if value is not None and not (_is_number(value) and 0 <= value < vocab_size):
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
        if not isinstance(text, str):
            raise UsageError(f"a text must be a string, not {text!r}")
        with library_errors("the tokenizer cannot take the text"):
            return Encoding(np.array(self._tokenizer.encode(text).ids, np.int64))

    def encode_chat(self, message: str) -> Encoding:
        """The ids of a conversation that a user's message begins, as the model's chat template has it, up to where the answer begins.

        Raises
        ------
        PromptError
            When the model has no template, or one that does not take the message.
        CheckpointError
            When Jinja is not installed.
        """
        if self.chat_template is None:
            raise PromptError("the model has no chat template, so it was not made for conversations, or its checkpoint does not say how: leave out --chat")
        tokens = self._special_tokens
        if tokens is None:
            named = {"bos_token": self.start, "eos_token": self.end_id}
            tokens = {name: text for name, value in named.items() if value is not None and (text := self._tokenizer.id_to_token(value)) is not None}
        # The template writes the special tokens itself.
        text = render_chat(self.chat_template, message, tokens)
        return Encoding(np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, np.int64))

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, special ones left out. A character of which only a part is there becomes U+FFFD."""
        ids = list(ids)
        text = self._library_decode(ids)
        if "\ufffd" not in text or not self._bytes_of:
            return text
        step = self.stream()    # the library makes every byte beside a broken character one as well
        return "".join(map(step, [*ids, None]))

    def stream(self, after: Iterable[int] = ()) -> TextStream:
        """A function to be called with one id after another, giving the text that each adds: nothing, until a character is whole; and with ``None`` at the end.

        The pieces make `decode` of all ids together; with `after`, the ids of a text that is gone on from, what they add to `decode` of those.
        """
        return TextStream(self._library_decode, self._bytes_of, after)

    def _library_decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(ids)

    def to_dict(self) -> dict[str, Any]:
        """The form in which a model file holds it."""
        return {"kind": self.kind, "definition": self._definition, "vocab_size": self.vocab_size, "start": self.start,
                "end": list(self.end_ids), "chat_template": self.chat_template, "special_tokens": self._special_tokens}  # fmt: skip


@contextmanager
def library_errors(what: str) -> Iterator[None]:
    """Whatever the `tokenizers` library raises as a UsageError: it has no class of its own for that, and its panics are no `Exception`."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise UsageError(f"{what}: {error}") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def read_tokenizer(path: Path, vocab_size: int, ids: Mapping[str, Any]) -> dict[str, Any]:
    """A ``tokenizer.json`` as a model file holds it, tried out.

    Parameters
    ----------
    path
        The file.
    vocab_size
        Of the model.
    ids
        ``start``: an id or ``None``; ``end``: an id, several, or ``None``; ``chat_template``: text or ``None``; ``special_tokens``: texts by name,
        or ``None``; all may be missing.

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
        return HuggingFaceTokenizer(read_json(path), vocab_size, ids.get("start"), end, template, ids.get("special_tokens")).to_dict()
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
