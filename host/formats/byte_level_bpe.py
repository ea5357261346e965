"""Byte-level BPE (`tokenizer.ggml.model` ``gpt2``), as a tokenizer of the `tokenizers` library.

How a text is cut before merging has a name in the metadata; which expression that is, whether a piece that is a token is left whole, and whether texts begin
with a token unless told otherwise, is from llama.cpp's ``src/llama-vocab.cpp`` (the expressions it quotes as those of the models' ``tokenizer.json``). Qwen's
and GPT-NeoX's tokenizers (``qwen2``, ``olmo``) compose characters first (Unicode's NFC), as transformers' do; llama.cpp leaves that out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tritloom.host.errors import UsageError
from tritloom.host.formats.hf_tokenizer import library_errors
from tritloom.host.formats.source import missing_library

__all__ = ["CUTS", "Cut", "byte_level_bpe"]


class Cut(NamedTuple):
    """How a text is cut into pieces before merging.

    Parameters
    ----------
    expression
        Matches the pieces; ``None`` is the byte-level pre-tokenizer's own, GPT-2's.
    whole
        Whether a piece that is a token is taken whole, whatever the merges say.
    begins
        Whether a text begins with a token unless the metadata say otherwise.
    compose
        Whether characters are composed first.
    """

    expression: str | None = None
    whole: bool = False
    begins: bool = False
    compose: bool = False


def _words(digits: str) -> str:
    """The expression of Llama 3 and of those after it, which differ in how many digits make a piece."""
    return rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


_LLAMA_3 = Cut(_words(r"\p{N}{1,3}"), whole=True, begins=True)
_SMAUG = Cut(_words(r"\p{N}{1,3}"))
_GPT_2 = Cut()

CUTS = {
    "gpt-2": _GPT_2, "phi-2": _GPT_2, "mpt": _GPT_2, "olmo": Cut(compose=True),
    "llama-bpe": _LLAMA_3, "llama3": _LLAMA_3, "llama-v3": _LLAMA_3, "falcon3": _LLAMA_3, "falcon-h1": _LLAMA_3,
    "smaug-bpe": _SMAUG, "dbrx": _SMAUG, "qwen2": Cut(_words(r"\p{N}"), compose=True),
}  # fmt: skip
"""By the metadata's name."""


def byte_level_bpe(tokens: list[str], merges: object, cut: Cut) -> Any:
    """A ``tokenizers.Tokenizer`` without special tokens, which are the caller's.

    Parameters
    ----------
    tokens
        Texts by id, each once.
    merges
        Two tokens and a space between them each, the first to be merged first.
    cut
        Of `CUTS`.

    Raises
    ------
    UsageError
        When the merges are missing, or of other things than two tokens.
    """
    try:
        from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise missing_library("tokenizers", "this model's text") from error
    if not isinstance(merges, list):
        raise UsageError("the tokenizer has no merges")
    pairs = [tuple(merge.split(" ")) for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise UsageError("a merge of the tokenizer is not of two tokens")
    with library_errors("the tokenizer's merges and tokens do not fit together"):
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs, ignore_merges=cut.whole))
    if cut.compose:
        tokenizer.normalizer = normalizers.NFC()
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=cut.expression is None)
    tokenizer.pre_tokenizer = pieces if cut.expression is None else pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(cut.expression), "isolated"), pieces])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer
