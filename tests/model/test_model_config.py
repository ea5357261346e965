from __future__ import annotations

import dataclasses
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


def test_weights_are_counted_as_the_tensors_are_listed() -> None:
    config = ModelConfig(**NANO)
    assert config.ternary_weights == 491_520
    for changes in ({}, {"tie_word_embeddings": False}, {"num_key_value_heads": 4, "num_hidden_layers": 1}, {"head_dim": 8}):
        config = ModelConfig(**{**NANO, **changes})
        assert config.ternary_weights == sum(n * k for _, n, k in config.matrices())
        assert config.float_weights == sum(int(np.prod(shape)) for _, shape in config.float_tensors())
        assert config.tensor_count == len(config.matrices()) + len(config.float_tensors())


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
        ({"rms_norm_eps": True}, "`rms_norm_eps` must be a positive finite number, not True"),
        ({"hidden_act": "silu"}, "`hidden_act` must be 'relu2', not 'silu'"),
        ({"tie_word_embeddings": 1}, "`tie_word_embeddings` must be true or false, not 1"),
    ],
)
def test_what_is_refused_is_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelConfig(**{**NANO, **changes})
    assert str(caught.value) == message


def test_an_unknown_or_missing_key_is_named() -> None:
    with pytest.raises(UsageError, match="unknown key 'n_layers'"):
        ModelConfig.from_dict({**NANO, "n_layers": 3})
    with pytest.raises(UsageError, match="lacks the key 'head_dim'"):
        ModelConfig.from_dict({key: value for key, value in NANO.items() if key != "head_dim"})


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig(**NANO).hidden_size = 1  # type: ignore[misc]
