"""The tokenizer in a GGUF file's metadata, as one of the `tokenizers` library: byte-level BPE, cut up beforehand as GPT-2 or Llama 3 do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer, read_tokenizer
from tritloom.host.formats.source import missing_library

__all__ = ["gguf_tokenizer"]

#: How a text is cut before merging, by the metadata's name; None is the byte-level pre-tokenizer's own way, GPT-2's.
_CUTS = {
    "gpt-2": None,
    "llama-bpe": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
_CUTS["llama3"] = _CUTS["llama-v3"] = _CUTS["llama-bpe"]

_CONTROL, _USER_DEFINED = 3, 4
_HELP = "give the model's tokenizer.json with --tokenizer"


def gguf_tokenizer(path: Path, values: Mapping[str, Any], vocab_size: int, given: Path | None) -> dict[str, Any]:
    """The tokenizer as a model file holds it, tried out.

    Parameters
    ----------
    path
        The GGUF file, for messages.
    values
        Its metadata.
    vocab_size
        Of the model.
    given
        A ``tokenizer.json`` to take instead; where texts begin and end is still the metadata's word.

    Raises
    ------
    UnsupportedCheckpointError
        On a kind that is not known, by name.
    CheckpointError
        When it is missing or does not fit the model.
    """
    start, end = values.get("tokenizer.ggml.bos_token_id"), values.get("tokenizer.ggml.eos_token_id")
    ends = [value for value in (end, values.get("tokenizer.ggml.eot_token_id")) if value is not None]
    template = values.get("tokenizer.chat_template")
    if given is not None:
        return read_tokenizer(given, vocab_size, {"start": start, "end": ends, "chat_template": template})
    kind, cut = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre")
    if kind is None:
        raise CheckpointError(f"{path} has no tokenizer: {_HELP}")
    if kind != "gpt2" or cut not in _CUTS:
        raise UnsupportedCheckpointError(f"{path} has a tokenizer of the kind {kind!r} ({cut!r}), and tritloom reads 'gpt2' ({', '.join(map(repr, _CUTS))}): {_HELP}")
    tokens, merges, types = (values.get(f"tokenizer.ggml.{key}") for key in ("tokens", "merges", "token_type"))
    if not isinstance(tokens, list) or not isinstance(merges, list) or (types is not None and len(types) != len(tokens)):
        raise CheckpointError(f"{path} has a tokenizer without tokens or merges, or with another number of token types than tokens: {_HELP}")
    if len(set(tokens)) != len(tokens):
        raise CheckpointError(f"{path} has a tokenizer in which a token occurs twice: {_HELP}")
    # Llama 3 begins a text with its token unless told otherwise, GPT-2 only if told.
    begin = values.get("tokenizer.ggml.add_bos_token", _CUTS[cut] is not None)
    if begin and (not isinstance(start, int) or not 0 <= start < len(tokens)):
        raise CheckpointError(f"{path} asks for a token at the beginning of a text, and its bos_token_id is {start!r}: {_HELP}")
    if values.get("tokenizer.ggml.add_eos_token", False) or values.get("tokenizer.ggml.add_space_prefix", False):
        raise UnsupportedCheckpointError(f"{path} has a tokenizer that adds an end or a space to each text, which tritloom does not: {_HELP}")
    try:
        definition = _build(tokens, merges, types or [1] * len(tokens), _CUTS[cut], start if begin else None)
        return HuggingFaceTokenizer(definition, vocab_size, start, ends, template).to_dict()
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _build(tokens: list[str], merges: list[str], types: list[int], cut: str | None, begin: int | None) -> dict[str, Any]:
    """What ``tokenizer.json`` would hold."""
    try:
        from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors
    except ImportError as error:
        raise missing_library("tokenizers", "this model's text") from error
    pairs = [tuple(merge.split(" ")) for merge in merges]
    if any(len(pair) != 2 for pair in pairs):
        raise UsageError("a merge of the tokenizer is not of two tokens")
    try:
        tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, pairs, ignore_merges=cut is not None))
    except Exception as error:    # the library raises no narrower class
        raise UsageError(f"the tokenizer's merges and tokens do not fit together: {error}") from error
    if cut is None:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(cut), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token, kind in zip(tokens, types, strict=True) if kind == _CONTROL])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, types, strict=True) if kind == _USER_DEFINED])
    if begin is not None:
        tokenizer.post_processor = processors.TemplateProcessing(single=["BEGIN", "$A"], special_tokens=[{"id": "BEGIN", "ids": [begin], "tokens": [tokens[begin]]}])
    return json.loads(tokenizer.to_str())

