"""The two memories beside the array. Each is written through a stream of words, so that more than one writer can be arbitrated,
and read by address with one cycle of latency and no handshake."""

from amaranth import *
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .layouts import acts_word, weights_word

__all__ = ["ActivationBuffer", "WeightStore"]


class WeightStore(wiring.Component):
    """Words of `cols * lanes` trits.

    Members
    -------
    writes : In(stream.Signature({address, data}))
        Words to write; a board whose memory has one port holds `ready` low while it reads.
    read : In(1), address : In(range(weight_words)), word : Out(weights_word)
        The word at `address` stands in `word` from the next cycle until the one after the next read.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "writes":  In(stream.Signature(data.StructLayout({
                "address": range(geometry.weight_words),
                "data":    2 * geometry.cols * geometry.lanes,
            }))),
            "read":    In(1),
            "address": In(range(geometry.weight_words)),
            "word":    Out(weights_word(geometry)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = memory.Memory(
            shape=2 * self._geometry.cols * self._geometry.lanes, depth=self._geometry.weight_words, init=[])
        write, read = words.write_port(), words.read_port()
        m.d.comb += [
            self.writes.ready.eq(1),
            write.en.eq(self.writes.valid),
            write.addr.eq(self.writes.payload.address),
            write.data.eq(self.writes.payload.data),
            read.en.eq(self.read),
            read.addr.eq(self.address),
            self.word.eq(read.data),
        ]
        return m


class ActivationBuffer(wiring.Component):
    """Words of `lanes` activations, in a bank for each row.

    One address serves all rows; row r reads it r cycles later, which is the skew the array asks for: the address is delayed, not the data.

    Members
    -------
    writes : In(stream.Signature({row, address, data}))
        Words to write. Always ready.
    read : In(rows), address : In(range(act_words)), words : Out(acts_word).array(rows)
        Row r, where ``read[r]``, shows the word at `address` ``1 + r`` cycles later and until its next read.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "writes":  In(stream.Signature(data.StructLayout({
                "row":     range(geometry.rows),
                "address": range(geometry.act_words),
                "data":    8 * geometry.lanes,
            }))),
            "read":    In(geometry.rows),
            "address": In(range(geometry.act_words)),
            "words":   Out(acts_word(geometry)).array(geometry.rows),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.writes.ready.eq(1)
        address, reads = self.address, self.read
        for row in range(self._geometry.rows):
            bank = m.submodules[f"bank{row}"] = memory.Memory(shape=8 * self._geometry.lanes, depth=self._geometry.act_words, init=[])
            write, read = bank.write_port(), bank.read_port()
            m.d.comb += [
                write.en.eq(self.writes.valid & (self.writes.payload.row == row)),
                write.addr.eq(self.writes.payload.address),
                write.data.eq(self.writes.payload.data),
                read.en.eq(reads[row]),
                read.addr.eq(address),
                self.words[row].eq(read.data),
            ]
            if row < self._geometry.rows - 1:
                later, later_reads = Signal.like(address, name=f"address{row + 1}"), Signal.like(reads, name=f"reads{row + 1}")
                m.d.sync += [later.eq(address), later_reads.eq(reads)]
                address, reads = later, later_reads
        return m
