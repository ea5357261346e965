"""The metadata of a GGUF file as a config: every key of the architecture is used, known to change nothing, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.model.config import ModelConfig

__all__ = ["architecture", "gguf_config"]

#: By llama.cpp's name: bitnet.cpp's graphs for the first two compute squared ReLU, that of the third SiLU.
_ACTIVATIONS = {"bitnet-b1.58": "relu2", "bitnet-25": "relu2", "bitnet": "silu"}

_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
_USED = {*_SIZES.values(), "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base",
         "vocab_size"}  # fmt: skip

#: Keys that change what is computed unless they have one of these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "rope.scaling.type": ("none", "linear"),    # linear by the factor 1
    "rope.scaling.factor": (1.0,),
    "attention.causal": (True,),
    "expert_count": (0,),
}

#: Sections of the metadata that say nothing about what is computed.
_HARMLESS = ("general.", "tokenizer.", "quantize.", "GGUF.")


def architecture(path: Path, values: Mapping[str, Any]) -> str:
    """The architecture's name, one that tritloom runs.

    Raises
    ------
    UnsupportedCheckpointError
        On another.
    """
    name = values.get("general.architecture")
    if name not in _ACTIVATIONS:
        raise UnsupportedCheckpointError(f"{path} is of the architecture {name!r}, and tritloom runs only {' and '.join(map(repr, list(_ACTIVATIONS)[:2]))}")
    if _ACTIVATIONS[name] != "relu2":
        raise UnsupportedCheckpointError(f"{path} is of the architecture {name!r}, whose activation is {_ACTIVATIONS[name]!r}, and tritloom runs only 'relu2'")
    return name


def gguf_config(path: Path, values: Mapping[str, Any], vocab_size: int, tied: bool) -> ModelConfig:
    """The model's shape.

    Parameters
    ----------
    path
        For messages.
    values
        The metadata.
    vocab_size
        Rows of the embedding.
    tied
        There is no matrix for the head.

    Raises
    ------
    UnsupportedCheckpointError
        On another architecture, a key that is not known, or an option that is not supported; each by name.
    CheckpointError
        When a key is missing.
    """
    name = architecture(path, values)
    if values.get("split.count", 1) != 1:
        raise UnsupportedCheckpointError(f"{path} is one of {values['split.count']} parts: join them with llama-gguf-split --merge first")
    own = {}
    for key, value in values.items():
        if key.startswith(f"{name}."):
            own[key.removeprefix(f"{name}.")] = value
        elif not key.startswith((*_HARMLESS, "split.")):
            raise UnsupportedCheckpointError(f"{path} has the key {key!r}: tritloom does not know whether that changes what the model computes")
    for key, value in own.items():
        if key not in _USED and key not in _NEUTRAL:
            raise UnsupportedCheckpointError(f"{path} has the key '{name}.{key}' ({value!r}): tritloom does not know whether that changes what the model computes")
        if key in _NEUTRAL and value not in _NEUTRAL[key]:
            raise UnsupportedCheckpointError(f"{path} asks for {name}.{key} {value!r}, which tritloom does not support")
    missing = [key for key in _SIZES.values() if key not in own]
    if missing:
        raise CheckpointError(f"{path} lacks the key '{name}.{missing[0]}'")
    fields: dict[str, Any] = {field: own[key] for field, key in _SIZES.items()}
    hidden, heads = fields["hidden_size"], fields["num_attention_heads"]
    if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1 or ("attention.key_length" not in own and hidden % heads):
        raise CheckpointError(f"{path} has the embedding_length {hidden!r} and the head_count {heads!r}, which do not fit together")
    # What is missing is llama.cpp's: as many key/value heads as heads, heads that share the width, 10000.
    head_dim = own.get("attention.key_length", hidden // heads)
    for key in ("attention.value_length", "rope.dimension_count"):
        if own.get(key, head_dim) != head_dim:
            raise UnsupportedCheckpointError(f"{path} asks for {name}.{key} {own[key]!r} with heads of {head_dim!r}, which tritloom does not support")
    if own.get("vocab_size", vocab_size) != vocab_size:
        raise CheckpointError(f"{path} has {name}.vocab_size {own['vocab_size']!r} and an embedding of {vocab_size} tokens: they must agree")
    fields |= {"num_key_value_heads": own.get("attention.head_count_kv", heads), "head_dim": head_dim, "vocab_size": vocab_size}
    fields["rope_theta"] = own.get("rope.freq_base", 10000.0)
    for key in ("rms_norm_eps", "rope_theta"):
        # The file has a float32: the shortest number that is rounded to it is what was meant.
        if isinstance(fields[key], float):
            fields[key] = float(str(np.float32(fields[key])))
    try:
        return ModelConfig(**fields, tie_word_embeddings=tied)
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
