"""The forward pass: token ids in, logits out, with the keys and values of earlier tokens kept.

The layer is BitNet b1.58 2B-4T's (transformers, ``models/bitnet``). Everything but the BitLinears' integer products is done here,
in float32. What is computed, and in which shapes, depends on the token ids and on how they are split into calls, never on the accelerator:
that is what makes the text equal from device to device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tritloom.host.errors import ContextError, NumericError, UsageError
from tritloom.host.model.bound import BoundModel
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.ops import attend, relu2_gate, rms_norm

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
    array = np.asarray(ids)
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

    Raises
    ------
    UsageError
        (a ``ValueError``) when `context` is out of range.
    ContextError
        When there is not enough memory for that many positions.
    """

    def __init__(self, model: BoundModel, context: int | None = None) -> None:
        config = model.config
        limit = config.max_position_embeddings
        if context is not None and (isinstance(context, bool) or not isinstance(context, int) or not 1 <= context <= limit):
            raise UsageError(f"`context` must be an integer from 1 to {limit} (the model's context), not {context!r}")
        self._model = model
        self._context = limit if context is None else context
        self._position = 0
        shape = (config.num_hidden_layers, config.num_key_value_heads, self._context, config.head_dim)
        try:
            self._keys, self._values = np.empty(shape, np.float32), np.empty(shape, np.float32)
        except MemoryError as error:
            size = 8 * int(np.prod(shape, dtype=object))
            raise ContextError(f"the cache for {self._context} positions takes {size} bytes, more than there are: give a smaller `context`") from error

    @property
    def position(self) -> int:
        """Tokens taken in so far."""
        return self._position

    @property
    def context(self) -> int:
        """Tokens there is room for."""
        return self._context

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
            When there is no room for that many.
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
                parts.append(np.matmul(x, model.head.T))
        logits = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if not np.isfinite(logits).all():
            raise NumericError("the model's float32 arithmetic overflowed, so its logits mean nothing: its scales or norms are not sound")
        self._position = end
        return logits

    def _layers(self, ids: np.ndarray, start: int) -> np.ndarray:
        """Run tokens at the positions from `start` through all layers: ``(T, hidden)``."""
        model = self._model
        config = model.config
        heads, kv_heads, eps = config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps
        tokens, end, ffn = len(ids), start + len(ids), config.intermediate_size
        x = model.embedding[ids]
        for layer, keys, values in zip(model.layers, self._keys, self._values, strict=True):
            qkv = layer.qkv(rms_norm(x, layer.input_norm, eps)).reshape(tokens, heads + 2 * kv_heads, config.head_dim)
            turned = model.rope.rotate(qkv[:, : heads + kv_heads], start)
            keys[:, start:end] = turned[:, heads:].transpose(1, 0, 2)
            values[:, start:end] = qkv[:, heads + kv_heads :].transpose(1, 0, 2)
            mixed = attend(turned[:, :heads], keys[:, :end], values[:, :end])
            x += layer.o(rms_norm(mixed, layer.attn_sub_norm, eps))
            gate_up = layer.gate_up(rms_norm(x, layer.post_norm, eps))
            x += layer.down(rms_norm(relu2_gate(gate_up[:, :ffn], gate_up[:, ffn:]), layer.ffn_sub_norm, eps))
        return x
