"""The UART: a byte on the line is the byte that was given, whatever was on the line before."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value

from tritloom.rtl.site import Site
from tritloom.rtl.uart import UART
from tritloom.rtl.wire import LEAST_DIVISOR

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word

__all__ = ["PROPERTIES"]

_RECEIVE, _TRANSMIT = "uart:UART._receive", "uart:UART._transmit"
_FIRST = 2    # of a bit's cycles, as `cycle` counts them


def _uart(divisor: int) -> Bench:
    """A UART whose rate stays what it is."""
    bench = Bench(UART(Site(clock_hz=divisor, baud=1, max_baud=1)))
    bench.given(~bench.dut.rates.valid)
    bench.lemma(~bench.inside("waiting") & ~bench.inside("changed") & ~bench.inside("on_trial") & (bench.inside("ticks") == 0))
    bench.lemma(bench.inside("divisor") == divisor)
    return bench


def _table(at: Value, values: Callable[[int], int], last: int) -> Value:
    """A constant for each number from 0 to `last`."""
    return Array(Const(values(i), 16) for i in range(last + 1))[at]


def _speaker(divisor: int) -> Bench:
    """`bench.at`: which cycle of a byte the transmitter is in, from 1, or 0 for none; `bench.frame`: the byte's ten bits."""
    bench = _uart(divisor)
    dut, m = bench.dut, bench.m
    last = 10 * divisor
    at, frame = Signal(range(last + 1)), Signal(10, init=0x3FF)
    bench.at, bench.frame = at, frame
    bench.taken = dut.transmit.valid & dut.transmit.ready
    m.d.sync += at.eq(Mux((at == 0) | (at == last), 0, at + 1))
    with m.If(bench.taken):
        m.d.sync += [at.eq(1), frame.eq(Cat(Const(0, 1), dut.transmit.payload, Const(1, 1)))]
    bench.place = _table(at, lambda i: max(i - 1, 0) // divisor, last)
    left, cycle, over, bits = (bench.inside(f"_transmit.{name}") for name in ("left", "cycle", "bit_over", "bits"))
    bench.lemma(at <= last)
    bench.lemma((~frame[0] | (at == 0)) & frame[9])
    bench.lemma(left == _table(at, lambda i: 10 - (i - 1) // divisor if i else 0, last))
    bench.lemma(cycle == _table(at, lambda i: _FIRST + (i - 1) % divisor if i else _FIRST, last))
    bench.lemma(over == _table(at, lambda i: i > 0 and i % divisor == 0, last))
    bench.lemma(bits == Mux(at == 0, 0x1FF, (Cat(frame, Const(0x1FF, 9)) >> bench.place[:4])[:9]))
    return bench


def _transmit(divisor: int) -> Bench:
    bench = _speaker(divisor)
    dut, at = bench.dut, bench.at
    bench.always((at != 0) | dut.tx_pin, "the line idles high")
    bench.always((at == 0) | (dut.tx_pin == bench.frame.bit_select(bench.place[:4], 1)), "a start bit, eight bits from the lowest on, a stop bit: each lasts a bit")
    bench.always(dut.transmit.ready == ((at == 0) | (at == 10 * divisor)), "a byte may follow without a gap, and none comes sooner")
    bench.reaches((at == 9 * divisor) & (bench.frame == 0x34A), "a byte's end")
    return bench


def _quiet(bench: Bench, divisor: int) -> Signal:
    """For how many cycles, the present one not counted, the receiver has seen the line high; no more are counted than it needs."""
    most = 10 * divisor
    line, quiet = bench.inside("_receive.line"), Signal(range(most + 1), init=most)
    left, cycle, sample, held_low = (bench.inside(f"_receive.{name}") for name in ("left", "cycle", "sample", "held_low"))
    errors = bench.inside("errors")
    bench.m.d.sync += quiet.eq(Mux(line, Mux(quiet == most, most, quiet + 1), 0))
    busy, start = left != 0, left == 10
    bench.lemma((left <= 10) & (quiet <= most))
    bench.lemma(~busy | (cycle >= _FIRST) & (cycle <= Mux(start, divisor // 2, divisor) + 1))
    bench.lemma(sample == (busy & (cycle == Mux(start, divisor // 2, divisor) + 1)))
    bench.lemma(~busy | start | (quiet <= _table(left, lambda i: max(9 - i, 0) * divisor, 10) + cycle - _FIRST))
    bench.lemma(~(busy & start) | (quiet <= cycle - _FIRST))
    bench.lemma(~held_low | (busy & (quiet == 0)))
    bench.lemma((errors <= 16) & (~errors[-1] | bench.register(bench.inside("framing_error"))))
    bench.lemma(~errors[-1] | (quiet == 0))
    return quiet


def _loop(divisor: int) -> Bench:
    bench = _speaker(divisor)
    dut, m = bench.dut, bench.m
    # The wire: what is sent while something is, and else anything; but a byte follows another at once, or ten bits of rest.
    bench.given((bench.at == 0) | (dut.rx_pin == dut.tx_pin))
    quiet = _quiet(bench, divisor)
    rest = Signal(range(10 * divisor + 1), init=10 * divisor)
    m.d.sync += rest.eq(Mux(dut.rx_pin, Mux(rest == 10 * divisor, rest, rest + 1), 0))
    bench.given(~bench.taken | (bench.at == 10 * divisor) | (dut.rx_pin & (rest == 10 * divisor)))
    line = bench.inside("_receive.line")
    bench.lemma(line == bench.register(bench.register(dut.rx_pin, init=1), init=1))
    most = 10 * divisor
    bench.lemma(quiet == bench.register(bench.register(rest, init=most), init=most))
    # The receiver is three cycles behind: its synchroniser, and one to start.
    chain = [(bench.at, bench.frame)]
    for _ in range(3):
        chain.append((bench.register(chain[-1][0]), bench.register(chain[-1][1], init=0x3FF)))
    at, frame = chain[3]
    middle = divisor // 2
    stop, last = middle + 9 * divisor, 10 * divisor
    left, cycle, sample, held_low, lost = (bench.inside(f"_receive.{name}") for name in ("left", "cycle", "sample", "held_low", "lost"))
    inside = (at != 0) & (at <= stop)
    missed = bench.register(dut.received.valid, enable=at == middle)
    for (behind, newer), (place, older) in itertools.pairwise(chain):
        bench.lemma((place == 0) | (place == last) | ((behind == place + 1) & (newer == older)))
        bench.lemma(((place != 0) & (place != last)) | (behind <= 1))
    bench.lemma((at == 0) | (at == last) | (line == frame.bit_select(_table(at, lambda i: i // divisor, last)[:4], 1)))
    bench.lemma(~inside | (left == _table(at, lambda i: 10 if i <= middle else max(10 - -(-(i - middle) // divisor), 0), last)))
    bench.lemma(~inside | (cycle == _table(at, lambda i: _FIRST + (i - 1 if i <= middle else (i - middle - 1) % divisor), last)))
    bench.lemma(~inside | ~held_low)
    bench.lemma((at <= stop) | (left == 0))
    bench.lemma((at == 0) | ~bench.inside("errors")[-1])
    bench.lemma((at <= middle) | (lost == missed))
    bench.lemma(~((at > middle) & inside & ~lost) | ~dut.received.valid)
    rises = dut.received.valid & ~bench.register(dut.received.valid & ~dut.received.ready)
    bits = Value.cast(bench.inside("_receive.byte"))
    for i in range(1, 9):
        bench.lemma(~((at > middle + i * divisor) & (at <= middle + (i + 1) * divisor) & ~lost) | (bits[8 - i:] == frame[1:1 + i]))
    bench.always((at != stop + 1) | missed | (rises & (dut.received.payload == frame[1:9])), "the byte comes out that went in, if the one before was taken in time")
    bench.always(~rises | (at == 0) | ((at == stop + 1) & ~missed), "nothing else comes out while a byte is on the line")
    bench.always((at == 0) | (at > stop) | (dut.error == ((at == stop) & missed)), "no error is told but of a byte that was not taken in time")
    bench.reaches((at == stop + 1) & rises & (dut.received.payload == 0xA5), "a byte")
    return bench


def _recovery(divisor: int) -> Bench:
    bench = _uart(divisor)
    line, left = bench.inside("_receive.line"), bench.inside("_receive.left")
    quiet = _quiet(bench, divisor)
    wrong = Signal()    # since a stop bit that was low
    with bench.m.If(line | bench.inside("fallen")):
        bench.m.d.sync += wrong.eq(0)
    with bench.m.Elif(bench.inside("framing_error")):
        bench.m.d.sync += wrong.eq(1)
    bench.lemma(~wrong | bench.inside("_receive.held_low"))
    bench.always(~bench.register(wrong & line) | (left == 0), "after a stop bit that was low, the receiver waits for a start bit as soon as the line is high")
    bench.always((quiet <= 9 * divisor) | (left == 0), "whatever came, after nine bits of rest the receiver waits for a start bit")
    bench.always(~bench.register((left == 0) & ~line) | (left == 10), "and a start bit is seen")
    bench.always(~bench.register(left == 0) | (left == 0) | (left == 10), "and nothing else is taken for one")
    bench.reaches(bench.register(wrong & line), "the end of a break")
    return bench


def _stream() -> Bench:
    """With any line and any rate."""
    bench = Bench(UART(Site(clock_hz=LEAST_DIVISOR, baud=1, max_baud=1)))
    dut = bench.dut
    bench.given(~dut.rates.valid | (dut.rates.payload >= LEAST_DIVISOR))
    waits = bench.inside("waiting") | bench.inside("changed")
    bench.lemma(bench.inside("divisor") >= LEAST_DIVISOR)
    bench.lemma(~waits | (bench.inside("next_divisor") >= LEAST_DIVISOR))
    left, cycle, sample, lost = (bench.inside(f"_receive.{name}") for name in ("left", "cycle", "sample", "lost"))
    bench.lemma(left <= 10)
    bench.lemma((left != 0) | ~sample)
    bench.lemma((left == 0) | (left == 10) | lost | ~dut.received.valid)
    keeps_its_word(bench, dut.received, "received")
    return bench


_LEAST, _ODD = LEAST_DIVISOR, 5
_IDLE = "m.d.sync += sample.eq(0)"

PROPERTIES = (
    Property(name="uart.transmit", promise="the line idles high; a byte is a start bit, its bits from the lowest on and a stop bit, without a gap to the next", geometry=f"divisor {_ODD}",
             bench=partial(_transmit, _ODD), steps=2, breaks=56, cover=50, mutations=(
                 Mutation(_TRANSMIT, "bits.eq(Cat(bits[1:], 1))", "bits.eq(Cat(bits[1:], 0))"),
                 Mutation(_TRANSMIT, "left.eq(10)", "left.eq(9)"))),
    *(Property(name=f"uart.bytes.{divisor}", promise="a byte behind another or ten bits of rest comes out as it went in, whatever was on the line before, and with no error, if the one before it was taken in time", geometry=f"divisor {divisor}",
               bench=partial(_loop, divisor), steps=5, breaks=10 * divisor + 6, cover=10 * divisor + 6, skips=8 * divisor, mutations=mutations)
      for divisor, mutations in (
          (_LEAST, (Mutation(_RECEIVE, "byte.eq(Cat(byte[1:], line))", "byte.eq(Cat(line, byte[:7]))"),)),
          (_ODD, (Mutation(_RECEIVE, "sample.eq(Mux(start, cycle == divisor[1:], cycle == divisor))", "sample.eq(cycle == divisor)"),)))),
    Property(name="uart.recovery", promise="after a stop bit that was low the receiver waits for the next start bit as soon as the line is high, and whatever came, after nine bits of rest",
             geometry=f"divisor {_LEAST}", bench=partial(_recovery, _LEAST), steps=3, breaks=56, cover=46, skips=36, mutations=(
                 Mutation(_RECEIVE, _IDLE, "pass"),
                 Mutation(_RECEIVE, "(held_low & line) | restart", "restart"))),
    Property(name="uart.stream", promise="the stream's rules, whatever is on the line, and whenever the rate changes", geometry="any divisor", bench=_stream, steps=2,
             breaks=60, skips=36, cover=48, mutations=(
                 Mutation(_RECEIVE, "with m.If(~lost):\n                m.d.sync += byte", "with m.If(1):\n                m.d.sync += byte"),)),
)
