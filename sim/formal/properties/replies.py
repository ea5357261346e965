"""Replies: one frame for each request, of the right length, about the right command."""

from __future__ import annotations

from amaranth.hdl import Signal

from tritloom.rtl.counters import Counters
from tritloom.rtl.replies import Replies, Reply
from tritloom.rtl.wire import COUNTERS, ERROR, HEADER, IDENTITY, Op

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word, well_behaved

__all__ = ["PROPERTIES"]

_WHERE = "replies:Replies.elaborate"
_LENGTHS = {Reply.ACK: 0, Reply.ERROR: ERROR.size, Reply.COUNTS: COUNTERS.size, Reply.IDENTITY: IDENTITY.size}


def _replies() -> Bench:
    bench = Bench(Replies())
    well_behaved(bench, bench.dut.requests)
    return bench


def _frames() -> Bench:
    bench = _replies()
    dut, m = bench.dut, bench.m
    asks, frames = dut.requests, dut.frames
    states = bench.states()
    # The request that is being answered, from when it is seen: an acknowledgement is taken at once, others at their end.
    kind, seq, answering, said = Signal(2), Signal(8), Signal(), Signal(8)
    leaves = frames.valid & frames.ready
    ended = Signal()
    m.d.sync += ended.eq(leaves & frames.payload.end)
    with m.If(asks.valid & ~answering & ~ended):
        m.d.sync += [kind.eq(asks.payload.kind.as_value()), seq.eq(asks.payload.seq), answering.eq(1), said.eq(0)]
    with m.If(leaves):
        m.d.sync += said.eq(said + 1)
        with m.If(frames.payload.end):
            m.d.sync += answering.eq(0)
    length, op = Signal(8), Signal(8)
    with m.Switch(kind):
        for reply, size in _LENGTHS.items():
            with m.Case(reply.value):
                m.d.comb += [length.eq(HEADER.size + size), op.eq(Op[reply.name])]
    bench.always(~frames.valid | answering, "nothing is said that was not asked")
    bench.always(~frames.valid | (frames.payload.end == (said == length)), "a frame is as long as its kind")
    bench.always(~(frames.valid & (said == 0)) | (frames.payload.data == op), "its first byte is what it is")
    bench.always(~(frames.valid & (said == 1)) | (frames.payload.data == seq), "its second is the number of the command")
    taken = asks.valid & asks.ready
    bench.always(~taken | (asks.payload.kind.as_value() == Reply.ACK.value) | (ended & (asks.payload.kind.as_value() == kind)),
                 "a request is taken at once if it is an acknowledgement, else when it was said")
    for reply, at in ((Reply.COUNTS, Counters.COUNTS_AT), (Reply.IDENTITY, Counters.IDENTITY_AT)):
        text_at, text = bench.dut.text_at, states["Text"] & (kind == reply.value)
        bench.lemma(~text | ((text_at == (at + 1 + said - HEADER.size)) & (said >= HEADER.size) & (said < HEADER.size + _LENGTHS[reply])))
        bench.lemma(~((states["Ask"] | states["Settle"]) & (kind == reply.value)) | ((text_at == at) & (said == HEADER.size)))
    for state, before in (("Op", 0), ("Seq", 1), ("Code", 2), ("Expected", 3)):
        bench.lemma(~states[state] | (said == before))
    bench.lemma(~(states["Code"] | states["Expected"]) | (kind == Reply.ERROR.value))
    bench.lemma(~(states["Ask"] | states["Text"]) | (kind == Reply.COUNTS.value) | (kind == Reply.IDENTITY.value))
    bench.lemma(~states["Settle"] | (kind == Reply.COUNTS.value))
    bench.lemma(~states["Own"] | ((kind == Reply.IDENTITY.value) & (said == length)))
    bench.lemma(~states["End"] | (said == length))
    bench.lemma(~(states["Code"] | states["Expected"] | states["Ask"] | states["Text"] | states["Settle"] | states["Own"] | states["End"]) | (said >= HEADER.size))
    bench.lemma(answering | states["Done"] | states["Idle"])
    bench.lemma((states["Idle"] | states["Done"]) == ~answering)
    bench.lemma(states["Idle"] | ((bench.inside("kind").as_value() == kind) & (bench.inside("seq") == seq)))
    bench.lemma(states["Idle"] | (kind == Reply.ACK.value) | (asks.valid & (asks.payload.kind.as_value() == kind)))
    bench.lemma(~states["Done"] | ended)
    bench.reaches(leaves & frames.payload.end & (kind == Reply.ERROR.value), "an error is told")
    return bench


def _stream() -> Bench:
    bench = _replies()
    # While a text is read its memory holds still, and so does whoever asked.
    dut = bench.dut
    moved = dut.frames.valid & dut.frames.ready
    keeps = bench.register(bench.state("Text") & ~moved)
    for value in (dut.nonce, dut.claimed, dut.byte):
        bench.given(~keeps | (value == bench.register(value)))
    asks = dut.requests
    reply = bench.inside("kind").as_value()
    bench.lemma(bench.state("Idle") | (reply == Reply.ACK.value) | (asks.valid & (asks.payload.kind.as_value() == reply)))
    bench.lemma(bench.state("Text") | ~bench.inside("come"))
    bench.lemma(~bench.state("Code", "Expected") | (reply == Reply.ERROR.value))
    keeps_its_word(bench, dut.frames, "frames")
    return bench


PROPERTIES = (
    Property(name="replies.frames", promise="each request is answered by one frame, of its kind, number and length, and nothing else is said", bench=_frames,
             steps=3, breaks=14, cover=14, mutations=(
                 Mutation(_WHERE, 'm.d.sync += [kind.eq(asks.kind), seq.eq(asks.seq)]', 'm.d.sync += [kind.eq(asks.kind), seq.eq(asks.expected)]'),
                 Mutation(_WHERE, "self.requests.ready.eq(kind != Reply.ACK)", "self.requests.ready.eq(1)"))),
    Property(name="replies.stream", promise="the stream's rules, as long as the memory of what is told holds still", bench=_stream, steps=3, breaks=20, cover=14,
             mutations=(Mutation(_WHERE, "come.eq(~moved)", "come.eq(~come)"),)),
)
