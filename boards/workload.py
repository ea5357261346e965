"""What a model asks of a geometry: the runtime itself, on the device `model`, whose cycles are the gateware's."""

from __future__ import annotations

from dataclasses import dataclass

from tritloom.host.counters import Counters
from tritloom.host.driver import Accelerator, connect
from tritloom.host.errors import UsageError
from tritloom.host.model.bound import BoundLinear
from tritloom.host.model.model import Model
from tritloom.rtl.geometry import Geometry

__all__ = ["Phase", "Speed", "Workload"]

#: Tokens of the prompt, unless the model's context is shorter.
PROMPT_TOKENS = 32

#: Bits of a byte on a UART's wire.
_BITS = 10


@dataclass(frozen=True)
class Phase:
    """Some tokens going through the model.

    Parameters
    ----------
    tokens : int
    counters : Counters
        What the device counted. Its link takes and gives a byte in every cycle.
    link_bytes : int
        Both ways, framing included.
    """

    tokens: int
    counters: Counters
    link_bytes: int

    @property
    def utilization(self) -> float:
        """Share of the cycles in which the array multiplied."""
        return self.counters.utilization

    def array_tokens_per_s(self, clock_hz: float) -> float:
        """By the core alone: the array's cycles, with a link of a byte a cycle."""
        return self.tokens * clock_hz / self.counters.cycles

    def link_tokens_per_s(self, clock_hz: float, baud: float) -> float:
        """Through a UART: the array's cycles without those in which it waited for the link, and behind them the bytes of both ways,
        one after another. What overlaps in truth makes it faster, and the time the host takes makes it slower."""
        counters = self.counters
        cycles = counters.cycles - counters.stall_weights - counters.stall_results
        return self.tokens / (cycles / clock_hz + self.link_bytes * _BITS / baud)


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
        Share of the ternary weights that lie in matrices which do not fit into the weight store as a whole: they are sent for every job.
    """

    prefill: Phase
    decode: Phase
    streamed: float

    def request_s(self, clock_hz: float) -> float:
        """Seconds that the core needs for a prompt and as many tokens again: what one figure candidates are put in order by."""
        return self.prefill.tokens * (1 / self.prefill.array_tokens_per_s(clock_hz) + 1 / self.decode.array_tokens_per_s(clock_hz))


class Workload:
    """A model, ready to run on any geometry.

    Parameters
    ----------
    model : str
        A shipped model's name, or a file.

    Raises
    ------
    UnknownNameError, ModelFileError
        If there is no such model.
    UsageError
        If its context is one token.
    """

    def __init__(self, model: str) -> None:
        self._model = Model.load(model)
        config = self._model.config
        if config.max_position_embeddings < 2:
            raise UsageError(f"the model {model!r} has a context of one token, and a prompt and a token behind it need two")
        self._prompt = [token % config.vocab_size for token in range(min(PROMPT_TOKENS, config.max_position_embeddings - 1))]
        with connect("model") as acc:
            self.matrices = [linear.matrix.shape for linear in self._linears(acc)]

    @property
    def name(self) -> str:
        """The model's."""
        return self._model.name

    @property
    def weights(self) -> int:
        """Ternary weights."""
        return sum(n * k for n, k in self.matrices)

    def beats(self, geometry: Geometry) -> int:
        """Beats of one token, without what a run adds to them: to choose what is worth a run."""
        return sum(geometry.words(n, min(k, geometry.depth)) * -(-k // geometry.depth) for n, k in self.matrices)

    def efficiency(self, geometry: Geometry) -> float:
        """Share of those beats' products that belong to weights, and not to padding."""
        return self.weights / (self.beats(geometry) * geometry.cols * geometry.lanes)

    def run(self, geometry: Geometry) -> Speed:
        """A prompt and a token on the device `model`."""
        with connect("model", geometry=geometry) as acc:
            linears = self._linears(acc)
            streamed = sum(n * k for n, k in (linear.matrix.shape for linear in linears if not linear.matrix.resident))
            session = self._model.session(acc, context=len(self._prompt) + 1)
            meter = _Meter(acc)
            session.prefill(self._prompt)
            prefill = meter.take(len(self._prompt))
            session.step(self._prompt[-1])
            return Speed(prefill, meter.take(1), streamed / self.weights)

    def _linears(self, acc: Accelerator) -> list[BoundLinear]:
        return [linear for layer in self._model.bind(acc).layers for linear in (layer.qkv, layer.o, layer.gate_up, layer.down)]


class _Meter:
    """Counts from one `take` to the next."""

    def __init__(self, acc: Accelerator) -> None:
        self._acc = acc
        self._start()

    def take(self, tokens: int) -> Phase:
        moved = self._moved() - self._bytes
        counters = self._acc.counters() - self._counters
        self._start()
        return Phase(tokens, counters, moved)

    def _start(self) -> None:
        self._counters = self._acc.counters()
        self._bytes = self._moved()

    def _moved(self) -> int:
        return self._acc.link.bytes_sent + self._acc.link.bytes_received
