"""A model's weights on one accelerator: every matrix loaded once, those that share an input as one job."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from tritloom.host.model.accelerator import Accelerator, LoadedMatrix
from tritloom.host.model.file import ModelFile, Ternary
from tritloom.host.model.ops import RopeTable, quantize_rows

__all__ = ["BoundLayer", "BoundLinear", "BoundModel"]


class BoundLinear:
    """One or several BitLinears of the same input, side by side in one matrix on the accelerator.

    ``y = float32(matmul(q)) / s * scale`` with ``q, s = quantize_rows(x)``; each part keeps its own scale.

    Parameters
    ----------
    acc
        Where the integers are multiplied.
    parts
        The BitLinears, all with K in features.
    factors
        What each part's scale is multiplied by besides.
    """

    def __init__(self, acc: Accelerator, parts: list[Ternary], factors: list[float]) -> None:
        trits = parts[0].trits if len(parts) == 1 else np.concatenate([part.trits for part in parts])
        scales = np.array([part.scale * factor for part, factor in zip(parts, factors, strict=True)], np.float32)
        self.scales = np.repeat(scales, [len(part.trits) for part in parts])
        self.matrix: LoadedMatrix = acc.load(trits)
        self._matmul = acc.matmul

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(T, K)`` float32 to ``(T, N)`` float32, N over all parts."""
        q, s = quantize_rows(x)
        y = self._matmul(self.matrix, q).astype(np.float32)
        y /= s
        y *= self.scales
        return y


@dataclass(frozen=True)
class BoundLayer:
    """One layer: its fused BitLinears on the accelerator, and its norms' weights."""

    qkv: BoundLinear
    o: BoundLinear
    gate_up: BoundLinear
    down: BoundLinear
    input_norm: np.ndarray
    attn_sub_norm: np.ndarray
    post_norm: np.ndarray
    ffn_sub_norm: np.ndarray


class BoundModel:
    """A model loaded on an accelerator; made by `Model.bind`, usable as a context manager that unloads it.

    Parameters
    ----------
    file
        Where the weights are.
    acc
        Where the matrices go.

    Attributes
    ----------
    config : ModelConfig
        The model's shape.
    acc : Accelerator
        The accelerator.
    layers : list of BoundLayer
        In order.
    embedding, norm, head : np.ndarray
        ``(vocab, hidden)``, ``(hidden,)`` and ``(vocab, hidden)`` float32; the head is the embedding when tied.
    rope : RopeTable
        Shared by all sessions.
    """

    def __init__(self, file: ModelFile, acc: Accelerator) -> None:
        config = file.config
        self.config = config
        self.acc = acc
        self.embedding = file.array("model.embed_tokens.weight")
        self.norm = file.array("model.norm.weight")
        self.head = self.embedding if config.tie_word_embeddings else file.array("lm_head.weight")
        self.rope = RopeTable(config.head_dim, config.rope_theta)
        with ExitStack() as loaded:
            self.layers = [self._load_layer(file, i, loaded) for i in range(config.num_hidden_layers)]
            self._loaded = loaded.pop_all()

    def _load_layer(self, file: ModelFile, index: int, loaded: ExitStack) -> BoundLayer:
        prefix = f"model.layers.{index}."

        def linear(*names: str, factors: list[float] | None = None) -> BoundLinear:
            parts = [file.ternary(f"{prefix}{name}.weight") for name in names]
            bound = BoundLinear(self.acc, parts, factors or [1.0] * len(parts))
            loaded.callback(bound.matrix.unload)
            return bound

        def norm(name: str) -> np.ndarray:
            return file.array(f"{prefix}{name}.weight")

        return BoundLayer(
            # Attention's 1/sqrt(head_dim) rides on the queries' scale: no pass over the scores.
            qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", factors=[self.config.head_dim**-0.5, 1.0, 1.0]),
            o=linear("self_attn.o_proj"),
            gate_up=linear("mlp.gate_proj", "mlp.up_proj"),
            down=linear("mlp.down_proj"),
            input_norm=norm("input_layernorm"),
            attn_sub_norm=norm("self_attn.attn_sub_norm"),
            post_norm=norm("post_attention_layernorm"),
            ffn_sub_norm=norm("mlp.ffn_sub_norm"),
        )

    def close(self) -> None:
        """Free the accelerator's memory; a second call does nothing."""
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
