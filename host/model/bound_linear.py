"""BitLinears of one input on an accelerator: exact integers from there, scales and biases here, in float32."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from tritloom.host.model.accelerator import Accelerator, LoadedMatrix, WordAccelerator
from tritloom.host.model.linear import FusedTernary
from tritloom.host.model.ops import quantize_rows

__all__ = ["BoundLinear"]


class BoundLinear:
    """One or several BitLinears of the same input, side by side in one matrix on the accelerator.

    ``y = float32(matmul(q)) / s * scale + bias`` with ``q, s = quantize_rows(x)``; each part keeps its own scale.

    With scales by groups of columns each group is a matrix of its own there, whose sums are exact:
    ``y = (((0 + float32(sums[0]) * scale[0]) + float32(sums[1]) * scale[1]) + ...) / s + bias``, all in float32, in this order.

    Parameters
    ----------
    acc
        Where the integers are multiplied.
    weights
        The BitLinears, all with K in features. Words of an array are sent as they lie where `acc` reads such words; else they are unpacked.
    factors
        What each part's result is multiplied by besides, bias included.
    biases
        What is added to each part's result, ``(N,)`` float32; or ``None``, for none.

    Attributes
    ----------
    matrices : list of LoadedMatrix
        What it has on the accelerator: one matrix, or one for each group of columns.
    """

    def __init__(self, acc: Accelerator, weights: FusedTernary, factors: list[float], biases: list[np.ndarray] | None = None) -> None:
        self.scales = weights.scales(factors)
        self.bias = None if biases is None else np.concatenate([bias * np.float32(factor) for bias, factor in zip(biases, factors, strict=True)])
        self._acc = acc
        self._matmul = acc.matmul
        self._group = weights.group
        with ExitStack() as loaded:
            self.matrices: list[LoadedMatrix] = _load(acc, weights, loaded)
            self._loaded = loaded.pop_all()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(T, K)`` float32 to ``(T, N)`` float32, N over all parts."""
        q, s = quantize_rows(x)
        if self._group is None:
            y = self._matmul(self.matrices[0], q).astype(np.float32)
            y /= s
            y *= self.scales
        else:
            y = np.zeros((len(q), len(self.scales)), np.float32)
            for group, sums in enumerate(self._group_sums(q, self._group)):
                y += sums.astype(np.float32) * self.scales[:, group]
            y /= s
        if self.bias is not None:
            y += self.bias
        return y

    def unload(self) -> None:
        """Free the memory it takes on the accelerator; a second call does nothing."""
        self._loaded.close()

    def _group_sums(self, q: np.ndarray, group: int) -> list[np.ndarray]:
        """``(T, N)`` int32 of each group of columns."""
        parts = [np.ascontiguousarray(q[:, at : at + group]) for at in range(0, q.shape[1], group)]
        if isinstance(self._acc, WordAccelerator):    # which queues what fits together
            return self._acc.matmuls(list(zip(self.matrices, parts, strict=True)))
        return [self._matmul(matrix, part) for matrix, part in zip(self.matrices, parts, strict=True)]


def _load(acc: Accelerator, weights: FusedTernary, loaded: ExitStack) -> list[LoadedMatrix]:
    """The matrix of each group on the accelerator."""
    matrices: list[LoadedMatrix] = []

    def keep(matrix: LoadedMatrix) -> None:
        loaded.callback(matrix.unload)
        matrices.append(matrix)

    if weights.words is not None and isinstance(acc, WordAccelerator) and weights.words[0].fits(acc.geometry):
        for words in weights.words:
            keep(acc.load_words(words))
    else:
        trits, step = weights.trits(), weights.group or weights.shape[1]
        for first in range(0, weights.shape[1], step):
            keep(acc.load(trits if step == weights.shape[1] else np.ascontiguousarray(trits[:, first : first + step])))
    return matrices
