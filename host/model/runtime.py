"""The forward pass: token ids in, logits out, with the keys and values of earlier tokens kept.

The layer is BitNet b1.58 2B-4T's (transformers, ``models/bitnet``) or, as the config says, a relative's. Everything but the BitLinears' integer
products is done here, in float32. What is computed, and in which shapes, depends on the token ids and on how they are split into calls, never on
the accelerator: that is what makes the text equal from device to device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tritloom.host.errors import ContextError, NumericError, UsageError
from tritloom.host.model.bound import BoundModel
from tritloom.host.model.cache import KeyValueCache
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.ops import GATES, attend, rms_norm

__all__ = ["Session", "check_ids"]

# Tokens of a prompt taken through the layers at once. It bounds the memory for scores, and is a constant, not the device's
# rows, because float sums depend on the shapes they are made in.
_CHUNK = 256


def check_ids(ids: Sequence[int] | np.ndarray, config: ModelConfig) -> np.ndarray:
    """Token ids as a ``(T,)`` int64 array.

    Raises
    ------
    UsageError
        (a ``ValueError``) when they are not a non-empty one-dimensional row of integers, or one is outside the vocabulary.
    """
    try:
        array = np.asarray(ids)
    except ValueError as error:    # rows of different lengths
        raise UsageError(f"`token_ids` must be a non-empty row of integers: {error}") from error
    if array.ndim != 1 or array.size == 0 or array.dtype.kind not in "iu":
        raise UsageError(f"`token_ids` must be a non-empty row of integers, not {array.dtype} of shape {array.shape}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or high >= config.vocab_size:
        raise UsageError(f"`token_ids` must be from 0 to {config.vocab_size - 1} (the vocabulary), not {low if low < 0 else high}")
    return array.astype(np.int64)


class Session:
    """One sequence on one accelerator: a position, and the keys and values up to it. Made by `Model.session`.

    A call that fails (the device was unplugged, say) leaves the position where it was, so it can be repeated.

    Parameters
    ----------
    model
        The weights on the accelerator.
    context
        Positions there is room for; the model's own context by default, and at most that.
    kv_cache
        How keys and values are kept: one of `CACHE_KINDS`.

    Raises
    ------
    UsageError
        (a ``ValueError``) when `context` is out of range, or there is no such kind of cache.
    """

    def __init__(self, model: BoundModel, context: int | None = None, kv_cache: str = "float32") -> None:
        config = model.config
        limit = config.max_position_embeddings
        if context is not None and (isinstance(context, bool) or not isinstance(context, int) or not 1 <= context <= limit):
            raise UsageError(f"`context` must be an integer from 1 to {limit} (the model's context), not {context!r}")
        self._model = model
        self._context = limit if context is None else context
        self._position = 0
        self._cache = KeyValueCache(config, self._context, kv_cache)

    @property
    def position(self) -> int:
        """Tokens taken in so far."""
        return self._position

    @property
    def context(self) -> int:
        """Tokens there is room for."""
        return self._context

    @property
    def cache_bytes(self) -> int:
        """Bytes that keys and values take now: it grows as tokens come."""
        return self._cache.nbytes

    def prefill(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Take in several tokens.

        Parameters
        ----------
        ids
            ``(T,)`` integers, at least one.

        Returns
        -------
        np.ndarray
            ``(vocab,)`` float32, the logits of what follows the last of them.

        Raises
        ------
        UsageError
            (a ``ValueError``) when an id is outside the vocabulary.
        ContextError
            When there is no room for that many, or not enough memory.
        NumericError
            When the model's floats overflow.
        """
        rows = self._take(check_ids(ids, self._model.config), last_only=True)
        return rows[-1]

    def step(self, token: int) -> np.ndarray:
        """Take in one token; otherwise as `prefill`."""
        return self.prefill([token])

    def extend(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Take in several tokens as `prefill` does, and return the logits after each: ``(T, vocab)`` float32."""
        return self._take(check_ids(ids, self._model.config), last_only=False)

    def _take(self, ids: np.ndarray, last_only: bool) -> np.ndarray:
        start, end = self._position, self._position + len(ids)
        if end > self._context:
            used = f" behind the {start} already taken in" if start else ""
            count = "1 token does" if len(ids) == 1 else f"{len(ids)} tokens do"
            raise ContextError(f"{count} not fit into the context of {self._context}{used}: give fewer, or start a new session")
        model = self._model
        parts = []
        # A float that overflows becomes an infinity or NaN and ends in the logits, where it is looked for.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for at in range(start, end, _CHUNK):
                stop = min(at + _CHUNK, end)
                x = self._layers(ids[at - start : stop - start], at)
                if last_only and stop < end:
                    continue
                x = rms_norm(x[-1:] if last_only else x, model.norm, model.config.rms_norm_eps)
                parts.append(model.head(x))
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(logits).all():
            why = "its scales or norms are not sound"
            if self._cache.kind == "float16":
                why += ", or its keys and values are above 65,504, which float16 holds: take another kind of cache"
            raise NumericError(f"the model's float32 arithmetic overflowed, so its logits mean nothing: {why}")
        self._position = end
        return logits

    def _layers(self, ids: np.ndarray, start: int) -> np.ndarray:
        """Run tokens at the positions from `start` through all layers: ``(T, hidden)``."""
        model = self._model
        config = model.config
        heads, kv_heads, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
        tokens, ffn = len(ids), config.intermediate_size
        gate = GATES[config.hidden_act]

        def sub_norm(x: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
            return x if weight is None else rms_norm(x, weight, eps)

        x = model.embedding.rows(ids)
        for index, layer in enumerate(model.layers):
            qkv = layer.qkv(rms_norm(x, layer.input_norm, eps)).reshape(tokens, heads + 2 * kv_heads, config.head_dim)
            if layer.q_norm is not None and layer.k_norm is not None:
                qkv[:, :heads] = rms_norm(qkv[:, :heads], layer.q_norm, eps)
                qkv[:, heads : heads + kv_heads] = rms_norm(qkv[:, heads : heads + kv_heads], layer.k_norm, eps)
            turned = model.rope.rotate(qkv[:, : heads + kv_heads], start)
            keys, values = self._cache.extend(index, start, turned[:, heads:], qkv[:, heads + kv_heads :])
            mixed = attend(turned[:, :heads], keys, values)
            x += layer.o(sub_norm(mixed, layer.attn_sub_norm))
            gate_up = layer.gate_up(rms_norm(x, layer.post_norm, eps))
            x += layer.down(sub_norm(gate(gate_up[:, :ffn], gate_up[:, ffn:]), layer.ffn_sub_norm))
        return x
