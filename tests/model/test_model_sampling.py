from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tritloom.host.errors import UsageError
from tritloom.host.model.sampling import Sampler

# Few distinct values, so that ties are common.
LOGITS = arrays(np.float32, st.integers(1, 40), elements=st.sampled_from([-3.0, -1.5, 0.0, 0.25, 2.0, 7.0, 1e30, -1e30]))
TEMPERATURES = st.sampled_from([1e-320, 1e-3, 0.7, 1.0, 5.0])


@given(LOGITS, st.integers(0, 9))
def test_temperature_zero_takes_the_first_of_the_largest(logits: np.ndarray, seed: int) -> None:
    assert Sampler(0.0, top_k=3, top_p=0.5, seed=seed).pick(logits) == list(logits).index(max(logits))


@given(LOGITS, TEMPERATURES, st.integers(1, 50))
def test_top_k_keeps_the_k_largest_and_of_equals_the_first(logits: np.ndarray, temperature: float, k: int) -> None:
    ids, shares = Sampler(temperature, top_k=k).candidates(logits)
    assert ids.tolist() == sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]
    assert shares.sum() == pytest.approx(1)


@given(LOGITS, st.sampled_from([0.3, 1.0, 4.0]), st.floats(0.01, 1.0))
def test_top_p_keeps_the_fewest_that_reach_it(logits: np.ndarray, temperature: float, p: float) -> None:
    everything, shares = Sampler(temperature).candidates(logits)
    assert everything.tolist() == list(range(len(logits)))
    ids, kept = Sampler(temperature, top_p=p).candidates(logits)
    assert ids.tolist() == sorted(range(len(logits)), key=lambda i: (-logits[i], i))[: len(ids)]
    assert shares[ids].sum() >= p - 1e-9
    assert len(ids) == 1 or shares[ids[:-1]].sum() < p + 1e-9
    np.testing.assert_allclose(kept, shares[ids] / shares[ids].sum())


@given(LOGITS, TEMPERATURES, st.none() | st.integers(1, 5), st.none() | st.floats(0.1, 1), st.integers(0, 2**40))
def test_equal_seeds_give_equal_picks_among_the_candidates(
    logits: np.ndarray, temperature: float, top_k: int | None, top_p: float | None, seed: int
) -> None:
    one, two = (Sampler(temperature, top_k, top_p, seed) for _ in range(2))
    picks = [one.pick(logits) for _ in range(5)]
    assert picks == [two.pick(logits) for _ in range(5)]
    ids, shares = one.candidates(logits)
    assert set(picks) <= set(ids[shares > 0].tolist())


def test_picks_follow_the_softmax_and_the_temperature() -> None:
    logits = np.array([0.0, 1.0, 2.0, -1.0], np.float32)
    for temperature in (0.5, 1.0, 2.0):
        sampler = Sampler(temperature, seed=3)
        counts = np.bincount([sampler.pick(logits) for _ in range(4000)], minlength=4) / 4000
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
        # Five standard deviations of a share, at most sqrt(1/4/4000) each.
        np.testing.assert_allclose(counts, expected, atol=0.04)


def test_seeds_differ() -> None:
    logits = np.zeros(50, np.float32)
    assert len({tuple(sampler.pick(logits) for _ in range(8)) for sampler in (Sampler(1.0, seed=seed) for seed in range(20))}) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -0.1}, "`temperature` must be a number from 0 up, not -0.1"),
        ({"temperature": float("nan")}, "`temperature` must be a number from 0 up, not nan"),
        ({"temperature": float("inf")}, "`temperature` must be a number from 0 up, not inf"),
        ({"temperature": "1"}, "`temperature` must be a number from 0 up, not '1'"),
        ({"top_k": 0}, "`top_k` must be an integer from 1 up, not 0"),
        ({"top_k": 2.0}, "`top_k` must be an integer from 1 up, not 2.0"),
        ({"top_k": True}, "`top_k` must be an integer from 1 up, not True"),
        ({"top_p": 0}, "`top_p` must be a number above 0 and at most 1, not 0"),
        ({"top_p": 1.1}, "`top_p` must be a number above 0 and at most 1, not 1.1"),
        ({"top_p": float("nan")}, "`top_p` must be a number above 0 and at most 1, not nan"),
        ({"seed": -1}, "`seed` must be an integer from 0 up, not -1"),
        ({"seed": 1.5}, "`seed` must be an integer from 0 up, not 1.5"),
    ],
)
def test_what_is_refused_is_said(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        Sampler(**arguments)
    assert str(caught.value) == message
