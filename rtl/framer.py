"""Frames out: CRC-32, COBS, delimiter; and the switch that lets one framer speak at a time."""

from amaranth import *
from amaranth.lib import crc, data, memory, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from .wire import CRC_BYTES

__all__ = ["Byte", "Framer", "Switch"]


class Byte(data.Struct):
    """A byte of a frame, and whether it is the frame's last."""

    data: 8
    last: 1


class Framer(wiring.Component):
    """Appends the CRC, encodes with COBS and sends whole frames: while one is sent, the next is built.

    A COBS frame is the frame with every zero replaced by the distance to the next one, and a first byte that leads to the first.
    A frame of at most 254 bytes needs no more than that, so it is encoded in place: each byte is written at its position, and each
    zero writes its distance where the zero before it was. One memory write a byte, one more at the end.

    A frame of n bytes before the CRC takes ``n + 5`` cycles to build and ``n + 6`` to send.

    Members
    -------
    frames : In(stream.Signature(Byte))
        Frames of at most 250 bytes, without their CRC.
    discard : In(1)
        Drops the frame being built and any not yet being sent.
    encoded : Out(stream.Signature(Byte))
        Encoded bytes; `last` with the delimiter.
    """

    frames: In(stream.Signature(Byte))
    discard: In(1)
    encoded: Out(stream.Signature(Byte))

    def elaborate(self, platform):
        m = Module()
        m.submodules.buffer = buffer = memory.Memory(shape=8, depth=512, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        m.submodules.crc = check = crc.Processor(CRC32_ISO_HDLC(data_width=8))

        # Two halves, each free, or full with a frame that ends at `size`.
        full = Signal(2)
        size = Array(Signal(8, name=f"size{half}") for half in range(2))
        building, sending = Signal(), Signal()
        completed, emptied = Signal(), Signal()

        position = Signal(8, init=1)      # 0 is the leading code byte
        code_at = Signal(8)               # where the zero (or the leading byte) waits for its distance
        byte = Signal(8)
        put = Signal()
        m.d.comb += [
            write.addr.eq(Cat(Mux(byte == 0, code_at, position), building)),
            write.data.eq(Mux(byte == 0, position - code_at, byte)),
            write.en.eq(put),
        ]
        with m.If(put):
            m.d.sync += position.eq(position + 1)
            with m.If(byte == 0):
                m.d.sync += code_at.eq(position)

        crc_byte = Signal(range(CRC_BYTES))
        with m.FSM():
            with m.State("Frame"):
                m.d.comb += [
                    byte.eq(self.frames.payload.data),
                    self.frames.ready.eq(~full.bit_select(building, 1)),
                    put.eq(self.frames.valid & self.frames.ready),
                    check.data.eq(byte),
                    check.valid.eq(put),
                    check.start.eq(put & (position == 1)),
                ]
                with m.If(put & self.frames.payload.last & ~self.discard):
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [byte.eq(check.crc.word_select(crc_byte, 8)), put.eq(1)]
                m.d.sync += crc_byte.eq(crc_byte + 1)
                with m.If(self.discard):
                    m.d.sync += crc_byte.eq(0)
                    m.next = "Frame"
                with m.Elif(crc_byte == CRC_BYTES - 1):
                    m.next = "Close"
            with m.State("Close"):
                m.d.comb += [
                    write.addr.eq(Cat(code_at, building)), write.data.eq(position - code_at), write.en.eq(1),
                    completed.eq(1),
                ]
                m.d.sync += [size[building].eq(position), building.eq(~building), position.eq(1), code_at.eq(0)]
                m.next = "Frame"

        # `fetched` bytes of the frame in `sending` were read; the last one read stands in `read.data` while `encoded.valid`.
        fetched = Signal(8)
        active = Signal()
        step = ~self.encoded.valid | self.encoded.ready
        ended = Signal()
        m.d.comb += [
            read.addr.eq(Cat(fetched, sending)),
            read.en.eq(step),
            self.encoded.payload.data.eq(Mux(ended, 0, read.data)),
            self.encoded.payload.last.eq(ended),
        ]
        with m.If(step):
            m.d.sync += [self.encoded.valid.eq(0), ended.eq(0)]
            with m.If(~active & full.bit_select(sending, 1) & ~self.discard):
                m.d.sync += [active.eq(1), fetched.eq(1), self.encoded.valid.eq(1)]
            with m.Elif(active):
                m.d.sync += [fetched.eq(fetched + 1), self.encoded.valid.eq(1)]
                with m.If(fetched == size[sending]):
                    m.d.sync += [active.eq(0), fetched.eq(0), ended.eq(1), sending.eq(~sending)]
                    m.d.comb += emptied.eq(1)

        with m.If(completed):
            m.d.sync += full.bit_select(building, 1).eq(1)
        with m.If(emptied):
            m.d.sync += full.bit_select(sending, 1).eq(0)
        with m.If(self.discard):
            # Only what is being sent stays; the frame after it starts in the other half.
            m.d.sync += [full.eq(0), building.eq(sending), position.eq(1), code_at.eq(0)]
            with m.If(active & ~emptied):
                m.d.sync += [full.bit_select(sending, 1).eq(1), building.eq(~sending)]
            with m.If(emptied):
                m.d.sync += building.eq(~sending)
        return m


class Switch(wiring.Component):
    """Joins framers into one stream of bytes, whole frames at a time, the first port first: what it sends must be short.

    Members
    -------
    inputs : In(stream.Signature(Byte)).array(count)
        Encoded frames.
    output : Out(stream.Signature(8))
        Bytes for the link.
    """

    def __init__(self, count: int):
        self._count = count
        super().__init__({
            "inputs": In(stream.Signature(Byte)).array(count),
            "output": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        owner, owned = Signal(range(self._count)), Signal()
        current = Signal.like(owner)
        m.d.comb += current.eq(owner)
        with m.If(~owned):
            for i in reversed(range(self._count)):
                with m.If(self.inputs[i].valid):
                    m.d.comb += current.eq(i)
        for i in range(self._count):
            with m.If(current == i):
                source = self.inputs[i]
                m.d.comb += [
                    self.output.payload.eq(source.payload.data),
                    self.output.valid.eq(source.valid),
                    source.ready.eq(self.output.ready),
                ]
                with m.If(source.valid):
                    m.d.sync += [owner.eq(i), owned.eq(~(source.payload.last & self.output.ready))]
        return m
