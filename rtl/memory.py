"""The two memories beside the array. Each is written through a stream of words, so that more than one writer can be arbitrated,
and read by address with one cycle of latency and no handshake."""

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .family import Family, family_of
from .geometry import Geometry
from .layouts import acts_word, weights_word
from .ram import RAM
from .spram import SPRAM

__all__ = ["ActivationBuffer", "WeightStore"]

#: Of an iCE40 UP5K: 30 block RAMs of 4 kbit.
_BLOCK_RAM_BITS = 30 * 4096


class WeightStore(wiring.Component):
    """Words of `cols * lanes` trits: block RAM; on an iCE40, if it is larger than half of that, SPRAM, which has one port.

    Members
    -------
    writes : In(stream.Signature({address, data}))
        Words to write; `ready` is low in a cycle that reads, as one of these memories has one port.
    read : In(1), address : In(range(weight_words)), word : Out(weights_word)
        The word at `address` stands in `word` in the next cycle; what stands there later is nobody's business.
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
        width, depth = 2 * self._geometry.cols * self._geometry.lanes, self._geometry.weight_words
        if family_of(platform) is Family.ICE40 and width * depth > _BLOCK_RAM_BITS // 2:
            m.submodules.words = words = SPRAM(width, depth)
            m.d.comb += [
                words.address.eq(Mux(self.read, self.address, self.writes.payload.address)),
                words.write.eq(self.writes.valid),
                words.write_data.eq(self.writes.payload.data),
                words.read.eq(self.read),
                self.word.eq(words.read_data),
            ]
        else:
            m.submodules.words = words = RAM(width, depth)
            m.d.comb += [
                words.write.eq(self.writes.valid & self.writes.ready),
                words.write_at.eq(self.writes.payload.address),
                words.data.eq(self.writes.payload.data),
                words.read.eq(self.read),
                words.read_at.eq(self.address),
                self.word.eq(words.word),
            ]
        m.d.comb += self.writes.ready.eq(~self.read)    # for every family, so that all of them count the same cycles
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
            bank = m.submodules[f"bank{row}"] = RAM(8 * self._geometry.lanes, self._geometry.act_words)
            m.d.comb += [
                bank.write.eq(self.writes.valid & (self.writes.payload.row == row)),
                bank.write_at.eq(self.writes.payload.address),
                bank.data.eq(self.writes.payload.data),
                bank.read.eq(reads[row]),
                bank.read_at.eq(address),
                self.words[row].eq(bank.word),
            ]
            if row < self._geometry.rows - 1:
                later, later_reads = Signal.like(address, name=f"address{row + 1}"), Signal.like(reads, name=f"reads{row + 1}")
                m.d.sync += [later.eq(address), later_reads.eq(reads)]
                address, reads = later, later_reads
        return m
