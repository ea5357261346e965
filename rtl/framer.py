"""Frames out: who may speak, CRC-32, COBS, delimiter."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .crc import CRC32
from .ram import RAM
from .wire import CRC_BYTES

__all__ = ["Byte", "Framer", "Switch"]


class Byte(data.Struct):
    """A byte of a frame, or (and then no byte) the frame's end."""

    data: 8
    end: 1


class Framer(wiring.Component):
    """Appends the CRC, encodes with COBS and sends whole frames: while one is sent, the next is built.

    A COBS frame is the frame with every zero replaced by the distance to the next one, and a first byte that leads to the first.
    A frame of at most 254 bytes needs no more than that, so it is encoded in place: each byte is written at its position, and each
    zero writes its distance where the zero before it was. One memory write a byte, one more at the end.

    A frame of n bytes before the CRC takes ``n + 8`` cycles to build and ``n + 6`` to send.

    Members
    -------
    frames : In(stream.Signature(Byte))
        Frames of at most 250 bytes, without their CRC.
    discard : In(1)
        Drops the frame being built and any not yet being sent.
    encoded : Out(stream.Signature(8))
        Bytes for the link.
    working : Out(1)
        A frame is being built, or is not yet sent.
    """

    frames: In(stream.Signature(Byte))
    discard: In(1)
    encoded: Out(stream.Signature(8))
    working: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = RAM(8, 512)
        m.submodules.crc = check = CRC32()

        # Two halves, each free, or full with a frame that ends at `size`.
        full = Signal(2)
        size = Array(Signal(8, name=f"size{half}", reset_less=True) for half in range(2))
        building, sending = Signal(), Signal()
        completed, emptied = Signal(), Signal()

        # What comes has come through much logic.
        byte_in = Signal(8, reset_less=True)
        put_in, end_in = Signal(), Signal()
        open_in = Signal()
        m.d.comb += self.frames.ready.eq(open_in)
        m.d.sync += [
            open_in.eq(0),
            byte_in.eq(self.frames.payload.data),
            put_in.eq(self.frames.valid & self.frames.ready & ~self.frames.payload.end & ~self.discard),
            end_in.eq(self.frames.valid & self.frames.ready & self.frames.payload.end & ~self.discard),
        ]

        position = Signal(8, init=1)      # 0 is the leading code byte
        code_at = Signal(8)               # where the zero (or the leading byte) waits for its distance
        byte = Signal(8)
        zero = byte == 0
        closing = Signal()
        put = Signal()
        to_code = zero | closing
        m.d.comb += [
            buffer.write_at.eq(Cat(Mux(to_code, code_at, position), building)),
            buffer.data.eq(Mux(to_code, position - code_at, byte)),
            buffer.write.eq(put | closing),
            check.data.eq(byte),
            check.valid.eq(put),
        ]
        with m.If(put):
            m.d.sync += position.eq(position + 1)
            with m.If(zero):
                m.d.sync += code_at.eq(position)

        crc_byte = Signal(range(CRC_BYTES))
        with m.FSM():
            with m.State("Frame"):
                m.d.comb += [
                    byte.eq(byte_in),
                    put.eq(put_in),
                ]
                # The half that is being built is empty, and goes on to be.
                m.d.sync += open_in.eq(~full.bit_select(building, 1) & ~end_in & ~(self.frames.ready & self.frames.valid & self.frames.payload.end))
                with m.If(end_in & ~self.discard):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(check.byte), check.shift.eq(1), put.eq(1)]
                m.d.sync += crc_byte.eq(crc_byte + 1)
                with m.If(self.discard):
                    m.d.sync += crc_byte.eq(0)
                    m.next = "Frame"
                with m.Elif(crc_byte == CRC_BYTES - 1):
                    m.next = "Close"
            with m.State("Close"):
                m.d.comb += [closing.eq(1), completed.eq(1)]
                m.d.sync += size[building].eq(position)
                m.next = "Frame"
        m.d.comb += check.restart.eq(completed | self.discard)

        # `fetched` bytes of the frame in `sending` were read; the last one read stands in `buffer.word` while `encoded.valid`.
        fetched = Signal(8)
        active = Signal()
        step = ~self.encoded.valid | self.encoded.ready
        ended = Signal()
        m.d.comb += [
            buffer.read_at.eq(Cat(fetched, sending)),
            buffer.read.eq(step),
            self.encoded.payload.eq(Mux(ended, 0, buffer.word)),
            self.working.eq(full.any() | (position != 1) | put_in | self.encoded.valid),
        ]
        with m.If(step):
            m.d.sync += [self.encoded.valid.eq(0), ended.eq(0)]
            with m.If(active):
                m.d.sync += [fetched.eq(fetched + 1), self.encoded.valid.eq(1)]
                with m.If(fetched == size[sending]):
                    m.d.sync += [active.eq(0), fetched.eq(0), ended.eq(1), sending.eq(~sending)]
                    m.d.comb += emptied.eq(1)
            with m.Elif(full.bit_select(sending, 1) & ~self.discard):
                m.d.sync += [active.eq(1), fetched.eq(1), self.encoded.valid.eq(1)]

        with m.If(completed):
            m.d.sync += [full.bit_select(building, 1).eq(1), building.eq(~building)]
        with m.If(emptied):
            m.d.sync += full.bit_select(sending, 1).eq(0)
        with m.If(completed | self.discard):
            m.d.sync += [position.eq(1), code_at.eq(0)]
        with m.If(self.discard):
            # Only what is being sent stays; the frame after it starts in the other half.
            m.d.sync += [full.eq(0), building.eq(sending)]
            with m.If(active & ~emptied):
                m.d.sync += full.bit_select(sending, 1).eq(1)
            with m.If(active):
                m.d.sync += building.eq(~sending)
        return m


class Switch(wiring.Component):
    """Lets one speaker into the framer at a time, for a whole frame, the first port first, or after a frame that has begun.

    Members
    -------
    inputs : In(stream.Signature(Byte)).array(2)
        Frames. What the first port says must be short.
    abort : In(1)
        Nobody is speaking.
    output : Out(stream.Signature(Byte))
    waiting : Out(1)
        The first port wants to begin a frame.
    """

    inputs: In(stream.Signature(Byte)).array(2)
    abort: In(1)
    output: Out(stream.Signature(Byte))
    waiting: Out(1)

    def elaborate(self, platform):
        m = Module()
        first, second = self.inputs
        # Who speaks is known beforehand; the second port may begin at once, and makes way at the end of its frame.
        replying, busy = Signal(), Signal()
        moved = Signal()
        m.d.comb += [self.waiting.eq(first.valid), moved.eq(self.output.valid & self.output.ready)]
        with m.If(replying):
            m.d.comb += [self.output.payload.eq(first.payload), self.output.valid.eq(first.valid), first.ready.eq(self.output.ready)]
            with m.If(moved & first.payload.end):
                m.d.sync += replying.eq(0)
        with m.Else():
            m.d.comb += [self.output.payload.eq(second.payload), self.output.valid.eq(second.valid), second.ready.eq(self.output.ready)]
            with m.If(moved):
                m.d.sync += busy.eq(~second.payload.end)
            with m.If(first.valid & Mux(moved, second.payload.end, ~busy)):
                m.d.sync += replying.eq(1)
        with m.If(self.abort):
            m.d.sync += [replying.eq(0), busy.eq(0)]
        return m
