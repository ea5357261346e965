"""The systolic array: processing elements, and everything about time that they do not know."""

from functools import reduce
from operator import or_

from amaranth import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .layouts import acts_word, weights_word
from .pe import PE

__all__ = ["Array", "Beat"]


def Beat(geometry: Geometry) -> data.StructLayout:
    """What travels with a word of weights: `first` and `last` of a tile (for column 0) and the rows at work."""
    return data.StructLayout({"first": 1, "last": 1, "active": geometry.rows})


class Array(wiring.Component):
    """R x C processing elements, output-stationary: PE(r, c) keeps the sum of output c for vector r.

    Weights move down, one register a row (2 bits a lane). Activations go along the row, one register for every `col_pitch`
    columns. Column c works c beats behind column 0, so the sums of a row are ready one after another and leave through one AND-OR.
    That lag needs no registers on the 8-bit activations within a pitch: a sum does not care for its order, so a column starts with the
    chunk of activations that is passing by and ends with the one before it (the words of the weight store are packed accordingly:
    column c of word t meets the activations of beat ``t - c // col_pitch``). A tile therefore lasts at least C beats.

    Nothing stalls inside. A cycle without a beat brings zero weights, which change no sum, and holds what moves by beats. Whoever
    feeds beats has made sure that there is room for the sums. Rows without work get zero weights and held activations: they do
    not toggle.

    A beat that ends a sum at cycle t brings ``sums[r]`` of column 0 at ``t + latency + r``, and of column c, c beats later.

    Parameters
    ----------
    geometry : Geometry

    Members
    -------
    beats : In(stream.Signature(Beat, always_ready=True))
        Flags of this cycle's word; no transfer is a cycle without work.
    weights : In(weights_word)
        The word that comes with the beat.
    acts : In(acts_word).array(rows)
        Activations; those of row r come r cycles after their beat.
    sums : Out(stream.Signature(signed(acc_bits), always_ready=True)).array(rows)
        Finished sums of each row, column by column. Idle rows send none.
    tile_done : Out(1)
        A tile's last sum leaves the last row in this cycle (whether or not that row is at work).
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "beats":     In(stream.Signature(Beat(geometry), always_ready=True)),
            "weights":   In(weights_word(geometry)),
            "acts":      In(acts_word(geometry)).array(geometry.rows),
            "sums":      Out(stream.Signature(signed(geometry.acc_bits), always_ready=True)).array(geometry.rows),
            "tile_done": Out(1),
        })

    @property
    def geometry(self) -> Geometry:
        return self._geometry

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        rows, cols, stages = geometry.rows, geometry.cols, geometry.tree_stages
        beat, valid = self.beats.payload, self.beats.valid

        # Bit c: the flag of column c, which is that of column 0, c beats ago. Then the flags travel down the rows, a register a cycle.
        firsts, lasts = (_history(m, beat[name], cols, valid, name) & valid.replicate(cols) for name in ("first", "last"))
        clear = _delay(m, firsts, 1 + stages + rows - 1, "clear")
        done  = _delay(m, lasts,  2 + stages + rows - 1, "done")

        moving = _delay(m, valid, rows - 1, "moving")
        # `10` becomes 0 here, once for all rows. The zero weights of idle cycles and idle rows are resets of the registers, not logic.
        word = self.weights.as_value()
        nz = Const(int("01" * (len(word) // 2), 2), len(word))
        above = word & (nz | ((word & nz) << 1))
        for row in range(rows):
            active = _delay(m, beat.active[row], 2 + stages + row, f"active{row}")

            weights = Signal(self.weights.shape(), name=f"weights{row}")
            m.d.sync += weights.eq(Mux(active[row] & (valid if row == 0 else 1), above, 0))
            above = weights.as_value()

            acts = self.acts[row]
            ends = done[2 + stages + row] & active[2 + stages + row].replicate(cols)
            picked, owed = [], []
            for col in range(cols):
                if col % geometry.col_pitch == 0:
                    acts = _held(m, acts, moving[row] & active[row], f"acts{row}_{col}", reset_less=True)
                pe = m.submodules[f"pe{row}_{col}"] = PE(geometry)
                m.d.comb += [
                    pe.acts.eq(acts),
                    pe.weights.eq(weights[col]),
                    pe.clear.eq(clear[1 + stages + row][col]),
                ]
                picked.append(pe.total & ends[col].replicate(geometry.acc_bits))
                owed.append(pe.owed & ends[col])

            m.d.sync += [
                self.sums[row].payload.eq(reduce(or_, picked) + reduce(or_, owed)),
                self.sums[row].valid.eq(ends.any()),
            ]

        m.d.sync += self.tile_done.eq(done[2 + stages + rows - 1][cols - 1])
        return m


def _held(m: Module, value: Value, enable: Value, name: str, **options) -> Signal:
    """`value` one beat ago."""
    register = Signal.like(value, name=name, **options)
    with m.If(enable):
        m.d.sync += register.eq(value)
    return register


def _history(m: Module, flag: Value, beats: int, enable: Value, name: str) -> Value:
    """`flag` as it is (bit 0) and 1, 2, ... beats ago."""
    past = Signal(beats - 1, name=f"{name}_past")
    history = Cat(flag, past)
    with m.If(enable):
        m.d.sync += past.eq(history)
    return history


def _delay(m: Module, value: Value, cycles: int, name: str) -> list[Value]:
    """`value` as it is and 1, 2, ... `cycles` cycles ago."""
    taps = [value]
    for cycle in range(1, cycles + 1):
        register = Signal.like(value, name=f"{name}_{cycle}")
        m.d.sync += register.eq(taps[-1])
        taps.append(register)
    return taps
