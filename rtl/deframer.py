"""Frames in: COBS, CRC-32, and a buffer that hands on whole, correct frames only."""

from amaranth import *
from amaranth.lib import crc, data, fifo, memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from .wire import CRC_BYTES, FRAME_BYTES, HEADER, RX_BYTES

__all__ = ["Arrival", "Deframer"]


class Arrival(data.Struct):
    """A frame that has ended: how many bytes it left in the buffer (CRC not counted), or that it was bad and left none."""

    size: 8
    bad: 1


class Deframer(wiring.Component):
    """Decodes frames into a ring of bytes; those of a frame that turns out to be bad are taken back.

    A byte a cycle. When the ring is full the link waits. After a malformed, truncated or oversized frame the next zero byte starts afresh;
    frames without a byte are ignored.

    Members
    -------
    link : In(stream.Signature(8))
        Bytes from the link.
    arrivals : Out(stream.Signature(Arrival))
        Ended frames, in order.
    content : Out(stream.Signature(8))
        Their bytes, without gaps between frames.
    """

    #: Bytes of the ring, one of which stays free.
    RING_BYTES = RX_BYTES + 1
    #: Ended frames that may wait, good or bad: as many as `RX_BYTES` of the shortest ones.
    ARRIVALS = RING_BYTES // (HEADER.size + CRC_BYTES + 2)

    link: In(stream.Signature(8))
    arrivals: Out(stream.Signature(Arrival))
    content: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        m.submodules.ring = ring = memory.Memory(shape=8, depth=self.RING_BYTES, init=[])
        m.submodules.ended = ended = fifo.SyncFIFOBuffered(width=Arrival.as_shape().size, depth=self.ARRIVALS)
        m.submodules.crc = check = crc.Processor(CRC32_ISO_HDLC(data_width=8))
        write, read = ring.write_port(), ring.read_port()

        # Positions in the ring: `kept` ends the last good frame, `write_at` the one coming in, `read_at` the content read.
        kept, write_at, read_at = (Signal(range(self.RING_BYTES), name=name) for name in ("kept", "write_at", "read_at"))

        size = Signal(range(FRAME_BYTES + 2))    # bytes decoded, one past the limit when there are more
        run = Signal(8)                          # bytes until the next code byte
        zero_due = Signal()                      # the next code byte stands for a zero
        started = Signal()
        ring_has_room = (write_at + 1)[:len(write_at)] != read_at

        bad = Signal()
        arrival = Signal(Arrival)
        m.d.comb += [
            bad.eq((run != 0) | (size < HEADER.size + CRC_BYTES) | (size > FRAME_BYTES) | ~check.match_detected),
            arrival.bad.eq(bad),
            arrival.size.eq(Mux(bad, 0, size - CRC_BYTES)),
            ended.w_data.eq(arrival),
            self.arrivals.valid.eq(ended.r_rdy),
            self.arrivals.payload.eq(ended.r_data),
            ended.r_en.eq(self.arrivals.ready),
            self.link.ready.eq(ended.w_rdy & ring_has_room),
        ]

        byte = self.link.payload
        taken, put = Signal(), Signal()
        m.d.comb += taken.eq(self.link.valid & self.link.ready)
        m.d.comb += [
            write.addr.eq(write_at), write.data.eq(Mux(run == 0, 0, byte)), write.en.eq(put & (size < FRAME_BYTES)),
            check.data.eq(write.data), check.valid.eq(put), check.start.eq(put & (size == 0)),
        ]
        with m.If(put & (size <= FRAME_BYTES)):
            m.d.sync += size.eq(size + 1)
        with m.If(write.en):
            m.d.sync += write_at.eq(write_at + 1)

        with m.If(taken):
            with m.If(byte == 0):
                m.d.comb += ended.w_en.eq(started)
                m.d.sync += [started.eq(0), size.eq(0), run.eq(0), zero_due.eq(0)]
                with m.If(bad):
                    m.d.sync += write_at.eq(kept)
                with m.Else():
                    m.d.sync += [kept.eq(write_at - CRC_BYTES), write_at.eq(write_at - CRC_BYTES)]
            with m.Elif(run == 0):
                m.d.comb += put.eq(zero_due)
                m.d.sync += [started.eq(1), run.eq(byte - 1), zero_due.eq(byte != 0xFF)]
            with m.Else():
                m.d.comb += put.eq(1)
                m.d.sync += run.eq(run - 1)

        fetch = Signal()
        m.d.comb += [
            fetch.eq((~self.content.valid | self.content.ready) & (read_at != kept)),
            read.en.eq(fetch),
            read.addr.eq(read_at),
            self.content.payload.eq(read.data),
        ]
        with m.If(fetch):
            m.d.sync += [read_at.eq(read_at + 1), self.content.valid.eq(1)]
        with m.Elif(self.content.ready):
            m.d.sync += self.content.valid.eq(0)
        return m
