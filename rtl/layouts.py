"""The wire tables and the beats of the array, as Amaranth layouts."""

from amaranth.lib import data

from . import wire
from .geometry import Geometry

__all__ = ["Trit", "acts_word", "job_layout", "outputs_layout", "struct", "weights_word"]


class Trit(data.Struct):
    """A ternary weight in two bits: ``00`` 0, ``01`` +1, ``11`` -1. ``10`` counts as 0 wherever a weight enters the array."""

    nz: 1
    neg: 1


def struct(record: wire.Record) -> data.StructLayout:
    """Layout of a wire record: the bits the host packs, least significant byte first."""
    return data.StructLayout({field.name: field.bits for field in record.fields})


def weights_word(geometry: Geometry) -> data.ArrayLayout:
    """One word of the weight store: the trits of one beat, column by column."""
    return data.ArrayLayout(data.ArrayLayout(Trit, geometry.lanes), geometry.cols)


def acts_word(geometry: Geometry) -> data.ArrayLayout:
    """One word of one row of the activation buffer: the int8 activations of one beat."""
    return data.ArrayLayout(8, geometry.lanes)


def outputs_layout(geometry: Geometry) -> data.StructLayout:
    """What the packer has to know of a job: its number, its outputs, its last row and the last byte of a result, both from 0."""
    return data.StructLayout({
        "seq":       8,
        "n":         range(wire.MOST_OUTPUTS + 1),
        "last_row":  range(geometry.rows),
        "last_byte": range(4),
    })


def job_layout(geometry: Geometry) -> data.StructLayout:
    """A checked job on its way to the sequencer, each number as wide as the geometry needs."""
    return data.StructLayout({
        "outputs":    outputs_layout(geometry),
        "streamed":   1,
        "acts_at":    range(geometry.act_words),
        "k":          range(geometry.depth + 1),
        "weights_at": range(geometry.weight_words),
    })
