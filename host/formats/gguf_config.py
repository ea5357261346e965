"""The metadata of a GGUF file as a config: every key of the architecture is used, known to change nothing, or refused."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.rope_scaling import RopeScaling

__all__ = ["architecture", "gguf_config"]

#: By llama.cpp's name, what each architecture's graph implies. The names with a number are bitnet.cpp's.
_FAMILIES: dict[str, dict[str, Any]] = {
    "bitnet-b1.58": {"hidden_act": "relu2"},
    "bitnet-25": {"hidden_act": "relu2"},
    "bitnet": {"hidden_act": "silu"},
    "llama": {"hidden_act": "silu", "sub_norms": False},
    "qwen3": {"hidden_act": "silu", "sub_norms": False, "qk_norm": True},
}

_SIZES = {
    "hidden_size": "embedding_length",
    "intermediate_size": "feed_forward_length",
    "num_hidden_layers": "block_count",
    "num_attention_heads": "attention.head_count",
    "max_position_embeddings": "context_length",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
}
_USED = {*_SIZES.values(), "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base",
         "vocab_size", "rope.scaling.type", "rope.scaling.factor", "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast",
         "rope.scaling.yarn_beta_slow"}  # fmt: skip

#: Keys that change what is computed unless they have one of these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.yarn_attn_factor": (1.0,),
    "rope.scaling.yarn_ext_factor": (1.0,),
    "rope.scaling.yarn_log_multiplier": (0.0,),
    "rope.scaling.finetuned": (False, True),    # how the model came to be
    "attention.causal": (True,),
    "attention.sliding_window": (0,),
    "expert_count": (0,),
    "expert_used_count": (0,),
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
    if name not in _FAMILIES:
        raise UnsupportedCheckpointError(f"{path} is of the architecture {name!r}, and tritloom runs only {', '.join(map(repr, _FAMILIES))}")
    return name


def gguf_config(path: Path, values: Mapping[str, Any], vocab_size: int, tensors: Collection[str]) -> ModelConfig:
    """The model's shape.

    Parameters
    ----------
    path
        For messages.
    values
        The metadata.
    vocab_size
        Rows of the embedding.
    tensors
        Names of the file's tensors: they, not the metadata, say whether there are a head and biases.

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
        if key == "hidden_activation" and name.startswith("bitnet"):
            # llama.cpp reads the key; bitnet.cpp's names stand for one activation.
            allowed = ("silu", "relu2") if name == "bitnet" else (_FAMILIES[name]["hidden_act"],)
            if value not in allowed:
                raise UnsupportedCheckpointError(f"{path} asks for the activation {value!r}, and tritloom runs {name!r} only with {' or '.join(map(repr, allowed))}")
        elif key not in _USED and key not in _NEUTRAL:
            raise UnsupportedCheckpointError(f"{path} has the key '{name}.{key}' ({value!r}): tritloom does not know whether that changes what the model computes")
        elif key in _NEUTRAL and value not in _NEUTRAL[key]:
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
        fields[key] = _meant(fields[key])
    fields |= _FAMILIES[name]
    fields["hidden_act"] = own.get("hidden_activation", fields["hidden_act"])
    fields |= {"attention_bias": "blk.0.attn_q.bias" in tensors, "mlp_bias": "blk.0.ffn_up.bias" in tensors, "tie_word_embeddings": "output.weight" not in tensors}
    try:
        return ModelConfig(**fields, rope_scaling=_rope_scaling(path, name, own))
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _rope_scaling(path: Path, name: str, own: Mapping[str, Any]) -> RopeScaling | None:
    """What ``rope.scaling`` asks for; without a type llama.cpp takes it for linear, and a linear factor of 1 is none."""
    kind, factor = own.get("rope.scaling.type", "linear"), _meant(own.get("rope.scaling.factor", 1.0))
    if kind == "none" or (kind == "linear" and factor == 1):
        return None
    if kind not in ("linear", "yarn"):
        raise UnsupportedCheckpointError(f"{path} asks for {name}.rope.scaling.type {kind!r}, and tritloom runs only 'none', 'linear', 'yarn'")
    if kind == "linear":
        return RopeScaling(rope_type=kind, factor=factor)
    missing = [key for key in ("factor", "original_context_length") if f"rope.scaling.{key}" not in own]
    if missing:
        raise CheckpointError(f"{path} lacks the key '{name}.rope.scaling.{missing[0]}'")
    fast, slow = (_meant(own.get(f"rope.scaling.yarn_beta_{end}")) for end in ("fast", "slow"))
    context = own["rope.scaling.original_context_length"]
    return RopeScaling(rope_type=kind, factor=factor, original_max_position_embeddings=context, beta_fast=fast, beta_slow=slow)


def _meant(value: Any) -> Any:
    """The file has a float32: the shortest number that is rounded to it is what was meant."""
    return float(str(np.float32(value))) if isinstance(value, float) else value
