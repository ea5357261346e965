"""The golden model: what the accelerator computes, written from the formula and in numpy, knowing nothing of how the gateware does it."""

import numpy as np

from tritloom.rtl.geometry import Geometry

__all__ = ["NumpyAccelerator", "dot", "matmul"]


def dot(weights: np.ndarray, acts: np.ndarray) -> int:
    """``sum(weights[i] * acts[i])`` by the definition, one product after another. For checking `matmul`."""
    total = 0
    for weight, act in zip(weights.tolist(), acts.tolist(), strict=True):
        total += weight * act
    return total


def matmul(weights: np.ndarray, acts: np.ndarray) -> np.ndarray:
    """Ternary matrix times int8 vectors, exactly.

    Parameters
    ----------
    weights : (N, K) int8, each -1, 0 or 1
    acts : (M, K) int8

    Returns
    -------
    (M, N) int32
        ``acts @ weights.T``. int32 holds it for K below 2**24.
    """
    return acts.astype(np.int32) @ weights.astype(np.int32).T


class _Resident:
    """A matrix, as `NumpyAccelerator.load` returns it."""

    def __init__(self, weights: np.ndarray):
        self.shape = weights.shape
        self.weights: np.ndarray | None = weights.astype(np.float32)

    def unload(self) -> None:
        self.weights = None


class NumpyAccelerator:
    """The golden model behind the driver's interface: a reference for whatever runs on an accelerator. It has no link and no counters.

    Products are summed in float32 by BLAS, which is exact as long as ``128 * K`` does not exceed 2**24.
    """

    def __init__(self, geometry: Geometry | None = None):
        self.geometry = geometry or Geometry()
        self.closed = False

    def load(self, w: np.ndarray) -> _Resident:
        return _Resident(np.asarray(w))

    def matmul(self, w: np.ndarray | _Resident, x: np.ndarray) -> np.ndarray:
        matrix = w if isinstance(w, _Resident) else self.load(w)
        if 128 * matrix.shape[1] > 1 << 24:
            raise ValueError(f"K must be at most {(1 << 24) // 128} for exact float32 sums, not {matrix.shape[1]}")
        return (x.astype(np.float32) @ matrix.weights.T).astype(np.int32)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> "NumpyAccelerator":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
