"""Jobs: what a JOB asks for is what is queued, and the queue starts no held job, and none out of order."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value

from tritloom.rtl.layouts import struct
from tritloom.rtl.sequencer import JobQueue
from tritloom.rtl.wire import HEADER, JOB, Op, Weights

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word
from .commands import GEOMETRY, SAID, commands, reads_whole_frames

__all__ = ["PROPERTIES"]

_WHERE = "sequencer:JobQueue.elaborate"


def _fields() -> Bench:
    bench = commands()
    dut, m = bench.dut, bench.m
    content = dut.content
    taken = content.valid & content.ready
    # A frame by its definition: its size, operation, number, and what is behind them.
    left, place, op, seq, past = Signal(8), Signal(range(HEADER.size + 1)), Signal(8), Signal(8), Signal(8 * JOB.size)
    begins = left == 0
    with m.If(taken):
        m.d.sync += [left.eq(Mux(begins, content.payload, left - 1)), past.eq(Cat(past[8:], content.payload)),
                     place.eq(Mux(begins, 0, Mux(place == HEADER.size, place, place + 1)))]
        with m.If(~begins & (place == 0)):
            m.d.sync += op.eq(content.payload)
        with m.If(~begins & (place == 1)):
            m.d.sync += seq.eq(content.payload)
    bench.given(~(taken & begins) | (content.payload != 1))
    asked, queued = struct(JOB)(past), dut.jobs.payload.job
    bench.always(~dut.jobs.valid | ((op == Op.JOB) & (left == 0) & (queued.outputs.seq == seq) & (queued.outputs.n == asked.n)
                                    & (queued.outputs.last_row + 1 == asked.rows) & (queued.outputs.last_byte + 1 == asked.result_bytes)
                                    & (queued.k == asked.k) & (queued.acts_at == asked.acts_at) & (dut.jobs.payload.hold == asked.hold)
                                    & (queued.streamed == (asked.weights == Weights.STREAM))
                                    & (queued.streamed | (queued.weights_at == asked.weights_at))), "a queued job is what the frame asked for")
    bench.always(~dut.jobs.valid | ((asked.engine == 0) & (asked.source == 0) & (asked.destination == 0)), "what must be 0 is")

    states = bench.states()
    reads_whole_frames(bench, left)
    early = states["Wait"] | states["Op"] | states["Reply"]
    word, record_left, odd = bench.inside("word"), bench.inside("record_left"), bench.inside("odd")
    bench.lemma(early | (bench.inside("op") == op))
    bench.lemma(early | states["Seq"] | (bench.inside("seq") == seq))
    for name, value in (("Op", 0), ("Seq", 1), ("Look", 2), ("Check", 2)):
        bench.lemma(~states[name] | (place == value))
    bench.lemma((place <= HEADER.size) & (early | states["Seq"] | (place == HEADER.size)))
    job = op == Op.JOB
    bench.lemma(~states["Job"] | job)
    bench.lemma(~(states["Record"] | states["Judge"]) | op.matches(Op.SYNC, Op.WRITE, Op.JOB, Op.RATE))
    zeros = 3

    def byte(of: Value, i: int) -> Value:
        """The i-th from the last."""
        return of[len(of) - 8 * (i + 1):len(of) - 8 * i]

    for i in range(JOB.size):
        here = (byte(word, i) == byte(past, i)) if i < JOB.size - zeros else Value.cast(1)
        bench.lemma(~(states["Record"] & job) | (record_left > JOB.size - 1 - i) | here)
        bench.lemma(~((states["Judge"] & job) | states["Job"]) | here)
    # Of the first three bytes only whether they are 0 is kept.
    come = JOB.size - record_left
    for i in range(zeros):
        past_zero = [(byte(past, n - 1 - i) == 0) for n in range(1 + i, JOB.size + 1)]
        for n in range(1 + i, JOB.size + 1):
            bench.lemma(~(states["Record"] & job & ~odd) | (come != n) | past_zero[n - 1 - i])
        bench.lemma(~(((states["Judge"] & job) | states["Job"]) & ~odd) | past_zero[-1])
    bench.lemma(~(states["Job"] & bench.inside("good_job")) | ~odd)
    bench.reaches(dut.jobs.valid & dut.jobs.payload.hold, "a held job")
    return bench


def _order() -> Bench:
    bench = Bench(JobQueue(GEOMETRY))
    dut, m = bench.dut, bench.m
    pushed, ended = dut.pushes.valid & dut.pushes.ready, dut.jobs.ready
    # The sequencer's part, as its description says: it starts the job that is offered, if none runs, and takes it at its end.
    runs = Signal()
    bench.given(~dut.started | (dut.jobs.valid & ~runs))
    bench.given(~ended | runs)
    m.d.sync += runs.eq((runs | dut.started) & ~ended)
    # Jobs that have come, have started and have ended; and those that have come up to the last one that is not held.
    came, started, taken, free = (Signal(8) for _ in range(4))
    m.d.sync += [came.eq(came + pushed), started.eq(started + dut.started), taken.eq(taken + ended)]
    with m.If(pushed & ~dut.pushes.payload.hold):
        m.d.sync += free.eq(came + 1)
    waiting, startable = (came - started)[:8], (free - started)[:8]
    bench.always(~dut.started | ((startable != 0) & (startable <= waiting)), "a job starts only when one that is not held has come: itself, or one behind it")
    bench.always(dut.waiting == (waiting != 0), "it says whether a job waits")
    bench.always(waiting <= GEOMETRY.queue, "no more jobs wait than there is room for")
    number, item, inside = bench.constant("number", 8), Signal(len(Value.cast(dut.jobs.payload))), Signal()
    shows = dut.jobs.valid & (taken == number)
    with m.If(ended & (taken == number)):
        m.d.sync += inside.eq(0)
    with m.If(pushed & (came == number)):
        m.d.sync += [item.eq(Value.cast(dut.pushes.payload.job)), inside.eq(1)]
    bench.always(~shows | (inside & (Value.cast(dut.jobs.payload) == item)), "the n-th job offered is the n-th that came")
    keeps_its_word(bench, dut.jobs, "jobs")

    queue, level, held = (bench.inside(name) for name in ("queue", "level", "held"))
    there = queue.reads.valid
    bench.lemma((level == waiting) & (held == (came - free)[:8]) & (held <= level))
    bench.lemma(((started - taken)[:8] == runs) & (bench.inside("running") == runs))
    bench.lemma(~(bench.inside("startable") & ~runs) | (level != held))
    written, read = bench.inside("queue.written"), bench.inside("queue.read")
    bench.lemma((written == came[:len(written)]) & (read == (taken + there)[:len(read)]))
    bench.lemma((~there | (came != taken)) & (~runs | there))
    behind = (number - taken)[:8]
    bench.lemma(inside == (behind < (came - taken)[:8]))
    shown = there & (behind == 0)
    bench.lemma(~inside | (shown & (Value.cast(queue.reads.payload) == item)) | (~shown & (bench.stored("queue.ram", number[:len(read)]) == item)))
    bench.reaches(dut.started & (number == 2) & (taken == 2), "the third job starts")
    return bench


PROPERTIES = (
    Property(name="commands.jobs", promise="what is queued is the job that the frame asked for, field by field", geometry=SAID, bench=_fields, steps=3, breaks=60,
             skips=45, cover=60, mutations=(
                 Mutation("commands:Commands.elaborate", "queued.outputs.last_row.eq(job.rows - 1)", "queued.outputs.last_row.eq(job.rows)"),)),
    Property(name="jobs.order", promise="jobs start in the order in which they came, none twice, and a held one only when one that is not held has come behind it",
             geometry="queue 3", bench=_order, steps=2, breaks=12, cover=20, mutations=(
                 Mutation(_WHERE, "startable.eq(level != held)", "startable.eq(level != 0)"),
                 Mutation(_WHERE, "(running | self.started) & ~queue.reads.ready", "(running | self.started) & queue.reads.ready"),
                 Mutation(_WHERE, "Mux(self.pushes.payload.hold, held + 1, 0)", "0"))),
)
