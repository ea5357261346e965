"""What circuits are given: drawn from a seed, or recorded while a model runs."""

import numpy as np
import pytest

from tritloom.host.driver import connect
from tritloom.host.errors import UnknownNameError, UsageError
from tritloom.host.model.model import Model
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.gate.recorder import Recorder
from tritloom.sim.energy.gate.stimulus import Operands, Weights, random, recorded
from tritloom.sim.golden import NumpyAccelerator


def equal(a: Operands, b: Operands) -> bool:
    return all(np.array_equal(x, y) for x, y in ((a.acts, b.acts), (a.weights, b.weights), (a.first, b.first)))


def test_recorder_changes_nothing_and_misses_nothing():
    """The text is the same with and without; every product is there, in order, and true."""
    model = Model.load("nano")
    prompt = "Once upon"
    plain = "".join(model.generate(prompt, NumpyAccelerator(), max_tokens=4))
    recorder = Recorder(NumpyAccelerator())
    assert "".join(model.generate(prompt, recorder, max_tokens=4)) == plain
    layers = model.config.num_hidden_layers
    # Four matrices a layer; the prompt at once, then three tokens (the fourth is made, not taken in).
    assert len(recorder.products) == layers * 4 * (1 + 3)
    assert [len(product.acts) for product in recorder.products] == [len(prompt)] * layers * 4 + [1] * layers * 4 * 3
    for product in recorder.products:
        assert product.acts.dtype == product.weights.dtype == np.int8
        assert product.weights.min() >= -1 and product.weights.max() <= 1


def test_recorded_integers_are_the_same_on_a_device():
    """The model device and the golden model are given the same numbers."""
    texts, products = [], []
    with connect("model", geometry=Geometry.parse("2,8,4")) as device:
        for inner in (NumpyAccelerator(), device):
            recorder = Recorder(inner)
            texts.append("".join(Model.load("nano").generate("The", recorder, max_tokens=2)))
            products.append(recorder.products)
    assert texts[0] == texts[1]
    for a, b in zip(*products, strict=True):
        assert np.array_equal(a.acts, b.acts) and np.array_equal(a.weights, b.weights)


@pytest.mark.parametrize("kind", Weights)
@pytest.mark.parametrize("make", [random, recorded])
def test_operands(kind, make):
    operands = make(5).operands(4, 700, kind)
    assert operands.acts.shape == operands.weights.shape == (700, 4) and operands.first.shape == (700,)
    assert operands.first[0] and 5 < operands.first.sum() < 60
    if kind is Weights.FP16:
        assert operands.acts.dtype == operands.weights.dtype == np.float16
        assert np.isfinite(operands.acts).all() and not (np.abs(operands.weights[operands.weights != 0]) < 2.0**-14).any()
        return
    assert operands.acts.dtype == operands.weights.dtype == np.int8
    expected = {Weights.BINARY: {-1, 1}, Weights.TERNARY: {-1, 0, 1}, Weights.INT2: set(range(-2, 2)), Weights.INT3: set(range(-4, 4)),
                Weights.INT4: set(range(-8, 8))}.get(kind)
    if expected is not None:
        assert set(operands.weights.flat) == expected
    else:
        assert operands.weights.min() < -90 and operands.weights.max() > 90


@pytest.mark.parametrize("make", [random, recorded])
def test_a_seed_is_all_there_is(make):
    assert equal(make(1).operands(8, 300), make(1).operands(8, 300))
    assert not equal(make(1).operands(8, 300), make(2).operands(8, 300))
    # Peers meet the same activations.
    assert np.array_equal(make(1).operands(8, 300, Weights.INT8).acts, make(1).operands(8, 300).acts)


def test_random_zeros():
    for zeros in (0.0, 1 / 3, 0.42, 1.0):
        weights = random(3, zeros).operands(8, 4000).weights
        assert (weights == 0).mean() == pytest.approx(zeros, abs=0.01)
        assert (weights == 1).mean() == pytest.approx((1 - zeros) / 2, abs=0.01)
    acts = random(3).operands(8, 4000).acts
    assert acts.min() == -128 and acts.max() == 127 and acts.mean() == pytest.approx(0, abs=3)


def test_recorded_is_a_fair_sample():
    """Zeros among weights and activations as in all the run's products, each as long as it takes."""
    stimulus = recorded(0)
    size = sum(product.weights.size * len(product.acts) for product in stimulus.products)
    acts = sum((product.acts == 0).mean() * product.weights.size * len(product.acts) for product in stimulus.products) / size
    weights = sum((product.weights == 0).mean() * product.weights.size * len(product.acts) for product in stimulus.products) / size
    operands = stimulus.operands(8, 60000)
    assert (operands.acts == 0).mean() == pytest.approx(acts, abs=0.02)
    assert (operands.weights == 0).mean() == pytest.approx(weights, abs=0.02)
    assert 0.1 < acts < 0.4     # relu² is behind one matrix of four kinds


def test_recorded_sums_are_the_model_s():
    """Dot products of the operands occur among the results of the run."""
    stimulus = recorded(4)
    operands = stimulus.operands(8, 400)
    results = {int(value) for product in stimulus.products for value in (product.acts.astype(np.int64) @ product.weights.T.astype(np.int64)).flat}
    starts = np.flatnonzero(operands.first)
    terms = (operands.acts.astype(np.int64) * operands.weights).sum(1)
    for start, end in zip(starts, starts[1:], strict=False):
        assert int(terms[start:end].sum()) in results


def test_jobs_of_an_array():
    stimulus = recorded(2)
    jobs = list(stimulus.jobs(4, 4, 8, 600, full=True))
    assert all(job.acts.shape[0] == 4 and job.weights.shape[0] <= 16 for job in jobs)
    assert sum(-(-job.weights.shape[0] // 4) * -(-job.weights.shape[1] // 8) for job in jobs) >= 600
    assert {len(job.acts) for job in stimulus.jobs(4, 4, 8, 4000)} == {1, 4}
    with pytest.raises(UsageError, match="no product of the stimulus .* has 32 vectors: give a longer prompt"):
        next(stimulus.jobs(32, 4, 8, 600, full=True))


@pytest.mark.parametrize("arguments, says", [((0, -0.1), "the share of zeros must be from 0 to 1, not -0.1"), ((0, 1.5), "not 1.5"), ((0, 0.5, 0), "depth")])
def test_random_that_cannot_be(arguments, says):
    with pytest.raises(UsageError, match=says):
        random(*arguments)


def test_no_such_model():
    with pytest.raises(UnknownNameError, match="nanoo"):
        recorded(0, model="nanoo")
