"""The head: hidden states times a matrix as tall as the vocabulary, which may be stored narrower than it is multiplied."""

from __future__ import annotations

import numpy as np

from tritloom.host.model.floats import FloatTensor

__all__ = ["Head"]

#: Bytes up to which a narrow matrix is kept as float32: a larger one is widened a block of rows at a time, for every product.
_KEPT_BYTES = 1 << 26

#: Bytes of a block, as float32. It is written and read again at once, so it should stay in a core's second cache: of a 128,256 x 2,560 matrix in bfloat16,
#: blocks of 1 MB or less take 0.08 s of a core.
_BLOCK_BYTES = 1 << 20


class Head:
    """``x @ weights.T`` in float32, through BLAS.

    Parameters
    ----------
    weights
        ``(vocab, hidden)``.
    """

    def __init__(self, weights: FloatTensor) -> None:
        self._weights = weights
        vocab, hidden = weights.shape
        self._rows = max(1, _BLOCK_BYTES // (4 * hidden))
        whole = weights.dtype == "float32" or 4 * vocab * hidden <= _KEPT_BYTES
        self._whole = weights.array() if whole else None

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """``(T, hidden)`` float32 to ``(T, vocab)`` float32."""
        if self._whole is not None:
            return np.matmul(x, self._whole.T)
        vocab = self._weights.shape[0]
        logits = np.empty((len(x), vocab), np.float32)
        for start in range(0, vocab, self._rows):
            stop = min(start + self._rows, vocab)
            logits[:, start:stop] = np.matmul(x, self._weights.block(start, stop).T)
        return logits
