"""The sequencer: no tile without room for its sums, no weight before it was written, no word overwritten before it was read."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from amaranth.hdl import Signal

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.sequencer import Sequencer

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import well_behaved

__all__ = ["PROPERTIES"]

_WHERE = "sequencer:Sequencer.elaborate"
_GEOMETRY = Geometry(rows=2, cols=3, lanes=2, depth=7, weight_words=12, stream_words=4, queue=3)
_SAID = "2,3,2, depth 7, 12 words, 4 of them the window, queue 3"


#: Of the words that come fastest: a byte each.
_BYTES = Geometry(rows=1, cols=1, lanes=4, col_pitch=1, depth=8, weight_words=12, stream_words=4, queue=3)


class _Few(Geometry):
    """Result queues of three tiles, which fill within a proof's reach."""

    tiles_in_flight = 3


def _sequencer(geometry: Geometry = _GEOMETRY) -> Bench:
    bench = Bench(Sequencer(geometry))
    well_behaved(bench, bench.dut.jobs)
    job = bench.dut.jobs.payload
    bench.given(~bench.dut.jobs.valid | ((job.k >= 1) & (job.k <= geometry.depth) & (job.outputs.n >= 1)))
    return bench


def _tiles() -> Bench:
    bench = _sequencer(_Few(**asdict(_GEOMETRY)))
    dut, m = bench.dut, bench.m
    most = _Few.tiles_in_flight
    flying = Signal(range(most + 2))
    m.d.sync += flying.eq(flying + dut.issued.tile - dut.tile_freed)
    bench.given(~dut.tile_freed | (flying != 0))
    bench.always(flying <= most, "no more tiles between the array and the link than the result queues hold")
    bench.always(~dut.issued.tile | (flying < most), "no tile is begun without room")
    tiles, freed, full = (bench.inside(name) for name in ("tiles", "freed", "full"))
    bench.lemma((tiles == flying + freed) & (tiles <= most))
    bench.lemma(full | (tiles < most))
    bench.reaches(bench.register(dut.issued.tile) & (flying == 2), "tiles on their way")
    return bench


def _window(geometry: Geometry) -> Bench:
    bench = _sequencer(geometry)
    dut, m = bench.dut, bench.m
    # As the commands do: they look for room a cycle before they write, and a word takes a cycle a byte to come, and one to be written.
    writes = dut.streamed_words
    bench.given(~writes | (dut.streams & bench.register(dut.stream_ready)))
    past = writes
    for _ in range(geometry.word_bytes):
        past = bench.register(past)
        bench.given(~writes | ~past)
    bench.given(~dut.streaming | dut.streams)
    # One place of the window, any of them.
    place, fresh = bench.constant("place", range(geometry.stream_words)), Signal()
    streamed = bench.register(bench.inside("streamed"))
    reads = dut.weights_read & streamed & (dut.weights_at == geometry.resident_words + place)
    with m.If(reads):
        m.d.sync += fresh.eq(0)
    with m.If(writes & (dut.stream_at == place)):
        m.d.sync += fresh.eq(1)
    with m.If(~dut.streams):
        m.d.sync += fresh.eq(0)
    alive = bench.register(dut.streams) & dut.streams
    bench.always(~(reads & alive) | fresh, "no streamed word is read before it was written")
    bench.always(~(writes & (dut.stream_at == place)) | ~fresh | reads, "no streamed word is overwritten before it was read")
    # What `commands.offers` takes for granted.
    written = bench.register(writes)
    bench.always(~bench.register(dut.stream_ready) | dut.stream_ready | written | bench.register(written), "room goes only behind a word that was written")
    bench.always((dut.stream_at == bench.register(dut.stream_at)) | written | bench.register(~dut.streams), "the next word's place moves only with a word")
    bench.reaches(reads & (place == 2), "the third word is read")

    # The window holds what was written, of which the last is counted late, less what was asked for.
    waiting, came, window_at, nonempty = (bench.inside(name) for name in ("waiting_words", "came", "window_at", "nonempty"))
    held = waiting + came
    most = geometry.stream_words
    bench.lemma(held <= most)
    if geometry.word_bytes == 1:
        bench.lemma(~(bench.register(dut.stream_ready) & (bench.register(dut.streams) | (held == 0))) | (held < most) | came)
        bench.lemma(~came | ~bench.register(came))
    bench.lemma((dut.stream_at - window_at)[:len(window_at)] == held[:len(window_at)])
    bench.lemma(nonempty == (waiting != 0))
    behind = (place - window_at)[:len(window_at)]
    asked = reads & alive
    bench.lemma(~alive | (fresh == ((behind < held) | asked)))
    bench.lemma(~bench.register(~dut.streams) | (~fresh & (held == 0)))
    return bench


PROPERTIES = (
    Property(name="sequencer.tiles", promise="no tile is begun without room for its sums in the result queues", geometry=f"{_SAID}, result queues of 3 tiles", bench=_tiles, steps=2,
             breaks=30, cover=20, mutations=(
                 Mutation(_WHERE, "has_room = ~(due & full)", "has_room = Const(1)"),)),
    *(Property(name=f"sequencer.window.{name}", promise="no streamed weight is read before it was written, or overwritten before it was read",
               geometry=said, bench=partial(_window, geometry), steps=5, breaks=18, cover=24, mutations=mutations) for name, said, geometry, mutations in (
        ("words", _SAID, _GEOMETRY, (Mutation(_WHERE, "has_weights = ~streamed | nonempty", "has_weights = Const(1)"),)),
        ("bytes", "1,1,4, depth 8, 12 words, 4 of them the window, queue 3", _BYTES, (Mutation(_WHERE, "if geometry.word_bytes == 1:", "if False:"),)))),
)
