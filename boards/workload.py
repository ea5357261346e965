"""What a model asks of a geometry: jobs, cycles and bytes, counted from shapes alone.

What the runtime multiplies and the driver queues follows from the model's sizes, the geometry and the number of tokens, whatever the weights
are. So nothing is run and no weights are made: the driver's own queues (`tritloom.host.schedule`) are counted by the cycle model of the device
`model`, which a test holds to the gateware; another holds these counts to that device's counters and to the driver's bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields, replace
from math import ceil

from tritloom.host.counters import Counters
from tritloom.host.framing import encoded_bytes
from tritloom.host.long_batch import long_batch, stream_frames
from tritloom.host.model.placement import PlacedPart, place, words_of
from tritloom.host.model.shape import ModelShape, shape_of
from tritloom.host.packing import result_bytes
from tritloom.host.schedule import Product, Queue, queues
from tritloom.host.timing import JobShape
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import JOB, PAYLOAD_BYTES, RESULT, RESULT_BYTES, RX_BYTES, WRITE

__all__ = ["UART_BITS", "Phase", "Speed", "Workload"]

#: Tokens of the prompt, unless the model's context is shorter.
PROMPT_TOKENS = 32

#: Bits of a byte on a UART's wire.
UART_BITS = 10


@dataclass(frozen=True)
class Phase:
    """Some tokens going through the model.

    Parameters
    ----------
    tokens : int
    counters : Counters
        What the device counts. Its link takes and gives a byte in every cycle.
    link_bytes : int
        Both ways, framing included.
    memory_words : int
        Words of weights from a memory of their own.
    """

    tokens: int
    counters: Counters
    link_bytes: int
    memory_words: int = 0

    @property
    def utilization(self) -> float:
        """Share of the cycles in which the array multiplied."""
        return self.counters.utilization

    @property
    def array_cycles(self) -> int:
        """Cycles of the array without those in which it waited for the link."""
        return self.counters.cycles - self.counters.stall_weights - self.counters.stall_results

    def array_tokens_per_s(self, clock_hz: float) -> float:
        """By the core alone: the array's cycles, with a link of a byte a cycle."""
        return self.tokens * clock_hz / self.counters.cycles

    def link_s(self, baud: float) -> float:
        """Seconds that the bytes of both ways take through a UART, one after another."""
        return self.link_bytes * UART_BITS / baud

    def link_tokens_per_s(self, clock_hz: float, baud: float) -> float:
        """Through a UART: the array's cycles without those in which it waited for the link, and behind them the bytes of both ways,
        one after another. What overlaps in truth makes it faster, and the time the host takes makes it slower."""
        return self.tokens / (self.array_cycles / clock_hz + self.link_s(baud))


@dataclass(frozen=True)
class Speed:
    """A model on a geometry.

    Parameters
    ----------
    prefill : Phase
        A prompt of 32 tokens, or as many as the model's context has room for.
    decode : Phase
        One token more.
    streamed : float
        Share of the ternary weights that do not stay in the weight store: they are sent for every job.
    load_bytes : int
        Over the link, both ways, to put the others there.
    """

    prefill: Phase
    decode: Phase
    streamed: float
    load_bytes: int = 0

    def request_s(self, clock_hz: float) -> float:
        """Seconds that the core needs for a prompt and as many tokens again: what one figure candidates are put in order by."""
        return self.prefill.tokens * (1 / self.prefill.array_tokens_per_s(clock_hz) + 1 / self.decode.array_tokens_per_s(clock_hz))


class Workload:
    """A model's matrices, as the runtime multiplies with them.

    Parameters
    ----------
    shape : ModelShape
    """

    def __init__(self, shape: ModelShape) -> None:
        self.name = shape.name
        self.matrices = [(n, k) for n, k, _ in shape.matrices]
        self._grouped = shape.matrices
        self._prompt = max(1, min(PROMPT_TOKENS, shape.config.max_position_embeddings - 1))

    @classmethod
    def of(cls, model: str) -> Workload:
        """Of a model's name or file: see `shape_of`, which also says what it raises."""
        return cls(shape_of(model))

    @property
    def weights(self) -> int:
        """Ternary weights."""
        return sum(n * k for n, k in self.matrices)

    def beats(self, geometry: Geometry) -> int:
        """Beats of one token, without what a run adds to them: to choose what is worth a run."""
        return words_of(self._grouped, geometry)

    def efficiency(self, geometry: Geometry) -> float:
        """Share of those beats' products that belong to weights, and not to padding."""
        return self.weights / (self.beats(geometry) * geometry.cols * geometry.lanes)

    def run(self, geometry: Geometry, *, sequences: int = 1, memory: bool = False) -> Speed:
        """A prompt of each sequence, and a token more of all sequences together.

        Parameters
        ----------
        geometry : Geometry
        sequences : int
            Tokens of the step.
        memory : bool
            What does not stay in the weight store comes from a memory of its own, as fast as the array takes it, and not over the link.
        """
        placed = place(self._grouped, geometry)
        every = [part for loaded in placed for parts in loaded for part in parts]
        streamed = sum(part.n * part.k for part in every if part.at is None)
        # A matrix is loaded by writes alone, one for as many words as a frame holds.
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.word_bytes
        resident = [geometry.words(part.n, part.k) for part in every if part.at is not None]
        load = sum(words * geometry.word_bytes + ceil(words / per_frame) * (encoded_bytes(WRITE.size) + encoded_bytes(0)) for words in resident)
        return Speed(_count(geometry, placed, self._prompt, memory), _count(geometry, placed, sequences, memory), streamed / self.weights, load)


def _count(geometry: Geometry, placed: list[list[tuple[PlacedPart, ...]]], tokens: int, memory: bool) -> Phase:
    """Tokens through all matrices."""
    most_jobs = min(geometry.queue, RX_BYTES // encoded_bytes(JOB.size))
    totals: Counter[str] = Counter()
    link_bytes = memory_words = 0
    # A model has a few shapes of matrices, many times each; where one lies in the store does not matter.
    alike = Counter(tuple(tuple(replace(part, at=part.at and 0) for part in parts) for parts in loaded) for loaded in placed)
    for loaded, times in alike.items():
        # Each group of columns has vectors of its own.
        products = [Product(tokens, number, [replace(part, at=0) for part in parts] if memory else parts) for number, parts in enumerate(loaded)]
        for queue in queues(geometry, most_jobs, products):
            counters = long_batch(geometry, tuple(_job_shape(geometry, slot.part, slot.rows) for slot in queue.jobs))
            totals.update({field.name: times * getattr(counters, field.name) for field in fields(counters)})
            link_bytes += times * _link_bytes(geometry, queue)
        if memory:
            passes = times * ceil(tokens / geometry.rows)
            memory_words += passes * sum(geometry.words(part.n, part.k) for parts in loaded for part in parts if part.at is None)
    return Phase(tokens, Counters(**{field.name: totals[field.name] for field in fields(Counters)}), link_bytes, memory_words)


def _job_shape(geometry: Geometry, part: PlacedPart, rows: int) -> JobShape:
    frames = () if part.at is not None else stream_frames(geometry, geometry.words(part.n, part.k))
    return JobShape(part.n, part.k, rows, result_bytes(part.k), frames)


def _link_bytes(geometry: Geometry, queue: Queue[PlacedPart]) -> int:
    """Bytes of a queue's frames and of their replies."""
    acknowledged = encoded_bytes(0)
    moved = 0
    for slot in queue.writes:
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.lanes
        words = ceil(slot.part.k / geometry.lanes)
        moved += slot.rows * (words * geometry.lanes + ceil(words / per_frame) * (encoded_bytes(WRITE.size) + acknowledged))
    for slot in queue.jobs:
        part = slot.part
        results = part.n * slot.rows * result_bytes(part.k)
        moved += encoded_bytes(JOB.size) + results + ceil(results / RESULT_BYTES) * encoded_bytes(RESULT.size)
        if part.at is None:
            words = geometry.words(part.n, part.k)
            frames = len(stream_frames(geometry, words))
            moved += words * geometry.word_bytes + frames * (encoded_bytes(0) + acknowledged)
    return moved
