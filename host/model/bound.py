"""A model's weights on one accelerator: every matrix loaded once, those that share an input as one job."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from tritloom.host.model.accelerator import Accelerator
from tritloom.host.model.bound_linear import BoundLinear
from tritloom.host.model.file import ModelFile
from tritloom.host.model.head import Head
from tritloom.host.model.ops import RopeTable, rms_norm

__all__ = ["BoundLayer", "BoundModel", "Linear", "NormedLinears"]

Linear = Callable[[np.ndarray], np.ndarray]
"""``(T, K)`` float32 to ``(T, N)`` float32."""


class NormedLinears:
    """BitLinears of the same input that each have a norm of their own before their quantiser, and so share no job.

    Parameters
    ----------
    norms
        Each one's weight, ``(K,)`` float32.
    linears
        The BitLinears.
    eps
        Added to the mean square.
    """

    def __init__(self, norms: list[np.ndarray], linears: list[BoundLinear], eps: float) -> None:
        self._linears = list(zip(norms, linears, strict=True))
        self._eps = eps

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(T, K)`` float32 to ``(T, N)`` float32, N over all of them."""
        return np.concatenate([linear(rms_norm(x, norm, self._eps)) for norm, linear in self._linears], axis=1)


@dataclass(frozen=True)
class BoundLayer:
    """One layer: its BitLinears on the accelerator, and its norms' weights; ``None`` for a norm that the model does not have."""

    qkv: Linear
    o: Linear
    gate_up: Linear
    down: Linear
    input_norm: np.ndarray
    q_norm: np.ndarray | None
    k_norm: np.ndarray | None
    attn_sub_norm: np.ndarray | None
    post_norm: np.ndarray
    ffn_sub_norm: np.ndarray | None


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
    embedding : FloatTensor
        ``(vocab, hidden)``.
    norm : np.ndarray
        ``(hidden,)`` float32.
    head : Head
        The logits of hidden states; its matrix is the embedding when tied.
    rope : RopeTable
        Shared by all sessions.
    """

    def __init__(self, file: ModelFile, acc: Accelerator) -> None:
        config = file.config
        self.config = config
        self.acc = acc
        self.embedding = file.floats("model.embed_tokens.weight")
        self.norm = file.array("model.norm.weight")
        self.head = Head(self.embedding if config.tie_word_embeddings else file.floats("lm_head.weight"))
        self.rope = RopeTable(config.head_dim, config.rope_theta, config.rope_scaling)
        with ExitStack() as loaded:
            self.layers = [self._load_layer(file, i, loaded) for i in range(config.num_hidden_layers)]
            self._loaded = loaded.pop_all()
        file.forget()

    def _load_layer(self, file: ModelFile, index: int, loaded: ExitStack) -> BoundLayer:
        prefix, config = f"model.layers.{index}.", self.config
        biased = {"self_attn": config.attention_bias, "mlp": config.mlp_bias}
        # Attention's 1/sqrt(head_dim) rides on the queries, where they are scaled last: no pass over the scores.
        root = config.head_dim**-0.5

        def bind(names: list[str], factors: list[float]) -> BoundLinear:
            weights = file.linear([f"{prefix}{name}.weight" for name in names])
            biases = [file.array(f"{prefix}{name}.bias") for name in names] if biased[names[0].split(".")[0]] else None
            bound = BoundLinear(self.acc, weights, factors, biases)
            loaded.callback(bound.unload)
            return bound

        def linear(*names: str, factors: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Linear:
            if not config.linear_norms:
                return bind(list(names), list(factors[: len(names)]))
            norms = [file.array(f"{prefix}{name}.rms_norm.weight") for name in names]
            return NormedLinears(norms, [bind([name], [factor]) for name, factor in zip(names, factors, strict=False)], config.linear_norm_eps)

        def norm(name: str, there: bool = True) -> np.ndarray | None:
            return file.array(f"{prefix}{name}.weight") if there else None

        q_norm = norm("self_attn.q_norm", config.qk_norm)
        return BoundLayer(
            qkv=linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", factors=(1.0 if config.qk_norm else root, 1.0, 1.0)),
            o=linear("self_attn.o_proj"),
            gate_up=linear("mlp.gate_proj", "mlp.up_proj"),
            down=linear("mlp.down_proj"),
            input_norm=file.array(f"{prefix}input_layernorm.weight"),
            q_norm=None if q_norm is None else q_norm * np.float32(root),
            k_norm=norm("self_attn.k_norm", config.qk_norm),
            attn_sub_norm=norm("self_attn.attn_sub_norm", config.sub_norms),
            post_norm=file.array(f"{prefix}post_attention_layernorm.weight"),
            ffn_sub_norm=norm("mlp.ffn_sub_norm", config.sub_norms),
        )

    def close(self) -> None:
        """Free the accelerator's memory; a second call does nothing."""
        self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
