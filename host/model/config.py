"""The shape of a BitNet b1.58 model: every number the runtime, the file format and training must agree on.

Fields carry Hugging Face's names where it has one, so that a checkpoint's ``config.json`` maps onto them. With every default the layer is that of
BitNet b1.58 2B-4T (transformers, ``models/bitnet``); the fields behind `tie_word_embeddings` make it that of its relatives (``docs/numerics.md``).
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from tritloom.host.errors import UsageError
from tritloom.host.model.rope_scaling import RopeScaling, is_positive

__all__ = ["ModelConfig"]

# Far above any real model; they stop a damaged or hostile header from asking for absurd tables before anything is allocated.
_MAX_SIZE = 1 << 24
_MAX_CONTEXT = 1 << 20
_LARGEST = 1e38

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
_SWITCHES = ("tie_word_embeddings", "sub_norms", "linear_norms", "attention_bias", "mlp_bias", "qk_norm")
_ACTIVATIONS = ("relu2", "silu")


# A layer's BitLinears in the order in which a forward pass uses them: name, out features, in features.
_MATRICES = (
    ("self_attn.q_proj", "q", "hidden"),
    ("self_attn.k_proj", "kv", "hidden"),
    ("self_attn.v_proj", "kv", "hidden"),
    ("self_attn.o_proj", "hidden", "q"),
    ("mlp.gate_proj", "ffn", "hidden"),
    ("mlp.up_proj", "ffn", "hidden"),
    ("mlp.down_proj", "hidden", "ffn"),
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
        Activation of the gate: ``"relu2"``, ``relu(x)**2``, or ``"silu"``, ``x * sigmoid(x)``.
    tie_word_embeddings
        Whether the head is the embedding matrix.
    sub_norms
        Whether there is an RMSNorm before ``o_proj`` and one before ``down_proj``.
    linear_norms
        Whether every BitLinear has an RMSNorm of its own in front of its quantiser: ``use_rms_norm`` in transformers' quantization config.
    linear_norm_eps
        Added to the mean square in those.
    attention_bias, mlp_bias
        Whether attention's BitLinears (q, k, v, o), and the feed-forward block's, add a bias to their result.
    qk_norm
        Whether each head of the queries and keys goes through an RMSNorm before RoPE, as Qwen3's do.
    rope_scaling
        How the RoPE frequencies were stretched for a longer context; ``None`` when they were not.

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
    sub_norms: bool = True
    linear_norms: bool = False
    linear_norm_eps: float = 1e-6
    attention_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    rope_scaling: RopeScaling | None = None

    def __post_init__(self) -> None:
        for name in _SIZES:
            limit = _MAX_CONTEXT if name == "max_position_embeddings" else _MAX_SIZE
            value = getattr(self, name)
            integer = isinstance(value, int) and not isinstance(value, bool)
            _require(integer and 1 <= value <= limit, name, f"an integer from 1 to {limit}", value)
        _require(self.head_dim % 2 == 0, "head_dim", "even", self.head_dim)
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        _require(heads % kv_heads == 0, "num_attention_heads", f"a multiple of num_key_value_heads ({kv_heads})", heads)
        for name in ("rope_theta", "rms_norm_eps", "linear_norm_eps"):
            value = getattr(self, name)
            _require(is_positive(value), name, "a positive finite number", value)
            _require(value <= _LARGEST, name, f"at most {_LARGEST:g}, which float32 holds", value)
            object.__setattr__(self, name, float(value))
        _require(self.rope_theta >= 1, "rope_theta", "at least 1", self.rope_theta)    # below it the frequencies grow, out of float32
        _require(self.hidden_act in _ACTIVATIONS, "hidden_act", " or ".join(map(repr, _ACTIVATIONS)), self.hidden_act)
        for name in _SWITCHES:
            _require(isinstance(getattr(self, name), bool), name, "true or false", getattr(self, name))
        if self.rope_scaling is not None and not isinstance(self.rope_scaling, RopeScaling):
            object.__setattr__(self, "rope_scaling", RopeScaling.from_dict(self.rope_scaling))
        divisors = self.rope_scaling.divisors if self.rope_scaling else None
        if divisors is not None and len(divisors) != self.head_dim // 2:
            raise UsageError(f"`rope_scaling` must have {self.head_dim // 2} divisors, one a pair of a head's elements, not {len(divisors)}")
        if self.rope_scaling and self.rope_scaling.rope_type == "yarn":
            _require(self.rope_theta > 1, "rope_theta", "greater than 1 for the rope_type 'yarn'", self.rope_theta)

    @property
    def layer(self) -> str:
        """What sets the layer apart, in words."""
        parts = ["squared ReLU" if self.hidden_act == "relu2" else "SiLU", "sub-norms" if self.sub_norms else "no sub-norms"]
        if self.linear_norms:
            parts.append("a norm in every linear layer")
        biased = [name for name, there in (("attention", self.attention_bias), ("feed-forward", self.mlp_bias)) if there]
        if biased:
            parts.append(f"biases in {' and '.join(biased)}")
        if self.qk_norm:
            parts.append("norms of queries and keys")
        if self.rope_scaling is not None:
            parts.append(f"RoPE scaled ({self.rope_scaling.rope_type})")
        return ", ".join(parts)

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
        """Weights that are not ternary: embedding, norms, biases, and the head when it is not tied."""
        return sum(math.prod(shape) for _, shape in self._outer_tensors()) + self.num_hidden_layers * sum(size for _, size in self._layer_vectors())

    @property
    def tensor_count(self) -> int:
        """Tensors in a model file, known before any list of them is made."""
        return (len(_MATRICES) + len(self._layer_vectors())) * self.num_hidden_layers + len(self._outer_tensors())

    def matrices(self) -> list[tuple[str, int, int]]:
        """Every BitLinear's tensor name and its shape.

        Returns
        -------
        list of (name, N, K)
            Out features ``N``, in features ``K``, in the order in which a forward pass uses them.
        """
        return [(f"model.layers.{i}.{name}.weight", n, k) for i in range(self.num_hidden_layers) for name, n, k in self._layer_matrices()]

    @property
    def job_sizes(self) -> tuple[int, ...]:
        """How many BitLinears each of a layer's `jobs` has."""
        return (1,) * len(_MATRICES) if self.linear_norms else (3, 1, 2, 1)

    def jobs(self) -> list[list[tuple[str, int, int]]]:
        """`matrices` as the runtime loads them: those that share a quantised input side by side as one matrix, in order.

        With norms inside the BitLinears (`linear_norms`) none share one.
        """
        rows = iter(self.matrices())
        return [[next(rows) for _ in range(count)] for count in self.job_sizes * self.num_hidden_layers]

    def float_tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """Every other tensor's name and shape: embedding, norms, biases, head."""
        embedding, *rest = self._outer_tensors()
        vectors = self._layer_vectors()
        return [embedding, *((f"model.layers.{i}.{name}", (size,)) for i in range(self.num_hidden_layers) for name, size in vectors), *rest]

    def _layer_matrices(self) -> list[tuple[str, int, int]]:
        """A layer's BitLinears without the layer's prefix, and their shapes."""
        sizes = {"hidden": self.hidden_size, "ffn": self.intermediate_size, "q": self.q_size, "kv": self.kv_size}
        return [(name, sizes[n], sizes[k]) for name, n, k in _MATRICES]

    def _layer_vectors(self) -> list[tuple[str, int]]:
        """A layer's norms and biases without the layer's prefix, and their sizes."""
        hidden = self.hidden_size
        norms = [("input_layernorm", hidden), ("self_attn.attn_sub_norm", self.q_size), ("post_attention_layernorm", hidden),
                 ("mlp.ffn_sub_norm", self.intermediate_size)]  # fmt: skip
        if not self.sub_norms:
            norms = norms[::2]
        if self.qk_norm:
            norms += [("self_attn.q_norm", self.head_dim), ("self_attn.k_norm", self.head_dim)]
        if self.linear_norms:
            norms += [(f"{name}.rms_norm", k) for name, _, k in self._layer_matrices()]
        biased = {"self_attn": self.attention_bias, "mlp": self.mlp_bias}
        biases = [(f"{name}.bias", n) for name, n, _ in self._layer_matrices() if biased[name.split(".")[0]]]
        return [(f"{name}.weight", size) for name, size in norms] + biases

    def _outer_tensors(self) -> list[tuple[str, tuple[int, ...]]]:
        """What is not in a layer, the embedding first."""
        table = (self.vocab_size, self.hidden_size)
        tensors: list[tuple[str, tuple[int, ...]]] = [("model.embed_tokens.weight", table), ("model.norm.weight", (self.hidden_size,))]
        return tensors if self.tie_word_embeddings else [*tensors, ("lm_head.weight", table)]

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
