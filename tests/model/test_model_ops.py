"""The float pieces against the formulas, written out as loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tritloom.host.model.ops import RopeTable, attend, quantize_rows, relu2_gate, rms_norm, silu_gate
from tritloom.host.model.rope_scaling import RopeScaling

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**100), max_value=2.0**100)


@given(arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 9)), elements=FLOATS))
@example(np.array([[0.0, 0.0]], np.float32))
@example(np.array([[1e-6, -1e-5, 5e-6]], np.float32))
@example(np.array([[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -126.5]], np.float32))
def test_the_quantiser_is_the_clamped_formula(x: np.ndarray) -> None:
    q, s = quantize_rows(x)
    expected_s = np.float32(127) / np.maximum(np.abs(x).max(axis=1, keepdims=True), np.float32(1e-5))
    np.testing.assert_array_equal(s, expected_s)
    expected_q = np.clip(np.rint(x * expected_s), -128, 127).astype(np.int8)
    np.testing.assert_array_equal(q, expected_q)
    assert (q.dtype, s.dtype, q.shape, s.shape) == (np.int8, np.float32, x.shape, (len(x), 1))


def test_the_quantiser_rounds_half_to_even_and_works_row_by_row() -> None:
    q, s = quantize_rows(np.array([[127, 0.5, 1.5, 2.5, -0.5, -1.5], [-254, 127, 1, 3, 0, 0]], np.float32))
    assert q.tolist() == [[127, 0, 2, 2, 0, -2], [-127, 64, 0, 2, 0, 0]]
    assert s.ravel().tolist() == [1.0, 0.5]


def test_largest_floats_do_not_wrap_around() -> None:
    random = np.random.default_rng(1)
    tops = (random.uniform(1, 10, (20_000, 1)) * 10.0 ** random.integers(-5, 30, (20_000, 1))).astype(np.float32)
    q, _ = quantize_rows(np.concatenate([tops, -tops, np.nextafter(tops, np.float32(0))], axis=1))
    assert (q[:, 0] == 127).all()
    assert (q[:, 1] == -127).all()
    assert (q[:, 2] == 127).all()


def test_rms_norm() -> None:
    random = np.random.default_rng(2)
    x, weight, eps = random.standard_normal((3, 7)).astype(np.float32), random.standard_normal(7).astype(np.float32), 0.5
    for row, result in zip(x.tolist(), rms_norm(x, weight, eps).tolist(), strict=True):
        root = math.sqrt(sum(value * value for value in row) / 7 + eps)
        assert result == pytest.approx([value / root * w for value, w in zip(row, weight.tolist(), strict=True)], rel=1e-6)


def test_relu2_gate() -> None:
    gate, up = np.array([[-2.0, 0.0, 3.0]], np.float32), np.array([[5.0, 5.0, -5.0]], np.float32)
    assert relu2_gate(gate, up).tolist() == [[0.0, 0.0, -45.0]]
    assert gate.tolist() == [[-2.0, 0.0, 3.0]]


def test_silu_gate() -> None:
    values = [-3.4e38, -1e4, -104.0, -88.5, -20.0, -1.0, -1e-30, 0.0, 1e-30, 0.5, 1.0, 20.0, 1e4]
    gate = np.array([values], np.float32)
    exact = [value / (1 + math.exp(-value)) if value > -700 else 0.0 for value in values]
    np.testing.assert_allclose(silu_gate(gate, np.full_like(gate, -2)), [[-2 * value for value in exact]], rtol=4e-7, atol=1e-36)
    assert gate.tolist() == np.array([values], np.float32).tolist()


def test_scaled_frequencies() -> None:
    plain = RopeTable(8, 10000.0).frequencies
    np.testing.assert_allclose(plain, [1, 0.1, 0.01, 0.001], rtol=1e-6)
    np.testing.assert_allclose(RopeTable(8, 10000.0, RopeScaling(rope_type="linear", factor=5)).frequencies, plain / 5, rtol=1e-6)
    table = RopeTable(8, 10000.0, RopeScaling(rope_type="yarn", factor=4, original_max_position_embeddings=64, attention_factor=3))
    x = np.ones((1, 1, 8), np.float32)
    np.testing.assert_allclose(table.rotate(x, 0), 3 * x, rtol=1e-6)
    with pytest.raises(ValueError, match="read-only"):
        plain[0] = 2


@pytest.mark.parametrize(("start", "tokens"), [(0, 1), (0, 5), (3, 2), (254, 4), (1000, 1)])
def test_rope_turns_pairs_half_a_head_apart(start: int, tokens: int) -> None:
    random = np.random.default_rng(3)
    x = random.standard_normal((tokens, 3, 6)).astype(np.float32)
    y = RopeTable(6, 500.0).rotate(x, start)
    for t in range(tokens):
        for pair in range(3):
            angle = (start + t) / 500.0 ** (2 * pair / 6)
            for head in range(3):
                low, high = float(x[t, head, pair]), float(x[t, head, pair + 3])
                expected = [low * math.cos(angle) - high * math.sin(angle), high * math.cos(angle) + low * math.sin(angle)]
                # The angle is rounded to float32, half an ulp of 1000 at most.
                assert [y[t, head, pair], y[t, head, pair + 3]] == pytest.approx(expected, abs=2e-4 if start > 500 else 2e-5)


def test_a_grown_rope_table_does_not_move() -> None:
    x = np.ones((1, 1, 4), np.float32)
    table = RopeTable(4, 10000.0)
    before = [table.rotate(x, position) for position in range(3)]
    table.rotate(x, 5000)
    for position, expected in enumerate(before):
        np.testing.assert_array_equal(table.rotate(x, position), expected)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize(("tokens", "positions"), [(1, 1), (1, 5), (5, 5), (3, 7)])
def test_attention(heads: int, kv_heads: int, tokens: int, positions: int) -> None:
    random = np.random.default_rng(4)
    q = random.standard_normal((tokens, heads, 3)).astype(np.float32)
    keys, values = random.standard_normal((2, kv_heads, positions, 3)).astype(np.float32)
    result = attend(q, keys, values)
    assert result.shape == (tokens, heads * 3)
    for t in range(tokens):
        seen = positions - tokens + t + 1
        for head in range(heads):
            group = head // (heads // kv_heads)
            shares = [math.exp(sum(float(q[t, head, d]) * float(keys[group, s, d]) for d in range(3))) for s in range(seen)]
            for d in range(3):
                expected = sum(share * float(values[group, s, d]) for s, share in enumerate(shares)) / sum(shares)
                assert result[t, head * 3 + d] == pytest.approx(expected, abs=1e-5)


def test_attention_of_large_scores_does_not_overflow() -> None:
    q = np.full((2, 1, 2), 1e4, np.float32)
    keys = np.array([[[1e4, 1e4], [1e4, 0]]], np.float32)
    np.testing.assert_array_equal(attend(q, keys, np.array([[[1, 2], [3, 4]]], np.float32)), [[1, 2], [1, 2]])
