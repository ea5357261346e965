"""Counters: what every cycle of a job was spent on. They are kept in one memory with the text of the identity: what the host may ask for."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .ram import RAM
from .wire import COUNTERS, IDENTITY

__all__ = ["Counters", "Issued"]

_COUNTS = len(COUNTERS.fields)
_LOG = (COUNTERS.size // _COUNTS).bit_length() - 1    # bits of a byte's number within a counter

#: Events of one kind between two visits: a round is 32 cycles, and waits for the reply to COUNTERS, 70.
_PENDING_BITS = 7


class Issued(data.Struct):
    """What the sequencer did in a cycle: a beat of a tile (its first: `tile`), a beat of the ramp, or waiting, and for what."""

    busy: 1
    ramp: 1
    stall_weights: 1
    stall_results: 1
    tile: 1


class Counters(wiring.Component):
    """Counts from a job's first beat until its last sum has left the array; without a job nothing is counted.

    The last sum is taken to leave with the last row, whether or not that row is at work.

    Eight counters of 32 bits, their increments and a way to read them are a fifth of the whole control. So each has 7 bits of its own, and
    one adder goes round, a byte a cycle, and adds those to the sums in a memory: a round takes 32 cycles. The first one after a reset clears them.

    A reader asks, and may read when a round has ended; then the sums stand still until he is done, so that no number is torn. They hold
    all events of before the last round: who asks at its end gets all that happened before he asked.

    Parameters
    ----------
    geometry : Geometry
    identity : bytes
        The memory's text beside the counters, an IDENTITY.

    Members
    -------
    issued : In(Issued)
        From the sequencer.
    running : In(1)
        A job's beats are being issued, or the next job may start.
    tile_done, sent, job_done, bad_frame : In(1)
        A tile's last sum leaves the array; a result was sent; a job's last result was; a bad frame was dropped.
    abort : In(1)
        Jobs are dropped.
    active : Out(1)
        A span is being counted.
    turn : Out(1)
        A round ends.
    asked : In(1), granted : Out(1)
        Somebody wants to read; he may, from the next round's beginning until he does not ask any more.
    read : In(1), read_at : In(range(128)), byte : Out(8)
        Bytes of the counters from `COUNTS_AT` on, of the identity from `IDENTITY_AT` on. Only while `granted`, and not the counters' last two
        bytes in the first two cycles of that.
    write : In(1), write_at : In(range(128)), data : In(8)
        Changes the identity. Only while `granted`, and not in the first two cycles of that.
    """

    #: Bytes of the memory.
    SIZE = 128
    #: Where the counters begin in it.
    COUNTS_AT = 0
    #: Where the identity does, and where that tells the owner: so that four bytes' places are told by few bits.
    IDENTITY_AT = 67
    OWNER_AT = IDENTITY_AT + IDENTITY.size - 4

    def __init__(self, geometry: Geometry, identity: bytes):
        self._geometry = geometry
        self._identity = identity
        super().__init__({
            "issued":    In(Issued),
            "running":   In(1),
            "tile_done": In(1),
            "sent":      In(1),
            "job_done":  In(1),
            "bad_frame": In(1),
            "abort":     In(1),
            "active":    Out(1),
            "turn":      Out(1),
            "asked":     In(1),
            "granted":   Out(1),
            "read":      In(1),
            "read_at":   In(range(self.SIZE)),
            "byte":      Out(8),
            "write":     In(1),
            "write_at":  In(range(self.SIZE)),
            "data":      In(8),
        })

    def elaborate(self, platform):
        m = Module()
        # Tiles in the array. Not bounded by the sequencer's credit, which rows without work give back before the last row is through; but one
        # starts at most every `cols` cycles.
        tiles = Signal(range(self._geometry.latency + self._geometry.rows + 4))
        ends = Signal()
        counted = Signal()
        m.d.comb += [
            ends.eq(self.tile_done & (tiles == 1) & ~self.issued.tile & ~self.running),
            counted.eq(self.active | self.issued.tile),
        ]
        m.d.sync += tiles.eq(tiles + self.issued.tile - self.tile_done)
        with m.If(self.issued.tile):
            m.d.sync += self.active.eq(1)
        with m.Elif(ends):
            m.d.sync += self.active.eq(0)
        with m.If(self.abort):
            m.d.sync += [tiles.eq(0), self.active.eq(0)]

        at = Signal(range(COUNTERS.size))    # the byte that is read; a cycle later its word goes into a register, after that it is written
        was_at, write_at = Signal.like(at), Signal.like(at)
        going, writing = Signal(), Signal()
        clearing, was_clearing = Signal(init=1), Signal(init=1)
        slot, first = was_at[_LOG:], was_at[:_LOG] == 0
        m.d.comb += self.turn.eq(~self.granted & (at == COUNTERS.size - 1))
        with m.If(~self.granted):
            m.d.sync += at.eq(at + 1)
        with m.If(self.turn):
            m.d.sync += clearing.eq(0)
        m.d.sync += [
            was_at.eq(at), was_clearing.eq(clearing), going.eq(~self.granted),
            write_at.eq(was_at), writing.eq(going),
            self.granted.eq(self.asked & (self.granted | self.turn)),
        ]

        events = {
            "cycles":        counted,
            "busy":          self.issued.busy,
            "ramp":          self.issued.ramp,
            "stall_weights": self.issued.stall_weights & counted,
            "stall_results": self.issued.stall_results & counted,
            "jobs":          self.job_done,
            "results":       self.sent,
            "bad_frames":    self.bad_frame,
        }
        pending = []
        for i, field in enumerate(COUNTERS.fields):
            event, count = Signal(name=f"{field.name}_event"), Signal(_PENDING_BITS, name=field.name)
            m.d.sync += event.eq(events[field.name])
            with m.If(going & first & (slot == i)):
                m.d.sync += count.eq(event)
            with m.Elif(event):
                m.d.sync += count.eq(count + 1)
            pending.append(count)

        m.submodules.sums = sums = RAM(8, self.SIZE, [0] * self.IDENTITY_AT + list(self._identity), style="block")
        word, addend, carry = Signal(8), Signal(8), Signal()
        total = Signal(9)
        m.d.comb += [
            total.eq(word + addend + carry),
            sums.read.eq(~self.granted | self.read),
            sums.read_at.eq(Mux(self.granted, self.read_at, at)),
            sums.write.eq(Mux(writing, 1, self.write)),
            sums.write_at.eq(Mux(writing, write_at, self.write_at)),
            sums.data.eq(Mux(writing, total, self.data)),
            self.byte.eq(sums.word),
        ]
        m.d.sync += [word.eq(Mux(was_clearing, 0, sums.word)), addend.eq(0), carry.eq(total[8])]
        with m.If(first):
            m.d.sync += [addend.eq(Array(pending)[slot]), carry.eq(0)]
        return m
