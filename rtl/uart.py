"""The link's PHY where the link is a serial line: 8N1, at a rate that the host may change."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from .site import Site
from .wire import LEAST_DIVISOR

__all__ = ["FALL_BACK_TICKS", "MOST_ERRORS", "UART", "start_divisor"]

_DIVISOR_BITS = 16

#: What the cycles of a bit are counted from: one is spent on starting, and one on the register behind the comparison, which alone
#: would bound the clock of a small FPGA.
_FIRST = 2

#: A new rate is dropped at the tick of this number if it has brought no good frame: 0.25 s, at the 64 ticks a second of `Device`. A host
#: needs some milliseconds to follow: a USB bridge hands on an acknowledgement after up to 16 ms, and takes another frame or two to be set.
FALL_BACK_TICKS = 16

#: The start rate is back after this many framing errors without a good frame between. Noise makes a few, until the receiver has found
#: its place again; a host that speaks more slowly than the device listens makes one with every zero byte at least, and it can send many.
MOST_ERRORS = 16


def start_divisor(site: Site) -> int:
    """Clock cycles in a bit after a reset.

    Raises
    ------
    ValueError
        If that is none that a `UART` can count.
    """
    divisor = round(site.clock_hz / site.baud) if site.baud else 0
    if not LEAST_DIVISOR <= divisor < 1 << _DIVISOR_BITS:
        raise ValueError(f"`baud` must be from a {(1 << _DIVISOR_BITS) - 1}th to a {LEAST_DIVISOR}th of the clock ({site.clock_hz} Hz), "
                         f"not {site.baud}")
    return divisor


class UART(wiring.Component):
    """Bytes to and from a serial line: a start bit, eight data bits, the least significant first, a stop bit; idle high.

    A bit lasts `divisor` cycles, any integer from 4 to 65535; after a reset ``round(clock_hz / baud)``.

    **Receiver.** Each start bit synchronises it afresh, and every bit is sampled once, ``divisor // 2`` to ``divisor // 2 + 1`` cycles behind
    the bit's edge. Clocks may differ by 2 % at the least divisor, and by 4 % from a divisor of 16 on (tested). A start bit that is over at
    its middle was a glitch. After a stop bit that is low the line must be high before another byte begins; for as long as it is not
    (a break), every ten bits count as one more framing error. A byte that nobody takes is kept, and those that begin meanwhile are lost:
    the frame they belong to fails its CRC.

    **Transmitter.** Bytes follow each other without a gap: ten bits each.

    **Rate.** A divisor that arrives through `rates` holds from the end of the next zero byte that is sent: the one which ends the
    acknowledgement. The start rate is back when a new rate has brought no good frame after `FALL_BACK_TICKS` ticks, or after `MOST_ERRORS`
    framing errors without a good frame between, at any time. So a host that starts slow, as each does, is always heard in the end, whatever
    rate its predecessor left.

    About 150 LUT4 on iCE40, and 62 MHz on the UP5K.

    Parameters
    ----------
    site : Site
        Its `clock_hz` and `baud`.

    Members
    -------
    rx_pin, tx_pin : In(1, init=1), Out(1, init=1)
        The wires. The receiver synchronises `rx_pin` to the clock itself.
    received : Out(stream.Signature(8))
        Bytes from the line.
    transmit : In(stream.Signature(8))
        Bytes for the line.
    rates : In(stream.Signature(16, always_ready=True))
        The next divisor, at least `LEAST_DIVISOR`.
    good_frame : In(1)
        A frame came in undamaged: the rate is right.
    tick : In(1)
        One cycle, 64 times a second.
    error : Out(1)
        One cycle for each framing error and each byte lost.

    Raises
    ------
    ValueError
        See `start_divisor`.
    """

    def __init__(self, site: Site):
        self._start = start_divisor(site)
        super().__init__({
            "rx_pin":     In(1, init=1),
            "tx_pin":     Out(1, init=1),
            "received":   Out(stream.Signature(8)),
            "transmit":   In(stream.Signature(8)),
            "rates":      In(stream.Signature(_DIVISOR_BITS, always_ready=True)),
            "good_frame": In(1),
            "tick":       In(1),
            "error":      Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        divisor = Signal(_DIVISOR_BITS, init=self._start)
        changed, fallen = Signal(), Signal()    # the rate is another one from the next cycle on
        framing_error = Signal()
        self._receive(m, divisor, changed | fallen, framing_error)
        zero_sent = self._transmit(m, divisor)

        next_divisor = Signal(_DIVISOR_BITS, reset_less=True)
        waiting = Signal()                      # for the zero byte
        # A cycle late, which is early enough: a byte that follows at once is then in the second cycle of its start bit.
        m.d.sync += changed.eq(waiting & zero_sent)
        with m.If(changed):
            m.d.sync += [divisor.eq(next_divisor), waiting.eq(0)]
        with m.If(self.rates.valid):
            m.d.sync += [next_divisor.eq(self.rates.payload), waiting.eq(1)]

        # Both count up to their limit's bit, which so needs no comparison.
        ticks, errors = Signal(FALL_BACK_TICKS.bit_length()), Signal(MOST_ERRORS.bit_length())
        on_trial = Signal()
        m.d.comb += fallen.eq(ticks[-1] | errors[-1])
        m.d.sync += [ticks.eq(ticks + self.tick), errors.eq(errors + framing_error)]
        with m.If(self.good_frame):
            m.d.sync += on_trial.eq(0)
        with m.If(changed):
            m.d.sync += on_trial.eq(1)
        with m.If(fallen):
            m.d.sync += [divisor.eq(self._start), on_trial.eq(0)]
        with m.If(~on_trial | fallen):
            m.d.sync += ticks.eq(0)
        with m.If(self.good_frame | changed | fallen):
            m.d.sync += errors.eq(0)
        return m

    def _receive(self, m: Module, divisor: Signal, restart: Value, framing_error: Signal) -> None:
        """The receiver: from `rx_pin` to `received`."""
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx_pin, line, init=1)

        left = Signal(range(11))                # of a byte's ten bits, the one being waited for included; 0: idle
        start, stop = left == 10, left == 1
        cycle = Signal(_DIVISOR_BITS, init=_FIRST)
        sample = Signal()
        held_low = Signal()                     # since a stop bit that was low
        lost = Signal()                         # the byte coming in: the one before it has not been taken
        byte = Signal(8, reset_less=True)
        m.d.comb += [
            framing_error.eq(sample & stop & ~line),
            self.received.payload.eq(byte),
            self.error.eq(framing_error | (sample & stop & line & lost)),
        ]
        m.d.sync += [cycle.eq(cycle + 1), sample.eq(Mux(start, cycle == divisor[1:], cycle == divisor))]
        with m.If(sample | (left == 0)):
            m.d.sync += cycle.eq(_FIRST)
        with m.If(self.received.ready):
            m.d.sync += self.received.valid.eq(0)
        with m.If(left == 0):
            m.d.sync += sample.eq(0)    # a bit that would have ended now, had the byte not been given up
            with m.If(~line):
                m.d.sync += left.eq(10)
        with m.If(sample):
            m.d.sync += left.eq(left - 1)
            with m.If(start):
                m.d.sync += lost.eq(self.received.valid)
                with m.If(line):
                    m.d.sync += left.eq(0)
            with m.Elif(~stop):
                with m.If(~lost):
                    m.d.sync += byte.eq(Cat(byte[1:], line))
            with m.Elif(line):
                with m.If(~lost):
                    m.d.sync += self.received.valid.eq(1)
            with m.Else():
                m.d.sync += [held_low.eq(1), left.eq(10)]
        with m.If((held_low & line) | restart):
            m.d.sync += [held_low.eq(0), left.eq(0), sample.eq(0)]

    def _transmit(self, m: Module, divisor: Signal) -> Value:
        """The transmitter: from `transmit` to `tx_pin`. Returns whether this cycle is the last one of a zero byte."""
        left = Signal(range(11))                # of a byte's ten bits, the one on the line included; 0: idle
        cycle = Signal(_DIVISOR_BITS, init=_FIRST)
        bits = Signal(9, init=0x1FF)            # on the line, and to come
        zero = Signal()
        bit_over, byte_over, taken = Signal(), Signal(), Signal()
        m.d.comb += [
            self.tx_pin.eq(bits[0]),
            byte_over.eq(bit_over & (left == 1)),
            self.transmit.ready.eq((left == 0) | byte_over),
            taken.eq(self.transmit.valid & self.transmit.ready),
        ]
        m.d.sync += [cycle.eq(cycle + 1), bit_over.eq(cycle == divisor)]
        with m.If((left == 0) | bit_over):
            m.d.sync += cycle.eq(_FIRST)
        with m.If(bit_over):
            m.d.sync += [bits.eq(Cat(bits[1:], 1)), left.eq(left - 1)]
        with m.If(taken):
            m.d.sync += [bits.eq(Cat(0, self.transmit.payload)), left.eq(10), zero.eq(self.transmit.payload == 0)]
        return byte_over & zero
