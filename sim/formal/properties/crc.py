"""The checksum: one step is the polynomial's, and a frame that ends with it is recognised."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tritloom.rtl.crc import CRC32

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property

__all__ = ["PROPERTIES", "crc_after"]

_POLYNOMIAL = 0xEDB88320


def crc_after(crc: Value, byte: Value) -> Value:
    """The register after a byte, bit by bit: the definition, which knows no table."""
    crc = crc ^ byte
    for _ in range(8):
        crc = (crc >> 1) ^ Mux(crc[0], _POLYNOMIAL, 0)
    return crc[:32]


def _step() -> Bench:
    bench = Bench(CRC32())
    dut, m = bench.dut, bench.m
    expected = Signal(32, init=0xFFFFFFFF)
    with m.If(dut.restart):
        m.d.sync += expected.eq(0xFFFFFFFF)
    with m.Elif(dut.valid):
        m.d.sync += expected.eq(Mux(dut.shift, expected >> 8, crc_after(expected, dut.data)))
    bench.always(dut.byte == ~expected[:8], "byte is the checksum's lowest")
    bench.always(dut.match == (expected == 0xDEBB20E3), "match is the residue")
    bench.lemma(bench.inside("crc") == expected)
    bench.reaches(dut.match, "match")
    return bench


class _Pair(wiring.Component):
    """A sender's checksum and a receiver's, of the same bytes; from `ends` on the one hands its own to the other."""

    data: In(8)
    valid: In(1)
    ends: In(1)
    sent: Out(3)    # bytes of the checksum
    match: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.submodules.sender = sender = CRC32()
        m.submodules.receiver = receiver = CRC32()
        shifts = self.ends & (self.sent != 4)
        m.d.comb += [
            sender.data.eq(self.data),
            sender.valid.eq(shifts | (self.valid & ~self.ends)),
            sender.shift.eq(self.ends),
            receiver.data.eq(Mux(self.ends, sender.byte, self.data)),
            receiver.valid.eq(sender.valid),
            self.match.eq(receiver.match),
        ]
        with m.If(shifts):
            m.d.sync += self.sent.eq(self.sent + 1)
        return m


def _residue() -> Bench:
    bench = Bench(_Pair())
    dut = bench.dut
    bench.given(~bench.register(dut.ends) | dut.ends)
    bench.always((dut.sent != 4) | dut.match, "bytes and their checksum match")
    sender, receiver = bench.inside("sender.crc"), bench.inside("receiver.crc")
    bench.lemma((dut.sent != 0) | (sender == receiver))
    bench.lemma((dut.sent == 0) | bench.register(dut.ends))
    bench.lemma(dut.sent <= 4)
    bench.reaches((dut.sent == 4) & dut.match, "the end")
    return bench


PROPERTIES = (
    Property(name="crc.step", promise="the register follows the polynomial's definition, bit by bit, from every state and for every byte", bench=_step,
             steps=1, breaks=4, cover=8, mutations=(
                 Mutation("crc:_table", "for _ in range(8)", "for _ in range(7)"),
                 Mutation("crc:CRC32.elaborate", "crc[:8] ^ self.data)", "crc[:8] & self.data)"))),
    Property(name="crc.residue", promise="bytes with their checksum behind them match, for all bytes", bench=_residue, steps=6, breaks=6, cover=8, mutations=(
        Mutation("crc:CRC32.elaborate", "~crc[:8]", "crc[:8]"),
        Mutation("crc:CRC32.elaborate", "Mux(self.shift, 0, crc[:8] ^ self.data)", "crc[:8] ^ self.data"))),
)
