"""The golden model against the definition: three loops, one product after another."""

import numpy as np
import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.sim.golden import NumpyAccelerator, dot, matmul


def drawn(seed):
    rng = np.random.default_rng(seed)
    n, k, m = (int(size) for size in rng.integers(1, 24, 3))
    return rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)


def by_definition(weights, acts):
    return np.array([[dot(w, x) for w in weights] for x in acts], np.int64)


def test_dot():
    assert dot(np.array([1, -1, 0, -1], np.int8), np.array([5, -128, 77, 127], np.int8)) == 5 + 128 - 127
    with pytest.raises(ValueError):
        dot(np.zeros(3, np.int8), np.zeros(2, np.int8))


@pytest.mark.parametrize("seed", range(30))
def test_matmul(seed):
    weights, acts = drawn(seed)
    expected = by_definition(weights, acts)
    for result in (matmul(weights, acts), NumpyAccelerator().matmul(weights, acts)):
        assert result.dtype == np.int32 and result.shape == (len(acts), len(weights)), f"seed {seed}"
        assert np.array_equal(result, expected), f"seed {seed}"


@pytest.mark.parametrize(("weight", "act"), [(-1, -128), (1, 127), (1, -128), (-1, 127)])
@pytest.mark.parametrize("k", [1, 2, 1000, 6912])
def test_extremes(weight, act, k):
    weights, acts = np.full((2, k), weight, np.int8), np.full((3, k), act, np.int8)
    assert np.array_equal(matmul(weights, acts), np.full((3, 2), weight * act * k))
    assert np.array_equal(NumpyAccelerator().matmul(weights, acts), np.full((3, 2), weight * act * k))


def test_float32_is_exact_up_to_its_limit():
    """Odd sums just below 2**24, which float32 would round if the bound were wrong."""
    k = (1 << 24) // 128
    weights = np.full((1, k), -1, np.int8)
    acts = np.full((1, k), -128, np.int8)
    acts[0, 0] = -127
    with NumpyAccelerator(Geometry(rows=3)) as acc:
        assert acc.geometry.rows == 3
        assert acc.matmul(acc.load(weights), acts)[0, 0] == dot(weights[0], acts[0]) == (1 << 24) - 1
        with pytest.raises(ValueError) as caught:
            acc.matmul(np.zeros((1, k + 1), np.int8), np.zeros((1, k + 1), np.int8))
    assert str(caught.value) == "K must be at most 131072 for exact float32 sums, not 131073"


def test_loaded_matrix():
    weights, acts = drawn(99)
    acc = NumpyAccelerator()
    matrix = acc.load(weights)
    assert matrix.shape == weights.shape
    assert np.array_equal(acc.matmul(matrix, acts), by_definition(weights, acts))
    matrix.unload()
    assert matrix.weights is None
