"""One run of text from a prompt, piece by piece, that knows why it stopped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np

from tritloom.host.errors import ContextError, UsageError
from tritloom.host.model.runtime import Session
from tritloom.host.model.sampling import Sampler
from tritloom.host.model.tokenizer import Tokenizer

__all__ = ["Generation", "StopReason"]

StopReason = Literal["length", "context", "end"]


class Generation(Iterator[str]):
    """Iterate over it for the pieces of text; made by `Model.generate`.

    The prompt is taken in on the first piece, or before it by `start`, so that the two can be timed apart.

    Parameters
    ----------
    session
        A fresh one.
    tokenizer
        The model's.
    sampler
        What picks the tokens.
    prompt
        The text to go on from. An empty one starts from a newline.
    max_tokens
        Tokens to make at most.
    chat
        Whether `prompt` is what a user says in a conversation, to be put into the model's chat template, and not a text to go on from.

    Attributes
    ----------
    session : Session
        The sequence; `Session.position` counts the tokens taken in.
    prompt_ids : list of int
        The prompt as it is given to the model.
    notes : tuple of str
        What was done to the prompt, in sentences for the user: characters dropped, a newline put in place of nothing.
    tokens : list of int
        The ids made so far.
    stop_reason : str or None
        ``None`` while there may be more; from the last piece on, ``"length"`` (`max_tokens` were made), ``"context"`` (the context is full)
        or ``"end"`` (the model ended the text).

    Raises
    ------
    UsageError
        (a ``ValueError``) when `max_tokens` will not do.
    PromptError
        When nothing of the prompt is in the vocabulary, or there is no chat template for it.
    ContextError
        When the prompt is longer than the context.
    """

    def __init__(self, session: Session, tokenizer: Tokenizer, sampler: Sampler, prompt: str, max_tokens: int, chat: bool = False) -> None:
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or max_tokens < 0:
            raise UsageError(f"`max_tokens` must be an integer from 0 up, not {max_tokens!r}")
        if not isinstance(prompt, str):
            raise UsageError(f"`prompt` must be text, not {type(prompt).__name__}")
        encoding = tokenizer.encode_chat(prompt) if chat else tokenizer.encode(prompt)
        notes = [encoding.note] if encoding.note else []
        ids = encoding.ids.tolist()
        if not ids:
            ids = [tokenizer.start_id]
            notes.append(f"the prompt is empty: started from {tokenizer.start_name}")
        if len(ids) > session.context:
            raise ContextError(f"the prompt has {len(ids)} tokens and the model's context holds {session.context}: shorten the prompt")
        self.session = session
        self.prompt_ids = ids
        self.notes = tuple(notes)
        self.tokens: list[int] = []
        self.stop_reason: StopReason | None = None if max_tokens else "length"
        self._tokenizer = tokenizer
        self._piece = tokenizer.stream(() if chat else ids)    # an answer is a text of its own
        self._sampler = sampler
        self._max_tokens = max_tokens
        self._first_logits: np.ndarray | None = None

    def start(self) -> None:
        """Take the prompt in, unless that is done; nothing is made yet."""
        self._after_prompt()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        if self.stop_reason is not None:
            raise StopIteration
        logits = self.session.step(self.tokens[-1]) if self.tokens else self._after_prompt()
        token = self._sampler.pick(logits)
        if token in self._tokenizer.end_ids:
            self.stop_reason = "end"
            rest = self._piece(None)
            if rest:
                return rest
            raise StopIteration
        self.tokens.append(token)
        if len(self.tokens) == self._max_tokens:
            self.stop_reason = "length"
        elif self.session.position == self.session.context:
            self.stop_reason = "context"
        return self._piece(token) + (self._piece(None) if self.stop_reason else "")

    def _after_prompt(self) -> np.ndarray:
        """The logits of the first token to make."""
        if self._first_logits is None:
            self._first_logits = self.session.prefill(self.prompt_ids)
        return self._first_logits
