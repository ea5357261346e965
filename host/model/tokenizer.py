"""Text to token ids and back.

One kind is here, one character a token; the other, of Hugging Face's library, is imported from `tritloom.host.formats` when a model file names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tritloom.host.errors import PromptError, UsageError

__all__ = ["CharTokenizer", "Encoding", "Tokenizer", "tokenizer_from_dict"]


@dataclass(frozen=True)
class Encoding:
    """A text as token ids, with what could not be said in them.

    Parameters
    ----------
    ids
        ``(T,)`` int64.
    dropped
        The characters outside the vocabulary, in the text's order, each as often as it occurred. They are left out of `ids`.
    """

    ids: np.ndarray
    dropped: str = ""

    @property
    def note(self) -> str | None:
        """One sentence on what was dropped, or ``None``."""
        if not self.dropped:
            return None
        counts = Counter(self.dropped)
        shown = ", ".join(f"{char!r}" + (f" ({count} times)" if count > 1 else "") for char, count in counts.most_common(8))
        more = f" and {len(counts) - 8} more" if len(counts) > 8 else ""
        count = "1 character" if len(self.dropped) == 1 else f"{len(self.dropped)} characters"
        return f"dropped {count} that the model's vocabulary does not have: {shown}{more}"


class Tokenizer(Protocol):
    """What the rest of tritloom asks of a tokenizer of any kind."""

    kind: str
    start_name: str
    """What `start_id` is, for a person: "a newline"."""

    @property
    def vocab_size(self) -> int:
        """Tokens of the model."""
        ...

    @property
    def end_id(self) -> int | None:
        """The id that ends a text, or the first of them, if there is one."""
        ...

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All ids that end a text."""
        ...

    @property
    def start_id(self) -> int:
        """The id an empty prompt starts from. Raises `PromptError` when there is none."""
        ...

    def encode(self, text: str) -> Encoding:
        """The ids of a text."""
        ...

    def encode_chat(self, message: str) -> Encoding:
        """The ids of a conversation that a user's message begins. Raises `PromptError` when the model has no template for one."""
        ...

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids."""
        ...

    def stream(self, after: Iterable[int] = ()) -> Callable[[int | None], str]:
        """A function to be called with one id after another, giving the text that each adds, and with ``None`` at the end, giving what is left.

        `after` are the ids of a text that is gone on from, on which the first piece may depend (a space before its first word).
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """The form in which a model file holds it."""
        ...


class CharTokenizer:
    """One token a character.

    Parameters
    ----------
    characters
        The vocabulary; a character's place in it is its id.
    end
        The character that ends a text, if the model was trained with one: generation stops at it and does not print it.

    Raises
    ------
    UsageError
        (a ``ValueError``) when the vocabulary is empty or repeats a character, or `end` is not in it.
    """

    kind = "characters"
    start_name = "a newline"

    def __init__(self, characters: str, end: str | None = None) -> None:
        if not isinstance(characters, str) or not characters:
            raise UsageError(f"`characters` must be a non-empty string, not {characters!r}")
        repeated = [char for char, count in Counter(characters).items() if count > 1]
        if repeated:
            raise UsageError(f"`characters` must not repeat a character, and {repeated[0]!r} is there twice")
        if end is not None and (not isinstance(end, str) or len(end) != 1 or end not in characters):
            raise UsageError(f"`end` must be one of the vocabulary's characters, not {end!r}")
        self.characters = characters
        self.end = end
        self._ids = {char: i for i, char in enumerate(characters)}

    def __repr__(self) -> str:
        return f"CharTokenizer({self.characters!r}, end={self.end!r})"

    @property
    def vocab_size(self) -> int:
        """Tokens."""
        return len(self.characters)

    @property
    def end_id(self) -> int | None:
        """The id that ends a text, if there is one."""
        return None if self.end is None else self._ids[self.end]

    @property
    def end_ids(self) -> tuple[int, ...]:
        """All ids that end a text: that one, or none."""
        return () if self.end is None else (self._ids[self.end],)

    @property
    def start_id(self) -> int:
        """The id an empty prompt starts from: the newline, after which a text may begin.

        Raises
        ------
        PromptError
            When the vocabulary has no newline.
        """
        if "\n" not in self._ids:
            raise PromptError("the prompt is empty, and the model's vocabulary has no newline to start from: give at least one character")
        return self._ids["\n"]

    def encode(self, text: str) -> Encoding:
        """The ids of a text; characters outside the vocabulary are dropped and listed.

        Raises
        ------
        PromptError
            When the text is not empty and none of its characters is in the vocabulary.
        """
        ids = self._ids
        known = np.array([ids[char] for char in text if char in ids], dtype=np.int64)
        dropped = "".join(char for char in text if char not in ids) if len(known) < len(text) else ""
        if dropped and not len(known):
            raise PromptError(
                f"none of the text's {len(text)} characters ({text[:20]!r}{'...' if len(text) > 20 else ''}) is in the model's vocabulary; "
                f"it knows {self.characters!r}"
            )
        return Encoding(known, dropped)

    def encode_chat(self, message: str) -> Encoding:
        """Raises `PromptError`: a model of single characters has no chat template."""
        raise PromptError("the model goes on from a text one character at a time and was not made for conversations: leave out --chat")

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids, each from 0 to ``vocab_size - 1``."""
        return "".join(self.characters[i] for i in ids)

    def stream(self, after: Iterable[int] = ()) -> Callable[[int | None], str]:
        """A function to be called with one id after another, giving the text that each adds, and with ``None`` at the end. What came before changes nothing."""
        return lambda token: "" if token is None else self.characters[token]

    def to_dict(self) -> dict[str, Any]:
        """The form in which a model file holds it."""
        end = {} if self.end is None else {"end": self.end}
        return {"kind": self.kind, "characters": self.characters} | end


def tokenizer_from_dict(values: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer a model file describes.

    Parameters
    ----------
    values
        ``{"kind": "characters", "characters": "...", "end": "..."}``, the last one optional, or what `HuggingFaceTokenizer.to_dict` gave.

    Raises
    ------
    UsageError
        (a ``ValueError``) when the kind or a key is unknown, or a value will not do.
    """
    kind = values.get("kind")
    known: dict[str, tuple[str, ...]] = {CharTokenizer.kind: ("characters",), "huggingface": ("definition", "vocab_size")}
    optional = {CharTokenizer.kind: ("end",), "huggingface": ("start", "end", "chat_template", "special_tokens")}
    if not isinstance(kind, str) or kind not in known:
        raise UsageError(f"the tokenizer's kind must be {' or '.join(map(repr, known))}, not {kind!r}")
    unknown = sorted(set(values) - {"kind", *known[kind], *optional[kind]})
    if unknown:
        raise UsageError(f"the tokenizer has the unknown key {unknown[0]!r}")
    missing = [key for key in known[kind] if key not in values]
    if missing:
        raise UsageError(f"the tokenizer lacks the key {missing[0]!r}")
    if kind == CharTokenizer.kind:
        return CharTokenizer(values["characters"], values.get("end"))
    from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer

    return HuggingFaceTokenizer(**{key: value for key, value in values.items() if key != "kind"})
