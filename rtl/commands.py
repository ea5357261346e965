"""Commands: checks each frame, writes memories, queues jobs, streams weights, replies."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .layouts import job_layout, struct
from .replies import Reply, Request
from .site import Site
from .wire import (
    IDENTITY,
    JOB,
    LEAST_DIVISOR,
    MOST_OUTPUTS,
    PAYLOAD_BYTES,
    RATE,
    RX_BYTES,
    SYNC,
    VERSION,
    WRITE,
    Error,
    Memory,
    Op,
    Weights,
)

__all__ = ["Commands", "identity"]

_RECORDS = {Op.SYNC: SYNC, Op.WRITE: WRITE, Op.JOB: JOB, Op.RATE: RATE}

#: The first bytes of a JOB say what there is one of only: engine, source, destination. They must be 0 and are not kept.
_ZEROS = 3


def _below(value: Value, limit: int) -> Value:
    """``value < limit``, with a carry chain only for the bits that need one."""
    bits = (limit - 1).bit_length()
    return (value[bits:] == 0) & (value[:bits] < limit if limit != 1 << bits else 1)


def identity(geometry: Geometry, site: Site) -> bytes:
    """What a core of this geometry says of itself, with the nonce and the owner 0."""
    return IDENTITY.pack(
        nonce=0, owner=0, version=VERSION, rx_bytes=RX_BYTES, digest=geometry.digest, clock_hz=site.clock_hz, max_baud=site.max_baud,
        board=site.board_number, **{name: getattr(geometry, name) for name in Geometry.names()})


class Commands(wiring.Component):
    """Executes frames in order, each at most once, and replies to each.

    A frame that can't be executed gets an error reply and changes nothing (but for a WRITE that runs past a memory's end). A frame already executed (its reply was lost) gets an ACK.
    WRITE and COUNTERS wait for the last sums to leave the array, which results may have overtaken. STREAM waits for room in the streaming
    window, as long as a streamed job waits or runs. RATE waits until all that was to be sent before it is out. Nothing else waits.

    Parameters
    ----------
    geometry : Geometry
    site : Site
        Whether there is a rate to set.

    Members
    -------
    content : In(stream.Signature(8))
        From the deframer: each frame's size and its bytes, 0 for a bad one.
    replies : Out(stream.Signature(Request))
        What to answer.
    nonce, claim : Out(32), Out(1)
        Of the SYNC that is being answered.
    claimed : Out(1)
        A SYNC claimed the device, since the reset.
    abort : Out(1)
        SYNC: one cycle in which jobs and pending results are dropped.
    bad_frame : Out(1)
        A bad frame was dropped.
    weights : Out(stream.Signature({address, data}))
        To the weight store.
    acts : Out(stream.Signature({row, address, data}))
        To the activation buffer.
    jobs : Out(stream.Signature({job, hold}))
        To the queue.
    busy, draining : In(1)
        A job waits or its beats are being issued: its memories must not change. Its last sums are in the array: soon it is over.
    sending : In(1)
        Results or replies are on their way out.
    rates : Out(stream.Signature(16, always_ready=True))
        RATE: clock cycles in a bit of the link from the end of the acknowledgement on, which is the next frame to be sent.
    streamed_job_ended : In(1)
        All beats of a streamed job were issued.
    streams : Out(1)
        A streamed job waits or runs.
    stream_at, stream_ready : In, stream_written : Out
        The streaming window: where the next word goes, whether there is room, that it was written.
    """

    def __init__(self, geometry: Geometry, site: Site = Site()):    # noqa: B008 (frozen)
        self._geometry = geometry
        self._site = site
        super().__init__({
            "content":            In(stream.Signature(8)),
            "replies":            Out(stream.Signature(Request)),
            "nonce":              Out(32),
            "claim":              Out(1),
            "claimed":            Out(1),
            "abort":              Out(1),
            "bad_frame":          Out(1),
            "weights":            Out(stream.Signature(data.StructLayout({
                "address": range(geometry.weight_words), "data": 2 * geometry.cols * geometry.lanes}))),
            "acts":               Out(stream.Signature(data.StructLayout({
                "row": range(geometry.rows), "address": range(geometry.act_words), "data": 8 * geometry.lanes}))),
            "jobs":               Out(stream.Signature(data.StructLayout({"job": job_layout(geometry), "hold": 1}))),
            "busy":               In(1),
            "draining":           In(1),
            "sending":            In(1),
            "rates":              Out(stream.Signature(16, always_ready=True)),
            "streamed_job_ended": In(1),
            "streams":            Out(1),
            "stream_at":          In(range(geometry.stream_words)),
            "stream_ready":       In(1),
            "stream_written":     Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry

        left = Signal(8)          # bytes of the frame not yet read
        some_left = Signal()      # there were some a cycle ago
        op, seq, expected = (Signal(8, name=name) for name in ("op", "seq", "expected"))
        behind = Signal(8)        # what is expected is so many numbers further
        moves = Signal()          # `expected` moves on with this command
        record_left = Signal(range(max(record.size for record in _RECORDS.values()) + 1))
        odd = Signal()            # a byte that must be 0 is not
        reply, code = Signal(Reply, name="reply"), Signal(4, name="code")

        # A record, and the words behind it, pass through one shift register. The last byte is the highest.
        word_bytes = max(geometry.word_bytes, geometry.lanes, JOB.size - _ZEROS)
        word = Signal(8 * word_bytes, reset_less=True)
        word_left = Signal(range(max(geometry.word_bytes, geometry.lanes) + 1))
        to_acts = Signal()
        row = Signal(range(geometry.rows), reset_less=True)
        address = Signal(range(max(geometry.weight_words, geometry.act_words)), reset_less=True)
        beyond = Signal()         # the address has passed the memory's end

        streamed_jobs = Signal(range(geometry.queue + 2))
        job_streamed = Signal()
        m.d.comb += self.streams.eq(streamed_jobs != 0)
        m.d.comb += job_streamed.eq(self.jobs.valid & self.jobs.ready & self.jobs.payload.job.streamed)
        m.d.sync += streamed_jobs.eq(streamed_jobs + job_streamed - self.streamed_job_ended)
        m.d.sync += self.abort.eq(0)
        with m.If(self.abort):
            m.d.sync += streamed_jobs.eq(0)

        def fails(error: Value | Error):
            """What is answered if this state is the command's last. It is noted before that is known: what it depends on has come late enough."""
            m.d.sync += [reply.eq(Reply.ERROR), code.eq(error), moves.eq(0)]

        def executed(kind: Reply = Reply.ACK):
            m.d.sync += [reply.eq(kind), moves.eq(1)]
            m.next = "Discard"

        def whole_words(size: int) -> Value:
            """What is left of the frame is a positive number of words of `size` bytes."""
            if size & (size - 1) == 0:
                return (left != 0) & (left[:size.bit_length() - 1] == 0)
            return left.matches(*range(size, PAYLOAD_BYTES + 1, size))

        def fields(of):
            return struct(of)(word[-8 * of.size:] if of != JOB else Cat(Const(0, 8 * _ZEROS), word[-8 * (of.size - _ZEROS):]))

        # What must hold of a record, known a cycle after it has come: the comparisons are long.
        sync, write, job, divisor = fields(SYNC), fields(WRITE), fields(JOB), fields(RATE).divisor
        streamed = job.weights == Weights.STREAM
        writes_acts = write.memory == Memory.ACTS
        whole, good_place, good_job, good_rate = (Signal(name=name) for name in ("whole", "good_place", "good_job", "good_rate"))
        m.d.sync += [
            whole.eq(Mux(writes_acts, whole_words(geometry.lanes), whole_words(geometry.word_bytes))),
            good_place.eq(Mux(writes_acts, _below(write.row, geometry.rows) & _below(write.at, geometry.act_words),
                              (write.memory == Memory.WEIGHTS) & (write.row == 0) & _below(write.at, geometry.weight_words))),
            good_job.eq(
                ~odd & _below(job.weights, len(Weights)) & _below(job.hold, 2) & ~(job.hold[0] & streamed)
                & (job.rows != 0) & _below(job.rows, geometry.rows + 1)
                & (job.result_bytes != 0) & _below(job.result_bytes, 5)
                & (job.k != 0) & _below(job.k, geometry.depth + 1) & (job.n != 0) & _below(job.n, MOST_OUTPUTS + 1)
                & _below(job.acts_at, geometry.act_words)
                & (streamed | _below(job.weights_at, geometry.weight_words))),
            good_rate.eq(~_below(divisor, LEAST_DIVISOR) & (self._site.max_baud != 0)),
        ]

        put, streams = Signal(), Signal()
        complete = Signal()       # a word has come: the state "Put", without the logic that tells states apart
        has_room, hopeless = Signal(), Signal()    # for it; neither changes in the cycle before it has come
        m.d.sync += [
            has_room.eq(Mux(streams, self.stream_ready, ~beyond)),
            hopeless.eq(Mux(streams, ~self.streams, beyond)),
        ]
        queued = self.jobs.payload.job
        m.d.comb += [
            self.weights.payload.address.eq(Mux(streams, geometry.resident_words + self.stream_at, address)),
            self.weights.payload.data.eq(word[-8 * geometry.word_bytes:]),
            self.acts.payload.row.eq(row),
            self.acts.payload.address.eq(address),
            self.acts.payload.data.eq(word[-8 * geometry.lanes:]),
            self.weights.valid.eq(complete & ~to_acts & has_room),
            self.acts.valid.eq(complete & to_acts & has_room),
            put.eq((self.weights.valid & self.weights.ready) | (self.acts.valid & self.acts.ready)),
            self.stream_written.eq(put & streams),
            self.rates.payload.eq(divisor),
            self.nonce.eq(sync.nonce),
            self.claim.eq(sync.claim != 0),
            self.replies.payload.kind.eq(reply),
            self.replies.payload.seq.eq(seq),
            self.replies.payload.code.eq(code),
            self.replies.payload.expected.eq(expected),
            queued.outputs.seq.eq(seq),
            queued.outputs.n.eq(job.n),
            queued.outputs.last_row.eq(job.rows - 1),
            queued.outputs.last_byte.eq(job.result_bytes - 1),
            queued.streamed.eq(streamed),
            queued.acts_at.eq(job.acts_at),
            queued.k.eq(job.k),
            queued.weights_at.eq(job.weights_at),
            self.jobs.payload.hold.eq(job.hold),
        ]

        taken = Signal()
        m.d.comb += taken.eq(self.content.valid & self.content.ready)
        m.d.sync += some_left.eq(left != 0)
        with m.If(taken):
            m.d.sync += left.eq(left - 1)

        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.content.ready.eq(1)
                m.d.sync += [left.eq(self.content.payload), seq.eq(0)]
                fails(Error.CRC)
                with m.If(self.content.valid):
                    with m.If(self.content.payload == 0):
                        m.d.comb += self.bad_frame.eq(1)
                        m.next = "Reply"
                    with m.Else():
                        m.next = "Op"

            with m.State("Op"):
                m.d.comb += self.content.ready.eq(1)
                m.d.sync += op.eq(self.content.payload)
                with m.If(self.content.valid):
                    m.next = "Seq"

            with m.State("Seq"):
                m.d.comb += self.content.ready.eq(1)
                m.d.sync += [seq.eq(self.content.payload), behind.eq(expected - self.content.payload), odd.eq(0), beyond.eq(0)]
                with m.If(self.content.valid):
                    m.next = "Look"

            # Two cycles: the conditions first, then what follows from them.
            known, repeated, stray, sized, counts = (Signal(name=name) for name in ("known", "repeated", "stray", "sized", "counts"))
            with m.State("Look"):
                m.d.sync += [
                    known.eq(op.matches(*_RECORDS, Op.STREAM, Op.COUNTERS)),
                    # Before the first claim any number would look like an old one's repeat, or the next.
                    stray.eq((op != Op.SYNC) & ((behind > 128) | ~self.claimed)),
                    repeated.eq((op != Op.SYNC) & (behind != 0) & (behind <= 128) & self.claimed),
                    sized.eq(left == 0),    # COUNTERS
                    streams.eq(op == Op.STREAM),
                    counts.eq(op == Op.COUNTERS),
                ]
                with m.Switch(op):
                    for case, fixed in _RECORDS.items():
                        with m.Case(case):
                            m.d.sync += [
                                sized.eq(left >= fixed.size if case == Op.WRITE else left == fixed.size),
                                record_left.eq(fixed.size),
                            ]
                    with m.Case(Op.STREAM):
                        m.d.sync += sized.eq(whole_words(geometry.word_bytes))
                m.next = "Check"

            with m.State("Check"):
                m.d.sync += [to_acts.eq(0), word_left.eq(geometry.word_bytes)]
                fails(Mux(~known, Error.UNKNOWN, Mux(stray, Error.SEQUENCE, Mux(~sized, Error.LENGTH, Error.NO_JOB))))
                with m.If(known & ~stray & repeated):
                    m.d.sync += reply.eq(Reply.ACK)
                with m.If(~known | stray | repeated | ~sized):
                    m.next = "Discard"
                with m.Elif(counts):
                    with m.If(self.busy | ~self.draining):
                        executed(Reply.COUNTS)
                with m.Elif(streams):
                    m.next = "Word"
                    with m.If(~self.streams):
                        m.next = "Discard"
                with m.Else():
                    m.next = "Record"

            with m.State("Record"):
                m.d.comb += self.content.ready.eq(1)
                with m.If(self.content.valid):
                    with m.If(record_left == 1):
                        m.next = "Judge"
                    m.d.sync += [word.eq(Cat(word[8:], self.content.payload)), record_left.eq(record_left - 1)]
                    with m.If((record_left > JOB.size - _ZEROS) & (self.content.payload != 0)):
                        m.d.sync += odd.eq(1)

            with m.State("Judge"):
                with m.Switch(op):
                    with m.Case(Op.SYNC):
                        m.next = "Sync"
                    with m.Case(Op.WRITE):
                        m.next = "Write"
                    with m.Case(Op.RATE):
                        m.next = "Rate"
                    with m.Default():
                        m.next = "Job"

            with m.State("Sync"):
                m.d.sync += self.abort.eq(1)
                executed(Reply.IDENTITY)

            with m.State("Write"):
                m.d.sync += [
                    to_acts.eq(writes_acts),
                    row.eq(write.row),
                    address.eq(write.at),
                    word_left.eq(Mux(writes_acts, geometry.lanes, geometry.word_bytes)),
                ]
                fails(Mux(~whole, Error.LENGTH, Mux(~good_place, Error.BAD_ADDRESS, Error.BUSY)))
                with m.If(~whole | ~good_place | self.busy):
                    m.next = "Discard"
                with m.Elif(~self.draining):
                    m.next = "Word"

            with m.State("Word"):
                m.d.comb += self.content.ready.eq(1)
                with m.If(self.content.valid):
                    m.d.sync += [word.eq(Cat(word[8:], self.content.payload)), word_left.eq(word_left - 1)]
                    with m.If(word_left == 1):
                        m.d.sync += complete.eq(1)
                        m.next = "Put"

            with m.State("Put"):
                m.d.sync += word_left.eq(Mux(to_acts, geometry.lanes, geometry.word_bytes))
                fails(Mux(streams, Error.NO_JOB, Error.BAD_ADDRESS))
                with m.If(put):
                    m.d.sync += [
                        complete.eq(0),
                        address.eq(address + 1),
                        beyond.eq(address == Mux(to_acts, geometry.act_words - 1, geometry.weight_words - 1)),
                    ]
                    with m.If(left == 0):
                        executed()
                    with m.Else():
                        m.next = "Word"
                with m.Elif(hopeless):    # the job ended without these words; those before this one were written
                    m.d.sync += complete.eq(0)
                    m.next = "Discard"

            with m.State("Job"):
                fails(Mux(~good_job, Error.BAD_JOB, Error.QUEUE_FULL))
                with m.If(~good_job | ~self.jobs.ready):
                    m.next = "Discard"
                with m.Else():
                    m.d.comb += self.jobs.valid.eq(1)
                    m.d.sync += expected.eq(seq + 1)
                    m.next = "Wait"

            with m.State("Rate"):
                fails(Mux(~good_rate, Error.BAD_RATE, Error.BUSY))
                with m.If(~good_rate | self.busy):
                    m.next = "Discard"
                with m.Elif(~self.draining & ~self.sending):
                    m.d.comb += self.rates.valid.eq(1)
                    executed()

            with m.State("Discard"):
                m.d.comb += self.content.ready.eq(some_left)
                with m.If(~some_left | (self.content.valid & (left == 1))):
                    with m.If(moves):
                        m.d.sync += expected.eq(seq + 1)
                    m.next = "Reply"

            with m.State("Reply"):
                m.d.comb += self.replies.valid.eq(1)
                with m.If(self.replies.ready):
                    with m.If((reply == Reply.IDENTITY) & self.claim):
                        m.d.sync += self.claimed.eq(1)
                    m.next = "Wait"
        return m
