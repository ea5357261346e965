"""Which of a model's matrices a device's weight store holds, before there is a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tritloom.host.model.config import ModelConfig
from tritloom.host.space import Space
from tritloom.rtl.geometry import Geometry

__all__ = ["PlacedPart", "fused_shapes", "place", "resident_weights", "store_words", "words_of"]


def fused_shapes(config: ModelConfig) -> list[tuple[int, int]]:
    """``(N, K)`` of every matrix as the runtime loads it: those of one input as one, in the order in which they are loaded."""
    return [(sum(n for _, n, _ in job), job[0][2]) for job in config.jobs()]


@dataclass(frozen=True)
class PlacedPart:
    """Columns `first` to ``first + k`` of a matrix with `n` rows, as one job multiplies them.

    Parameters
    ----------
    n, k, first : int
    at : int or None
        Where it lies in the weight store, in words; None if it does not, and is streamed for every job.
    """

    n: int
    k: int
    first: int
    at: int | None


def place(matrices: Sequence[tuple[int, int, int | None]], geometry: Geometry) -> list[list[tuple[PlacedPart, ...]]]:
    """Where the driver puts matrices: first come, first served, each deeper one in parts along K.

    Parameters
    ----------
    matrices : sequence of (N, K, group)
        In the order in which they are loaded. With groups of columns, each of these is a matrix of its own.
    geometry : Geometry

    Returns
    -------
    list of list of tuple of PlacedPart
        For each, the parts of what is loaded for it: of one matrix, or of one for each group.
    """
    space = Space(geometry.resident_words)

    def parts(n: int, k: int) -> tuple[PlacedPart, ...]:
        return tuple(PlacedPart(n, width, first, space.take(geometry.words(n, width))) for first, width in geometry.cuts(k))

    return [[parts(n, group or k) for _ in range(k // (group or k))] for n, k, group in matrices]


def resident_weights(matrices: Sequence[tuple[int, int, int | None]], geometry: Geometry) -> int:
    """How many of the weights stay in the weight store; the others are streamed for every token. Parameters are those of `place`."""
    return sum(part.n * part.k for loaded in place(matrices, geometry) for parts in loaded for part in parts if part.at is not None)


def words_of(matrices: Sequence[tuple[int, int, int | None]], geometry: Geometry) -> int:
    """Words that all of them are. Parameters are those of `place`."""
    return sum(k // (group or k) * sum(geometry.words(n, width) for _, width in geometry.cuts(group or k)) for n, k, group in matrices)


def store_words(matrices: Sequence[tuple[int, int, int | None]], geometry: Geometry) -> int:
    """Words of a weight store that would hold all of them, the streaming window included. Parameters are those of `place`."""
    step = geometry.stream_words
    return -(-words_of(matrices, geometry) // step) * step + step
