"""Which jobs a device is given together: what fits its queue and its activation buffer starts as one, whatever is streamed starts alone.

Nothing but shapes decides it. The driver runs these queues; what is said of a device that is not there (`tritloom.boards.workload`) counts them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from tritloom.rtl.geometry import Geometry

__all__ = ["Part", "Product", "Queue", "Slot", "queues"]


class Part(Protocol):
    """Columns `first` to ``first + k`` of a matrix with `n` rows, as one job multiplies them; `at` in the weight store, None if streamed."""

    n: int
    k: int
    first: int
    at: int | None


_Part = TypeVar("_Part", bound=Part)


@dataclass(slots=True)
class Product(Generic[_Part]):
    """Vectors times a matrix.

    Parameters
    ----------
    vectors : int
        How many.
    source : object
        Products of equal sources have the same vectors, which are sent once a queue.
    parts : sequence
        The matrix.
    """

    vectors: int
    source: object
    parts: Sequence[_Part]


@dataclass(slots=True)
class Slot(Generic[_Part]):
    """A job: `rows` vectors from number `vector` on, of the product of that number, times one part."""

    product: int
    part: _Part
    vector: int
    rows: int
    acts_at: int


@dataclass(slots=True)
class Queue(Generic[_Part]):
    """Jobs that start as one.

    Parameters
    ----------
    jobs : list of Slot
        In order, at least one. A streamed one is alone.
    writes : list of Slot
        Those of them whose vectors have to be written first, to `acts_at`; the others find them there.
    """

    jobs: list[Slot[_Part]] = field(default_factory=list)
    writes: list[Slot[_Part]] = field(default_factory=list)


def queues(geometry: Geometry, most_jobs: int, products: Sequence[Product[_Part]]) -> Iterator[Queue[_Part]]:
    """Arrange products as queues of jobs, in the order in which a device is to get them.

    Parameters
    ----------
    geometry : Geometry
    most_jobs : int
        Jobs that one queue may have.
    products : sequence of Product
    """
    queue: Queue[_Part] = Queue()
    places: dict[tuple[object, int, int], int] = {}    # where vectors already are: (source, first vector, first column) -> address
    used = 0
    for number, product in enumerate(products):
        for vector in range(0, product.vectors, geometry.rows):
            rows = min(geometry.rows, product.vectors - vector)
            for part in product.parts:
                place = product.source, vector, part.first
                room = geometry.beats(part.k)
                full = len(queue.jobs) == most_jobs or place not in places and used + room > geometry.act_words
                if queue.jobs and (full or part.at is None):
                    yield queue
                    queue, places, used = Queue(), {}, 0
                slot = Slot(number, part, vector, rows, places.get(place, used))
                queue.jobs.append(slot)
                if place not in places:
                    places[place] = used
                    queue.writes.append(slot)
                    used += room
                if part.at is None:    # its words are sent behind it, so nothing can be queued behind it
                    yield queue
                    queue, places, used = Queue(), {}, 0
    if queue.jobs:
        yield queue
