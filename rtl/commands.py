"""Commands: checks each frame, writes memories, queues jobs, streams weights, replies."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .deframer import Arrival
from .framer import Byte
from .geometry import Geometry
from .layouts import job_layout, struct
from .wire import (
    COUNTERS,
    HEADER,
    IDENTITY,
    JOB,
    PAYLOAD_BYTES,
    RX_BYTES,
    SYNC,
    VERSION,
    WRITE,
    Destination,
    Engine,
    Error,
    Memory,
    Op,
    Source,
    Weights,
)

__all__ = ["Commands"]

_RECORDS = {Op.SYNC: SYNC, Op.WRITE: WRITE, Op.JOB: JOB}


class Commands(wiring.Component):
    """Executes frames in order, each at most once, and replies to each.

    A frame that can't be executed gets an error reply and changes nothing (but for a WRITE that runs past a memory's end). A frame already executed (its reply was lost) gets an ACK.
    WRITE and COUNTERS wait for the last sums to leave the array, which results may have overtaken. STREAM waits for room in the streaming
    window, as long as a streamed job waits or runs. Nothing else waits.

    Members
    -------
    arrivals, content : In
        From the deframer.
    replies : Out(stream.Signature(Byte))
        Reply frames without CRC.
    abort : Out(1)
        SYNC: one cycle in which jobs and pending results are dropped.
    weights : Out(stream.Signature({address, data}))
        To the weight store.
    acts : Out(stream.Signature({row, address, data}))
        To the activation buffer.
    jobs : Out(stream.Signature({job, hold}))
        To the queue.
    busy, draining : In(1)
        A job waits or its beats are being issued: its memories must not change. Its last sums are in the array: soon it is over.
    streamed_job_ended : In(1)
        All beats of a streamed job were issued.
    streams : Out(1)
        A streamed job waits or runs.
    stream_at, stream_ready : In, stream_written : Out
        The streaming window: where the next word goes, whether there is room, that it was written.
    counters : In(struct(COUNTERS))
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "arrivals":           In(stream.Signature(Arrival)),
            "content":            In(stream.Signature(8)),
            "replies":            Out(stream.Signature(Byte)),
            "abort":              Out(1),
            "weights":            Out(stream.Signature(data.StructLayout({
                "address": range(geometry.weight_words), "data": 2 * geometry.cols * geometry.lanes}))),
            "acts":               Out(stream.Signature(data.StructLayout({
                "row": range(geometry.rows), "address": range(geometry.act_words), "data": 8 * geometry.lanes}))),
            "jobs":               Out(stream.Signature(data.StructLayout({"job": job_layout(geometry), "hold": 1}))),
            "busy":               In(1),
            "draining":           In(1),
            "streamed_job_ended": In(1),
            "streams":            Out(1),
            "stream_at":          In(range(geometry.stream_words)),
            "stream_ready":       In(1),
            "stream_written":     Out(1),
            "counters":           In(struct(COUNTERS)),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry

        left = Signal(8)          # bytes of the frame not yet read
        op, seq, expected = Signal(8), Signal(8), Signal(8)
        record = Signal(8 * max(record.size for record in _RECORDS.values()))
        record_left = Signal(range(max(record.size for record in _RECORDS.values()) + 1))
        reply, code = Signal(8), Signal(8)
        counter = Signal(32)      # the one being sent
        owner = Signal(32)        # nonce of the last SYNC that claimed the device, 0 if none did since the reset

        word_bytes = max(geometry.word_bytes, geometry.lanes)
        word = Signal(8 * word_bytes)
        word_left = Signal(range(word_bytes + 1))
        one_word = Signal.like(word_left)
        address = Signal(32)

        streamed_jobs = Signal(range(geometry.queue + 2))
        job_streamed = Signal()
        m.d.comb += self.streams.eq(streamed_jobs != 0)
        m.d.comb += job_streamed.eq(self.jobs.valid & self.jobs.ready & self.jobs.payload.job.streamed)
        m.d.sync += streamed_jobs.eq(streamed_jobs + job_streamed - self.streamed_job_ended)

        def fail(error: Error):
            m.d.sync += [reply.eq(Op.ERROR), code.eq(error)]
            m.next = "Discard"

        def executed(op: Op = Op.ACK):
            m.d.sync += [reply.eq(op), expected.eq(seq + 1)]
            m.next = "Discard"

        def whole_words(size: int) -> Value:
            """What is left of the frame is a positive number of words of `size` bytes."""
            if size & (size - 1) == 0:
                return (left != 0) & (left[:size.bit_length() - 1] == 0)
            return left.matches(*range(size, PAYLOAD_BYTES + 1, size))

        def fields(of):    # the record's last byte is the shift register's highest
            return struct(of)(record[-8 * of.size:])

        put = Signal()
        streams = op == Op.STREAM
        to_weights = streams | (fields(WRITE).memory == Memory.WEIGHTS)
        inside = address < Mux(to_weights, geometry.weight_words, geometry.act_words)
        m.d.comb += [
            self.weights.payload.address.eq(Mux(streams, geometry.resident_words + self.stream_at, address)),
            self.weights.payload.data.eq(word[-8 * geometry.word_bytes:]),
            self.acts.payload.row.eq(fields(WRITE).row),
            self.acts.payload.address.eq(address),
            self.acts.payload.data.eq(word[-8 * geometry.lanes:]),
            self.stream_written.eq(put & streams),
        ]
        with m.FSM():
            with m.State("Wait"):
                m.d.comb += self.arrivals.ready.eq(1)
                m.d.sync += left.eq(self.arrivals.payload.size - HEADER.size)
                with m.If(self.arrivals.valid):
                    with m.If(self.arrivals.payload.bad):
                        m.d.sync += [left.eq(0), seq.eq(0)]
                        fail(Error.CRC)
                    with m.Else():
                        m.next = "Op"

            with m.State("Op"):
                m.d.comb += self.content.ready.eq(1)
                m.d.sync += op.eq(self.content.payload)
                with m.If(self.content.valid):
                    m.next = "Seq"

            with m.State("Seq"):
                m.d.comb += self.content.ready.eq(1)
                m.d.sync += seq.eq(self.content.payload)
                with m.If(self.content.valid):
                    m.next = "Check"

            with m.State("Check"):
                behind = Signal(8)
                m.d.comb += behind.eq(expected - seq)
                known = op.matches(Op.SYNC, Op.WRITE, Op.JOB, Op.STREAM, Op.COUNTERS)
                sized = Signal()
                with m.Switch(op):
                    for case, fixed in _RECORDS.items():
                        with m.Case(case):
                            m.d.comb += sized.eq(left >= fixed.size if case == Op.WRITE else left == fixed.size)
                            m.d.sync += record_left.eq(fixed.size)
                    with m.Case(Op.STREAM):
                        m.d.comb += sized.eq(whole_words(geometry.word_bytes))
                    with m.Case(Op.COUNTERS):
                        m.d.comb += sized.eq(left == 0)
                with m.If(~known):
                    fail(Error.UNKNOWN)
                with m.Elif((op != Op.SYNC) & (owner == 0)):    # any number would look like an old one's repeat, or the next
                    fail(Error.SEQUENCE)
                with m.Elif((op != Op.SYNC) & (behind != 0) & (behind <= 128)):
                    m.d.sync += reply.eq(Op.ACK)
                    m.next = "Discard"
                with m.Elif((op != Op.SYNC) & (behind != 0)):
                    fail(Error.SEQUENCE)
                with m.Elif(~sized):
                    fail(Error.LENGTH)
                with m.Elif(op == Op.COUNTERS):
                    with m.If(self.busy | ~self.draining):
                        executed(Op.COUNTS)
                with m.Elif(op == Op.STREAM):
                    m.d.sync += [one_word.eq(geometry.word_bytes), word_left.eq(geometry.word_bytes)]
                    with m.If(streamed_jobs == 0):
                        fail(Error.NO_JOB)
                    with m.Else():
                        m.next = "Word"
                with m.Else():
                    m.next = "Record"

            with m.State("Record"):
                m.d.comb += self.content.ready.eq(record_left != 0)
                with m.If(record_left == 0):
                    with m.Switch(op):
                        with m.Case(Op.SYNC):
                            m.next = "Sync"
                        with m.Case(Op.WRITE):
                            m.next = "Write"
                        with m.Default():
                            m.next = "Job"
                with m.Elif(self.content.valid):
                    m.d.sync += [
                        record.eq(Cat(record[8:], self.content.payload)),
                        record_left.eq(record_left - 1),
                        left.eq(left - 1),
                    ]

            with m.State("Sync"):
                m.d.comb += self.abort.eq(1)
                m.d.sync += streamed_jobs.eq(0)
                executed(Op.IDENTITY)

            with m.State("Write"):
                write = fields(WRITE)
                to_acts = write.memory == Memory.ACTS
                m.d.sync += address.eq(write.at)
                with m.If(to_acts):
                    m.d.sync += [one_word.eq(geometry.lanes), word_left.eq(geometry.lanes)]
                with m.Else():
                    m.d.sync += [one_word.eq(geometry.word_bytes), word_left.eq(geometry.word_bytes)]
                with m.If(~Mux(to_acts, whole_words(geometry.lanes), whole_words(geometry.word_bytes))):
                    fail(Error.LENGTH)
                with m.Elif(~Mux(to_acts, (write.row < geometry.rows) & (write.at < geometry.act_words),
                               (write.memory == Memory.WEIGHTS) & (write.row == 0) & (write.at < geometry.weight_words))):
                    fail(Error.BAD_ADDRESS)
                with m.Elif(self.busy):
                    fail(Error.BUSY)
                with m.Elif(~self.draining):
                    m.next = "Word"

            with m.State("Word"):
                m.d.comb += self.content.ready.eq(1)
                with m.If(self.content.valid):
                    m.d.sync += [
                        word.eq(Cat(word[8:], self.content.payload)),
                        word_left.eq(word_left - 1),
                        left.eq(left - 1),
                    ]
                    with m.If(word_left == 1):
                        m.next = "Put"

            with m.State("Put"):
                has_room = Mux(streams, self.stream_ready, inside)
                m.d.comb += [
                    self.weights.valid.eq(to_weights & has_room),
                    self.acts.valid.eq(~to_weights & has_room),
                    put.eq(Mux(to_weights, self.weights.valid & self.weights.ready, self.acts.valid & self.acts.ready)),
                ]
                with m.If(put):
                    m.d.sync += [address.eq(address + 1), word_left.eq(one_word)]
                    with m.If(left == 0):
                        executed()
                    with m.Else():
                        m.next = "Word"
                with m.Elif(streams & (streamed_jobs == 0)):    # the job ended without these words
                    fail(Error.NO_JOB)
                with m.Elif(~streams & ~inside):                # the words before this one were written
                    fail(Error.BAD_ADDRESS)

            with m.State("Job"):
                job = fields(JOB)
                queued = self.jobs.payload.job
                for name, signal in (("acts_at", job.acts_at), ("weights_at", job.weights_at), ("k", job.k), ("n", job.n),
                                     ("rows", job.rows), ("result_bytes", job.result_bytes), ("seq", seq)):
                    m.d.comb += queued[name].eq(signal)
                m.d.comb += [
                    queued.streamed.eq(job.weights == Weights.STREAM),
                    self.jobs.payload.hold.eq(job.hold),
                ]
                good = (
                    (job.engine == Engine.ARRAY) & (job.source == Source.ACTS) & (job.destination == Destination.LINK)
                    & (job.weights <= max(Weights)) & (job.hold <= (job.weights != Weights.STREAM))
                    & (job.rows != 0) & (job.rows <= geometry.rows)
                    & (job.result_bytes != 0) & (job.result_bytes <= 4)
                    & (job.k != 0) & (job.k <= geometry.depth) & (job.n != 0)
                    & (job.acts_at < geometry.act_words)
                    & ((job.weights == Weights.STREAM) | (job.weights_at < geometry.weight_words))
                )
                with m.If(~good):
                    fail(Error.BAD_JOB)
                with m.Elif(~self.jobs.ready):
                    fail(Error.QUEUE_FULL)
                with m.Else():
                    m.d.comb += self.jobs.valid.eq(1)
                    m.d.sync += expected.eq(seq + 1)
                    m.next = "Wait"

            with m.State("Discard"):
                m.d.comb += self.content.ready.eq(left != 0)
                with m.If(left == 0):
                    m.next = "Reply"
                with m.Elif(self.content.valid):
                    m.d.sync += left.eq(left - 1)

            with m.State("Reply"):
                position = Signal(range(HEADER.size + max(IDENTITY.size, COUNTERS.size)))
                # The counters run on while they are sent: each is copied when its first byte is next.
                upcoming = Signal.like(position)
                m.d.comb += upcoming.eq(position + 1 - HEADER.size)
                with m.If(self.replies.ready & (upcoming[:2] == 0)):
                    m.d.sync += counter.eq(self.counters.as_value().word_select(upcoming[2:], len(counter)))
                texts = {Op.ACK: [], Op.ERROR: [code, expected], Op.COUNTS: _bytes(counter) * len(COUNTERS.fields),
                         Op.IDENTITY: self._identity(fields(SYNC).nonce, owner)}
                m.d.comb += self.replies.valid.eq(1)
                for text_op, text in texts.items():
                    with m.If(reply == text_op):
                        m.d.comb += [
                            self.replies.payload.data.eq(Array([reply, seq, *text])[position]),
                            self.replies.payload.last.eq(position == HEADER.size + len(text) - 1),
                        ]
                with m.If(self.replies.ready):
                    m.d.sync += position.eq(position + 1)
                    with m.If(self.replies.payload.last):
                        m.d.sync += position.eq(0)
                        with m.If((reply == Op.IDENTITY) & (fields(SYNC).claim != 0)):
                            m.d.sync += owner.eq(fields(SYNC).nonce)
                        m.next = "Wait"
        return m

    def _identity(self, nonce: Value, owner: Value) -> list[Value]:
        geometry = self._geometry
        known = {name: getattr(geometry, name) for name in (*Geometry.names(), "digest")}
        known |= {"version": VERSION, "rx_bytes": RX_BYTES}
        told = {"nonce": nonce, "owner": owner}
        values = [told[field.name] if field.name in told else Const(known[field.name], field.bits) for field in IDENTITY.fields]
        return _bytes(Cat(*values))


def _bytes(value) -> list[Value]:
    value = Value.cast(value)
    return [value[at:at + 8] for at in range(0, len(value), 8)]
