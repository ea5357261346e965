"""Frames out: COBS by its definition, whole frames, in order."""

from __future__ import annotations

from amaranth.hdl import Cat, Mux, Signal, Value

from tritloom.rtl.framer import Framer, Switch
from tritloom.rtl.wire import CRC_BYTES

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word, well_behaved
from .crc import crc_after

__all__ = ["PROPERTIES"]

_WHERE = "framer:Framer.elaborate"
_ALL = 0xFFFFFFFF


def _framer(*, most: int, discards: bool) -> Bench:
    """A framer that is given frames of at most so many bytes; `bench.length` counts those of the frame coming in."""
    bench = Bench(Framer())
    dut, m = bench.dut, bench.m
    well_behaved(bench, dut.frames)
    bench.taken = Signal()
    bench.length = Signal(8)
    m.d.comb += bench.taken.eq(dut.frames.valid & dut.frames.ready)
    bench.given((bench.length < most) | dut.frames.payload.end)
    with m.If(bench.taken):
        m.d.sync += bench.length.eq(Mux(dut.frames.payload.end, 0, bench.length + 1))
    with m.If(dut.discard):
        m.d.sync += bench.length.eq(0)
    if not discards:
        bench.given(~dut.discard)
    return bench


def _bytes() -> Bench:
    bench = _framer(most=250, discards=False)
    dut, m = bench.dut, bench.m
    put, byte, completed = (bench.inside(name) for name in ("put", "byte", "completed"))
    data = bench.taken & ~dut.frames.payload.end
    ends = bench.register(bench.taken & dut.frames.payload.end)
    crc, place = Signal(32, init=_ALL), Signal(3)    # of the checksum: 0 outside
    with m.If(put & (place == 0)):
        m.d.sync += crc.eq(crc_after(crc, byte))
    with m.If(ends):
        m.d.sync += place.eq(1)
    with m.If(place != 0):
        m.d.sync += [place.eq(Mux(place == CRC_BYTES + 1, 0, place + 1)), crc.eq(crc >> 8)]
    with m.If(completed):
        m.d.sync += crc.eq(_ALL)
    bench.always(~bench.register(data) | (put & (byte == bench.register(dut.frames.payload.data))), "each byte given is encoded")
    bench.always(~((place != 0) & (place <= CRC_BYTES)) | (put & (byte == ~crc[:8])), "behind the last come four bytes of the checksum")
    bench.always(completed == (place == CRC_BYTES + 1), "and then the frame is closed")
    bench.always(~put | bench.register(data) | ((place != 0) & (place <= CRC_BYTES)), "nothing else is encoded")
    states = bench.states()
    bench.lemma(states["Frame"] == (place == 0))
    bench.lemma(states["Close"] == (place == CRC_BYTES + 1))
    bench.lemma(~states["CRC"] | (bench.inside("crc_byte") + 1 == place))
    bench.lemma(states["CRC"] | (bench.inside("crc_byte") == 0))
    bench.lemma(place <= CRC_BYTES + 1)
    actual = bench.inside("crc.crc")
    bench.lemma(Mux(place <= 1, actual == crc, 1))
    for i in range(1, CRC_BYTES):
        bench.lemma((place != i + 1) | (actual[:32 - 8 * i] == crc[:32 - 8 * i]))
    bench.lemma(~bench.inside("open_in") | ((place == 0) & ~bench.inside("end_in")))
    bench.lemma(bench.inside("end_in") == ends)
    bench.lemma(bench.inside("put_in") == bench.register(data))
    bench.lemma(~bench.inside("put_in") | (bench.inside("byte_in") == bench.register(dut.frames.payload.data)))
    bench.lemma(~ends | (place == 0))
    bench.lemma(~bench.register(data) | (place == 0))
    bench.reaches(completed & (bench.length == 0), "a frame")
    return bench


def _cobs() -> Bench:
    bench = _framer(most=250, discards=False)
    dut, m = bench.dut, bench.m
    put, byte, completed, position = (bench.inside(name) for name in ("put", "byte", "completed", "position"))
    # One place of one frame, any of them: what stands there is the byte, or for a zero (and in front) the distance to the next or the end.
    # `framer.bytes` tells what the bytes are. Frames are counted modulo 4, as no more than three are on their way.
    frame, place = bench.constant("frame", 2), bench.constant("place", 8)
    into, out, at, sent = Signal(2), Signal(2), Signal(8, init=1), Signal(9)
    value, wants, size, pending = Signal(8), Signal(), Signal(8), Signal()
    open_zero = wants | ((place == 0) & (value == 0))
    mine = into == frame
    with m.If(put):
        m.d.sync += at.eq(at + 1)
        with m.If(mine & (at == place)):
            m.d.sync += [value.eq(byte), wants.eq(byte == 0)]
        with m.Elif(mine & open_zero & (byte == 0)):
            m.d.sync += [value.eq(at - place), wants.eq(0)]
    leaves = dut.encoded.valid & dut.encoded.ready
    ended = bench.inside("ended")
    with m.If(leaves):
        m.d.sync += sent.eq(sent + 1)
        with m.If(ended):
            m.d.sync += [sent.eq(0), out.eq(out + 1)]
            with m.If(out == frame):
                m.d.sync += [pending.eq(0), value.eq(0), wants.eq(0)]
    with m.If(completed):
        m.d.sync += [at.eq(1), into.eq(into + 1)]
        with m.If(mine):
            m.d.sync += [size.eq(at), pending.eq(1), wants.eq(0)]
            with m.If(open_zero & (place < at)):
                m.d.sync += value.eq(at - place)
    here = dut.encoded.valid & (out == frame)
    bench.always(~here | pending, "only a frame that was closed is sent")
    bench.always(~(completed & mine) | ~pending, "none is closed before the one in its place was sent")
    shown = here & (sent == place) & (place < size)
    bench.always(~(here & (sent == size)) | (dut.encoded.payload == 0), "a frame ends with a zero byte")
    bench.always(~shown | (dut.encoded.payload == value), "every byte is the frame's, or the distance to its next zero")
    bench.always(~shown | (dut.encoded.payload != 0), "no byte inside a frame is zero")
    bench.always(~here | (ended == (sent == size)), "a frame is as long as it was")

    building, sending, fetched, active, full = (bench.inside(name) for name in ("building", "sending", "fetched", "active", "full"))
    code_at, sizes, crc_byte = (bench.inside(name) for name in ("code_at", "size", "crc_byte"))
    put_in, end_in, states = bench.inside("put_in"), bench.inside("end_in"), bench.states()
    valid, closing = dut.encoded.valid, dut.encoded.valid & ended
    # How far the frame coming in is.
    bench.lemma(at == position)
    bench.lemma(~states["Frame"] | Mux(end_in, position <= 251, position + put_in == 1 + bench.length))
    bench.lemma(~end_in | (states["Frame"] & ~put_in & (bench.length == 0)))
    bench.lemma(states["Frame"] | (~put_in & ~end_in & ~bench.inside("open_in") & (bench.length == 0)))
    bench.lemma(~(end_in & bench.inside("open_in")))
    bench.lemma(bench.length <= 250)
    bench.lemma(~states["CRC"] | (position <= 251 + crc_byte))
    bench.lemma(states["CRC"] | (crc_byte == 0))
    bench.lemma((position >= 1) & (code_at < position))
    # Which halves are full, and of which frames.
    waiting = (into - out)[:2]
    bench.lemma(waiting == full[0] + full[1] + closing)
    bench.lemma((building == into[0]) & (sending == out[0] ^ closing))
    bench.lemma(Mux(full[0] ^ full[1], full.bit_select(sending, 1) & (building != sending), building == sending))
    bench.lemma((~active | full.bit_select(sending, 1)) & (~ended | valid))
    bench.lemma(~(put_in | end_in | ~states["Frame"] | (position != 1) | bench.inside("open_in")) | ~full.bit_select(building, 1))
    bench.lemma(Mux(valid & ~ended, active & (fetched == sent + 1), (fetched == 0) & ~active))
    bench.lemma(valid | (sent == 0))
    bench.lemma(~active | ((fetched >= 1) & (fetched <= Mux(sending, sizes[1], sizes[0]))))
    bench.lemma((~full[0] | (sizes[0] >= 1)) & (~full[1] | (sizes[1] >= 1)))
    # The place that is watched.
    half = frame[0]
    stored = bench.stored("buffer", Cat(place, half))
    bench.lemma(pending == ((frame - out)[:2] < waiting))
    inside = pending & ~(closing & (out == frame))
    bench.lemma(~inside | (full.bit_select(half, 1) & (size == Mux(half, sizes[1], sizes[0])) & (size >= 1)))
    bench.lemma(~(inside & (place < size)) | ((stored == value) & (value != 0)))
    bench.lemma(~(closing & (out == frame)) | (sent == size))
    bench.lemma(~(valid & ~ended & (out == frame)) | (sent < size))
    bench.lemma(~(valid & ~ended & (out == frame) & (sent == place)) | (bench.inside("buffer").word == value))
    bench.lemma(~pending | ~wants)
    now = mine & ~pending & (place < at)
    bench.lemma(~now | (open_zero == (code_at == place)))
    bench.lemma(~(now & ~open_zero) | ((stored == value) & (value != 0)))
    bench.lemma(~wants | (now & (value == 0)))
    bench.lemma(pending | (mine & (place < at)) | (value == 0))
    bench.reaches(here & (sent == 3) & (place == 3) & (value == 2), "a distance")
    return bench


def _stream() -> Bench:
    bench = _framer(most=250, discards=True)
    keeps_its_word(bench, bench.dut.encoded, "encoded")
    return bench


def _switch() -> Bench:
    """A switch, and whose frame is being said: after the first byte and before its end."""
    bench = Bench(Switch())
    dut, m = bench.dut, bench.m
    bench.given(~dut.abort)
    for port in dut.inputs:
        well_behaved(bench, port)
    bench.moves = [port.valid & port.ready for port in dut.inputs]
    bench.inside_frame = [Signal(name=f"inside{i}") for i in range(2)]
    for port, moves, inside in zip(dut.inputs, bench.moves, bench.inside_frame, strict=True):
        with m.If(moves):
            m.d.sync += inside.eq(~port.payload.end)
    replying, busy = bench.inside("replying"), bench.inside("busy")
    bench.lemma(~(replying & bench.inside_frame[1]))
    bench.lemma(~bench.inside_frame[0] | replying)
    bench.lemma(busy == bench.inside_frame[1])
    bench.lemma(~replying | dut.inputs[0].valid | bench.inside_frame[0])
    return bench


def _unmixed() -> Bench:
    bench = _switch()
    dut = bench.dut
    first, second = bench.moves
    leaves = dut.output.valid & dut.output.ready
    bench.always(leaves == (first | second), "what leaves was taken from a port")
    bench.always(~(first & second), "one port speaks at a time")
    bench.always(~first | (Value.cast(dut.output.payload) == Value.cast(dut.inputs[0].payload)), "the first port's bytes leave as they are")
    bench.always(~second | (Value.cast(dut.output.payload) == Value.cast(dut.inputs[1].payload)), "the second port's bytes leave as they are")
    bench.always(~(first & bench.inside_frame[1]), "the first port does not speak inside a frame of the second")
    bench.always(~(second & bench.inside_frame[0]), "the second port does not speak inside a frame of the first")
    bench.reaches(first & bench.register(second & dut.inputs[1].payload.end), "a reply right after a result")
    return bench


def _switch_stream() -> Bench:
    bench = _switch()
    dut = bench.dut
    waits = bench.register(dut.output.valid & ~dut.output.ready & (bench.inside_frame[0] | bench.inside_frame[1]))
    before = bench.register(Value.cast(dut.output.payload))
    bench.always(~(waits & (dut.inputs[0].valid | ~bench.inside_frame[0]) & (dut.inputs[1].valid | ~bench.inside_frame[1]))
                 | (dut.output.valid & (Value.cast(dut.output.payload) == before)), "inside a frame, valid and payload stay until ready")
    bench.reaches(waits & dut.output.ready, "taken after it had to wait")
    return bench


PROPERTIES = (
    Property(name="framer.bytes", promise="what is encoded are the bytes given, in order, and behind a frame's last its checksum", bench=_bytes,
             geometry="frames of up to 250 bytes, the most there are", steps=2, breaks=12, cover=14, mutations=(
                 Mutation(_WHERE, "crc_byte == CRC_BYTES - 1", "crc_byte == CRC_BYTES - 2"),
                 Mutation(_WHERE, "byte.eq(check.byte), check.shift.eq(1)", "byte.eq(check.byte), check.shift.eq(0)"))),
    Property(name="framer.cobs", promise="what is sent is COBS by its definition, byte by byte, and then a zero; frames are neither lost nor reordered",
             geometry="frames of up to 250 bytes, the most there are", bench=_cobs, steps=2, breaks=18, cover=22, mutations=(
                 Mutation(_WHERE, "Mux(to_code, position - code_at, byte)", "Mux(to_code, position - code_at + 1, byte)"),
                 Mutation(_WHERE, "fetched == size[sending]", "fetched == size[sending] - 1"))),
    Property(name="framer.stream", promise="the stream's rules, whenever `discard` comes", bench=_stream, steps=2, breaks=20, cover=24, mutations=(
        Mutation(_WHERE, "step = ~self.encoded.valid | self.encoded.ready", "step = ~self.encoded.valid | self.encoded.ready | self.discard"),)),
    Property(name="switch.frames", promise="frames of two speakers are not mixed, and none of their bytes is lost or doubled", bench=_unmixed, steps=2,
             breaks=8, mutations=(Mutation("framer:Switch.elaborate", "Mux(moved, second.payload.end, ~busy)", "1"),
                                  Mutation("framer:Switch.elaborate", "busy.eq(~second.payload.end)", "busy.eq(second.payload.end)"))),
    Property(name="switch.stream", promise="the stream's rules inside a frame (before its first byte is taken, the first port's may come in its place)",
             bench=_switch_stream, steps=2, breaks=8, mutations=(Mutation("framer:Switch.elaborate", "Mux(moved, second.payload.end, ~busy)", "1"),)),
)
