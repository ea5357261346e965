"""Frames in: the decoder finds its place again, judges by the rules, and its buffer loses nothing."""

from __future__ import annotations

from amaranth.hdl import Mux, Signal

from tritloom.rtl.deframer import Deframer
from tritloom.rtl.wire import CRC_BYTES, FRAME_BYTES, HEADER

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word, well_behaved
from .crc import crc_after

__all__ = ["PROPERTIES"]

_WHERE = "deframer:Deframer.elaborate"
_ALL = 0xFFFFFFFF


def _deframer() -> Bench:
    bench = Bench(Deframer())
    well_behaved(bench, bench.dut.link)
    return bench


def _idle_lemma(bench: Bench) -> None:
    """Between frames nothing of the last one is left."""
    started, ended, size = (bench.inside(name) for name in ("started", "ended", "size"))
    kept, write_at, filled, oversized, at_code = (bench.inside(name) for name in ("kept", "write_at", "filled", "oversized", "at_code"))
    clean = (size == 0) & ~filled & ~oversized & (bench.inside("crc.crc") == _ALL) & (write_at == (kept + 1)[:10])
    bench.lemma(started | ended | clean)
    bench.lemma(started | (at_code & ~bench.inside("zero_due")))
    bench.lemma(~ended | ~started | at_code)
    bench.lemma(write_at == (kept + 1 + size)[:10])
    bench.lemma((size <= FRAME_BYTES) & (filled == (size == FRAME_BYTES)) & (~oversized | filled))


def _idle() -> Bench:
    bench = _deframer()
    delimited = bench.register(bench.inside("delimits"))
    started, at_code, zero_due = (bench.inside(name) for name in ("started", "at_code", "zero_due"))
    bench.always(~delimited | (at_code & ~zero_due & ~started), "after a zero byte, a code byte is next")
    size, filled, oversized = (bench.inside(name) for name in ("size", "filled", "oversized"))
    clean = (size == 0) & ~filled & ~oversized & (bench.inside("crc.crc") == _ALL)
    bench.always(~bench.register(delimited) | clean, "after a zero byte, nothing is left of what came before")
    bench.lemma(started | bench.inside("ended") | (clean & at_code & ~zero_due))
    bench.lemma(~bench.inside("ended") | delimited)
    bench.reaches(delimited & ~bench.register(at_code), "a zero byte in the middle of a frame")
    return bench


def _verdict() -> Bench:
    bench = _deframer()
    dut, m = bench.dut, bench.m
    # The definition of COBS, of what the link brought a cycle ago.
    moved = dut.link.valid & dut.link.ready
    byte, some, zero = bench.register(dut.link.payload), bench.register(moved & (dut.link.payload != 0)), bench.register(moved & (dut.link.payload == 0))
    left, last_code, any_byte, count, crc = Signal(8), Signal(8), Signal(), Signal(9), Signal(32, init=_ALL)
    is_code = left == 0
    decoded, value = Signal(), Signal(8)
    m.d.comb += [decoded.eq(some & (~is_code | (any_byte & (last_code != 0xFF)))), value.eq(Mux(is_code, 0, byte))]
    with m.If(decoded):
        m.d.sync += [crc.eq(crc_after(crc, value)), count.eq(Mux(count > FRAME_BYTES, count, count + 1))]
    with m.If(some):
        m.d.sync += [left.eq(Mux(is_code, byte - 1, left - 1)), any_byte.eq(1)]
        with m.If(is_code):
            m.d.sync += last_code.eq(byte)
    right = (left == 0) & (count >= HEADER.size + CRC_BYTES) & (count <= FRAME_BYTES) & (crc == 0xDEBB20E3)
    ends = zero & any_byte
    with m.If(zero):
        m.d.sync += [left.eq(0), last_code.eq(0), any_byte.eq(0), count.eq(0), crc.eq(_ALL)]
    bench.always(dut.good == bench.register(ends & right), "good: a frame ended that is well-formed, long enough, not too long, and has its checksum")
    bench.always(dut.bad == bench.register(ends & ~right), "bad: any other frame ended")

    _idle_lemma(bench)
    started, run, at_code, zero_due = (bench.inside(name) for name in ("started", "run", "at_code", "zero_due"))
    size, filled, oversized, ended = (bench.inside(name) for name in ("size", "filled", "oversized", "ended"))
    bench.lemma((bench.inside("byte") == byte) | ~(some | zero))
    bench.lemma((bench.inside("valid") == some) & (bench.inside("delimits") == zero) & (started == any_byte))
    bench.lemma((at_code == is_code) & (at_code | (run == left)) & (zero_due == (any_byte & (last_code != 0xFF))))
    bench.lemma(ended | ((bench.inside("crc.crc") == crc) & (Mux(oversized, FRAME_BYTES + 1, size) == count)))
    bench.lemma(~ended | ((count == 0) & (crc == _ALL) & ~any_byte))
    bench.reaches(dut.bad, "a bad frame")
    return bench


def _ring() -> Bench:
    bench = _deframer()
    ring = bench.inside("ring")
    kept, read_at, write_at = (bench.inside(name) for name in ("kept", "read_at", "write_at"))
    unread = (kept - read_at)[:10]
    bench.always(~ring.write | ((ring.write_at - read_at)[:10] >= unread), "no byte of a frame that waits to be read is overwritten")
    bench.always(~ring.read | (unread != 0), "nothing is read but whole frames")
    _idle_lemma(bench)
    used = unread + (write_at - kept)[:10]
    valid, delimits = bench.inside("valid"), bench.inside("delimits")
    bench.lemma(~bench.inside("room") | (used <= 1020))
    bench.lemma(~(valid | delimits) | (used <= 1021))
    bench.lemma(used <= 1022)
    bench.lemma(~bench.inside("more") | (unread != 0))
    bench.reaches(ring.read, "a byte is read")
    return bench


def _hangs() -> Bench:
    bench = _deframer()
    dut, m = bench.dut, bench.m
    quiet = Signal(3)
    m.d.sync += quiet.eq(Mux(dut.content.valid, 0, Mux(quiet == 7, 7, quiet + 1)))
    bench.always((quiet != 7) | dut.link.ready, "once all has been read there is room, whatever came in")
    _idle_lemma(bench)
    kept, read_at = bench.inside("kept"), bench.inside("read_at")
    # What is unread then has only just come: a frame, and what can end in two more cycles.
    bench.lemma(dut.content.valid | ((kept - read_at)[:10] <= 256))
    bench.reaches((quiet == 7) & bench.register(dut.link.valid), "a link that talks, and nothing to read")
    return bench


def _stream() -> Bench:
    bench = _deframer()
    keeps_its_word(bench, bench.dut.content, "content")
    return bench


PROPERTIES = (
    Property(name="deframer.idle", promise="after a zero byte the decoder is as after a reset, from every state, whatever came before", bench=_idle, steps=4,
             breaks=12, mutations=(
                 Mutation(_WHERE, "[at_code.eq(1), zero_due.eq(0), started.eq(0)]", "[at_code.eq(1), started.eq(0)]"),
                 Mutation(_WHERE, "[at_code.eq(1), zero_due.eq(0), started.eq(0)]", "[zero_due.eq(0), started.eq(0)]"),
                 Mutation(_WHERE, "check.restart.eq(ended)", "check.restart.eq(ended & bad)"))),
    Property(name="deframer.verdict", promise="each frame is called good if COBS, length and checksum say so, and else bad, once", bench=_verdict, steps=3,
             breaks=12, mutations=(
                 Mutation(_WHERE, "(size < HEADER.size + CRC_BYTES)", "(size < HEADER.size)"),
                 Mutation(_WHERE, "bad.eq(~at_code |", "bad.eq("))),
    Property(name="deframer.ring", promise="no unread byte is overwritten, and nothing but whole frames is read", bench=_ring, steps=3, breaks=16, cover=20,
             mutations=(Mutation(_WHERE, "write_at.eq(kept + 2)", "write_at.eq(kept)"),
                        Mutation(_WHERE, "Mux(ring.read, (read_at + 1)[:len(read_at)] != kept, read_at != kept)", "read_at != kept"))),
    Property(name="deframer.ready", promise="the link never waits for ever: once all has been read there is room", bench=_hangs, steps=9, breaks=16, cover=20,
             mutations=(Mutation(_WHERE, "free > _MARGIN", "free < _MARGIN"),)),
    Property(name="deframer.stream", promise="the stream's rules", bench=_stream, steps=3, breaks=20, cover=24, mutations=(
        Mutation(_WHERE, "with m.If(moves):\n        m.d.sync += [self.content.valid", "with m.If(1):\n        m.d.sync += [self.content.valid"),)),
)
