"""SentencePiece's byte pairs with scores (`tokenizer.ggml.model` ``llama``), as a tokenizer of the `tokenizers` library.

SentencePiece, and llama.cpp after it (``llm_tokenizer_spm_session`` in ``src/llama-vocab.cpp``), join the two neighbours whose joint text is the token of the
highest score, the leftmost of equals, until no two make a token. The library joins the pair that comes first in a list. Sorting the list by the joint token's
score (transformers' ``generate_merges``) gives the same tokens for every text if no two of those tokens have the same score: as long as nothing is joined
across a token's bounds, what is joined within them is joined in the order in which it would be without neighbours, so that a token's last two parts are always
the same two, and only the score, or the place, decides. Equal scores cannot be put into such a list and are refused.

A fragment between special tokens begins with a space (``add_space_prefix``), spaces become U+2581, and what is no token becomes its UTF-8 bytes. Unused tokens
are joined and shown like normal ones. Two things are as SentencePiece has them and not as llama.cpp: nothing is joined into a byte's or a special token, and of
special tokens that overlap, the first in the text counts, not the longest.
"""

from __future__ import annotations

import math
from typing import Any

from tritloom.host.errors import UsageError
from tritloom.host.formats.hf_tokenizer import library_errors
from tritloom.host.formats.source import missing_library

__all__ = ["sentencepiece_bpe"]

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
_SPACE = "\u2581"
_BYTES = [f"<0x{value:02X}>" for value in range(256)]


def sentencepiece_bpe(tokens: list[str], scores: object, types: object, space_first: bool) -> Any:
    """A ``tokenizers.Tokenizer`` without special tokens, which are the caller's.

    Parameters
    ----------
    tokens
        Texts by id, each once.
    scores
        A finite number a token.
    types
        llama.cpp's number of a kind a token: 1 normal, 2 unknown, 3 control, 4 defined by the user, 5 unused, 6 a byte.
    space_first
        Whether a text begins with a space that is not there.

    Raises
    ------
    UsageError
        When scores or types are missing or of another number than tokens, or the tokens cannot be read in the way described above.
    """
    for name, given in (("scores", scores), ("token types", types)):
        if not isinstance(given, list):
            raise UsageError(f"the tokenizer has no {name}, without which its tokens cannot be told apart")
        if len(given) != len(tokens):
            raise UsageError(f"the tokenizer has {len(given)} {name} for {len(tokens)} tokens")
    bad = next((i for i, score in enumerate(scores) if not isinstance(score, int | float) or not math.isfinite(score)), None)
    if bad is not None:
        raise UsageError(f"the tokenizer's score of {tokens[bad]!r} must be a number, not {scores[bad]!r}")
    _check_bytes(tokens, types)
    try:
        from tokenizers import Tokenizer, decoders, models, normalizers
    except ImportError as error:
        raise missing_library("tokenizers", "this model's text") from error
    merges = _merges(tokens, scores, types)
    with library_errors("the tokenizer's tokens do not fit together"):
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges, byte_fallback=True))
    replace = normalizers.Replace(" ", _SPACE)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(_SPACE), replace]) if space_first else replace
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if space_first else steps)
    return tokenizer


def _check_bytes(tokens: list[str], types: list[int]) -> None:
    kinds = dict(zip(tokens, types, strict=True))
    for text in _BYTES:
        if kinds.get(text) != BYTE:
            raise UsageError(f"the tokenizer has no byte token {text}, and needs all 256 for characters that are no tokens")
    other = next((text for text, kind in kinds.items() if kind == BYTE and text not in _BYTES), None)
    if other is not None:
        raise UsageError(f"the tokenizer's byte token {other!r} must be from '<0x00>' to '<0xFF>'")


def _merges(tokens: list[str], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """Every two tokens that make a third, the highest score of the third first. Special tokens never meet here: a text is cut at them before."""
    joined = {token for token, kind in zip(tokens, types, strict=True) if kind in (NORMAL, UNUSED)}
    known = set(tokens)
    found: list[tuple[float, str, list[tuple[str, str]]]] = []
    for token, score in zip(tokens, scores, strict=True):
        if token not in joined:
            continue
        pairs = []
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            for part, other in ((left, right), (right, left)):
                if len(part) == 1 and part not in known and (other in joined or len(other) == 1):
                    raise UsageError(f"the tokenizer's token {token!r} has the character {part!r}, which is no token, so that no pair of tokens makes it")
            if left in joined and right in joined:
                pairs.append((left, right))
        if pairs:
            found.append((score, token, pairs))
    found.sort(key=lambda entry: -entry[0])
    for (score, token, _), (following, other, _) in zip(found, found[1:], strict=False):
        if score == following:
            raise UsageError(f"the tokenizer's tokens {token!r} and {other!r} have the same score ({score:g}), and which is joined first depends on their places in "
                             "a text, which the tokenizers library does not know")  # fmt: skip
    return [pair for _, _, pairs in found for pair in pairs]
