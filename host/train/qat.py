"""The BitNet b1.58 layer as a PyTorch graph that can be trained: quantisation-aware, float32 master weights.

This module exists because ternary weights have no useful gradient of their own: the forward pass uses the numbers that the
accelerator will use (ternary weights, int8 activations), the backward pass pretends that both roundings were the identity
(straight-through estimator). The equations are those of BitNet b1.58 2B-4T, as in Hugging Face's ``models/bitnet``; parameters
have its names, so that `export` copies them one to one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tritloom.host.model.config import ModelConfig

__all__ = ["BitLinear", "BitNet", "RMSNorm", "apply_rope", "bit_linears", "causal_attention", "quantize_activations", "quantize_weights", "rope_tables"]

_FLOOR = 1e-5
"""The least absolute maximum or mean that a scale is made from (a clamp, not a term added)."""


def quantize_weights(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise one matrix to trits by its mean absolute value.

    ``s = 1 / max(mean|W|, 1e-5)``, ``trits = clamp(round(W s), -1, 1)``, ``W ~= trits / s``; rounding is half to even
    (BitNet b1.58, arXiv 2402.17764, with the clamp of Hugging Face's implementation).

    Parameters
    ----------
    weight : Tensor
        float32 ``(N, K)``.

    Returns
    -------
    trits : Tensor
        float32 ``(N, K)``, each of -1, 0, 1.
    scale : Tensor
        float32 ``()``, the direct scale ``1 / s``: results are multiplied by it.
    """
    s = 1.0 / weight.abs().mean().clamp_(min=_FLOOR)
    return (weight * s).round_().clamp_(-1, 1), 1.0 / s


def quantize_activations(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantise every vector along the last axis to int8 by its absolute maximum.

    ``s = 127 / max(|x|max, 1e-5)``, ``q = clamp(round(x s), -128, 127)``, ``x ~= q / s``; rounding is half to even.

    Parameters
    ----------
    x : Tensor
        float32 ``(..., K)``.

    Returns
    -------
    q : Tensor
        float32 ``(..., K)``, whole numbers from -128 to 127.
    s : Tensor
        float32 ``(..., 1)``, the scale that was multiplied by.
    """
    # PyTorch computes a number over a tensor as reciprocal times number: the last bit of s may differ from a true division's.
    s = 127.0 / x.abs().amax(-1, keepdim=True).clamp_(min=_FLOOR)
    return (x * s).round_().clamp_(-128, 127), s


class _QuantizedProduct(torch.autograd.Function):
    """Several BitLinears of one input as one product of whole numbers, with the straight-through gradient.

    ``y = (q @ trits.T) * scale / s``. Both operands are small whole numbers, which bfloat16 holds exactly (up to 256), so with
    ``dtype=bfloat16`` only the sums are rounded; with float32 the sums are exact too (below 2**24).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, dtype: torch.dtype, *weights: Tensor) -> Tensor:  # type: ignore[override]
        q, s = quantize_activations(x)
        pairs = [quantize_weights(weight) for weight in weights]
        trits = torch.cat([trits for trits, _ in pairs]).to(dtype)
        scales = torch.cat([scale.expand(len(trits)) for trits, scale in pairs])
        q = q.to(dtype)
        ctx.save_for_backward(q, s, trits, scales)
        ctx.rows = [len(weight) for weight in weights]
        product = q @ trits.T
        # In place where the product is a fresh copy: these passes over memory cost as much as the product itself.
        return (product.float() if dtype != torch.float32 else product).div_(s).mul_(scales)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        q, s, trits, scales = ctx.saved_tensors
        grad = grad.to(q.dtype)
        grad_x = (grad @ (trits * scales[:, None]).to(q.dtype)).float()
        grad_w = (grad.T @ (q / s).to(q.dtype)).float()
        return grad_x, None, *grad_w.split(ctx.rows)


class BitLinear(nn.Module):
    """A linear layer whose forward pass uses ternary weights and int8 activations; no bias.

    Parameters
    ----------
    in_features, out_features : int
        K and N.

    Attributes
    ----------
    weight : Parameter
        float32 ``(N, K)``, the master weights that the optimiser moves.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, x: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Map ``(M, K)`` float32 to ``(M, N)`` float32; `dtype` is the one that whole numbers are multiplied in."""
        return _QuantizedProduct.apply(x, dtype, self.weight)


def bit_linears(x: Tensor, layers: Sequence[BitLinear], dtype: torch.dtype) -> Tensor:
    """Apply several BitLinears to one input, which is then quantised once; results stand side by side.

    Parameters
    ----------
    x : Tensor
        float32 ``(M, K)``.
    layers : sequence of BitLinear
        All with ``in_features`` K.
    dtype : torch.dtype
        float32 (exact sums) or bfloat16 (sums rounded to 8 bits; faster).

    Returns
    -------
    Tensor
        float32 ``(M, sum of N)``.
    """
    return _QuantizedProduct.apply(x, dtype, *(layer.weight for layer in layers))


class RMSNorm(nn.Module):
    """``weight * x / sqrt(mean(x**2) + eps)`` over the last axis."""

    def __init__(self, features: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., features)`` float32."""
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


def rope_tables(positions: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary embeddings, half-split form: two float32 ``(positions, head_dim)``."""
    inverse = 1.0 / theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), inverse).repeat(1, 2)
    return angles.cos(), angles.sin()


def apply_rope(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``(..., T, head_dim)``: element i pairs with element i + head_dim / 2."""
    low, high = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-high, low], dim=-1) * sin


def causal_attention(q: Tensor, k: Tensor, v: Tensor, dtype: torch.dtype) -> Tensor:
    """Grouped-query attention, ``(B, H, T, D)`` against ``(B, G, T, D)``; the heads of a group are rows of one product.

    Written out because PyTorch's fused kernel is 3 to 5 times slower in bfloat16 on a CPU at these lengths.
    """
    batch, heads, length, head_dim = q.shape
    kv_heads = k.shape[1]
    q, k, v = (t.to(dtype).reshape(batch * kv_heads, -1, head_dim) for t in (q * head_dim**-0.5, k, v))
    future = torch.full((length, length), float("-inf"), dtype=dtype).triu_(1)
    scores = torch.bmm(q, k.transpose(1, 2)).view(batch, heads, length, length) + future
    shares = scores.softmax(-1).view(batch * kv_heads, -1, length)
    return torch.bmm(shares, v).float().view(batch, heads, length, head_dim)


class _Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.q_proj = BitLinear(config.hidden_size, self.heads * self.head_dim)
        self.k_proj = BitLinear(config.hidden_size, self.kv_heads * self.head_dim)
        self.v_proj = BitLinear(config.hidden_size, self.kv_heads * self.head_dim)
        self.o_proj = BitLinear(self.heads * self.head_dim, config.hidden_size)
        self.attn_sub_norm = RMSNorm(self.heads * self.head_dim, config.rms_norm_eps)

    def forward(self, n: Tensor, rope: tuple[Tensor, Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        batch, length = shape
        qkv = bit_linears(n, (self.q_proj, self.k_proj, self.v_proj), dtype)
        qkv = qkv.view(batch, length, self.heads + 2 * self.kv_heads, self.head_dim).transpose(1, 2)
        # Queries and keys are rotated together: one pass over memory instead of two.
        qk = apply_rope(qkv[:, : self.heads + self.kv_heads], *rope)
        q, k = qk.split([self.heads, self.kv_heads], dim=1)
        v = qkv[:, self.heads + self.kv_heads :]
        mixed = causal_attention(q, k, v, dtype)
        mixed = mixed.transpose(1, 2).reshape(batch * length, self.heads * self.head_dim)
        return self.o_proj(self.attn_sub_norm(mixed), dtype)


class _MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.up_proj = BitLinear(config.hidden_size, config.intermediate_size)
        self.down_proj = BitLinear(config.intermediate_size, config.hidden_size)
        self.ffn_sub_norm = RMSNorm(config.intermediate_size, config.rms_norm_eps)

    def forward(self, m: Tensor, dtype: torch.dtype) -> Tensor:
        gate, up = bit_linears(m, (self.gate_proj, self.up_proj), dtype).chunk(2, dim=-1)
        return self.down_proj(self.ffn_sub_norm(F.relu(gate).square() * up), dtype)


class _Layer(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = _Attention(config)
        self.mlp = _MLP(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        h = x + self.self_attn(self.input_layernorm(x), rope, shape, dtype)
        return h + self.mlp(self.post_attention_layernorm(h), dtype)


class _Body(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)


class BitNet(nn.Module):
    """A BitNet b1.58 language model with a tied head, for training.

    Parameters
    ----------
    config : ModelConfig
        The shape; ``tie_word_embeddings`` must be true, and the layer BitNet b1.58 2B-4T's.
    weight_std, embedding_std : float
        Standard deviations that the matrices and the embedding start from.
    generator : torch.Generator
        Where the start comes from.

    Raises
    ------
    ValueError
        The configuration has an untied head, or asks for another layer.
    """

    def __init__(self, config: ModelConfig, *, weight_std: float, embedding_std: float, generator: torch.Generator) -> None:
        super().__init__()
        if not config.tie_word_embeddings:
            raise ValueError("`tie_word_embeddings` must be true for training, not False")
        for name in ("hidden_act", "sub_norms", "linear_norms", "attention_bias", "mlp_bias", "qk_norm", "rope_scaling"):
            only = ModelConfig.__dataclass_fields__[name].default
            if getattr(config, name) != only:
                raise ValueError(f"`{name}` must be {only!r} for training, not {getattr(config, name)!r}")
        self.config = config
        self.model = _Body(config)
        cos, sin = rope_tables(config.max_position_embeddings, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, BitLinear):
                    module.weight.normal_(0.0, weight_std, generator=generator)
            self.model.embed_tokens.weight.normal_(0.0, embedding_std, generator=generator)

    def forward(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Next-token logits.

        Parameters
        ----------
        ids : Tensor
            int64 ``(B, T)``, T at most ``max_position_embeddings``.
        dtype : torch.dtype
            What whole numbers are multiplied in: float32 is exact, bfloat16 is faster.

        Returns
        -------
        Tensor
            float32 ``(B, T, vocab)``.
        """
        batch, length = ids.shape
        rope = (self.cos[:length], self.sin[:length])
        x = self.model.embed_tokens(ids).view(batch * length, -1)
        for layer in self.model.layers:
            x = layer(x, rope, (batch, length), dtype)
        return F.linear(self.model.norm(x), self.model.embed_tokens.weight).view(batch, length, -1)
