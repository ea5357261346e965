"""The shape of a BitNet b1.58 model: every number the runtime, the file format and training must agree on.

Fields carry Hugging Face's names, so that a checkpoint's ``config.json`` maps onto them one to one. The layer they describe
is that of BitNet b1.58 2B-4T (transformers, ``models/bitnet``).
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tritloom.host.errors import UsageError

__all__ = ["ModelConfig"]

# Far above any real model; they stop a damaged or hostile header from asking for absurd tables before anything is allocated.
_MAX_SIZE = 1 << 24
_MAX_CONTEXT = 1 << 20

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and constants of one model.

    Parameters
    ----------
    hidden_size
        Width of the residual stream.
    intermediate_size
        Width of the feed-forward block, between ``up_proj`` and ``down_proj``.
    num_hidden_layers
        Layers.
    num_attention_heads, num_key_value_heads
        Query heads, and the key/value heads they share; the first is a multiple of the second.
    head_dim
        Width of a head; even, because RoPE rotates pairs.
    vocab_size
        Tokens.
    max_position_embeddings
        Context: positions a sequence may have.
    rope_theta
        Base of the RoPE frequencies.
    rms_norm_eps
        Added to the mean square in every RMSNorm.
    hidden_act
        Activation of the gate; ``"relu2"`` is the one there is.
    tie_word_embeddings
        Whether the head is the embedding matrix.

    Raises
    ------
    UsageError
        (a ``ValueError``) naming the field, the rule and the value.
    """

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float = 10000.0
    rms_norm_eps: float = 1e-5
    hidden_act: str = "relu2"
    tie_word_embeddings: bool = True

    def __post_init__(self) -> None:
        for name in _SIZES:
            limit = _MAX_CONTEXT if name == "max_position_embeddings" else _MAX_SIZE
            value = getattr(self, name)
            integer = isinstance(value, int) and not isinstance(value, bool)
            _require(integer and 1 <= value <= limit, name, f"an integer from 1 to {limit}", value)
        _require(self.head_dim % 2 == 0, "head_dim", "even", self.head_dim)
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        _require(heads % kv_heads == 0, "num_attention_heads", f"a multiple of num_key_value_heads ({kv_heads})", heads)
        for name in ("rope_theta", "rms_norm_eps"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            _require(number and math.isfinite(value) and value > 0, name, "a positive finite number", value)
            object.__setattr__(self, name, float(value))
        _require(self.hidden_act == "relu2", "hidden_act", "'relu2'", self.hidden_act)
        _require(isinstance(self.tie_word_embeddings, bool), "tie_word_embeddings", "true or false", self.tie_word_embeddings)

    @property
    def q_size(self) -> int:
        """Width of the queries, and of the attention's output: heads times ``head_dim``."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of the keys, and of the values."""
        return self.num_key_value_heads * self.head_dim

    @property
    def ternary_weights(self) -> int:
        """Ternary weights in all BitLinears together."""
        per_layer = self.hidden_size * (2 * self.q_size + 2 * self.kv_size + 3 * self.intermediate_size)
        return per_layer * self.num_hidden_layers

    @property
    def float_weights(self) -> int:
        """Weights that stay in float32: embedding, norms, and the head when it is not tied."""
        per_layer = 2 * self.hidden_size + self.q_size + self.intermediate_size
        embeddings = self.vocab_size * self.hidden_size * (1 if self.tie_word_embeddings else 2)
        return per_layer * self.num_hidden_layers + embeddings + self.hidden_size

    @property
    def tensor_count(self) -> int:
        """Tensors in a model file, known before any list of them is made."""
        return 11 * self.num_hidden_layers + (2 if self.tie_word_embeddings else 3)

    def matrices(self) -> list[tuple[str, int, int]]:
        """Every BitLinear's tensor name and its shape.

        Returns
        -------
        list of (name, N, K)
            Out features ``N``, in features ``K``, in the order in which a forward pass uses them.
        """
        hidden, ffn = self.hidden_size, self.intermediate_size
        shapes = (
            ("self_attn.q_proj", self.q_size, hidden),
            ("self_attn.k_proj", self.kv_size, hidden),
            ("self_attn.v_proj", self.kv_size, hidden),
            ("self_attn.o_proj", hidden, self.q_size),
            ("mlp.gate_proj", ffn, hidden),
            ("mlp.up_proj", ffn, hidden),
            ("mlp.down_proj", hidden, ffn),
        )
        return [(f"model.layers.{i}.{name}.weight", n, k) for i in range(self.num_hidden_layers) for name, n, k in shapes]

    def float_tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Every float32 tensor's name and shape: embedding, norms, head."""
        hidden = self.hidden_size
        per_layer = (
            ("input_layernorm", hidden),
            ("self_attn.attn_sub_norm", self.q_size),
            ("post_attention_layernorm", hidden),
            ("mlp.ffn_sub_norm", self.intermediate_size),
        )
        tensors: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", (self.vocab_size, hidden))]
        tensors += [(f"model.layers.{i}.{name}.weight", (size,)) for i in range(self.num_hidden_layers) for name, size in per_layer]
        tensors.append(("model.norm.weight", (hidden,)))
        if not self.tie_word_embeddings:
            tensors.append(("lm_head.weight", (self.vocab_size, hidden)))
        return tensors

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The config that `to_dict` gave.

        Raises
        ------
        UsageError
            On an unknown or missing key, which it names, or a value out of range.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise UsageError(f"the model's config has the unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
        missing = sorted(set(_SIZES) - set(values))
        if missing:
            raise UsageError(f"the model's config lacks the key {missing[0]!r}")
        return cls(**values)


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise UsageError(f"`{name}` must be {rule}, not {reprlib.repr(value)}")
