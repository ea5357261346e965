"""The float16 element against numpy's float16, for numbers from all over the range and for the hard cases."""

import warnings

import numpy as np
import pytest
from amaranth.sim import Simulator

from tritloom.sim.energy.designs.half_element import HalfElement, HalfForm, rounded


def normal_halves(rng, count, spread):
    """Normal numbers and zeros whose exponents lie within some distance of each other."""
    exponents = rng.integers(max(1, 15 - spread), min(30, 15 + spread) + 1, count)
    edges = rng.choice([0, 1, 511, 512, 1022, 1023], count)
    mantissas = np.where(rng.random(count) < 0.5, edges, rng.integers(0, 1024, count))
    words = rng.integers(0, 2, count) << 15 | exponents << 10 | mantissas
    return np.where(rng.random(count) < 0.05, 0, words).astype(np.uint16).view(np.float16)


def answers(inputs, lanes):
    """`total` behind each cycle of (acts, weights, clear)."""
    element = HalfElement(HalfForm(lanes=lanes, pitch=8))
    got = []

    async def bench(ctx):
        for acts, weights, clear in inputs:
            ctx.set(element.acts.as_value(), int.from_bytes(np.asarray(acts, np.float16).tobytes(), "little"))
            ctx.set(element.weights.as_value(), int.from_bytes(np.asarray(weights, np.float16).tobytes(), "little"))
            ctx.set(element.clear, clear)
            await ctx.tick()
            got.append(ctx.get(element.total))
    simulator = Simulator(element)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(got, np.uint16).view(np.float16)


@pytest.mark.parametrize("spread", [2, 6, 14])
def test_products_are_numpys(spread):
    rng = np.random.default_rng(spread)
    a, b = normal_halves(rng, 3000, spread), normal_halves(rng, 3000, spread)
    got = answers([([x], [w], 1) for x, w in zip(a, b, strict=True)], 1)
    exact = a.astype(float) * b.astype(float)
    assert np.array_equal(got, rounded(exact)), f"seed {spread}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numpys = a * b
    usual = np.abs(exact) >= 2.0**-14
    assert usual.sum() > 500
    assert np.array_equal(got[usual], numpys[usual]), f"seed {spread}"


@pytest.mark.parametrize("spread", [1, 4, 14])
def test_sums_are_numpys(spread):
    """Two lanes with weights of 1: one sum, cancellation and all distances of the exponents with it."""
    rng = np.random.default_rng(10 + spread)
    a, b = normal_halves(rng, 3000, spread), normal_halves(rng, 3000, spread)
    got = answers([([x, y], [1, 1], 1) for x, y in zip(a, b, strict=True)], 2)
    exact = a.astype(float) + b.astype(float)
    assert np.array_equal(got, rounded(exact)), f"seed {10 + spread}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        numpys = a + b
    usual = np.abs(exact) >= 2.0**-14
    assert usual.sum() > 500
    assert np.array_equal(got[usual], numpys[usual]), f"seed {10 + spread}"


def test_accumulates_one_rounding_after_another():
    rng = np.random.default_rng(5)
    acts, weights = normal_halves(rng, 400, 4), normal_halves(rng, 400, 4)
    clears = rng.random(400) < 0.05
    clears[0] = True
    total, expected = 0.0, []
    for x, w, clear in zip(acts.astype(float), weights.astype(float), clears, strict=True):
        total = float(rounded((0.0 if clear else total) + rounded(x * w)))
        expected.append(total)
    got = answers(list(zip(acts[:, None], weights[:, None], clears.astype(int).tolist(), strict=True)), 1)
    assert np.array_equal(got, np.array(expected)), "seed 5"
    # And it is no sum in higher precision that is rounded at the end.
    assert not np.array_equal(got[:40], rounded(np.cumsum(acts[:40].astype(float) * weights[:40].astype(float))))
