"""The core: two byte streams in front, the array behind. A board adds pins, a clock and the link's PHY."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .array import Array
from .commands import Commands, identity
from .counters import Counters
from .deframer import Deframer
from .framer import Framer, Switch
from .geometry import Geometry
from .memory import ActivationBuffer, WeightStore
from .packer import Packer
from .replies import Replies
from .sequencer import JobQueue, Sequencer
from .site import Site

__all__ = ["Core"]


class Core(wiring.Component):
    """The whole accelerator, in one clock domain, spoken to through `wire`'s frames.

    Parameters
    ----------
    geometry : Geometry
    site : Site
        What the core tells of where it is; by default, that it is nowhere.

    Members
    -------
    rx : In(stream.Signature(8))
        Bytes from the host.
    tx : Out(stream.Signature(8))
        Bytes to the host.
    rates : Out(stream.Signature(16, always_ready=True))
        A RATE was executed: clock cycles in a bit of the link, from behind the next zero byte of `tx` on. All bytes before were taken.
    good_frame, bad_frame : Out(1)
        A frame from the host ended in this cycle.
    working : Out(1)
        A job waits or runs.
    """

    def __init__(self, geometry: Geometry, site: Site = Site()):    # noqa: B008 (frozen)
        self._geometry = geometry
        self._site = site
        super().__init__({
            "rx":         In(stream.Signature(8)),
            "tx":         Out(stream.Signature(8)),
            "rates":      Out(stream.Signature(16, always_ready=True)),
            "good_frame": Out(1),
            "bad_frame":  Out(1),
            "working":    Out(1),
        })

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    @property
    def site(self) -> Site:
        return self._site

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        abort = Signal()

        m.submodules.deframer = deframer = Deframer()
        m.submodules.commands = commands = Commands(geometry, self._site)
        m.submodules.queue = queue = ResetInserter(abort)(JobQueue(geometry))
        m.submodules.sequencer = sequencer = ResetInserter(abort)(Sequencer(geometry))
        m.submodules.weights = weights = WeightStore(geometry)
        m.submodules.acts = acts = ActivationBuffer(geometry)
        m.submodules.array = array = ResetInserter(abort)(Array(geometry))
        m.submodules.packer = packer = ResetInserter(abort)(Packer(geometry))
        m.submodules.replies = replies = ResetInserter(abort)(Replies())
        m.submodules.switch = switch = Switch()
        m.submodules.framer = framer = Framer()
        m.submodules.counters = counters = Counters(geometry, identity(geometry, self._site))

        wiring.connect(m, wiring.flipped(self.rx), deframer.link)
        wiring.connect(m, deframer.content, commands.content)
        wiring.connect(m, commands.weights, weights.writes)
        wiring.connect(m, commands.acts, acts.writes)
        wiring.connect(m, commands.jobs, queue.pushes)
        wiring.connect(m, queue.jobs, sequencer.jobs)
        wiring.connect(m, sequencer.beats, array.beats)
        wiring.connect(m, sequencer.outputs, packer.outputs)
        for row in range(geometry.rows):
            wiring.connect(m, array.sums[row], packer.sums[row])
        wiring.connect(m, commands.replies, replies.requests)
        wiring.connect(m, replies.frames, switch.inputs[0])
        wiring.connect(m, packer.frames, switch.inputs[1])
        wiring.connect(m, switch.output, framer.frames)
        wiring.connect(m, framer.encoded, wiring.flipped(self.tx))
        wiring.connect(m, commands.rates, wiring.flipped(self.rates))

        was_streaming = Signal()
        m.d.sync += [
            was_streaming.eq(sequencer.streaming & ~abort),
            # A cycle late: no command is followed by another as fast as that.
            commands.busy.eq(queue.waiting | sequencer.running),
            commands.draining.eq(counters.active),
            # The last byte counts as sent when the link could take another: a link that was still at it would mistake it for the next frame's.
            commands.sending.eq(packer.working | ~replies.idle | framer.working | self.tx.valid | ~self.tx.ready),
        ]
        m.d.comb += [
            abort.eq(commands.abort),
            switch.abort.eq(abort),
            framer.discard.eq(abort),
            packer.cut.eq(switch.waiting),
            queue.started.eq(sequencer.started),
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
            self.good_frame.eq(deframer.good),
            self.bad_frame.eq(deframer.bad),
            self.working.eq(commands.busy | commands.draining),
            counters.abort.eq(abort),
            counters.issued.eq(sequencer.issued),
            counters.running.eq(sequencer.running | sequencer.jobs.valid),
            counters.tile_done.eq(array.tile_done),
            counters.job_done.eq(packer.job_done),
            counters.sent.eq(packer.sent),
            counters.bad_frame.eq(commands.bad_frame),
            counters.asked.eq(replies.asked),
            counters.read.eq(replies.read),
            counters.read_at.eq(replies.text_at),
            counters.write.eq(replies.write),
            counters.write_at.eq(replies.text_at),
            counters.data.eq(replies.data),
            replies.turn.eq(counters.turn),
            replies.granted.eq(counters.granted),
            replies.byte.eq(counters.byte),
            replies.nonce.eq(commands.nonce),
            replies.claim.eq(commands.claim),
            replies.claimed.eq(commands.claimed),
        ]
        return m
