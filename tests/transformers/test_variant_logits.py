"""Logits of BitNet 2B-4T's relatives, as `test_bitnet_logits` compares those of itself: other activations, norms, biases and rotary frequencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import BitNetConfig, LlamaConfig, PreTrainedConfig, Qwen3Config

from .cases import DIVIDING, MULTIPLYING, ONLINE, Case, compare_case, sizes
from .reference import MASTERS, PACKED, TERNARY

_SEQUENCES, _TOKENS = 192, 12

NORMED = {"use_rms_norm": True, "rms_norm_eps": 1e-5}

#: Short contexts, so that the few positions here are among those that the rules tell apart.
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 24}
YARN = {"rope_type": "yarn", "rope_theta": 5000.0, "factor": 4.0, "original_max_position_embeddings": 24}
LINEAR = {"rope_type": "linear", "rope_theta": 100.0, "factor": 3.0}


def _case(seed: int, kind: type[PreTrainedConfig], quantization: dict[str, Any], stored: str, hidden: int = 64, ffn: int = 172, **others: Any) -> Case:
    shape = {"layers": 2, "heads": 4, "kv_heads": 2} | {key: others.pop(key) for key in ("layers", "heads", "kv_heads") if key in others}
    options = {"hidden_act": "silu", "rms_norm_eps": 1e-5} | others
    return Case(seed=seed, kind=kind, sizes=sizes(hidden, ffn, **shape, **options), quantization=quantization, stored=stored)


CASES = {
    "BitNet, SiLU": _case(11, BitNetConfig, MULTIPLYING, PACKED),
    "BitNet, biases of attention": _case(12, BitNetConfig, ONLINE, MASTERS, ffn=171, attention_bias=True, hidden_act="relu2"),
    "BitNet, norms in the linear layers": _case(13, BitNetConfig, DIVIDING | NORMED, PACKED, hidden_act="relu2", tie_word_embeddings=False),
    # As the Llama 3 8B of 1.58 bits, without sub-norms.
    "Llama, packed, Llama 3's frequencies": _case(14, LlamaConfig, DIVIDING, PACKED, tie_word_embeddings=False, rope_parameters=LLAMA3),
    "Llama, norms in the linear layers": _case(15, LlamaConfig, MULTIPLYING | NORMED, TERNARY, hidden=96, ffn=261, heads=6, kv_heads=1),
    "Llama, all biases, wide heads": _case(16, LlamaConfig, ONLINE, MASTERS, attention_bias=True, mlp_bias=True, head_dim=24),
    "Llama, YaRN, squared ReLU": _case(17, LlamaConfig, MULTIPLYING, PACKED, hidden_act="relu2", rope_parameters=YARN),
    "Llama, stretched frequencies": _case(18, LlamaConfig, ONLINE, MASTERS, ffn=170, kv_heads=4, rope_parameters=LINEAR),
    # Of the three kinds of linear layers, transformers multiplies the bias by the weights' scale in this one only.
    "Llama, packed, multiplying scale, all biases": _case(21, LlamaConfig, MULTIPLYING, PACKED, attention_bias=True, mlp_bias=True),
    "Qwen3": _case(19, Qwen3Config, ONLINE, MASTERS, head_dim=32, ffn=173, tie_word_embeddings=False),
    "Qwen3, packed, biases of attention": _case(20, Qwen3Config, DIVIDING, PACKED, head_dim=16, attention_bias=True),
}


@pytest.mark.parametrize("name", CASES)
def test_logits_are_transformers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare_case(CASES[name], tmp_path, _SEQUENCES, [_TOKENS], monkeypatch).check()


@pytest.mark.parametrize("name", ["Llama, packed, Llama 3's frequencies", "Llama, YaRN, squared ReLU", "Qwen3"])
def test_long_sequences_in_parts_differ_by_flips_only(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare_case(CASES[name], tmp_path, 2, [100, 1, 1, 150, 8], monkeypatch).check_explained()
