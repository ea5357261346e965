"""Text out of a tokenizer of the `tokenizers` library, token by token."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["TextStream"]

#: What the library puts where bytes are no character, or not yet.
_BROKEN = "\ufffd"


class TextStream:
    """What each token adds to a text; called with one id after another, and with ``None`` at the end.

    A token's text depends on where it stands: tokenizers of SentencePiece's kind leave out the space before a text's first word, and characters may be split
    over tokens. So a token is decoded with those before it, since the last whole character. Tokens that are one byte each are put together here: the library's
    decoder takes a run of them as a whole, and one broken character in it spoils the others, which may have been shown long ago.

    Parameters
    ----------
    decode
        The library's: ids to text, special ones left out.
    bytes_of
        The ids that stand for one byte (``<0x00>`` and so on), if the tokenizer has such.
    after
        Ids of the text that is gone on from: a prompt. The last ones decide.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], bytes_of: Mapping[int, int], after: Iterable[int] = ()) -> None:
        self._decode = decode
        self._bytes_of = bytes_of
        self._utf8 = getincrementaldecoder("utf-8")("replace")
        self._before: list[int] = list(after)[-8:]    # a character has four bytes at most, and some tokens may be special
        self._shown = decode(self._before)    # what `before` decodes to
        self._pending: list[int] = []    # tokens after it of which nothing is shown

    def __call__(self, token: int | None) -> str:
        """The text that a token adds: nothing, until a character is whole. ``None`` gives what is left of one that never became so: U+FFFD."""
        if token is None:
            return self._rest() + self._utf8.decode(b"", final=True)
        if token not in self._bytes_of:
            self._pending.append(token)
            added = self._added()
            if not added:
                return ""    # a special token, which is as if it were not there: bytes before and after it may be one character
            broken = self._utf8.decode(b"", final=True)
            if added.endswith(_BROKEN):
                return broken
            self._advance()
            return broken + added
        text = self._rest()
        if not self._before and not text and self._bytes_of[token] < 128:
            self._pending.append(token)    # the first of a text: a space may be left out here too
            text = self._rest()
        else:
            text += self._utf8.decode(bytes([self._bytes_of[token]]))
        # One byte alone decodes to the same, whatever comes after, as long as that is no byte.
        self._before, self._pending = [token], []
        self._shown = self._decode(self._before)
        return text

    def _added(self) -> str:
        text = self._decode(self._before + self._pending)
        # Some decoders change what stands before; then only the tokens' own text can be had.
        return text[len(self._shown):] if text.startswith(self._shown) else self._decode(self._pending)

    def _rest(self) -> str:
        """What is pending, as it is."""
        added = self._added() if self._pending else ""
        if added:
            self._advance()
        return added

    def _advance(self) -> None:
        self._before, self._pending = self._pending, []
        self._shown = self._decode(self._before)
