"""What is counted from shapes is what a run on the device `model` counts, cycle by cycle and byte by byte."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritloom.boards import boards, find
from tritloom.boards.machine import Machine
from tritloom.boards.plan import plan
from tritloom.boards.workload import Workload
from tritloom.host.driver import Accelerator, connect
from tritloom.host.link import Link
from tritloom.host.long_batch import long_batch, stream_frames
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, open_model, write_model
from tritloom.host.model.model import Model
from tritloom.host.model.shape import shape_of
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.host.packing import result_bytes
from tritloom.host.timing import JobShape, batch
from tritloom.rtl.geometry import Geometry
from tritloom.sim.virtual_board import open_board

_ICEBREAKER = find("icebreaker").geometry

#: All resident, all streamed, some of each; matrices split along K; queues that fill; rows that a prompt does not fill.
GEOMETRIES = [
    *{str(board.geometry): board.geometry for board in boards()}.values(),
    replace(_ICEBREAKER, weight_words=8192),
    Geometry(rows=3, cols=5, lanes=3, depth=100, weight_words=4096, queue=3),
    Geometry(rows=7, cols=2, lanes=24, depth=50, weight_words=512, stream_words=64, queue=2),
]


def write_small(path: Path, *, groups: bool = False, **options: object) -> Path:
    """A model of random weights whose sizes divide by nothing."""
    letters = "abcdefghijk"
    config = ModelConfig(hidden_size=60, intermediate_size=76, num_hidden_layers=2, num_attention_heads=3, num_key_value_heads=1, head_dim=20,
                         vocab_size=len(letters), max_position_embeddings=40, **options)
    rng = np.random.default_rng(11)
    tensors: dict[str, np.ndarray | Ternary] = {name: np.ones(shape, np.float32) for name, shape in config.float_tensors()}
    for name, n, k in config.matrices():
        scale = rng.uniform(0.1, 0.2, (n, k // (k // 4))).astype(np.float32) if groups else 0.1
        tensors[name] = Ternary(rng.integers(-1, 2, (n, k)).astype(np.int8), scale)
    write_model(path, config=config, tokenizer=CharTokenizer(letters).to_dict(), tensors=tensors, training={})
    return path


def check(model: str, geometry: Geometry) -> None:
    """Run it, and compare counters and bytes of loading, a prompt and a token."""
    workload = Workload.of(model)
    counted = workload.run(geometry)
    loaded = Model.load(model)
    with connect("model", geometry=geometry) as acc:
        def moved() -> int:
            return acc.link.bytes_sent + acc.link.bytes_received

        before = moved()
        loaded.bind(acc)
        assert moved() - before == counted.load_bytes
        session = loaded.session(acc, context=40)
        for phase in (counted.prefill, counted.decode):
            before, counters = moved(), acc.counters()
            before = moved()    # reading counters moves bytes as well
            session.prefill([token % loaded.config.vocab_size for token in range(phase.tokens)])
            assert moved() - before == phase.link_bytes
            assert acc.counters() - counters == phase.counters


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: f"{geometry}-{geometry.weight_words}")
def test_nano(geometry: Geometry) -> None:
    check("nano", geometry)


@pytest.mark.parametrize("options", [{}, {"groups": True}, {"linear_norms": True}], ids=["plain", "groups", "norms in linears"])
@pytest.mark.parametrize("geometry", GEOMETRIES[-2:], ids=str)
def test_sizes_that_divide_by_nothing(tmp_path: Path, geometry: Geometry, options: dict[str, bool]) -> None:
    """A model whose matrices are loaded group by group, or one by one, is counted so."""
    path = str(write_small(tmp_path / "small.trit", **options))
    groups = {group for _, _, group in shape_of(path).matrices}
    assert groups == ({15, 19} if options.get("groups") else {None})
    check(path, geometry)


def test_layers_may_have_unlike_groups(tmp_path: Path) -> None:
    """A checkpoint's second layer may have several scales where the first has one."""
    whole, grouped = open_model(write_small(tmp_path / "whole.trit")), open_model(write_small(tmp_path / "grouped.trit", groups=True))
    first = {name: whole.tensor(name) for name in whole.names if name.startswith("model.layers.0.")}
    tensors = {name: grouped.tensor(name) for name in grouped.names} | first
    path = tmp_path / "mixed.trit"
    write_model(path, config=whole.config, tokenizer=whole.tokenizer, tensors=tensors, training={})
    assert [group for _, _, group in shape_of(str(path)).matrices] == [None] * 4 + [15, 15, 15, 19]
    check(str(path), GEOMETRIES[-1])


def test_several_sequences() -> None:
    """A step of as many tokens as there are rows takes the weights once."""
    geometry = Geometry(rows=4, cols=4, lanes=16)
    one, four, five = (Workload.of("nano").run(geometry, sequences=count).decode for count in (1, 4, 5))
    assert one.counters.busy == four.counters.busy == five.counters.busy / 2
    assert four.counters.results == 4 * one.counters.results
    assert four.tokens == 4


def test_a_memory_of_its_own() -> None:
    """Weights from there do not pass the link, and the array does not wait; each pass of the rows reads them once."""
    geometry = find("tang_nano_9k").geometry
    workload = Workload.of("nano")
    linked, fed = workload.run(geometry), workload.run(geometry, memory=True)
    assert fed.streamed == linked.streamed > 0.9
    assert linked.decode.memory_words == fed.decode.counters.stall_weights == 0 < linked.decode.counters.stall_weights
    assert fed.decode.counters.busy == linked.decode.counters.busy
    assert fed.prefill.memory_words == 16 * fed.decode.memory_words    # 32 tokens, two rows
    assert linked.decode.link_bytes - fed.decode.link_bytes > fed.decode.memory_words * geometry.word_bytes
    held = workload.run(_ICEBREAKER, memory=True)
    assert held == workload.run(_ICEBREAKER)


def test_long_jobs_are_as_long_as_the_cycle_model_says() -> None:
    """Random jobs up to two million steps, each word of which the cycle model follows: the same counters, at a fraction of the work."""
    geometries = [find("icebreaker").geometry, find("tang_nano_9k").geometry, find("ulx3s_85f").geometry,
                  Geometry(rows=16, cols=16, lanes=8), Geometry(rows=8, cols=5, lanes=3, stream_words=8, queue=3)]
    seed = 20
    choose = random.Random(seed)
    shortened = 0
    for geometry in geometries:
        for _ in range(4):
            k, rows, n = choose.choice([128, 640, 2560, 777]), choose.choice([1, geometry.rows]), choose.randint(3000, 5000)
            frames = stream_frames(geometry, geometry.words(n, k)) if choose.random() < 0.6 else ()
            jobs = (JobShape(n, k, rows, result_bytes(k), frames),) * (1 if frames else choose.choice([1, 3]))
            true, said = batch(geometry, jobs), long_batch(geometry, jobs)
            shortened += said is not true
            assert (said.busy, said.ramp, said.jobs, said.results) == (true.busy, true.ramp, true.jobs, true.results)
            assert said.cycles == pytest.approx(true.cycles, rel=1e-3), (seed, geometry, jobs[0].n, k, rows, bool(frames))
            assert abs(said.stall_weights - true.stall_weights) + abs(said.stall_results - true.stall_results) <= 2e-3 * true.cycles
    assert shortened >= 5, seed


def test_jobs_of_unequal_outputs_are_no_long_batch() -> None:
    with pytest.raises(ValueError, match=r"one number of outputs, not \[8, 16\]"):
        long_batch(Geometry(), (JobShape(8, 8, 1, 2), JobShape(16, 8, 1, 2)))


def test_a_uart_is_as_slow_as_the_virtual_board_s(tmp_path: Path) -> None:
    """Array and link one after the other: within 5 % of the cycles that the compiled device and the bits on its line take.

    Never faster than planned by more: what overlaps is little where weights are resident.
    """
    board = find("icebreaker")
    path = str(write_small(tmp_path / "small.trit"))
    planned, model = plan(shape_of(path), Machine.of(board)), Model.load(path)
    transport = open_board(board.name)
    with Accelerator(Link(transport)) as acc:
        def seconds(work: Callable[[], object]) -> float:
            before = transport.cycles[0]
            work()
            return (transport.cycles[0] - before) / board.pll.output_hz

        assert transport.baud == board.baud
        assert seconds(lambda: model.bind(acc)) == pytest.approx(planned.load_s, rel=0.05)
        session = model.session(acc)
        assert seconds(lambda: session.prefill([token % 11 for token in range(32)])) == pytest.approx(planned.prefill.seconds, rel=0.05)
        assert seconds(lambda: session.step(3)) == pytest.approx(planned.decode.seconds, rel=0.05)
