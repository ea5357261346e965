"""The float32 arithmetic between two BitLinears: norm, quantiser, rotary position, attention.

Every function works on all tokens and heads of a call at once. None looks at the accelerator, and each row of a norm or of the quantiser
comes out the same however many rows there are; so for equal calls the floats are equal, whatever device does the integers.
"""

from __future__ import annotations

import numpy as np

from tritloom.host.model.rope_scaling import RopeScaling

__all__ = ["GATES", "RopeTable", "attend", "quantize_rows", "relu2_gate", "rms_norm", "silu_gate"]

# The least absolute maximum a scale is made from: a clamp, as in Hugging Face's implementation, where papers add an epsilon.
_FLOOR = np.float32(1e-5)


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """``weight * x / sqrt(mean(x**2) + eps)`` over the last axis.

    Parameters
    ----------
    x
        ``(..., n)`` float32.
    weight
        ``(n,)`` float32.
    eps
        Added to the mean square.

    Returns
    -------
    np.ndarray
        ``(..., n)`` float32.
    """
    scale = np.add.reduce(x * x, axis=-1, keepdims=True)
    scale /= x.shape[-1]
    scale += eps
    np.sqrt(scale, out=scale)
    y = x / scale
    y *= weight
    return y


def quantize_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantise every row to int8 by its absolute maximum: ``s = 127 / max(|x|max, 1e-5)``, ``q = rint(x * s)``, ``x ~= q / s``.

    Rounding is half to even. BitNet's formula clamps to -128..127 besides; no finite float32 reaches a bound that would change it
    (``|x| * s`` is at most 127 and two roundings), so that pass is left out. A test compares both.

    Parameters
    ----------
    x
        ``(T, K)`` float32.

    Returns
    -------
    q : np.ndarray
        ``(T, K)`` int8.
    s : np.ndarray
        ``(T, 1)`` float32.
    """
    s = np.maximum.reduce(np.abs(x), axis=-1, keepdims=True)
    np.maximum(s, _FLOOR, out=s)
    np.divide(np.float32(127), s, out=s)
    scaled = x * s
    np.rint(scaled, out=scaled)
    return scaled.astype(np.int8), s


def relu2_gate(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """``relu(gate)**2 * up``, elementwise, in a new array."""
    y = np.maximum(gate, np.float32(0))
    y *= y
    y *= up
    return y


def silu_gate(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    """``gate * sigmoid(gate) * up``, elementwise, in a new array."""
    with np.errstate(over="ignore"):    # an infinity below the line gives the 0 that is meant
        y = np.exp(-gate)
    y += np.float32(1)
    np.divide(gate, y, out=y)
    y *= up
    return y


GATES = {"relu2": relu2_gate, "silu": silu_gate}
"""By the config's ``hidden_act``: functions of ``(T, ffn)`` gate and up."""


class RopeTable:
    """Cosines and sines of rotary position embeddings, half-split form: element ``i`` of a head turns with element ``i + head_dim / 2``.

    The angle of pair ``i`` at position ``p`` is ``p / theta**(2 i / head_dim)`` in float32, as in Hugging Face's implementation.
    Rows are made as positions are reached.

    Parameters
    ----------
    head_dim
        Width of a head, even.
    theta
        Base of the frequencies.
    scaling
        How they were stretched, if they were.
    """

    def __init__(self, head_dim: int, theta: float, scaling: RopeScaling | None = None) -> None:
        exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
        self._inverse = (1.0 / np.power(np.float32(theta), exponents)).astype(np.float32)
        self._amplitude = np.float32(1)
        if scaling is not None:
            self._inverse = scaling.stretch(self._inverse, theta)
            self._amplitude = np.float32(scaling.amplitude)
        self._inverse.setflags(write=False)
        self._half = head_dim // 2
        self._cos = np.empty((0, 1, 2, self._half), np.float32)
        self._sin = self._cos

    @property
    def frequencies(self) -> np.ndarray:
        """``(head_dim / 2,)`` float32: what each pair turns by a position, in radians."""
        return self._inverse

    def rotate(self, x: np.ndarray, start: int) -> np.ndarray:
        """Turn heads by their position.

        Parameters
        ----------
        x
            ``(T, heads, head_dim)`` float32, tokens at the positions ``start`` to ``start + T - 1``.
        start
            Position of the first.

        Returns
        -------
        np.ndarray
            The same shape, a new array.
        """
        tokens, heads, _ = x.shape
        end = start + tokens
        if end > len(self._cos):
            self._grow(end)
        halves = x.reshape(tokens, heads, 2, self._half)
        y = halves * self._cos[start:end]
        y += halves[:, :, ::-1] * self._sin[start:end]
        return y.reshape(x.shape)

    def _grow(self, positions: int) -> None:
        length = max(256, 1 << (positions - 1).bit_length())
        angles = np.arange(length, dtype=np.float32)[:, None, None, None] * self._inverse
        # The sines carry the rotation's signs, so that both halves take one multiplication: (low, high) * cos + (high, low) * (-sin, sin).
        self._cos = np.repeat(np.cos(angles.astype(np.float64)).astype(np.float32), 2, axis=2) * self._amplitude
        self._sin = np.sin(angles.astype(np.float64)).astype(np.float32) * np.array([-1, 1], np.float32)[:, None] * self._amplitude


def attend(q: np.ndarray, keys: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Causal attention of the last ``T`` of ``S`` positions; a key/value head serves a group of query heads that stand side by side.

    Parameters
    ----------
    q
        ``(T, heads, head_dim)`` float32, already scaled by ``head_dim ** -0.5``.
    keys, values
        ``(kv_heads, S, head_dim)`` float32; the queries' own positions are the last ``T``.

    Returns
    -------
    np.ndarray
        ``(T, heads * head_dim)`` float32.
    """
    tokens, heads, head_dim = q.shape
    kv_heads, positions, _ = keys.shape
    # All queries that share keys become the rows of one product: (kv_heads, heads / kv_heads * T, head_dim).
    rows = q.transpose(1, 0, 2).reshape(kv_heads, -1, head_dim)
    scores = np.matmul(rows, keys.transpose(0, 2, 1))
    if tokens > 1:
        future = np.triu(np.full((tokens, positions), -np.inf, np.float32), positions - tokens + 1)
        by_head = scores.reshape(heads, tokens, positions)
        by_head += future
    scores -= np.maximum.reduce(scores, axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= np.add.reduce(scores, axis=-1, keepdims=True)
    mixed = np.matmul(scores, values)
    return mixed.reshape(heads, tokens, head_dim).transpose(1, 0, 2).reshape(tokens, -1)
