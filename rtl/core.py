"""The core: two byte streams in front, the array behind. A board adds pins, a clock and the link's PHY."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .array import Array
from .commands import Commands
from .counters import Counters
from .deframer import Deframer
from .framer import Framer, Switch
from .geometry import Geometry
from .memory import ActivationBuffer, WeightStore
from .packer import Packer
from .sequencer import JobQueue, Sequencer

__all__ = ["Core"]


class Core(wiring.Component):
    """The whole accelerator, in one clock domain, spoken to through `wire`'s frames.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    rx : In(stream.Signature(8))
        Bytes from the host.
    tx : Out(stream.Signature(8))
        Bytes to the host.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({"rx": In(stream.Signature(8)), "tx": Out(stream.Signature(8))})

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        abort = Signal()

        m.submodules.deframer = deframer = Deframer()
        m.submodules.commands = commands = Commands(geometry)
        m.submodules.queue = queue = ResetInserter(abort)(JobQueue(geometry))
        m.submodules.sequencer = sequencer = ResetInserter(abort)(Sequencer(geometry))
        m.submodules.weights = weights = WeightStore(geometry)
        m.submodules.acts = acts = ActivationBuffer(geometry)
        m.submodules.array = array = ResetInserter(abort)(Array(geometry))
        m.submodules.packer = packer = ResetInserter(abort)(Packer(geometry))
        m.submodules.results = results = Framer()
        m.submodules.replies = replies = Framer()
        m.submodules.switch = switch = Switch(2)
        m.submodules.counters = counters = Counters(geometry)

        wiring.connect(m, wiring.flipped(self.rx), deframer.link)
        wiring.connect(m, deframer.arrivals, commands.arrivals)
        wiring.connect(m, deframer.content, commands.content)
        wiring.connect(m, commands.weights, weights.writes)
        wiring.connect(m, commands.acts, acts.writes)
        wiring.connect(m, commands.jobs, queue.pushes)
        wiring.connect(m, queue.jobs, sequencer.jobs)
        wiring.connect(m, sequencer.beats, array.beats)
        wiring.connect(m, sequencer.outputs, packer.outputs)
        for row in range(geometry.rows):
            wiring.connect(m, array.sums[row], packer.sums[row])
        wiring.connect(m, packer.frames, results.frames)
        wiring.connect(m, commands.replies, replies.frames)
        wiring.connect(m, replies.encoded, switch.inputs[0])
        wiring.connect(m, results.encoded, switch.inputs[1])
        wiring.connect(m, switch.output, wiring.flipped(self.tx))

        was_streaming = Signal()
        m.d.sync += was_streaming.eq(sequencer.streaming & ~abort)
        m.d.comb += [
            abort.eq(commands.abort),
            results.discard.eq(abort),
            weights.read.eq(sequencer.weights_read),
            weights.address.eq(sequencer.weights_at),
            array.weights.eq(weights.word),
            acts.read.eq(sequencer.acts_read),
            acts.address.eq(sequencer.acts_at),
            *(array.acts[row].eq(acts.words[row]) for row in range(geometry.rows)),
            sequencer.tile_freed.eq(packer.tile_freed),
            sequencer.streams.eq(commands.streams),
            sequencer.streamed_words.eq(commands.stream_written),
            commands.stream_at.eq(sequencer.stream_at),
            commands.stream_ready.eq(sequencer.stream_ready),
            commands.streamed_job_ended.eq(was_streaming & ~sequencer.streaming),
            commands.busy.eq(queue.waiting | sequencer.running),
            commands.draining.eq(counters.active),
            counters.abort.eq(abort),
            counters.issued.eq(sequencer.issued),
            counters.running.eq(sequencer.running | sequencer.jobs.valid),
            counters.tile_done.eq(array.tile_done),
            counters.job_done.eq(packer.job_done),
            counters.sent.eq(packer.sent),
            counters.bad_frame.eq(deframer.arrivals.valid & deframer.arrivals.ready & deframer.arrivals.payload.bad),
            commands.counters.eq(counters.counters),
        ]
        return m
