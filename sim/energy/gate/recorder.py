"""What a model multiplies, recorded while it runs: an accelerator that passes everything on to another and keeps it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritloom.host.model.accelerator import Accelerator, LoadedMatrix

__all__ = ["Product", "Recorder"]


@dataclass(frozen=True)
class Product:
    """A ternary matrix and the vectors it was multiplied with at once.

    Parameters
    ----------
    weights : (N, K) int8 in {-1, 0, 1}
    acts : (M, K) int8
    """

    weights: np.ndarray
    acts: np.ndarray


class _Kept:
    """A matrix on the inner accelerator, and its trits."""

    def __init__(self, inner: LoadedMatrix, weights: np.ndarray) -> None:
        self.inner = inner
        self.weights = weights

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    def unload(self) -> None:
        self.inner.unload()


class Recorder:
    """An accelerator, for `tritloom.host.model.Model`, that records every product in the order in which it was asked for.

    Parameters
    ----------
    inner : Accelerator
        Who multiplies: the golden model, or a device. The integers are the same on any.

    Members
    -------
    products : list of Product
    """

    def __init__(self, inner: Accelerator) -> None:
        self._inner = inner
        self.products: list[Product] = []

    @property
    def closed(self) -> bool:
        return self._inner.closed

    def load(self, w: np.ndarray) -> _Kept:
        return _Kept(self._inner.load(w), np.asarray(w, np.int8))

    def matmul(self, w: _Kept, x: np.ndarray) -> np.ndarray:
        self.products.append(Product(w.weights, x.copy()))
        return self._inner.matmul(w.inner, x)
