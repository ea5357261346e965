"""Commands' writes: each word of a WRITE or STREAM is written once, whole, in order, where it belongs, and stays offered until then."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value

from tritloom.rtl.layouts import struct
from tritloom.rtl.replies import Reply
from tritloom.rtl.wire import HEADER, WRITE, Memory, Op

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import kept
from .commands import GEOMETRY, SAID, commands, reads_whole_frames

__all__ = ["PROPERTIES"]

_WHERE = "commands:Commands.elaborate"


def _window_keeps_its_word(bench: Bench) -> None:
    """What the sequencer promises (`sequencer.window`): room and place change only behind a word that was written, as long as a job streams."""
    dut = bench.dut
    written = bench.register(dut.stream_written)
    bench.given(~bench.register(dut.stream_ready) | dut.stream_ready | written | bench.register(written))
    bench.given((dut.stream_at == bench.register(dut.stream_at)) | written | bench.register(~dut.streams))
    bench.given(~dut.streamed_job_ended | dut.streams)


def _offers() -> Bench:
    bench = commands()
    dut = bench.dut
    _window_keeps_its_word(bench)
    states, streams = bench.states(), bench.inside("streams")
    bench.always(kept(bench, dut.acts), "activations: valid and payload stay until ready")
    bench.always(kept(bench, dut.weights) | (streams & bench.register(~dut.streams)), "weights: valid and payload stay until ready, or until the streamed job has ended")
    bench.lemma(bench.inside("complete") == states["Put"])
    bench.lemma(~(states["Put"] & streams & dut.streams) | ~bench.inside("hopeless"))
    bench.lemma(~(states["Put"] & ~streams) | ((bench.inside("has_room") == ~bench.inside("beyond")) & (bench.inside("hopeless") == bench.inside("beyond"))))
    bench.lemma(~(states["Record"] | states["Judge"] | states["Write"]) | ~streams)
    bench.lemma(~((states["Word"] | states["Put"]) & streams) | ~bench.inside("to_acts"))
    bench.reaches(bench.register(dut.weights.valid & ~dut.weights.ready) & dut.weights.ready, "a word that had to wait")
    return bench


def _words() -> Bench:
    bench = commands()
    dut, m = bench.dut, bench.m
    content = dut.content
    taken = content.valid & content.ready
    sizes = (GEOMETRY.word_bytes, GEOMETRY.lanes)
    most = max(*sizes, WRITE.size)
    # A frame by its definition: its size, operation, number, a WRITE's record, and words.
    left, place, op = Signal(8), Signal(range(HEADER.size + WRITE.size + 1)), Signal(8)
    past, at, row, acts, got = Signal(8 * most), Signal(32), Signal(8), Signal(), Signal(range(max(sizes) + 2))
    begins = left == 0
    behind_header = Mux(op == Op.WRITE, HEADER.size + WRITE.size, HEADER.size)
    with m.If(taken):
        last = Cat(past[8:], content.payload)
        record = struct(WRITE)(last[-8 * WRITE.size:])
        m.d.sync += [left.eq(Mux(begins, content.payload, left - 1)), past.eq(last),
                     place.eq(Mux(begins, 0, Mux(place == HEADER.size + WRITE.size, place, place + 1)))]
        with m.If(~begins & (place == 0)):
            m.d.sync += op.eq(content.payload)
        with m.If(~begins & (op == Op.WRITE) & (place == HEADER.size + WRITE.size - 1)):
            m.d.sync += [at.eq(record.at), row.eq(record.row), acts.eq(record.memory == Memory.ACTS)]
        with m.If(begins):
            m.d.sync += [got.eq(0), acts.eq(0)]
        with m.Elif((place >= HEADER.size) & (place >= behind_header)):
            m.d.sync += got.eq(Mux(got == max(sizes) + 1, got, got + 1))
    bench.given(~(taken & begins) | (content.payload != 1))
    wrote = [stream.valid & stream.ready for stream in (dut.weights, dut.acts)]
    with m.If(wrote[0] | wrote[1]):
        m.d.sync += [got.eq(0), at.eq(at + 1)]

    for writes, stream, size, kind in zip(wrote, (dut.weights, dut.acts), sizes, (0, 1), strict=True):
        name = "activations" if kind else "weights"
        bench.always(~writes | ((got == size) & (stream.payload.data == past[-8 * size:][:len(stream.payload.data)])), f"{name}: the bytes behind those of the word before, all of them")
        bench.always(~writes | Mux(op == Op.STREAM, not kind, (op == Op.WRITE) & (acts == kind)), f"{name}: as the command says")
    bench.always(~wrote[0] | Mux(op == Op.STREAM, dut.weights.payload.address == GEOMETRY.resident_words + dut.stream_at,
                                 dut.weights.payload.address == at), "weights: where they belong")
    bench.always(~wrote[1] | ((dut.acts.payload.address == at) & (dut.acts.payload.row == row)), "activations: where they belong")
    bench.always(dut.stream_written == (wrote[0] & (op == Op.STREAM)), "the window is told of streamed words, and of no others")
    done = dut.replies.valid & (dut.replies.payload.kind.as_value() == Reply.ACK.value) & bench.inside("moves")
    bench.always(~(done & ((op == Op.WRITE) | (op == Op.STREAM))) | (got == 0), "a command is acknowledged as done when all of its words are written")

    states = bench.states()
    reads_whole_frames(bench, left)
    word, word_left, record_left, to_acts, streams = (bench.inside(name) for name in ("word", "word_left", "record_left", "to_acts", "streams"))
    early = states["Wait"] | states["Op"] | (states["Reply"] & (bench.inside("reply").as_value() == Reply.ERROR.value))
    bench.lemma(early | (bench.inside("op") == op))
    bench.lemma((place <= HEADER.size + WRITE.size) & (early | states["Seq"] | (place >= HEADER.size)))
    for name, value in (("Op", 0), ("Seq", 1), ("Look", 2), ("Check", 2)):
        bench.lemma(~states[name] | (place == value))
    writing = op == Op.WRITE
    before_words = states["Op"] | states["Seq"] | states["Look"] | states["Check"] | (writing & (states["Record"] | states["Judge"] | states["Write"]))
    bench.lemma(~before_words | (got == 0))
    bench.lemma(~(states["Record"] & writing) | (place == HEADER.size + WRITE.size - record_left))

    def same(i: int) -> Value:
        return word[-8 * (i + 1):len(word) - 8 * i] == past[-8 * (i + 1):len(past) - 8 * i]

    for i in range(WRITE.size):
        bench.lemma(~(states["Record"] & writing) | (record_left > WRITE.size - 1 - i) | same(i))
        bench.lemma(~((states["Judge"] & writing) | states["Write"]) | same(i))
    judged = (states["Judge"] & writing) | states["Write"]
    record = struct(WRITE)(past[-8 * WRITE.size:])
    bench.lemma(~judged | ((place == HEADER.size + WRITE.size) & (at == record.at) & (row == record.row) & (acts == (record.memory == Memory.ACTS))))
    bench.lemma(~states["Write"] | writing)
    bench.lemma(~(states["Sync"] | states["Job"] | states["Rate"]) | (~writing & (op != Op.STREAM)))
    bench.lemma(~(states["Record"] | states["Judge"]) | (op != Op.STREAM))
    working = states["Word"] | states["Put"]
    bench.lemma(~working | (streams == (op == Op.STREAM)) & (streams | writing))
    bench.lemma(~working | (place >= behind_header))
    bench.lemma(~working | Mux(streams, ~to_acts, to_acts == acts))
    size = Mux(to_acts, sizes[1], sizes[0])
    bench.lemma(~states["Word"] | ((got + word_left == size) & (word_left != 0)))
    bench.lemma(~states["Put"] | (got == size))
    bench.lemma(bench.inside("complete") == states["Put"])
    for i in range(max(sizes)):
        bench.lemma(~working | (got <= i) | same(i))
    bench.lemma(~(states["Put"] & bench.inside("has_room") & ~streams) | ~bench.inside("beyond"))
    beyond, address = bench.inside("beyond"), bench.inside("address")
    bench.lemma(~(working & ~streams & ~beyond) | ((address == at) & (~to_acts | (bench.inside("row") == row))))
    limit = Mux(to_acts, GEOMETRY.act_words, GEOMETRY.weight_words)
    bench.lemma(~(working & ~streams) | Mux(beyond, address == limit, address < limit))
    bench.lemma(~(states["Look"] | states["Check"] | states["Record"] | states["Judge"] | states["Write"]) | ~beyond)
    bench.lemma(~(working & to_acts) | (bench.inside("row") < GEOMETRY.rows))
    bench.lemma(~(states["Record"] | states["Judge"] | states["Write"]) | (~streams & ~bench.inside("counts")))
    done = (states["Discard"] | states["Reply"]) & bench.inside("moves") & (writing | (op == Op.STREAM))
    bench.lemma(~done | (bench.inside("reply").as_value() != Reply.ACK.value) | ((got == 0) & (left == 0)))
    bench.reaches(wrote[1] & (dut.acts.payload.address == 2), "activations at the third word")
    return bench


PROPERTIES = (
    Property(name="commands.words", promise="each word of a WRITE or STREAM is written once, whole, in order, at its place, before the command counts as done",
             geometry=SAID, bench=_words, steps=3, breaks=33, skips=27, cover=50, mutations=(
                 Mutation(_WHERE, "address.eq(write.at),", "address.eq(write.at ^ 1),"),
                 Mutation(_WHERE, "word_left.eq(Mux(writes_acts, geometry.lanes, geometry.word_bytes))", "word_left.eq(geometry.word_bytes)"))),
    Property(name="commands.offers", promise="a word stays offered to its memory until it is taken, or until the streamed job that it was for has ended",
             geometry=SAID, bench=_offers, steps=3, breaks=38, skips=24, cover=40, mutations=(
                 Mutation(_WHERE, "with m.Elif(hopeless):", "with m.Else():"),)),
)
