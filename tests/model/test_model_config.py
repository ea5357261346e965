from __future__ import annotations

import dataclasses
import itertools
import json
import reprlib
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import TritloomError, UsageError
from tritloom.host.model.config import ModelConfig

NANO = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "vocab_size": 65,
    "max_position_embeddings": 256,
}
SIZES = sorted(NANO)
SWITCHES = ("tie_word_embeddings", "sub_norms", "linear_norms", "attention_bias", "mlp_bias", "qk_norm")
LLAMA3 = {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 8192}
YARN = {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64}


def test_weights_are_counted_as_the_tensors_are_listed() -> None:
    config = ModelConfig(**NANO)
    assert config.ternary_weights == 491_520
    switched = [dict(zip(SWITCHES, values, strict=True)) for values in itertools.product((True, False), repeat=len(SWITCHES))]
    for changes in (*switched, {}, {"num_key_value_heads": 4, "num_hidden_layers": 1}, {"head_dim": 8}):
        config = ModelConfig(**{**NANO, **changes})
        assert config.ternary_weights == sum(n * k for _, n, k in config.matrices())
        assert config.float_weights == sum(int(np.prod(shape)) for _, shape in config.float_tensors())
        assert config.tensor_count == len(config.matrices()) + len(config.float_tensors()) == len({*dict(config.float_tensors()), *(m[0] for m in config.matrices())})
        assert [matrix for job in config.jobs() for matrix in job] == config.matrices()


def test_what_each_switch_adds_to_a_layer() -> None:
    def vectors(**changes: bool) -> dict[str, int]:
        tensors = ModelConfig(**{**NANO, "sub_norms": False, **changes}).float_tensors()
        return {name.removeprefix("model.layers.1."): shape[0] for name, shape in tensors if name.startswith("model.layers.1.")}

    plain = {"input_layernorm.weight": 128, "post_attention_layernorm.weight": 128}
    assert vectors() == plain
    assert vectors(sub_norms=True) == plain | {"self_attn.attn_sub_norm.weight": 128, "mlp.ffn_sub_norm.weight": 320}
    assert vectors(qk_norm=True) == plain | {"self_attn.q_norm.weight": 32, "self_attn.k_norm.weight": 32}
    attention = {"self_attn.q_proj.bias": 128, "self_attn.k_proj.bias": 32, "self_attn.v_proj.bias": 32, "self_attn.o_proj.bias": 128}
    assert vectors(attention_bias=True) == plain | attention
    assert vectors(mlp_bias=True) == plain | {"mlp.gate_proj.bias": 320, "mlp.up_proj.bias": 320, "mlp.down_proj.bias": 128}
    inside = {f"{part}_proj.rms_norm.weight": 128 for part in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate", "mlp.up")}
    assert vectors(linear_norms=True) == plain | inside | {"mlp.down_proj.rms_norm.weight": 320}


def test_the_2b_model_has_the_published_number_of_ternary_weights() -> None:
    config = ModelConfig(
        hidden_size=2560, intermediate_size=6912, num_hidden_layers=30, num_attention_heads=20, num_key_value_heads=5, head_dim=128,
        vocab_size=128256, max_position_embeddings=4096, rope_theta=500000.0,
    )  # fmt: skip
    assert config.ternary_weights == 2_084_044_800
    assert config.matrices()[:2] == [("model.layers.0.self_attn.q_proj.weight", 2560, 2560), ("model.layers.0.self_attn.k_proj.weight", 640, 2560)]
    assert config.matrices()[-1] == ("model.layers.29.mlp.down_proj.weight", 2560, 6912)


def test_a_dictionary_and_back() -> None:
    config = ModelConfig(**NANO, rope_theta=500000, tie_word_embeddings=False)
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert isinstance(config.rope_theta, float)
    for scaling in (LLAMA3, YARN, {**YARN, "attention_factor": 1, "beta_fast": 3, "beta_slow": 2}, {"rope_type": "divisors", "divisors": [1] * 16}):
        config = ModelConfig(**NANO, rope_scaling=scaling)
        assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, -1, 1.0, "8", None, True, (1 << 24) + 1])
def test_a_size_must_be_an_integer_in_range(name: str, value: Any) -> None:
    limit = 1 << 20 if name == "max_position_embeddings" else 1 << 24
    with pytest.raises(UsageError) as caught:
        ModelConfig(**{**NANO, name: value})
    assert str(caught.value) == f"`{name}` must be an integer from 1 to {limit}, not {value!r}"
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, TritloomError)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head_dim": 7}, "`head_dim` must be even, not 7"),
        ({"num_key_value_heads": 3}, "`num_attention_heads` must be a multiple of num_key_value_heads (3), not 4"),
        ({"rope_theta": 0}, "`rope_theta` must be a positive finite number, not 0"),
        ({"rope_theta": float("inf")}, "`rope_theta` must be a positive finite number, not inf"),
        ({"rope_theta": "1e4"}, "`rope_theta` must be a positive finite number, not '1e4'"),
        ({"rms_norm_eps": float("nan")}, "`rms_norm_eps` must be a positive finite number, not nan"),
        ({"rms_norm_eps": 10**400}, f"`rms_norm_eps` must be a positive finite number, not {reprlib.repr(10**400)}"),
        ({"rope_scaling": {"rope_type": ["yarn"], "factor": 2}}, "`rope_type` must be one of 'linear', 'llama3', 'yarn', 'divisors', not ['yarn']"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 10**400}}, f"`factor` must be a positive finite number, not {reprlib.repr(10**400)}"),
        ({"rms_norm_eps": True}, "`rms_norm_eps` must be a positive finite number, not True"),
        ({"hidden_act": "gelu"}, "`hidden_act` must be 'relu2' or 'silu', not 'gelu'"),
        ({"hidden_act": ["silu"]}, "`hidden_act` must be 'relu2' or 'silu', not ['silu']"),
        ({"linear_norm_eps": -1}, "`linear_norm_eps` must be a positive finite number, not -1"),
        *(({name: 1}, f"`{name}` must be true or false, not 1") for name in SWITCHES),
        ({"rope_scaling": 4}, "`rope_scaling` must be an object or null, not 4"),
        ({"rope_scaling": {"type": "linear"}}, ("`rope_scaling` has the unknown key 'type'; known are attention_factor, beta_fast, beta_slow, divisors, "
                                                "factor, high_freq_factor, low_freq_factor, original_max_position_embeddings, rope_type")),
        ({"rope_scaling": {"factor": 2}}, "`rope_type` must be one of 'linear', 'llama3', 'yarn', 'divisors', not None"),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 2}}, "`rope_type` must be one of 'linear', 'llama3', 'yarn', 'divisors', not 'dynamic'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "`factor` must be given for the rope_type 'linear', not None"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0.5}}, "`factor` must be at least 1, not 0.5"),
        ({"rope_scaling": {"rope_type": "linear", "factor": True}}, "`factor` must be a positive finite number, not True"),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("inf")}}, "`factor` must be a positive finite number, not inf"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2, "beta_fast": 3}}, "`beta_fast` must be left out for the rope_type 'linear', not 3"),
        ({"rope_scaling": {**LLAMA3, "low_freq_factor": 4}}, "`high_freq_factor` must be greater than low_freq_factor (4), not 4.0"),
        ({"rope_scaling": {**LLAMA3, "original_max_position_embeddings": 8192.0}},
         "`original_max_position_embeddings` must be an integer from 1 to 1048576, not 8192.0"),
        ({"rope_scaling": {**YARN, "beta_slow": 32}}, "`beta_fast` must be greater than beta_slow (32), not 32.0"),
        ({"rope_scaling": YARN, "rope_theta": 1}, "`rope_theta` must be greater than 1 for the rope_type 'yarn', not 1.0"),
        ({"rope_scaling": {"rope_type": "divisors", "divisors": [1.0, 0]}}, "`divisors` must be positive finite numbers, not [1.0, 0]"),
        ({"rope_scaling": {"rope_type": "divisors", "divisors": 1.0}}, "`divisors` must be positive finite numbers, not 1.0"),
        ({"rope_scaling": {"rope_type": "divisors", "divisors": [1.0] * 15}}, "`rope_scaling` must have 16 divisors, one a pair of a head's elements, not 15"),
    ],
)
def test_what_is_refused_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig(**{**NANO, **changes})
    assert str(caught.value) == message


def test_the_layer_in_words() -> None:
    assert ModelConfig(**NANO).layer == "squared ReLU, sub-norms"
    qwen3 = ModelConfig(**NANO, hidden_act="silu", sub_norms=False, qk_norm=True, attention_bias=True, rope_scaling=YARN)
    assert qwen3.layer == "SiLU, no sub-norms, biases in attention, norms of queries and keys, RoPE scaled (yarn)"
    assert ModelConfig(**NANO, linear_norms=True, attention_bias=True, mlp_bias=True).layer == (
        "squared ReLU, sub-norms, a norm in every linear layer, biases in attention and feed-forward"
    )


def test_an_unknown_or_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match="unknown key 'n_layers'"):
        ModelConfig.from_dict({**NANO, "n_layers": 3})
    with pytest.raises(UsageError, match="lacks the key 'head_dim'"):
        ModelConfig.from_dict({key: value for key, value in NANO.items() if key != "head_dim"})


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(**NANO).hidden_size = 1  # type: ignore[misc]
