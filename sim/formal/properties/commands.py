"""Commands: each frame is answered once and executed at most once, and what it asks for is within bounds."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from tritloom.rtl.commands import Commands
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.replies import Reply
from tritloom.rtl.site import Site
from tritloom.rtl.wire import JOB, LEAST_DIVISOR, MOST_OUTPUTS, RATE, SYNC, WRITE, Op

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word, well_behaved

__all__ = ["GEOMETRY", "PROPERTIES", "SAID", "commands", "reads_whole_frames"]

_WHERE = "commands:Commands.elaborate"

#: No memory's size is a power of two, and no number of rows.
GEOMETRY = Geometry(rows=3, cols=2, lanes=3, depth=20, weight_words=12, stream_words=4, queue=3)
SAID = "3,2,3, depth 20, 12 words, 4 of them the window, queue 3"


def commands() -> Bench:
    bench = Bench(Commands(GEOMETRY, Site(clock_hz=1_000_000, baud=100_000, max_baud=250_000)))
    well_behaved(bench, bench.dut.content)
    return bench


def reads_whole_frames(bench: Bench, left: Signal) -> None:
    """What is left of a frame in every state, so that each is read to its end: `left` counts it by the definition."""
    states = bench.states()
    inner = bench.inside("left")
    bench.lemma((inner == left) | states["Wait"])
    bench.lemma(~states["Wait"] | (left == 0))
    bench.lemma(~states["Op"] | (left >= 2))
    bench.lemma(~states["Seq"] | (left >= 1))
    record_left, word_left, to_acts = (bench.inside(name) for name in ("record_left", "word_left", "to_acts"))
    op = bench.inside("op")
    fixed = op != Op.WRITE
    # What is behind a record, and behind a word, is as long as was asked for.
    bench.lemma(~states["Record"] | ((record_left >= 1) & (left >= record_left) & (~fixed | (left == record_left))))
    bench.lemma(~(states["Judge"] | states["Sync"] | states["Job"] | states["Rate"]) | (left == 0) | (states["Judge"] & ~fixed))
    bench.lemma(~states["Sync"] | fixed)
    with bench.m.Switch(op):
        sized = Signal()
        for case, size in ((Op.SYNC, SYNC.size), (Op.JOB, JOB.size), (Op.RATE, RATE.size), (Op.WRITE, WRITE.size)):
            with bench.m.Case(case):
                bench.m.d.comb += sized.eq((record_left == size) & ((left == size) if case != Op.WRITE else (left >= size)))
    plain = ~(bench.inside("counts") | bench.inside("streams"))
    bench.lemma(~(states["Check"] & bench.inside("known") & bench.inside("sized") & plain) | sized)
    bench.lemma(~states["Check"] | ((bench.inside("counts") == (op == Op.COUNTERS)) & (bench.inside("streams") == (op == Op.STREAM))))
    whole = [left.matches(*range(size, 256, size)) for size in (GEOMETRY.word_bytes, GEOMETRY.lanes)]
    bench.lemma(~(states["Check"] & bench.inside("known") & bench.inside("sized") & (op == Op.STREAM)) | whole[0])
    bench.lemma(~(states["Check"] & bench.inside("known") & bench.inside("sized") & (op == Op.COUNTERS)) | (left == 0))
    rest = (left - word_left)[:8]
    size = Mux(to_acts, GEOMETRY.lanes, GEOMETRY.word_bytes)
    bench.lemma(~states["Word"] | ((word_left >= 1) & (word_left <= size) & (left >= word_left) & Mux(
        to_acts, rest.matches(*range(0, 256, GEOMETRY.lanes)), rest.matches(*range(0, 256, GEOMETRY.word_bytes)))))
    bench.lemma(~states["Put"] | (left == 0) | Mux(to_acts, whole[1], whole[0]))
    bench.lemma(~states["Discard"] | (bench.inside("some_left") == (left != 0)))
    bench.lemma(~states["Reply"] | (left == 0))


def _once() -> Bench:
    bench = commands()
    dut, m = bench.dut, bench.m
    content, replies, jobs = dut.content, dut.replies, dut.jobs
    # Frames by their definition: a size, and so many bytes.
    left, owed = Signal(8), Signal()
    taken = content.valid & content.ready
    starts = taken & (left == 0) & ~owed
    with m.If(taken):
        m.d.sync += left.eq(Mux(left == 0, content.payload, left - 1))
    said, queued = replies.valid & replies.ready, jobs.valid & jobs.ready
    with m.If(said | queued):
        m.d.sync += owed.eq(0)
    with m.If(starts):
        m.d.sync += owed.eq(1)
    bench.always(~(said | queued) | (owed & (left == 0)), "an answer or a queued job for a whole frame only, and one for each")
    bench.always(~(said & queued), "not both")
    bench.always(~(taken & (left == 0)) | ~owed, "no frame is begun before the one before it was answered")
    # Two bytes of header are behind the deframer's promise: a frame is 0 (bad) or at least so long.
    bench.given(~starts | (content.payload != 1))
    bench.lemma(owed == ~bench.state("Wait"))
    reads_whole_frames(bench, left)
    bench.reaches(queued, "a job is queued")
    return bench


def _bounds() -> Bench:
    bench = commands()
    dut = bench.dut
    job = dut.jobs.payload.job
    bench.always(~dut.jobs.valid | ((job.k >= 1) & (job.k <= GEOMETRY.depth) & (job.outputs.n >= 1) & (job.outputs.n <= MOST_OUTPUTS)
                                    & (job.outputs.last_row < GEOMETRY.rows) & (job.acts_at < GEOMETRY.act_words)
                                    & (job.streamed | (job.weights_at < GEOMETRY.weight_words))), "a queued job is one that the geometry can do")
    bench.always(~dut.jobs.valid | ~(job.streamed & dut.jobs.payload.hold), "a streamed job is not held")
    bench.always(~dut.rates.valid | (dut.rates.payload >= LEAST_DIVISOR), "a rate is one that the link can make")
    bench.reaches(dut.jobs.valid & (job.k == GEOMETRY.depth), "a job of the greatest depth")
    return bench


def _addresses() -> Bench:
    bench = commands()
    dut = bench.dut
    bench.always(~dut.weights.valid | (dut.weights.payload.address < GEOMETRY.weight_words), "no weights behind the store's end")
    bench.always(~dut.acts.valid | ((dut.acts.payload.row < GEOMETRY.rows) & (dut.acts.payload.address < GEOMETRY.act_words)),
                 "no activations behind the buffer's end")
    bench.always(~dut.stream_written | dut.weights.payload.address.matches(*range(GEOMETRY.resident_words, GEOMETRY.weight_words)),
                 "streamed words go to the window")
    address, beyond, to_acts, complete = (bench.inside(name) for name in ("address", "beyond", "to_acts", "complete"))
    limit = Mux(to_acts, GEOMETRY.act_words, GEOMETRY.weight_words)
    working = bench.state("Word", "Put")
    streams = bench.inside("streams")
    bench.lemma(~working | streams | (Mux(beyond, address == limit, address < limit)))
    bench.lemma(~(working & to_acts) | (bench.inside("row") < GEOMETRY.rows))
    bench.lemma(~(working & streams) | ~to_acts)
    bench.lemma(~bench.state("Look", "Check", "Record", "Judge", "Write") | ~beyond)
    bench.lemma(~(bench.state("Put") & bench.inside("has_room") & ~streams) | ~beyond)
    bench.lemma(complete == bench.state("Put"))
    bench.lemma(~bench.state("Record", "Judge", "Write") | (~bench.inside("counts") & ~streams))
    bench.reaches(dut.acts.valid & (dut.acts.payload.row == 2), "activations of the last row")
    return bench


def _sequence() -> Bench:
    bench = commands()
    dut, m = bench.dut, bench.m
    content = dut.content
    taken = content.valid & content.ready
    left, place, op, seq = Signal(8), Signal(2), Signal(8), Signal(8)
    with m.If(taken):
        m.d.sync += left.eq(Mux(left == 0, content.payload, left - 1))
        with m.If(left == 0):
            m.d.sync += place.eq(0)
        with m.Else():
            m.d.sync += place.eq(Mux(place == 3, 3, place + 1))
            with m.If(place == 0):
                m.d.sync += op.eq(content.payload)
            with m.If(place == 1):
                m.d.sync += seq.eq(content.payload)
    bench.given(~(taken & (left == 0)) | (content.payload != 1))
    sync = op == 0x01
    does = dut.weights.valid | dut.acts.valid | dut.jobs.valid | dut.rates.valid
    said = dut.replies.valid & dut.replies.ready
    kind = dut.replies.payload.kind.as_value()
    counted = said & (kind == Reply.COUNTS.value)
    # The number that comes next, by the protocol: of an executed command one more, of a SYNC's likewise; nothing else moves it.
    following = Signal(8)
    bench.always(~(does | counted) | (dut.claimed & (seq == following) & ~sync), "only the command that comes next does anything")
    with m.If((said & (kind == Reply.IDENTITY.value)) | counted | (dut.jobs.valid & dut.jobs.ready)):
        m.d.sync += following.eq(seq + 1)
    with m.If(said & (kind == Reply.ACK.value) & (seq == following)):
        m.d.sync += following.eq(seq + 1)
    bench.always(~dut.abort | sync, "only a SYNC aborts")
    states = bench.states()
    expected = bench.inside("expected")
    reads_whole_frames(bench, left)
    reply = bench.inside("reply").as_value()
    early = states["Wait"] | states["Op"] | (states["Reply"] & (reply == Reply.ERROR.value))    # a bad frame has no number
    bench.lemma(early | (bench.inside("op") == op))
    bench.lemma(early | states["Seq"] | (bench.inside("seq") == seq))
    bench.lemma(~states["Op"] | (place == 0))
    bench.lemma(~states["Seq"] | (place == 1))
    bench.lemma(early | states["Seq"] | (place >= 2))
    bench.lemma(early | states["Seq"] | (bench.inside("behind") == (expected - seq)[:8]) | states["Reply"])
    refused = bench.inside("stray") | bench.inside("repeated")
    bench.lemma(~states["Check"] | (refused == (~sync & ((bench.inside("behind") != 0) | ~dut.claimed))))
    late = states["Record"] | states["Judge"] | states["Sync"] | states["Write"] | states["Word"] | states["Put"] | states["Job"] | states["Rate"]
    good = dut.claimed & (seq == expected)
    bench.lemma(~late | sync | good)
    bench.lemma(states["Reply"] | (following == expected))
    moves = bench.inside("moves")
    bench.lemma(~states["Discard"] | ~moves | sync | good)
    bench.lemma(~states["Reply"] | Mux(moves, expected == (seq + 1)[:8], following == expected))
    bench.lemma(~states["Reply"] | ~moves | sync | (dut.claimed & (following == seq)))
    bench.lemma(~(states["Discard"] | states["Reply"]) | (moves == ((reply == Reply.IDENTITY.value) | (reply == Reply.COUNTS.value)
                                                                  | ((reply == Reply.ACK.value) & moves))))
    bench.lemma(~(states["Discard"] | states["Reply"]) | (reply != Reply.ACK.value) | moves | (seq != following))
    bench.lemma(~(states["Discard"] | states["Reply"]) | ((reply == Reply.IDENTITY.value) == (moves & sync)))
    bench.lemma(~states["Sync"] | sync)
    bench.lemma(~(states["Write"] | states["Word"] | states["Put"] | states["Job"] | states["Rate"]) | ~sync)
    bench.lemma(~bench.inside("complete") | states["Put"])
    bench.reaches(dut.jobs.valid & (seq == 5), "a job")
    return bench


def _stream() -> Bench:
    bench = commands()
    keeps_its_word(bench, bench.dut.replies, "replies")
    return bench


PROPERTIES = (
    Property(name="commands.once", promise="each frame is read whole, and gets one answer or becomes one queued job", geometry=SAID, bench=_once, steps=3,
             breaks=14, cover=45, mutations=(
                 Mutation(_WHERE, 'executed(Reply.IDENTITY)', 'm.next = "Wait"'),
                 Mutation(_WHERE, "~some_left | (self.content.valid & (left == 1))", "~some_left | self.content.valid"))),
    Property(name="commands.bounds", promise="only jobs that the geometry can do are queued, and only rates that the link can make are set", geometry=SAID,
             bench=_bounds, steps=3, breaks=24, skips=20, cover=45, mutations=(
                 Mutation(_WHERE, "~_below(divisor, LEAST_DIVISOR) &", ""),)),
    Property(name="commands.addresses", promise="nothing is written behind a memory's end, nor streamed words outside the window", geometry=SAID, bench=_addresses,
             steps=3, breaks=34, skips=28, cover=40, mutations=(
                 Mutation(_WHERE, "Mux(streams, self.stream_ready, ~beyond)", "Mux(streams, self.stream_ready, 1)"),
                 Mutation(_WHERE, "_below(write.row, geometry.rows) &", ""))),
    Property(name="commands.sequence", promise="a command is executed only if it is the next by its number, so never twice", geometry=SAID, bench=_sequence,
             steps=3, breaks=22, skips=12, cover=45, mutations=(
                 Mutation(_WHERE, "(behind != 0) & (behind <= 128)", "(behind != 0) & (behind < 128)"),)),
    Property(name="commands.stream", promise="the stream's rules, of replies", geometry=SAID, bench=_stream, steps=3, breaks=12, cover=12, mutations=(
        Mutation(_WHERE, "m.d.comb += self.replies.valid.eq(1)", "m.d.comb += self.replies.valid.eq(~self.busy)"),)),
)
