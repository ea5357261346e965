"""The head over narrow matrices: the same numbers as over wide ones, without ever having all of them wide."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tritloom.host.model import head
from tritloom.host.model.floats import FLOAT_TYPES, FloatTensor
from tritloom.host.model.head import Head


def tensor(dtype: str, vocab: int, hidden: int, seed: int) -> FloatTensor:
    values = np.random.default_rng(seed).standard_normal((vocab, hidden), np.float32)
    if dtype == "int8":
        return FloatTensor(values).to_int8()
    if dtype == "bfloat16":
        return FloatTensor((values.view(np.uint32) >> 16).astype(np.uint16), dtype)
    return FloatTensor(values.astype(FLOAT_TYPES[dtype]), dtype)


@pytest.mark.parametrize("dtype", FLOAT_TYPES)
@pytest.mark.parametrize("kept", [0, 1 << 26], ids=["by blocks", "whole"])
@pytest.mark.parametrize("tokens", [1, 3])
def test_products(dtype: str, kept: int, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_KEPT_BYTES", kept)
    for vocab, block in ((1, 1), (7, 200), (64, 1 << 12), (301, 1 << 14)):
        monkeypatch.setattr(head, "_BLOCK_BYTES", block)
        weights = tensor(dtype, vocab, 48, vocab)
        x = np.random.default_rng(tokens).standard_normal((tokens, 48), np.float32)
        logits = Head(weights)(x)
        assert logits.shape == (tokens, vocab) and logits.dtype == np.float32
        assert np.abs(logits - x.astype(np.float64) @ weights.array().T.astype(np.float64)).max() < 2e-5


def test_a_small_head_s_logits_are_those_of_one_product() -> None:
    """Bit for bit: text must not depend on where a matrix is widened."""
    weights = tensor("bfloat16", 65, 128, 1)
    x = np.random.default_rng(2).standard_normal((5, 128), np.float32)
    assert np.array_equal(Head(weights)(x), np.matmul(x, weights.array().T))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "int8"])
def test_a_large_narrow_matrix_is_never_wide(dtype: str) -> None:
    weights = tensor(dtype, 40_000, 512, 1)    # 82 MB as float32
    x = np.random.default_rng(2).standard_normal((1, 512), np.float32)
    Head(weights)(x)    # what BLAS keeps is not counted
    tracemalloc.start()
    try:
        Head(weights)(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * head._BLOCK_BYTES


def test_a_wide_matrix_is_not_copied() -> None:
    weights = tensor("float32", 40_000, 512, 1)
    assert np.shares_memory(Head(weights)._whole, weights.stored)
