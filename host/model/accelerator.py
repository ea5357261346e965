"""What the runtime asks of an accelerator, and no more: anything that multiplies int8 by ternary exactly will do.

`tritloom.host.connect` gives one that talks to a device; the golden model in numpy is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from tritloom.host.words import ArrayMatrix
from tritloom.rtl.geometry import Geometry

__all__ = ["Accelerator", "LoadedMatrix", "WordAccelerator"]


class LoadedMatrix(Protocol):
    """A ternary matrix that lies on an accelerator."""

    @property
    def shape(self) -> tuple[int, int]:
        """Out features ``N`` and in features ``K``."""
        ...

    def unload(self) -> None:
        """Free the memory it takes there."""
        ...


class Accelerator(Protocol):
    """Exact products of int8 activations and ternary weights."""

    @property
    def closed(self) -> bool:
        """It was closed: nothing on it can be used any more."""
        ...

    def load(self, w: np.ndarray, /) -> LoadedMatrix:
        """Put ``w``, ``(N, K)`` int8 in {-1, 0, 1}, on the accelerator."""
        ...

    def matmul(self, w: LoadedMatrix, x: np.ndarray, /) -> np.ndarray:
        """``x @ w.T`` for ``x`` ``(M, K)`` int8: ``(M, N)`` int32, exact for every input."""
        ...


@runtime_checkable
class WordAccelerator(Accelerator, Protocol):
    """An accelerator that also takes matrices in the words its array reads, and works through several products as one queue."""

    @property
    def geometry(self) -> Geometry:
        """Which words those are."""
        ...

    def load_words(self, matrix: ArrayMatrix, /) -> LoadedMatrix:
        """Put a matrix in words of the accelerator's own order on it."""
        ...

    def matmuls(self, products: Sequence[tuple[LoadedMatrix, np.ndarray]], /) -> list[np.ndarray]:
        """What `matmul` gives for each."""
        ...
