"""The tokenizer in a GGUF file's metadata, as one of the `tokenizers` library: byte-level BPE, or SentencePiece's BPE."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.formats.byte_level_bpe import CUTS, byte_level_bpe
from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer, library_errors, read_tokenizer
from tritloom.host.formats.sentencepiece_bpe import CONTROL, UNKNOWN, USER_DEFINED, sentencepiece_bpe

__all__ = ["gguf_tokenizer"]

#: Control tokens that end a text beside those the metadata name, which hold one or two ids: from llama.cpp's list (``special_eog_ids`` in ``src/llama-vocab.cpp``).
_ENDS = frozenset({"<|eot_id|>", "<|im_end|>", "<|end|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<end_of_turn>"})
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
    kind, cut = values.get("tokenizer.ggml.model"), values.get("tokenizer.ggml.pre")
    # llama.cpp has these for a SentencePiece model that names none.
    start = values.get("tokenizer.ggml.bos_token_id", 1 if kind == "llama" else None)
    ends = _ends(values, 2 if kind == "llama" else None)
    template = values.get("tokenizer.chat_template")
    if given is not None:
        return read_tokenizer(given, vocab_size, {"start": start, "end": ends, "chat_template": template})
    if kind is None:
        raise CheckpointError(f"{path} has no tokenizer: {_HELP}")
    if kind != "llama" and (kind != "gpt2" or cut not in CUTS):
        raise UnsupportedCheckpointError(
            f"{path} has a tokenizer of the kind {kind!r} ({cut!r}), and tritloom reads 'llama' and 'gpt2' ({', '.join(map(repr, CUTS))}): {_HELP}"
        )
    tokens, types = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if not isinstance(tokens, list) or (types is not None and (not isinstance(types, list) or len(types) != len(tokens))):
        raise CheckpointError(f"{path} has a tokenizer without tokens, or with another number of token types than tokens: {_HELP}")
    if len(set(tokens)) != len(tokens):
        raise CheckpointError(f"{path} has a tokenizer in which a token occurs twice: {_HELP}")
    begin = values.get("tokenizer.ggml.add_bos_token", kind == "llama" or CUTS[cut].begins)
    if begin and (not isinstance(start, int) or not 0 <= start < len(tokens)):
        raise CheckpointError(f"{path} asks for a token at the beginning of a text, and its bos_token_id is {start!r}: {_HELP}")
    space_first = values.get("tokenizer.ggml.add_space_prefix", kind == "llama")
    if values.get("tokenizer.ggml.add_eos_token", False) or (space_first and kind == "gpt2"):
        raise UnsupportedCheckpointError(f"{path} has a tokenizer that adds an end or a space to each text, which tritloom does not: {_HELP}")
    if values.get("tokenizer.ggml.remove_extra_whitespaces", False) or values.get("tokenizer.ggml.precompiled_charsmap"):
        raise UnsupportedCheckpointError(f"{path} has a tokenizer that changes a text's characters or spaces first, which tritloom does not: {_HELP}")
    try:
        if kind == "llama":
            tokenizer = sentencepiece_bpe(tokens, values.get("tokenizer.ggml.scores"), types, space_first)
        else:
            tokenizer = byte_level_bpe(tokens, values.get("tokenizer.ggml.merges"), CUTS[cut])
        definition = _with_special_tokens(tokenizer, tokens, types or [], start if begin else None)
        return HuggingFaceTokenizer(definition, vocab_size, start, ends, template).to_dict()
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}: {_HELP}") from error


def _ends(values: Mapping[str, Any], default: int | None) -> list[Any]:
    named = [values.get("tokenizer.ggml.eos_token_id", default), *(values.get(f"tokenizer.ggml.{name}_token_id") for name in ("eot", "eom"))]
    tokens, types = values.get("tokenizer.ggml.tokens"), values.get("tokenizer.ggml.token_type")
    if isinstance(tokens, list) and isinstance(types, list):
        named += [i for i, (token, kind) in enumerate(zip(tokens, types, strict=False)) if kind == CONTROL and token in _ENDS]
    return list(dict.fromkeys(value for value in named if value is not None))


def _with_special_tokens(tokenizer: Any, tokens: list[str], types: list[int], begin: int | None) -> dict[str, Any]:
    """What ``tokenizer.json`` would hold, with the tokens that a text is cut at: the first in the text, of those at one place the longest."""
    from tokenizers import AddedToken, processors

    def of(*kinds: int) -> list[str]:
        return [token for token, kind in zip(tokens, types, strict=False) if kind in kinds]

    with library_errors("the tokenizer's special tokens do not fit it"):
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in of(CONTROL, UNKNOWN)])
        tokenizer.add_tokens([AddedToken(token, normalized=False) for token in of(USER_DEFINED)])
        if begin is not None:
            tokenizer.post_processor = processors.TemplateProcessing(single=["BEGIN", "$A"], special_tokens=[{"id": "BEGIN", "ids": [begin], "tokens": [tokens[begin]]}])
    return json.loads(tokenizer.to_str())
