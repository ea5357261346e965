"""What is done, as numbers that add up, and what of it follows from a job's shape alone: adders at work, padding, bits through memories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tritloom.rtl.geometry import Geometry

__all__ = ["WEIGHT_BITS", "Counts", "adders", "of_job", "total"]

#: Bits of a weight in the weight store, and of an activation.
WEIGHT_BITS, ACT_BITS = 2, 8


@dataclass(frozen=True)
class Counts:
    """What was done. Counts add up.

    Parameters
    ----------
    macs : int
        Products of a weight of the model and an activation: N x K for each vector.
    zero_weights : int
        Of them, those whose weight is 0.
    zero_activations : int
        Of them, those whose activation is 0.
    nonzero : int
        Of them, those where neither is 0: what a device that skips all zeros would have to add.
    lane_padding, column_padding, ramp_padding : int
        Products that an element at work makes besides: in the lanes behind the end of a vector (and beats that fill a tile up to `cols`), in
        the columns behind the matrix' last row, and in the beats before a column begins and after it ended. Their weights are 0.
    adds : mapping of int to int
        Additions by the width of their sum in bits, in the elements of active rows, padding included: the last and widest is the
        accumulator's. An adder whose operands are 0 adds all the same.
    weight_bits_read, weight_bits_written : int
        Bits through the weight store's port. Writes are those of streamed weights: what was loaded before the run is not counted.
    act_bits_read, act_bits_written : int
        Bits through the activation buffer's ports.
    output_bits : int
        Bits of sums out of the array, at the accumulator's width.
    link_bytes : int
        Bytes over the link both ways, framing and replies included, as the driver counted them.
    streamed_bytes : int
        Of them, words of streamed weights, without their framing.
    jobs, cycles, busy, ramp, stalls : int
        The device's counters; `stalls` are those for weights and for results together.
    """

    macs: int = 0
    zero_weights: int = 0
    zero_activations: int = 0
    nonzero: int = 0
    lane_padding: int = 0
    column_padding: int = 0
    ramp_padding: int = 0
    adds: Mapping[int, int] = field(default_factory=dict)
    weight_bits_read: int = 0
    weight_bits_written: int = 0
    act_bits_read: int = 0
    act_bits_written: int = 0
    output_bits: int = 0
    link_bytes: int = 0
    streamed_bytes: int = 0
    jobs: int = 0
    cycles: int = 0
    busy: int = 0
    ramp: int = 0
    stalls: int = 0

    def __add__(self, other: Counts) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        numbers = {name: getattr(self, name) + getattr(other, name) for name in _NUMBERS}
        return Counts(**numbers, adds=dict(sorted((Counter(self.adds) + Counter(other.adds)).items())))

    def __mul__(self, times: int) -> Counts:
        return Counts(**{name: getattr(self, name) * times for name in _NUMBERS}, adds={bits: n * times for bits, n in self.adds.items()})

    @property
    def padding(self) -> int:
        """Products that an element at work makes and no model asked for."""
        return self.lane_padding + self.column_padding + self.ramp_padding

    @property
    def slots(self) -> int:
        """Products that the elements of active rows make, padding included: beats x columns x lanes x active rows."""
        return self.macs + self.padding

    @property
    def memory_bits(self) -> int:
        """Bits through both memories."""
        return self.weight_bits_read + self.weight_bits_written + self.act_bits_read + self.act_bits_written

    def as_json(self) -> dict[str, Any]:
        """All counts; `adds` as a list of width and number, JSON having no integer keys."""
        return {
            **{name: getattr(self, name) for name in _NUMBERS}, "padding": self.padding, "slots": self.slots,
            "adds": [{"bits": bits, "count": number} for bits, number in self.adds.items()],
        }


_NUMBERS = tuple(item.name for item in fields(Counts) if item.name != "adds")


def adders(geometry: Geometry) -> dict[int, int]:
    """Adders of one processing element by the width of their sum, in bits.

    Two products of 8 bits give 9, two of these 10, and so on; what is left over on a level goes up unchanged
    (`tritloom.rtl.dot_product.DotProduct`). The last is the accumulator. There are `lanes` of them in all. A test counts them in the gateware.
    """
    found: Counter[int] = Counter()
    terms = geometry.lanes
    for level in range(1, geometry.tree_levels + 1):
        found[8 + level] += terms // 2
        terms -= terms // 2
    found[geometry.acc_bits] += 1
    return dict(sorted(found.items()))


def of_job(geometry: Geometry, n: int, k: int, rows: int, *, streamed: bool = False) -> Counts:
    """What one job does, as far as its shape tells: no zeros, no cycles but beats, and of the link only the streamed words.

    With B beats a tile and T tiles, a job takes ``T B + C - 1`` words, and every active row sums C x L products in each of their beats:
    N K of the model, ``N (B L - K)`` behind a vector's end, ``(T C - N) B L`` in columns without an output, ``(C - 1) C L`` in the ramp.

    Parameters
    ----------
    geometry : Geometry
    n, k, rows : int
        As in `wire.JOB`; k is at most the geometry's depth.
    streamed : bool
        Its weights are sent with it.
    """
    beats, tiles, words = geometry.beats(k), geometry.tiles(n), geometry.words(n, k)
    per_word = geometry.cols * geometry.lanes
    elements = rows * geometry.cols * words
    return Counts(
        macs=n * k * rows,
        lane_padding=n * (beats * geometry.lanes - k) * rows,
        column_padding=(tiles * geometry.cols - n) * beats * geometry.lanes * rows,
        ramp_padding=geometry.ramp * per_word * rows,
        adds={bits: number * elements for bits, number in adders(geometry).items()},
        weight_bits_read=words * per_word * WEIGHT_BITS,
        weight_bits_written=words * per_word * WEIGHT_BITS if streamed else 0,
        act_bits_read=words * geometry.lanes * ACT_BITS * rows,
        act_bits_written=-(-k // geometry.lanes) * geometry.lanes * ACT_BITS * rows,
        output_bits=n * rows * geometry.acc_bits,
        streamed_bytes=words * geometry.word_bytes if streamed else 0,
        jobs=1,
        busy=tiles * beats,
        ramp=geometry.ramp,
    )


def total(several: Iterable[Counts]) -> Counts:
    """The sum."""
    return sum(several, Counts())
