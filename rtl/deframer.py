"""Frames in: COBS, CRC-32, and a buffer that hands on whole, correct frames only."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .crc import CRC32
from .ram import RAM
from .wire import CRC_BYTES, FRAME_BYTES, HEADER, RX_BYTES

__all__ = ["Deframer"]

#: Bytes of the ring that stay free: one, and those that come before it is known that there are no more.
_MARGIN = 4


class Deframer(wiring.Component):
    """Decodes frames into a ring of bytes; those of a frame that turns out to be bad are taken back.

    A byte a cycle. When the ring is full the link waits. After a malformed, truncated or oversized frame the next zero byte starts afresh;
    frames without a byte are ignored.

    In the ring a frame is its size and its bytes without the CRC, a bad one is a 0. Either is shorter than the frame was on the link, so
    `RX_BYTES` of those fit whatever they are.

    Members
    -------
    link : In(stream.Signature(8))
        Bytes from the link.
    content : Out(stream.Signature(8))
        For each frame that has ended, its size and so many bytes; a 0 for a bad one.
    good, bad : Out(1)
        A frame ended, two cycles ago.
    """

    #: Bytes of the ring. Some stay free.
    RING_BYTES = RX_BYTES + 1

    link: In(stream.Signature(8))
    content: Out(stream.Signature(8))
    good: Out(1)
    bad: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = RAM(8, self.RING_BYTES)
        m.submodules.crc = check = CRC32()

        # Positions in the ring: `kept` is where the size of the frame coming in goes, `write_at` its next byte, `read_at` what is read next.
        kept, read_at = (Signal(range(self.RING_BYTES), name=name) for name in ("kept", "read_at"))
        write_at = Signal(range(self.RING_BYTES), init=1)

        # One cycle: take a byte. There is room as long as there is some more: it is known a cycle late. That costs a frame none of its
        # `RX_BYTES`, as what came before it takes less in the ring than it did on the link.
        room, free = Signal(), Signal(range(self.RING_BYTES))
        byte, valid, delimits = Signal(8, reset_less=True), Signal(), Signal()
        m.d.comb += [free.eq(read_at - write_at), self.link.ready.eq(room)]
        m.d.sync += [
            room.eq(free > _MARGIN),
            byte.eq(self.link.payload),
            valid.eq(self.link.valid & self.link.ready & (self.link.payload != 0)),
            delimits.eq(self.link.valid & self.link.ready & (self.link.payload == 0)),
        ]

        # The next: decode it.
        size = Signal(8)                         # bytes decoded that are in the ring
        filled, oversized = Signal(), Signal()   # the longest frame's; and there are more
        run, at_code = Signal(8), Signal(init=1) # bytes until the next code byte, and whether that is this one
        zero_due = Signal()                      # the next code byte stands for a zero
        started = Signal()
        put, ended, bad = Signal(), Signal(), Signal()
        due = Mux(at_code, byte, run)
        m.d.comb += [
            put.eq(valid & (~at_code | zero_due)),
            check.data.eq(Mux(at_code, 0, byte)),
            check.valid.eq(put),
            check.restart.eq(ended),
        ]
        with m.If(put):
            with m.If(filled):
                m.d.sync += oversized.eq(1)
            with m.Else():
                m.d.sync += [size.eq(size + 1), filled.eq(size == FRAME_BYTES - 1), write_at.eq(write_at + 1)]
        with m.If(valid):
            m.d.sync += [run.eq(due - 1), at_code.eq(due == 1), started.eq(1)]
            with m.If(at_code):
                m.d.sync += zero_due.eq(byte != 0xFF)
        with m.If(delimits):
            m.d.sync += [at_code.eq(1), zero_due.eq(0), started.eq(0)]
        m.d.sync += [
            ended.eq(delimits & started),
            bad.eq(~at_code | (size < HEADER.size + CRC_BYTES) | oversized | ~check.match),
        ]

        # And after a frame's last: keep it or not. A byte that comes in this cycle is the next frame's first, and no byte of its content.
        m.d.comb += [
            ring.write.eq(ended | (put & ~filled)),
            ring.write_at.eq(Mux(ended, kept, write_at)),
            ring.data.eq(Mux(ended, Mux(bad, 0, size - CRC_BYTES), check.data)),
            self.good.eq(ended & ~bad),
            self.bad.eq(ended & bad),
        ]
        with m.If(ended):
            m.d.sync += [size.eq(0), filled.eq(0), oversized.eq(0)]
            with m.If(bad):
                m.d.sync += [kept.eq(kept + 1), write_at.eq(kept + 2)]
            with m.Else():
                m.d.sync += [kept.eq(write_at - CRC_BYTES), write_at.eq(write_at - (CRC_BYTES - 1))]

        # The next byte waits in a register, as block RAMs are slow.
        more = Signal()       # than has been read
        fetched = Signal()    # a byte stands at the ring's output
        moves = ~self.content.valid | self.content.ready
        m.d.sync += more.eq(Mux(ring.read, (read_at + 1)[:len(read_at)] != kept, read_at != kept))
        m.d.comb += [
            ring.read.eq((~fetched | moves) & more),
            ring.read_at.eq(read_at),
        ]
        with m.If(moves):
            m.d.sync += [self.content.valid.eq(fetched), self.content.payload.eq(ring.word), fetched.eq(0)]
        with m.If(ring.read):
            m.d.sync += [read_at.eq(read_at + 1), fetched.eq(1)]
        return m
