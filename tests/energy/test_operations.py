"""What a model run is said to do, against the gateware's adders, the packing of weights, the recorded numbers, and a run that nobody watched."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from amaranth.hdl import Fragment

from tritloom.host.driver import connect
from tritloom.host.errors import ContextError, PromptError, UnknownNameError, UsageError
from tritloom.host.model.model import Model
from tritloom.host.packing import pack_acts, pack_weights
from tritloom.rtl import adders as rtl_adders
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.pe import PE
from tritloom.sim.energy import operations
from tritloom.sim.energy.counts import Counts, adders, of_job, total
from tritloom.sim.energy.gate.recorder import Recorder
from tritloom.sim.energy.operations import Operations, count
from tritloom.sim.golden import NumpyAccelerator

GEOMETRIES = [
    Geometry(), Geometry(rows=1, cols=1, lanes=1, col_pitch=1), Geometry(rows=3, cols=5, lanes=3, col_pitch=2), Geometry(rows=1, cols=2, lanes=16),
    Geometry(rows=4, cols=8, lanes=7, tree_pitch=1, depth=100),
]


@cache
def nano(geometry: Geometry = GEOMETRIES[0], tokens: int = 3) -> Operations:
    return count("nano", geometry=geometry, tokens=tokens)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_adders_are_the_gatewares(geometry: Geometry, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Counter[int] = Counter()
    add = rtl_adders.Adders.add

    def watched(self, m, sums):
        found.update(total.bits for total in sums)
        return add(self, m, sums)

    monkeypatch.setattr(rtl_adders.Adders, "add", watched)
    Fragment.get(PE(geometry), None).prepare()
    assert adders(geometry) == dict(found)
    assert sum(found.values()) == geometry.lanes


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 13), (16, 64), (33, 100)])
def test_padding_is_what_the_packed_words_hold_besides_the_matrix(geometry: Geometry, n: int, k: int) -> None:
    rows = geometry.rows
    job = of_job(geometry, n, k, rows, streamed=True)
    data = np.frombuffer(pack_weights(geometry, np.ones((n, k), np.int8)), np.uint8)
    trits = int(np.unpackbits(data).sum())    # +1 is 01
    words = len(data) // geometry.word_bytes
    assert job.macs == trits * rows == n * k * rows
    assert job.slots == words * geometry.cols * geometry.lanes * rows
    assert job.padding == job.slots - job.macs >= 0
    assert job.weight_bits_read == job.weight_bits_written == 2 * words * geometry.cols * geometry.lanes
    assert job.streamed_bytes == len(data)
    assert job.busy + job.ramp == words
    # Each lane has one adder, padding or not.
    assert sum(job.adds.values()) == job.slots
    assert job.act_bits_read == 8 * words * geometry.lanes * rows
    assert job.act_bits_written == 8 * sum(map(len, pack_acts(geometry, np.zeros((rows, k), np.int8))))
    assert job.output_bits == n * rows * geometry.acc_bits


def test_padding_by_kind() -> None:
    job = of_job(Geometry(rows=2, cols=4, lanes=3, col_pitch=2), 5, 14, 2)
    beats, tiles = 5, 2    # of 15 lanes, and of 8 columns
    assert (job.lane_padding, job.column_padding, job.ramp_padding) == (5 * 1 * 2, 3 * beats * 3 * 2, 3 * 4 * 3 * 2)
    assert job.busy == beats * tiles
    assert (job.weight_bits_written, job.streamed_bytes) == (0, 0)


@pytest.mark.parametrize("geometry", [
    Geometry(), Geometry(rows=3, cols=5, lanes=3, depth=100, weight_words=8192), Geometry(rows=1, cols=8, lanes=8, depth=150, weight_words=1024),
], ids=["resident", "odd", "streamed"])
def test_a_run_is_the_devices(geometry: Geometry) -> None:
    """Counters and bytes of the same run without anybody in between."""
    found = nano(geometry)
    model = Model.load("nano")
    with connect("model", geometry=geometry) as acc:
        session = model.session(acc)
        ids = model.tokenizer.encode("ROMEO:").ids.tolist()

        def moved() -> int:
            return acc.link.bytes_sent + acc.link.bytes_received

        marks = [(acc.counters(), moved())]
        logits = session.prefill(ids)
        bytes_taken = moved()
        marks.append((acc.counters(), moved()))
        bytes_prefill = bytes_taken - marks[0][1]
        start = moved()
        for _ in range(3):
            logits = session.step(int(np.argmax(logits)))
        bytes_decode = moved() - start
        marks.append((acc.counters(), moved()))
    assert (found.prefill_tokens, found.decode_tokens) == (len(ids), 3)
    for phase, bytes_moved, (before, _), (after, _) in zip((found.prefill, found.decode), (bytes_prefill, bytes_decode), marks, marks[1:], strict=False):
        passed = after - before
        counts = phase.counts
        assert (counts.jobs, counts.cycles, counts.busy, counts.ramp) == (passed.jobs, passed.cycles, passed.busy, passed.ramp)
        assert counts.stalls == passed.stall_weights + passed.stall_results
        assert counts.link_bytes == bytes_moved
        assert counts.output_bits == passed.results * geometry.acc_bits
        assert counts.macs == found.weights * phase.tokens
        # Rows x beats x columns x lanes, as prefill's last group of rows may be smaller.
        assert counts.slots >= counts.macs
        assert sum(counts.adds.values()) == counts.slots


def test_zeros_are_those_of_the_numbers() -> None:
    found = nano()
    recorder = Recorder(NumpyAccelerator())
    session = Model.load("nano").session(recorder)
    logits = session.prefill(Model.load("nano").tokenizer.encode("ROMEO:").ids)
    prompt = len(recorder.products)
    for _ in range(3):
        logits = session.step(int(np.argmax(logits)))
    for phase, products in ((found.prefill, recorder.products[:prompt]), (found.decode, recorder.products[prompt:])):
        zero_weights = sum(int((product.weights == 0).sum()) * len(product.acts) for product in products)
        zero_acts = sum(int((product.acts == 0).sum()) * len(product.weights) for product in products)
        nonzero = sum(int(((product.weights != 0).astype(np.int64) @ (product.acts != 0).astype(np.int64).T).sum()) for product in products)
        assert (phase.counts.zero_weights, phase.counts.zero_activations, phase.counts.nonzero) == (zero_weights, zero_acts, nonzero)
        assert 0 < nonzero < phase.counts.macs


def test_every_bitlinear_is_there() -> None:
    from tritloom.host.model.catalogue import find_model
    from tritloom.host.model.file import open_model

    found = nano()
    file = open_model(find_model("nano"))
    shapes = {name: (n, k) for name, n, k in file.config.matrices()}
    listed = {}
    for matrix in found.matrices:
        assert matrix.shape[0] == sum(n for _, n, _ in matrix.linears)
        for name, n, zeros in matrix.linears:
            listed[f"model.layers.{matrix.layer}.{name}.weight"] = (n, matrix.shape[1])
            assert zeros == int((file.ternary(f"model.layers.{matrix.layer}.{name}.weight").trits == 0).sum())
    assert listed == shapes
    assert found.weights == file.config.ternary_weights
    assert found.decode.counts == total(matrix.decode for matrix in found.matrices)


def test_weights_that_do_not_fit_are_streamed() -> None:
    assert nano().streamed == 0
    some = nano(Geometry(weight_words=8192))
    assert 0 < some.streamed < 1
    every = nano(Geometry(weight_words=512))
    assert every.streamed == 1
    counts = every.decode.counts
    assert counts.weight_bits_written == counts.weight_bits_read == 8 * counts.streamed_bytes
    assert counts.streamed_bytes < counts.link_bytes
    assert counts.stalls > 0
    # A matrix deeper than the geometry is split, and its parts may lie in different places.
    mixed = nano(Geometry(rows=3, cols=5, lanes=3, depth=100, weight_words=512))
    assert 0.9 < mixed.streamed < 1
    assert 0 < mixed.decode.counts.weight_bits_written < mixed.decode.counts.weight_bits_read


def test_one_more_row_reads_weights_half_as_often() -> None:
    one, two = (nano(Geometry(rows=rows)).prefill.counts for rows in (1, 2))
    assert one.weight_bits_read == 2 * two.weight_bits_read
    assert one.act_bits_read == two.act_bits_read


def test_a_wrong_count_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    true = of_job

    def wrong(geometry: Geometry, n: int, k: int, rows: int, *, streamed: bool = False) -> Counts:
        return true(geometry, n, k + 1, rows, streamed=streamed)

    monkeypatch.setattr(operations, "of_job", wrong)
    with pytest.raises(RuntimeError, match="are not the device's"):
        count("nano", tokens=1)


def test_counts_add_up() -> None:
    one = of_job(Geometry(), 8, 16, 1)
    assert one + one == one * 2
    assert total([]) == Counts()
    record = (one * 3).as_json()
    assert record["macs"] == 3 * 8 * 16
    assert record["adds"] == [{"bits": bits, "count": 3 * number} for bits, number in one.adds.items()]


@pytest.mark.parametrize("tokens", [0, -1, True, 1.0])
def test_tokens_that_cannot_be(tokens: int) -> None:
    with pytest.raises(UsageError, match="`tokens` must be an integer from 1 up, not "):
        count("nano", tokens=tokens)


def test_what_the_model_cannot_take() -> None:
    with pytest.raises(UnknownNameError, match="there is no model named 'nino'. Did you mean nano"):
        count("nino")
    with pytest.raises(PromptError):
        count("nano", prompt="\u4e2d")
    with pytest.raises(ContextError, match="context"):
        count("nano", prompt="a" * 250, tokens=16)
