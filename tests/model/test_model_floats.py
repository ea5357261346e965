"""Float matrices as they are stored: widened exactly, or quantised within half a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import UsageError
from tritloom.host.model.floats import FloatTensor


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_float_tensor_widens_exactly(dtype: str) -> None:
    values = np.array([[1.0, -0.5, 2**-7], [0.0, -1.75, 96.0], [3.0, 0.25, -1.0]], np.float32)    # all hold these
    stored = {"float32": values, "bfloat16": (values.view(np.uint32) >> 16).astype(np.uint16), "float16": values.astype(np.float16)}[dtype]
    tensor = FloatTensor(stored, dtype)
    np.testing.assert_array_equal(tensor.array(), values)
    np.testing.assert_array_equal(tensor.rows(np.array([2, 0, 2])), values[[2, 0, 2]])
    np.testing.assert_array_equal(tensor.block(1, 3), values[1:3])
    assert (tensor.shape, tensor.nbytes, tensor.is_finite()) == ((3, 3), stored.nbytes, True)
    damaged = stored.copy()
    damaged[2, 1] = 0x7F80 if dtype == "bfloat16" else np.inf
    assert not FloatTensor(damaged, dtype).is_finite()


def test_int8_rows_are_within_half_a_step() -> None:
    values = np.random.default_rng(6).standard_normal((5, 300)).astype(np.float32) * np.array([[1e-3], [1], [50], [0], [1e-38]], np.float32)
    tensor = FloatTensor(values).to_int8()
    assert tensor.scales is not None
    assert tensor.scales[3] == 1
    assert tensor.scales[4] == np.finfo(np.float32).tiny
    assert np.abs(tensor.stored[:3]).max(axis=1).tolist() == [127] * 3
    assert (np.abs(tensor.array() - values) <= tensor.scales[:, None] * np.float32(0.5001)).all()
    np.testing.assert_array_equal(tensor.rows(np.array([1])), tensor.array()[1:2])
    np.testing.assert_array_equal(tensor.block(1, 4), tensor.array()[1:4])


@pytest.mark.parametrize(("given", "message"), [
    ((np.zeros(3), "float32"), "a float32 tensor must be stored as float32, not float64"),
    ((np.zeros(3, np.float32), "bfloat16"), "a bfloat16 tensor must be stored as uint16, not float32"),
    ((np.zeros(3, np.float32), "float64"), "`dtype` must be one of float32, bfloat16, float16, int8, not 'float64'"),
    ((np.zeros((2, 3), np.int8), "int8"), r"must be a matrix \(N, K\) with N float32 scales, not \(2, 3\) with none"),
    ((np.zeros((2, 3), np.int8), "int8", np.ones(3, np.float32)), r"not \(2, 3\) with float32 \(3,\)"),
    ((np.zeros(3, np.float32), "float32", np.ones(3, np.float32)), "a float32 tensor must have no scales"),
    (([1.0], "float32"), "not list"),
])
def test_a_float_tensor_refuses_what_does_not_fit(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FloatTensor(*given)
