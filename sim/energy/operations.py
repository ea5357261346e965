"""What a model run does: additions by width, weights that are zero, and bits through each memory and the link.

The run is a real one, on the device `model`: cycles and beats are its counters, link bytes are those the driver sent and received, zeros are
those of the model's weights and of the activations that came by. What follows from a job's shape alone (how many adders work in a beat, what
is padding) is `counts.of_job`, which the device's own counters are held to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tritloom.host.counters import Counters
from tritloom.host.driver import Accelerator, connect
from tritloom.host.errors import UsageError
from tritloom.host.model.model import Model
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.counts import Counts, of_job, total

__all__ = ["MatrixOperations", "Operations", "Phase", "count"]


@dataclass(frozen=True)
class Phase:
    """Tokens that went through the model in one way, and what that took.

    Parameters
    ----------
    tokens : int
    counts : Counts
        Of all of them.
    """

    tokens: int
    counts: Counts


@dataclass(frozen=True)
class MatrixOperations:
    """One matrix as it lies on the device: one or several BitLinears of the same input side by side, or one group of columns of them.

    Parameters
    ----------
    layer : int
    name : str
        Its BitLinears': "qkv", "o", "gate_up" or "down" (one by one where each has a norm of its own).
    shape : (N, K)
    streamed : int
        Weights of it that do not lie in the weight store.
    linears : tuple of (str, int, int)
        Name of each BitLinear, its rows, and how many of its weights are 0.
    prefill, decode : Counts
        For all tokens of the phase.
    """

    layer: int
    name: str
    shape: tuple[int, int]
    streamed: int
    linears: tuple[tuple[str, int, int], ...]
    prefill: Counts
    decode: Counts

    @property
    def weights(self) -> int:
        """Ternary weights."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True)
class Operations:
    """A model's run on a geometry.

    Parameters
    ----------
    model : str
        Its name.
    geometry : Geometry
    context : int
        The model's.
    matrices : tuple of MatrixOperations
        In the order in which a token passes them.
    prefill_tokens, decode_tokens : int
        Tokens of the prompt, taken in together; tokens taken in one by one.
    """

    model: str
    geometry: Geometry
    context: int
    matrices: tuple[MatrixOperations, ...]
    prefill_tokens: int
    decode_tokens: int

    @property
    def weights(self) -> int:
        """Ternary weights of the model."""
        return sum(matrix.weights for matrix in self.matrices)

    @property
    def zero_weights(self) -> int:
        """Of them, those that are 0."""
        return sum(zeros for matrix in self.matrices for _, _, zeros in matrix.linears)

    @property
    def streamed(self) -> float:
        """Share of the weights that do not lie in the weight store, and are sent for every job."""
        return sum(matrix.streamed for matrix in self.matrices) / self.weights

    @property
    def prefill(self) -> Phase:
        """The prompt."""
        return Phase(self.prefill_tokens, total(matrix.prefill for matrix in self.matrices))

    @property
    def decode(self) -> Phase:
        """The tokens after it."""
        return Phase(self.decode_tokens, total(matrix.decode for matrix in self.matrices))

    def as_json(self) -> dict[str, Any]:
        """Totals by phase, and every matrix with its BitLinears."""
        return {
            "model": self.model, "geometry": str(self.geometry), "weights": self.weights, "zero_weights": self.zero_weights,
            "streamed_share": self.streamed, "prefill_tokens": self.prefill_tokens, "decode_tokens": self.decode_tokens,
            "prefill": self.prefill.counts.as_json(), "decode": self.decode.counts.as_json(),
            "matrices": [{
                "layer": matrix.layer, "name": matrix.name, "n": matrix.shape[0], "k": matrix.shape[1], "streamed": matrix.streamed,
                "bitlinears": [{"name": name, "n": n, "k": matrix.shape[1], "zero_weights": zeros} for name, n, zeros in matrix.linears],
                "prefill": matrix.prefill.as_json(), "decode": matrix.decode.as_json(),
            } for matrix in self.matrices],
        }


class _Watched:
    """A matrix on the device, and what is done with it."""

    def __init__(self, matrix: Any, trits: np.ndarray) -> None:
        self.matrix = matrix
        self.zero_rows = (trits == 0).sum(axis=1)        # (N,)
        self.zero_columns = (trits == 0).sum(axis=0)     # (K,)
        self.done = Counts()

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def streamed(self) -> int:
        return sum(self.shape[0] * columns for columns, resident in self.matrix.parts if not resident)

    def unload(self) -> None:
        self.matrix.unload()

    def take(self) -> Counts:
        """What was done since the last call."""
        done, self.done = self.done, Counts()
        return done


class _Watch:
    """An accelerator that counts what is asked of another one. It stands between the runtime and the driver."""

    def __init__(self, acc: Accelerator) -> None:
        self._acc = acc
        self.matrices: list[_Watched] = []

    @property
    def closed(self) -> bool:
        return self._acc.closed

    def load(self, w: np.ndarray) -> _Watched:
        self.matrices.append(_Watched(self._acc.load(w), w))
        return self.matrices[-1]

    def matmul(self, w: _Watched, x: np.ndarray) -> np.ndarray:
        counters, moved = self._acc.counters(), self._moved()    # in this order: reading counters moves bytes as well
        result = self._acc.matmul(w.matrix, x)
        moved = self._moved() - moved
        w.done += self._count(w, x, self._acc.counters() - counters, moved)
        return result

    def _count(self, w: _Watched, x: np.ndarray, passed: Counters, link_bytes: int) -> Counts:
        n, k = w.shape
        geometry = self._acc.geometry
        parts = w.matrix.parts
        shape = total(
            of_job(geometry, n, columns, min(geometry.rows, len(x) - vector), streamed=not resident)
            for vector in range(0, len(x), geometry.rows) for columns, resident in parts
        )
        counted = (passed.jobs, passed.busy, passed.ramp, passed.results)
        if (shape.jobs, shape.busy, shape.ramp, n * len(x) * len(parts)) != counted:
            raise RuntimeError(f"the operations counted for a {n} x {k} matrix are not the device's: {shape} beside {passed}")
        zeros = x == 0
        zero_weights, zero_activations = int(w.zero_rows.sum()) * len(x), int(zeros.sum()) * n
        both = int((zeros @ w.zero_columns).sum())
        return replace(
            shape, zero_weights=zero_weights, zero_activations=zero_activations, nonzero=shape.macs - zero_weights - zero_activations + both,
            link_bytes=link_bytes, cycles=passed.cycles, stalls=passed.stall_weights + passed.stall_results,
        )

    def _moved(self) -> int:
        return self._acc.link.bytes_sent + self._acc.link.bytes_received


def count(model: str, *, geometry: Geometry | None = None, prompt: str = "ROMEO:", tokens: int = 16) -> Operations:
    """Run a model and count.

    The prompt is taken in as one, then `tokens` tokens one by one, each the likeliest after those before it.

    Parameters
    ----------
    model : str
        A shipped model's name, or a file.
    geometry : Geometry, optional
        The default geometry if none is given.
    prompt : str
        At least one of its characters must be in the model's vocabulary.
    tokens : int
        At least 1.

    Raises
    ------
    UnknownNameError, ModelFileError
        If there is no such model.
    PromptError, ContextError
        If the prompt says nothing to the model, or prompt and tokens are more than its context.
    UsageError
        If `tokens` is not at least 1.
    """
    if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 1:
        raise UsageError(f"`tokens` must be an integer from 1 up, not {tokens!r}")
    loaded = Model.load(model)
    with connect("model", geometry=geometry) as acc:
        watch = _Watch(acc)
        generation = loaded.generate(prompt, watch, max_tokens=0)    # checks the prompt, and makes nothing
        session, ids = generation.session, generation.prompt_ids
        logits = session.prefill(ids)
        prefill = [matrix.take() for matrix in watch.matrices]
        for _ in range(tokens):
            logits = session.step(int(np.argmax(logits)))
        decode = [matrix.take() for matrix in watch.matrices]
        done = zip(watch.matrices, prefill, decode, strict=True)
        matrices = tuple(
            MatrixOperations(int(job[0][0].split(".")[2]), _name(job), matrix.shape, matrix.streamed, _linears(job, matrix), before, after)
            for job in loaded.config.jobs() for matrix, before, after in _of_job(job, done)
        )
        return Operations(loaded.name, acc.geometry, session.context, matrices, len(ids), tokens)


_Job = list[tuple[str, int, int]]


def _of_job(job: _Job, done: Iterator[tuple[_Watched, Counts, Counts]]) -> Iterator[tuple[_Watched, Counts, Counts]]:
    """The matrices that a job is on the device, which together have its columns: several where it has scales by groups of them."""
    columns = 0
    while columns < job[0][2]:
        found = next(done)
        columns += found[0].shape[1]
        yield found


def _name(job: _Job) -> str:
    """What a job's BitLinears are called together."""
    parts = [name.split(".")[-2].removesuffix("_proj") for name, _, _ in job]
    return "".join(parts) if ".self_attn." in job[0][0] else "_".join(parts)


def _linears(job: _Job, matrix: _Watched) -> tuple[tuple[str, int, int], ...]:
    """The BitLinears in a matrix: their rows lie one behind the other."""
    found, at = [], 0
    for name, n, _ in job:
        found.append((name.split(".", 3)[3].removesuffix(".weight"), n, int(matrix.zero_rows[at:at + n].sum())))
        at += n
    return tuple(found)
