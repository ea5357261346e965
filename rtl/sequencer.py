"""Jobs into beats: the queue, and the sequencer that walks through weights and activations."""

from amaranth import *
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .array import Beat
from .counters import Issued
from .geometry import Geometry
from .layouts import job_layout

__all__ = ["JobQueue", "Outputs", "Sequencer"]


def Outputs(geometry: Geometry) -> data.StructLayout:
    """What the packer has to know of a job."""
    job = job_layout(geometry)
    return data.StructLayout({name: job[name].shape for name in ("seq", "n", "rows", "result_bytes")})


class JobQueue(wiring.Component):
    """Jobs that wait. A held job and all behind it wait until one comes that is not held, so that a queue can start as one.

    Members
    -------
    pushes : In(stream.Signature({job, hold}))
        Jobs in; `ready` is low when the queue is full.
    jobs : Out(stream.Signature(job_layout))
        Jobs that may start.
    waiting : Out(1)
        A job waits, held or not.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        job = job_layout(geometry)
        super().__init__({
            "pushes":  In(stream.Signature(data.StructLayout({"job": job, "hold": 1}))),
            "jobs":    Out(stream.Signature(job)),
            "waiting": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        depth = self._geometry.queue
        job = job_layout(self._geometry)
        m.submodules.queue = queue = fifo.SyncFIFOBuffered(width=job.size, depth=depth)
        held = Signal(range(depth + 1))    # the last ones in the queue, up to the first that is not
        push, pop = Signal(), Signal()
        m.d.comb += [
            push.eq(self.pushes.valid & self.pushes.ready),
            pop.eq(self.jobs.valid & self.jobs.ready),
            self.pushes.ready.eq(queue.w_rdy),
            queue.w_en.eq(push),
            queue.w_data.eq(self.pushes.payload.job),
            self.jobs.payload.eq(queue.r_data),
            self.jobs.valid.eq(queue.r_rdy & (queue.level != held)),
            queue.r_en.eq(pop),
            self.waiting.eq(queue.level != 0),
        ]
        with m.If(push):
            m.d.sync += held.eq(Mux(self.pushes.payload.hold, held + 1, 0))
        return m


class Sequencer(wiring.Component):
    """Issues one beat a cycle: addresses to the memories, flags to the array.

    A tile starts only if the result FIFOs have room for its sums; so nothing behind this point ever has to stop the array.
    Between two jobs lies one cycle, and the ramp: the beats in which the columns behind the first finish.

    Members
    -------
    jobs : In(stream.Signature(job_layout))
        Jobs in order.
    outputs : Out(stream.Signature(Outputs))
        Each started job's part for the packer.
    beats : Out(stream.Signature(Beat, always_ready=True))
        For the array, in the cycle in which the memories' words arrive there.
    weights_read, weights_at : Out
        To the weight store.
    acts_read, acts_at : Out
        To the activation buffer.
    streams : In(1)
        A streamed job waits or runs. Without one the window is emptied.
    streamed_words : In(1)
        A streamed word was written into the window.
    stream_at : Out(range(stream_words)), stream_ready : Out(1)
        Where in the window the next streamed word goes, and whether there is room.
    streaming : Out(1)
        The running job takes streamed weights.
    tile_freed : In(1)
        All results of a tile were taken from the result FIFOs.
    running : Out(1)
        A job's beats are being issued.
    issued : Out(Issued)
        What this cycle was, for the counters.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "jobs":           In(stream.Signature(job_layout(geometry))),
            "outputs":        Out(stream.Signature(Outputs(geometry))),
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

        job = Signal(job_layout(geometry))
        ramping = Signal()
        weights_at = Signal(range(geometry.weight_words))
        acts_at = Signal(range(geometry.act_words))
        k_left = Signal(range(geometry.depth + 1))
        n_left = Signal(32)
        beat = Signal(range(max(cols, 2)))    # counts to cols - 1 and stays: a tile has at least `cols` beats
        starts = Signal(init=1)               # the next beat is a tile's first
        active = Signal(geometry.rows)

        # The streaming window is a ring of the words written and not yet read.
        waiting_words = Signal(range(geometry.stream_words + 1))
        m.d.comb += self.stream_ready.eq(waiting_words != geometry.stream_words)
        taken = Signal()
        m.d.sync += waiting_words.eq(waiting_words + self.streamed_words - taken)
        with m.If(self.streamed_words):
            m.d.sync += self.stream_at.eq(self.stream_at + 1)
        read_at = Signal.like(self.stream_at)
        with m.If(~self.streams):
            m.d.sync += [waiting_words.eq(0), self.stream_at.eq(0), read_at.eq(0)]

        # Tiles whose sums are in the array or in the result FIFOs.
        tiles = Signal(range(geometry.tiles_in_flight + 1))
        m.d.sync += tiles.eq(tiles + self.issued.tile - self.tile_freed)

        has_weights = ~job.streamed | (waiting_words != 0)
        has_room = ~starts | ramping | (tiles != geometry.tiles_in_flight)
        issue = Signal()
        ends = Signal()
        m.d.comb += [
            issue.eq(self.running & has_weights & has_room),
            ends.eq((k_left <= lanes) & (beat == cols - 1)),
            taken.eq(issue & job.streamed),
            self.streaming.eq(self.running & job.streamed),
            self.weights_read.eq(issue),
            self.weights_at.eq(Mux(job.streamed, geometry.resident_words + read_at, weights_at)),
            self.acts_read.eq(active & issue.replicate(geometry.rows)),
            self.acts_at.eq(acts_at),
            self.issued.busy.eq(issue & ~ramping),
            self.issued.ramp.eq(issue & ramping),
            self.issued.tile.eq(issue & ~ramping & starts),
            self.issued.stall_results.eq(self.running & ~has_room),
            self.issued.stall_weights.eq(self.running & has_room & ~has_weights),
        ]
        m.d.sync += [
            self.beats.valid.eq(issue),
            self.beats.payload.first.eq(starts & ~ramping),
            self.beats.payload.last.eq(ends & ~ramping),
            self.beats.payload.active.eq(active),
        ]

        with m.If(issue):
            m.d.sync += [
                weights_at.eq(weights_at + 1),
                acts_at.eq(acts_at + 1),
                k_left.eq(Mux(k_left > lanes, k_left - lanes, k_left)),
                starts.eq(0),
            ]
            with m.If(job.streamed):
                m.d.sync += read_at.eq(read_at + 1)
            with m.If(beat != cols - 1):
                m.d.sync += beat.eq(beat + 1)
            with m.If(~ramping & ends):
                m.d.sync += [
                    acts_at.eq(job.acts_at), k_left.eq(job.k), beat.eq(0), starts.eq(1),
                    n_left.eq(n_left - cols),
                ]
                with m.If(n_left <= cols):
                    m.d.sync += ramping.eq(1) if geometry.ramp else self.running.eq(0)
            with m.Elif(ramping & (beat == geometry.ramp - 1 if geometry.ramp else 0)):
                m.d.sync += self.running.eq(0)

        m.d.comb += [
            self.jobs.ready.eq(~self.running & self.outputs.ready),
            self.outputs.valid.eq(~self.running & self.jobs.valid),
        ]
        for name in self.outputs.payload.shape().members:
            m.d.comb += self.outputs.payload[name].eq(self.jobs.payload[name])
        with m.If(self.jobs.valid & self.jobs.ready):
            new = self.jobs.payload
            m.d.sync += [
                job.eq(new), self.running.eq(1), ramping.eq(0), starts.eq(1), beat.eq(0),
                weights_at.eq(new.weights_at), acts_at.eq(new.acts_at), k_left.eq(new.k), n_left.eq(new.n),
                active.eq((1 << new.rows) - 1),
            ]
        return m
