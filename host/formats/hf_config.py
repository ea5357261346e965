"""``config.json`` of a Hugging Face checkpoint, old spelling and new: every key is used, known to change nothing, or refused.

The architectures are transformers' BitNet, Llama and Qwen3, and the one of 1bitLLM's published code, which is spelled ``BitnetForCausalLM``, calls its
``model_type`` ``llama``, and always quantises its master weights itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.formats import hf_rope
from tritloom.host.model.config import ModelConfig

__all__ = ["Quantization", "read_config", "read_json"]

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
          "max_position_embeddings")  # fmt: skip
_NEEDED = (*_SIZES, "hidden_act", "rms_norm_eps", "tie_word_embeddings")
_USED = {*_NEEDED, *hf_rope.KEYS, "head_dim", "attention_bias", "quantization_config", "model_type", "architectures"}

#: Keys that say nothing about what a finished model computes in inference.
_HARMLESS = {
    "_name_or_path", "_attn_implementation_autoset", "attention_dropout", "auto_map", "bos_token_id", "chunk_size_feed_forward", "dtype",
    "eos_token_id", "id2label", "initializer_range", "label2id", "output_attentions", "output_hidden_states", "pad_token_id", "problem_type",
    "pretraining_tp", "return_dict", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip

#: Keys that change what is computed unless they have one of these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "mlp_bias": (False, None),
    "sliding_window": (None,),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}


@dataclass(frozen=True)
class _Family:
    """An architecture.

    Parameters
    ----------
    model_types
        What ``model_type`` may be.
    fixed
        `ModelConfig` fields that it implies.
    used
        Keys of its own that are read.
    neutral
        As `_NEUTRAL`, on top of it.
    harmless
        As `_HARMLESS`, on top of it.
    """

    model_types: tuple[str, ...]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    used: frozenset[str] = frozenset()
    neutral: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    harmless: frozenset[str] = frozenset()


_FAMILIES = {
    "BitNetForCausalLM": _Family(("bitnet",)),
    # The published weight_quant ignores weight_bits, which is 1 throughout, and gives three values.
    "BitnetForCausalLM": _Family(("llama", "bitnet"), neutral={"weight_bits": (1,), "input_bits": (8,), "rope_scaling": (None,), "quantization_config": (None,)}),
    "LlamaForCausalLM": _Family(("llama",), fixed={"sub_norms": False}, used=frozenset({"mlp_bias"}), neutral={"activation": ("swiglu",)}),
    # Without use_sliding_window, the window and the layers that would have it mean nothing.
    "Qwen3ForCausalLM": _Family(("qwen3",), fixed={"sub_norms": False, "qk_norm": True}, used=frozenset({"layer_types"}), neutral={"use_sliding_window": (False,)},
                                harmless=frozenset({"sliding_window", "max_window_layers"})),
}  # fmt: skip
_BY_TYPE = {"bitnet": "BitNetForCausalLM", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}

#: Where a key that none of the tables knows is turned down: the sentence's end.
_HELP = "tritloom does not know whether that changes what the model computes"


@dataclass(frozen=True)
class Quantization:
    """How the checkpoint's matrices are meant to be read.

    Parameters
    ----------
    reciprocal
        A stored ``weight_scale`` divides a result (linear class ``bitlinear``) instead of multiplying it (``autobitlinear``).
    online
        Matrices are master weights, and are to be quantised by absmean.
    norm_eps
        What the RMSNorm inside every linear layer adds to the mean square; ``None`` when there is none.
    """

    reciprocal: bool
    online: bool
    norm_eps: Any = None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises
    ------
    CheckpointError
        When it is missing or is no JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"the checkpoint {path.parent} has no {path.name}: download it again, whole") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} must hold a JSON object, not {type(values).__name__}")
    return values


def read_config(path: Path) -> tuple[ModelConfig, Quantization | None]:
    """A checkpoint's ``config.json``.

    Returns
    -------
    ModelConfig
        The model's shape.
    Quantization or None
        What ``quantization_config`` says, or the architecture implies; ``None`` when neither does.

    Raises
    ------
    UnsupportedCheckpointError
        On another architecture, a key that is not known, or an option that is not supported; each by name.
    CheckpointError
        When the file is missing, no JSON, or lacks a key.
    """
    values = read_json(path)
    name = _architecture(path, values)
    family = _FAMILIES[name]
    _check_keys(path, values, family)
    missing = [key for key in (*_NEEDED, *(["head_dim"] if name == "Qwen3ForCausalLM" else [])) if values.get(key) is None]
    if missing:
        raise CheckpointError(f"{path} lacks the key {missing[0]!r}, which tritloom does not guess: add it as the model was trained")
    if values["hidden_act"] not in ("relu2", "silu"):
        raise UnsupportedCheckpointError(f"{path} asks for the activation {values['hidden_act']!r}, and tritloom runs only 'relu2' and 'silu'")
    kinds = values.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or set(map(str, kinds)) != {"full_attention"}):
        raise UnsupportedCheckpointError(f"{path} asks for layer_types {kinds!r}, and tritloom runs only 'full_attention'")
    fields = {key: values[key] for key in _NEEDED} | hf_rope.rope_fields(path, values) | family.fixed
    fields |= {key: values[key] for key in ("attention_bias", "mlp_bias") if values.get(key) is not None}
    fields["head_dim"] = values.get("head_dim")
    if fields["head_dim"] is None:
        hidden, heads = values["hidden_size"], values["num_attention_heads"]
        if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1 or hidden % heads:
            raise CheckpointError(f"{path} has a hidden_size ({hidden!r}) that num_attention_heads ({heads!r}) does not divide, and no head_dim")
        fields["head_dim"] = hidden // heads
    quantization = _quantization(path, values.get("quantization_config"))
    if quantization is not None and quantization.norm_eps is not None:
        fields |= {"linear_norms": True, "linear_norm_eps": quantization.norm_eps}
    if name == "BitnetForCausalLM":
        quantization = Quantization(reciprocal=False, online=True)
    try:
        return ModelConfig(**fields), quantization
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _architecture(path: Path, values: Mapping[str, Any]) -> str:
    kind = values.get("model_type")
    classes = values.get("architectures") or [_BY_TYPE.get(kind) if isinstance(kind, str) else None]
    name = classes[0] if isinstance(classes, list) and len(classes) == 1 else None
    if not isinstance(name, str) or name not in _FAMILIES or kind not in _FAMILIES[name].model_types:
        known = ", ".join(f"{name} (model_type {' or '.join(map(repr, family.model_types))})" for name, family in _FAMILIES.items())
        raise UnsupportedCheckpointError(f"{path} is of the architecture {classes!r} (model_type {kind!r}), and tritloom runs only {known}")
    return name


def _check_keys(path: Path, values: Mapping[str, Any], family: _Family) -> None:
    neutral = {**_NEUTRAL, **family.neutral}
    for key, value in values.items():
        if key in family.neutral or not (key in _USED or key in family.used or key in _HARMLESS or key in family.harmless):
            if key not in neutral:
                raise UnsupportedCheckpointError(f"{path} has the key {key!r} ({value!r}): {_HELP}")
            if value not in neutral[key]:
                raise UnsupportedCheckpointError(f"{path} asks for {key} {value!r}, which tritloom does not support")


def _quantization(path: Path, values: Any) -> Quantization | None:
    if values is None:
        return None
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} has a quantization_config that is no JSON object: {values!r}")
    # What is not written has transformers' default.
    defaults = {"quant_method": None, "linear_class": "bitlinear", "quantization_mode": "offline", "use_rms_norm": False, "rms_norm_eps": 1e-6,
                "modules_to_not_convert": None}  # fmt: skip
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise UnsupportedCheckpointError(f"{path} has the key {unknown[0]!r} in quantization_config: {_HELP}")
    given = defaults | values
    for key, allowed in (("quant_method", ("bitnet",)), ("linear_class", ("bitlinear", "autobitlinear")),
                         ("quantization_mode", ("offline", "online")), ("use_rms_norm", (False, None, True)),
                         # An empty list has transformers quantise the head as well; it used not to.
                         ("modules_to_not_convert", (None, ["lm_head"]))):  # fmt: skip
        if given[key] not in allowed:
            raise UnsupportedCheckpointError(f"{path} asks for {key} {given[key]!r} in quantization_config, which tritloom does not support")
    reciprocal, online = given["linear_class"] == "bitlinear", given["quantization_mode"] == "online"
    if reciprocal and online:
        raise UnsupportedCheckpointError(f"{path} asks for linear_class 'bitlinear' with quantization_mode 'online', which transformers does not define")
    if given["use_rms_norm"] and given["rms_norm_eps"] is None:
        raise CheckpointError(f"{path} asks for use_rms_norm in quantization_config without an rms_norm_eps: add it as the model was trained")
    return Quantization(reciprocal=reciprocal, online=online, norm_eps=given["rms_norm_eps"] if given["use_rms_norm"] else None)
