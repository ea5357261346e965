"""Replies: what the host is told of its commands, as frames."""

from amaranth import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from .counters import Counters
from .framer import Byte
from .wire import COUNTERS, IDENTITY, Op

__all__ = ["Replies", "Reply", "Request"]

_NONCE_BYTES = 4


class Reply(enum.Enum, shape=2):
    """What is answered."""

    ACK = 0
    IDENTITY = 1
    COUNTS = 2
    ERROR = 3

    @property
    def op(self) -> Op:
        """The frame that says so."""
        return Op[self.name]


class Request(data.Struct):
    """What to answer to which command; `code` and `expected` with an error."""

    kind: Reply
    seq: 8
    code: 4
    expected: 8


class Replies(wiring.Component):
    """Makes a frame of each request. An acknowledgement is sent while the next command is looked at already; who asks for more, waits.

    A reset, such as that by a SYNC, drops what is being said.

    Members
    -------
    requests : In(stream.Signature(Request))
        What to say. Taken at once if it is an acknowledgement, otherwise when it was said.
    nonce, claim : In(32), In(1)
        Of the SYNC that an identity answers.
    claimed : In(1)
        Somebody has claimed the device since its reset.
    frames : Out(stream.Signature(Byte))
        Frames without CRC. Their reader is taken not to pause behind the first byte.
    idle : Out(1)
        Nothing is being said.
    turn, granted, byte : In, asked, read, text_at, write, data : Out
        `Counters`: the memory of what there is to be told.
    """

    requests: In(stream.Signature(Request))
    nonce: In(32)
    claim: In(1)
    claimed: In(1)
    frames: Out(stream.Signature(Byte))
    idle: Out(1)
    turn: In(1)
    granted: In(1)
    byte: In(8)
    asked: Out(1)
    read: Out(1)
    text_at: Out(range(Counters.SIZE))
    write: Out(1)
    data: Out(8)

    def elaborate(self, platform):
        m = Module()
        asks = self.requests.payload
        kind, seq = Signal(Reply), Signal(8, reset_less=True)
        text_at = self.text_at
        nonce = self.nonce.word_select(text_at[:2], 8)
        moved = Signal()
        m.d.comb += [
            self.frames.valid.eq(~self.idle),
            moved.eq(self.frames.valid & self.frames.ready),
            self.data.eq(nonce),
        ]
        with m.FSM():
            with m.State("Idle"):
                m.d.comb += [self.idle.eq(1), self.requests.ready.eq(asks.kind == Reply.ACK)]
                m.d.sync += [kind.eq(asks.kind), seq.eq(asks.seq)]
                with m.If(self.requests.valid):
                    m.next = "Op"

            with m.State("Op"):
                m.d.comb += self.frames.payload.data.eq(Array(kind.op for kind in Reply)[kind])
                with m.If(moved):
                    m.next = "Seq"

            with m.State("Seq"):
                m.d.comb += self.frames.payload.data.eq(seq)
                m.d.sync += text_at.eq(Mux(kind == Reply.COUNTS, Counters.COUNTS_AT, Counters.IDENTITY_AT))
                with m.If(moved):
                    with m.Switch(kind):
                        with m.Case(Reply.ACK):
                            m.next = "End"
                        with m.Case(Reply.ERROR):
                            m.next = "Code"
                        with m.Case(Reply.IDENTITY):
                            m.next = "Ask"
                        with m.Case(Reply.COUNTS):
                            m.next = "Settle"

            with m.State("Code"):
                m.d.comb += self.frames.payload.data.eq(asks.code)
                with m.If(moved):
                    m.next = "Expected"

            with m.State("Expected"):
                m.d.comb += self.frames.payload.data.eq(asks.expected)
                with m.If(moved):
                    m.next = "End"

            with m.State("Settle"):    # one whole round from here, so that the sums hold all that happened before
                m.d.comb += self.frames.valid.eq(0)
                with m.If(self.turn):
                    m.next = "Ask"

            with m.State("Ask"):
                m.d.comb += [self.frames.valid.eq(0), self.asked.eq(1), self.read.eq(1)]
                with m.If(self.granted):
                    m.d.sync += text_at.eq(text_at + 1)
                    m.next = "Text"

            # `text_at` is one ahead of the byte that is sent. Each takes two cycles, of which one is to get it out of the memory.
            text, come = Signal(8, reset_less=True), Signal()
            with m.State("Text"):
                m.d.comb += [self.asked.eq(1), self.read.eq(moved), self.frames.valid.eq(come), self.frames.payload.data.eq(text)]
                m.d.sync += [text.eq(self.byte), come.eq(~moved)]
                with m.If(text_at[2:] == (Counters.IDENTITY_AT + 1) // 4):
                    m.d.comb += self.frames.payload.data.eq(nonce)
                with m.If(~self.claimed & (text_at > Counters.OWNER_AT)):    # what a reset left there
                    m.d.comb += self.frames.payload.data.eq(0)
                with m.If(moved):
                    m.d.sync += text_at.eq(text_at + 1)
                    with m.If(text_at == Counters.COUNTS_AT + COUNTERS.size):
                        m.next = "End"
                    with m.If(text_at == Counters.IDENTITY_AT + IDENTITY.size):
                        m.d.sync += text_at.eq(Counters.OWNER_AT)
                        m.next = "End"
                        with m.If(self.claim):
                            m.next = "Own"

            with m.State("Own"):
                m.d.comb += [self.frames.valid.eq(0), self.asked.eq(1), self.write.eq(1)]
                m.d.sync += text_at.eq(text_at + 1)
                with m.If(text_at[:2] == _NONCE_BYTES - 1):
                    m.next = "End"

            with m.State("End"):
                m.d.comb += self.frames.payload.end.eq(1)
                with m.If(moved):
                    m.next = "Done"

            with m.State("Done"):
                m.d.comb += [self.frames.valid.eq(0), self.requests.ready.eq(kind != Reply.ACK)]
                m.next = "Idle"
        return m
