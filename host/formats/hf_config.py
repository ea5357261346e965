"""``config.json`` of a Hugging Face checkpoint, old spelling and new: every key is used, known to change nothing, or refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.model.config import ModelConfig

__all__ = ["Quantization", "read_config", "read_json"]

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
          "max_position_embeddings")  # fmt: skip
_USED = {*_SIZES, "head_dim", "hidden_act", "rms_norm_eps", "tie_word_embeddings", "rope_theta", "rope_parameters", "quantization_config",
         "model_type", "architectures"}  # fmt: skip

#: Keys that say nothing about what a finished model computes in inference.
_HARMLESS = {
    "_name_or_path", "_attn_implementation_autoset", "attention_dropout", "auto_map", "bos_token_id", "chunk_size_feed_forward", "dtype",
    "eos_token_id", "id2label", "initializer_range", "label2id", "output_attentions", "output_hidden_states", "pad_token_id", "problem_type",
    "pretraining_tp", "return_dict", "torch_dtype", "transformers_version", "use_cache",
}  # fmt: skip

#: Keys that change what is computed unless they have one of these values.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "rope_scaling": (None,),
    "sliding_window": (None,),
    "partial_rotary_factor": (1.0, None),
    "is_decoder": (False, True),
    "is_encoder_decoder": (False,),
    "add_cross_attention": (False,),
}

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
    """

    reciprocal: bool
    online: bool


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
        What ``quantization_config`` says; ``None`` when there is none.

    Raises
    ------
    UnsupportedCheckpointError
        On another architecture, a key that is not known, or an option that is not supported; each by name.
    CheckpointError
        When the file is missing, no JSON, or lacks a key.
    """
    values = read_json(path)
    _check_architecture(path, values)
    _check_keys(path, values)
    missing = [key for key in (*_SIZES, "hidden_act", "rms_norm_eps", "tie_word_embeddings") if values.get(key) is None]
    if missing:
        raise CheckpointError(f"{path} lacks the key {missing[0]!r}, which tritloom does not guess: add it as the model was trained")
    if values["hidden_act"] != "relu2":
        raise UnsupportedCheckpointError(f"{path} asks for the activation {values['hidden_act']!r}, and tritloom runs only 'relu2'")
    fields = {key: values[key] for key in (*_SIZES, "hidden_act", "rms_norm_eps", "tie_word_embeddings")}
    fields["rope_theta"] = _rope_theta(path, values)
    fields["head_dim"] = values.get("head_dim")
    if fields["head_dim"] is None:
        hidden, heads = values["hidden_size"], values["num_attention_heads"]
        if not isinstance(hidden, int) or not isinstance(heads, int) or heads < 1 or hidden % heads:
            raise CheckpointError(f"{path} has a hidden_size ({hidden!r}) that num_attention_heads ({heads!r}) does not divide, and no head_dim")
        fields["head_dim"] = hidden // heads
    try:
        config = ModelConfig(**fields)
    except UsageError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return config, _quantization(path, values.get("quantization_config"))


def _check_architecture(path: Path, values: Mapping[str, Any]) -> None:
    kind, classes = values.get("model_type"), values.get("architectures") or ["BitNetForCausalLM"]
    if kind != "bitnet" or classes != ["BitNetForCausalLM"]:
        raise UnsupportedCheckpointError(
            f"{path} is of the architecture {classes!r} (model_type {kind!r}), and tritloom runs only BitNetForCausalLM (model_type 'bitnet')"
        )


def _check_keys(path: Path, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if key in _USED or key in _HARMLESS:
            continue
        if key not in _NEUTRAL:
            raise UnsupportedCheckpointError(f"{path} has the key {key!r} ({value!r}): {_HELP}")
        if value not in _NEUTRAL[key]:
            raise UnsupportedCheckpointError(f"{path} asks for {key} {value!r}, which tritloom does not support")


def _rope_theta(path: Path, values: Mapping[str, Any]) -> Any:
    """From ``rope_theta``, ``rope_parameters`` or, when they agree, both."""
    old, new = values.get("rope_theta"), values.get("rope_parameters")
    if new is None:
        if old is None:
            raise CheckpointError(f"{path} has neither rope_theta nor rope_parameters: add the one the model was trained with")
        return old
    if not isinstance(new, dict) or new.get("rope_theta") is None:
        raise CheckpointError(f"{path} has rope_parameters without a rope_theta: {new!r}")
    if new.get("rope_type", "default") != "default":
        raise UnsupportedCheckpointError(f"{path} asks for rope_type {new['rope_type']!r}, and tritloom runs only 'default'")
    others = {key: value for key, value in new.items() if key not in ("rope_theta", "rope_type")}
    if others.pop("partial_rotary_factor", 1.0) not in (1.0, None) or others:
        raise UnsupportedCheckpointError(f"{path} has rope_parameters that tritloom does not support: {new!r}")
    if old is not None and old != new["rope_theta"]:
        raise CheckpointError(f"{path} has the rope_theta {old!r} and, within rope_parameters, {new['rope_theta']!r}: they must agree")
    return new["rope_theta"]


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
                         ("quantization_mode", ("offline", "online")), ("use_rms_norm", (False, None)),
                         ("modules_to_not_convert", (None, [], ["lm_head"]))):  # fmt: skip
        if given[key] not in allowed:
            raise UnsupportedCheckpointError(f"{path} asks for {key} {given[key]!r} in quantization_config, which tritloom does not support")
    reciprocal, online = given["linear_class"] == "bitlinear", given["quantization_mode"] == "online"
    if reciprocal and online:
        raise UnsupportedCheckpointError(f"{path} asks for linear_class 'bitlinear' with quantization_mode 'online', which transformers does not define")
    return Quantization(reciprocal=reciprocal, online=online)
