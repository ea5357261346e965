"""Jobs into beats: the queue, and the sequencer that walks through weights and activations."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .array import Beat
from .counters import Issued
from .fifo import Queue
from .geometry import Geometry
from .layouts import job_layout, outputs_layout

__all__ = ["JobQueue", "Sequencer"]


class JobQueue(wiring.Component):
    """Jobs that wait. A held job and all behind it wait until one comes that is not held, so that a queue can start as one.

    Members
    -------
    pushes : In(stream.Signature({job, hold}))
        Jobs in; `ready` is low when the queue is full.
    jobs : Out(stream.Signature(job_layout))
        Jobs that may start. The one that did stays until it is taken, at its end.
    started : In(1)
        The first job starts: it does not wait any more.
    waiting : Out(1)
        A job waits, held or not.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        job = job_layout(geometry)
        super().__init__({
            "pushes":  In(stream.Signature(data.StructLayout({"job": job, "hold": 1}))),
            "jobs":    Out(stream.Signature(job)),
            "started": In(1),
            "waiting": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self._geometry.queue
        m.submodules.queue = queue = Queue(job_layout(self._geometry), depth + 1)
        level = Signal(range(depth + 1))
        held = Signal.like(level)    # the last ones in the queue, up to the first that is not
        startable = Signal()
        running = Signal()
        push = Signal()
        m.d.comb += [
            self.pushes.ready.eq(level != depth),
            push.eq(self.pushes.valid & self.pushes.ready),
            queue.writes.valid.eq(push),
            queue.writes.payload.eq(self.pushes.payload.job),
            self.jobs.payload.eq(queue.reads.payload),
            self.jobs.valid.eq(queue.reads.valid & (running | startable)),
            queue.reads.ready.eq(self.jobs.ready),    # only at the end of a job, which is there
            self.waiting.eq(level != 0),
        ]
        m.d.sync += [
            level.eq(level + push - self.started),
            startable.eq(level != held),    # a cycle late, in which the first job runs, or has not come through
            running.eq((running | self.started) & ~queue.reads.ready),
        ]
        with m.If(push):
            m.d.sync += held.eq(Mux(self.pushes.payload.hold, held + 1, 0))
        return m


class Sequencer(wiring.Component):
    """Issues one beat a cycle: addresses to the memories, flags to the array.

    A tile starts only if the result queues have room for its sums; so nothing behind this point ever has to stop the array.
    Between two jobs lie two cycles, and the ramp: the beats in which the columns behind the first finish.

    Members
    -------
    jobs : In(stream.Signature(job_layout))
        Jobs in order, each taken in the cycle of its last beat.
    started : Out(1)
        The job in `jobs` starts.
    outputs : Out(stream.Signature(outputs_layout, always_ready=True))
        Each started job's part for the packer, which has room for as many jobs as there can be tiles on their way, and one.
    beats : Out(stream.Signature(Beat, always_ready=True))
        For the array, in the cycle in which the memories' words arrive there: two after the beat was issued.
    weights_read, weights_at : Out
        To the weight store, the cycle after the beat was issued.
    acts_read, acts_at : Out
        To the activation buffer, in the same cycle.
    streams : In(1)
        A streamed job waits or runs. Without one the window is emptied.
    streamed_words : In(1)
        A streamed word was written into the window.
    stream_at : Out(range(stream_words)), stream_ready : Out(1)
        Where in the window the next streamed word goes, and whether there is room.
    streaming : Out(1)
        The running job takes streamed weights.
    tile_freed : In(1)
        All results of a tile were taken from the result queues.
    running : Out(1)
        A job's beats are being issued.
    issued : Out(Issued)
        What this cycle was, for the counters.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "jobs":           In(stream.Signature(job_layout(geometry))),
            "started":        Out(1),
            "outputs":        Out(stream.Signature(outputs_layout(geometry), always_ready=True)),
            "beats":          Out(stream.Signature(Beat(geometry), always_ready=True)),
            "weights_read":   Out(1),
            "weights_at":     Out(range(geometry.weight_words)),
            "acts_read":      Out(geometry.rows),
            "acts_at":        Out(range(geometry.act_words)),
            "streams":        In(1),
            "streamed_words": In(1),
            "stream_at":      Out(range(geometry.stream_words)),
            "stream_ready":   Out(1),
            "streaming":      Out(1),
            "tile_freed":     In(1),
            "running":        Out(1),
            "issued":         Out(Issued),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        lanes, cols = geometry.lanes, geometry.cols

        job = self.jobs.payload
        fresh = Signal()                      # the next beat is the job's first
        ramping = Signal()
        k_left = Signal(range(geometry.depth + 1))
        n_left = Signal(job.outputs.n.shape())
        beat = Signal(range(max(cols, 2)))    # counts to cols - 1 and stays: a tile has at least `cols` beats
        starts, due = Signal(), Signal()      # the next beat is the first of a tile (or of the ramp), and such as needs room for its sums
        active = Signal(geometry.rows)
        # What all else waits for is known beforehand: ``k_left <= lanes``, ``n_left <= cols``, that a streamed word has come, that the result
        # queues have no room.
        last_chunk, last_tile, nonempty, full = Signal(), Signal(), Signal(), Signal()
        streamed = Signal()

        # The streaming window is a ring of the words written and not yet read.
        waiting_words = Signal(range(geometry.stream_words + 1))
        taken = Signal()
        came = Signal()    # a cycle late: no word follows another as fast as that
        room = ~waiting_words[-1]    # a power of two
        if geometry.word_bytes == 1:    # such words come two cycles apart: when the next one asks, the last is not counted yet
            room = room & ~(came & (waiting_words == geometry.stream_words - 1))
        m.d.comb += self.stream_ready.eq(room)
        m.d.sync += [
            came.eq(self.streamed_words),
            nonempty.eq(came | (waiting_words[1:] != 0) | (waiting_words[0] & ~taken)),
        ]
        with m.If(came != taken):
            m.d.sync += waiting_words.eq(waiting_words + Mux(taken, -1, 1))
        with m.If(self.streamed_words):
            m.d.sync += self.stream_at.eq(self.stream_at + 1)
        window_at = Signal.like(self.stream_at)
        with m.If(taken):
            m.d.sync += window_at.eq(window_at + 1)
        with m.If(~self.streams):
            m.d.sync += [waiting_words.eq(0), nonempty.eq(0), self.stream_at.eq(0), window_at.eq(0)]

        # Tiles whose sums are in the array or in the result queues.
        most = geometry.tiles_in_flight
        tiles = Signal(range(most + 1))
        freed = Signal()    # a cycle late: it is known last of all that the packer does
        m.d.sync += freed.eq(self.tile_freed)
        with m.If(self.issued.tile != freed):
            m.d.sync += tiles.eq(tiles + Mux(freed, -1, 1))
        m.d.sync += full.eq(~freed & ((tiles == most) | ((tiles == most - 1) & self.issued.tile)))

        has_weights = ~streamed | nonempty
        has_room = ~(due & full)
        issue = Signal()
        ends = Signal()
        done = Signal()    # with the job's last beat
        m.d.comb += [
            issue.eq(self.running & has_weights & has_room),
            ends.eq(last_chunk & (beat == cols - 1)),
            taken.eq(issue & streamed),
            self.streaming.eq(self.running & streamed),
            self.issued.busy.eq(issue & ~ramping),
            self.issued.ramp.eq(issue & ramping),
            self.issued.tile.eq(issue & due),
            self.issued.stall_results.eq(self.running & ~has_room),
            self.issued.stall_weights.eq(self.running & has_room & ~has_weights),
        ]

        # The memories lie far apart: addresses leave from registers, and the beat follows a cycle later, with the words.
        issued = Signal(self.beats.payload.shape())
        m.d.sync += [
            self.weights_read.eq(issue),
            self.acts_read.eq(active & issue.replicate(geometry.rows)),
            issued.first.eq(due),
            issued.last.eq(ends & ~ramping),
            issued.active.eq(active),
            self.beats.valid.eq(self.weights_read),
            self.beats.payload.eq(issued),
        ]
        with m.If(issue):
            following = (self.weights_at + 1)[:len(self.weights_at)]
            window = len(self.stream_at)
            m.d.sync += [
                self.acts_at.eq(Mux(starts, job.acts_at, self.acts_at + 1)),
                self.weights_at.eq(Mux(fresh, job.weights_at, following)),
                k_left.eq(Mux(last_chunk, k_left, k_left - lanes)),
                last_chunk.eq(last_chunk | (k_left <= 2 * lanes)),
                starts.eq(0),
                due.eq(0),
                fresh.eq(0),
            ]
            with m.If(streamed):
                m.d.sync += self.weights_at.eq(Cat(window_at, Const(geometry.resident_words >> window, len(self.weights_at) - window)))
            with m.If(beat != cols - 1):
                m.d.sync += beat.eq(beat + 1)
            with m.If(~ramping & ends):
                m.d.sync += [
                    k_left.eq(job.k), last_chunk.eq(job.k <= lanes), beat.eq(0), starts.eq(1), due.eq(~last_tile),
                    n_left.eq(n_left - cols), last_tile.eq(n_left <= 2 * cols),
                ]
                with m.If(last_tile):
                    if geometry.ramp:
                        m.d.sync += ramping.eq(1)
                    else:
                        m.d.comb += done.eq(1)
            if geometry.ramp:
                with m.Elif(ramping & (beat == geometry.ramp - 1)):
                    m.d.comb += done.eq(1)
        with m.If(done):
            m.d.sync += self.running.eq(0)

        # A cycle late: the queue's logic behind the one that ends a job would be the slowest path there is.
        ended = Signal()
        m.d.sync += ended.eq(done)
        m.d.comb += [
            self.jobs.ready.eq(ended),
            self.outputs.valid.eq(~self.running & self.jobs.valid & ~ended),
            self.outputs.payload.eq(job.outputs),
            self.started.eq(self.outputs.valid),
        ]
        with m.If(self.started):
            m.d.sync += self.running.eq(1)
        with m.If(~self.running):    # also when there is no job: whether there is one is known late
            m.d.sync += [
                streamed.eq(job.streamed), ramping.eq(0), starts.eq(1), due.eq(1), fresh.eq(1), beat.eq(0),
                k_left.eq(job.k), last_chunk.eq(job.k <= lanes), n_left.eq(job.outputs.n), last_tile.eq(job.outputs.n <= cols),
                active.eq((2 << job.outputs.last_row) - 1),
            ]
        return m
