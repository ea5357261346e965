"""What a circuit is given to multiply: numbers drawn from a seed, or those that a model's run puts into the array.

A stimulus is a list of matrix products, and a circuit takes from it what an array of its shape would: for a processing element the dot products of
one column, for an array whole tiles. Only ternary weights are recorded, as there is no other model here; a peer with weights of another
kind gets the same activations and weights drawn for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np

from tritloom.host.errors import UsageError
from tritloom.host.model.model import Model
from tritloom.sim.energy.gate.recorder import Product, Recorder
from tritloom.sim.golden import NumpyAccelerator

__all__ = ["Operands", "Stimulus", "Weights", "random", "recorded"]

#: Outputs that lie between two dot products of one processing element: the columns of the array it stands in.
_COLS = 8

#: The golden ratio's fraction: its multiples, modulo 1, fill the unit interval evenly however many are taken.
_GOLDEN = 0.6180339887498949


class Weights(StrEnum):
    """Kind of a weight, and with it of the activation it meets: int8, but for `FP16`, where both are float16."""

    BINARY = "binary"
    """-1 or 1."""
    TERNARY = "ternary"
    """-1, 0 or 1."""
    INT2 = "int2"
    """-2 to 1."""
    INT3 = "int3"
    INT4 = "int4"
    INT8 = "int8"
    FP16 = "fp16"
    """IEEE 754 binary16, normal numbers and zero only."""


#: Step of the uniform quantiser with the least mean square error for a normal distribution, in standard deviations, by number of bits
#: (J. Max, "Quantizing for Minimum Distortion", IRE Trans. Inform. Theory, 1960, table II; that of 8 bits is the usual extension of it).
_STEP = {Weights.INT2: 0.9957, Weights.INT3: 0.5860, Weights.INT4: 0.3352, Weights.INT8: 0.0308}


@dataclass(frozen=True)
class Operands:
    """What one processing element is given.

    Parameters
    ----------
    acts : (cycles, lanes) int8, or float16
    weights : (cycles, lanes) int8, or float16
    first : (cycles,) bool
        A new sum begins with this cycle.
    """

    acts: np.ndarray
    weights: np.ndarray
    first: np.ndarray


@dataclass(frozen=True)
class Stimulus:
    """Products to choose from.

    Parameters
    ----------
    name : str
        As tables show it, with what it was made from.
    seed : int
        Chooses the places, and draws what is drawn.
    products : sequence of Product
    uniform : bool
        Weights of other kinds are drawn evenly from all codes; or else from a normal distribution, quantised as well as it can be.
    """

    name: str
    seed: int
    products: Sequence[Product]
    uniform: bool

    def jobs(self, rows: int, cols: int, lanes: int, cycles: int, *, tiles: int = 4, full: bool = False) -> Iterator[Product]:
        """Parts of products, each what an array takes in as one job: up to `rows` vectors and a few tiles of `cols` outputs.

        They are taken from all over the run, each kind of matrix in proportion to the time that the array spends with it.

        Parameters
        ----------
        rows, cols, lanes : int
            The array's shape.
        cycles : int
            Ends when the jobs take at least so many beats.
        tiles : int
            Tiles of a job, at most: within it the same activations come by for every tile.
        full : bool
            Take only jobs with all rows at work.

        Raises
        ------
        UsageError
            If no product has so many vectors.
        """
        rng = np.random.default_rng(self.seed)
        products = [product for product in self.products if not full or len(product.acts) >= rows]
        if not products:
            raise UsageError(f"no product of the stimulus {self.name!r} has {rows} vectors: give a longer prompt, or fewer rows")
        # Each output is as likely as any other; one of a deeper matrix then takes more time, as it does in the array.
        outputs = np.array([-(-len(product.acts) // rows) * len(product.weights) for product in products], float)
        ends = np.cumsum(outputs) / outputs.sum()
        place = rng.random()
        while cycles > 0:
            place = (place + _GOLDEN) % 1
            product = products[min(int(np.searchsorted(ends, place)), len(products) - 1)]
            groups = len(product.acts) // rows if full else -(-len(product.acts) // rows)
            at = int(rng.integers(groups)) * rows
            most = -(-len(product.weights) // cols)
            tile = int(rng.integers(max(most - tiles, 0) + 1)) * cols
            part = Product(product.weights[tile:tile + tiles * cols], product.acts[at:at + rows])
            cycles -= -(-len(part.weights) // cols) * -(-part.weights.shape[1] // lanes)
            yield part

    def operands(self, lanes: int, cycles: int, weights: Weights = Weights.TERNARY) -> Operands:
        """What a processing element of an array of eight columns is given: dot product after dot product, `lanes` products a cycle.

        Parameters
        ----------
        lanes, cycles : int
        weights : Weights
        """
        rng = np.random.default_rng([self.seed, 1])
        acts, trits, first = [], [], []
        for job in self.jobs(1, _COLS, lanes, cycles, tiles=1):
            row = job.weights[rng.integers(len(job.weights))]
            acts.append(_chunks(job.acts[0], lanes))
            trits.append(_chunks(row, lanes))
            first.append(np.arange(len(acts[-1])) == 0)
        x, w = np.concatenate(acts)[:cycles], np.concatenate(trits)[:cycles]
        match weights:
            case Weights.TERNARY:
                pass
            case Weights.BINARY:
                w = rng.choice(np.array([-1, 1], np.int8), w.shape)
            case Weights.FP16:
                # One scale a model's tensor fills the mantissas as dequantised numbers do; rounding to float16 keeps 11 bits.
                w = (rng.standard_normal(w.shape) * 0.02).astype(np.float16)
                w[np.abs(w) < 2.0**-14] = 0
                x = (x * np.float32(rng.uniform(0.01, 0.04))).astype(np.float16)
            case _:
                w = self._integers(rng, int(weights.removeprefix("int")), _STEP[weights], w.shape)
        return Operands(x, w, np.concatenate(first)[:cycles])

    def _integers(self, rng: np.random.Generator, bits: int, step: float, shape: tuple[int, ...]) -> np.ndarray:
        low, high = -(1 << bits - 1), (1 << bits - 1) - 1
        if self.uniform:
            return rng.integers(low, high + 1, shape).astype(np.int8)
        return np.clip(np.rint(rng.standard_normal(shape) / step), low, high).astype(np.int8)


def random(seed: int, zeros: float = 1 / 3, depth: int = 256) -> Stimulus:
    """Independent numbers: activations evenly from -128 to 127, trits with a share of zeros and as many -1 as 1.

    This is the hardest that a circuit is given: no activation resembles the one before it.

    Parameters
    ----------
    seed : int
    zeros : float
        Share of weights that are 0, from 0 to 1.
    depth : int
        Products in a sum.

    Raises
    ------
    UsageError
        If a number is out of its range.
    """
    if not 0 <= zeros <= 1:
        raise UsageError(f"the share of zeros must be from 0 to 1, not {zeros}")
    if depth < 1:
        raise UsageError(f"the depth must be at least 1, not {depth}")
    rng = np.random.default_rng(seed)
    chance = [(1 - zeros) / 2, zeros, (1 - zeros) / 2]
    products = [
        Product(rng.choice(np.array([-1, 0, 1], np.int8), (128, depth), p=chance), rng.integers(-128, 128, (16, depth)).astype(np.int8))
        for _ in range(8)
    ]
    return Stimulus(f"random, {100 * zeros:.0f} % zeros", seed, products, uniform=True)


def recorded(seed: int, model: str = "nano", prompt: str = "Once upon a time", tokens: int = 16) -> Stimulus:
    """What the array is given while a model runs: the prompt's tokens at once, then one token after another.

    Nothing is stored: the integers are a function of these arguments, and the same on every device.

    Parameters
    ----------
    seed : int
        Chooses the places in the run; the run itself is the same for all seeds.
    model : str
        A shipped model, or a path.
    prompt : str
    tokens : int
        To make.

    Raises
    ------
    TritloomError
        If the model cannot be loaded, or the prompt does not fit it.
    """
    return Stimulus(f"{model}, {tokens} tokens after {prompt!r}", seed, _run(model, prompt, tokens), uniform=False)


@lru_cache(maxsize=4)
def _run(model: str, prompt: str, tokens: int) -> tuple[Product, ...]:
    recorder = Recorder(NumpyAccelerator())
    for _ in Model.load(model).generate(prompt, recorder, max_tokens=tokens):
        pass
    return tuple(recorder.products)


def _chunks(vector: np.ndarray, lanes: int) -> np.ndarray:
    """(K,) as (beats, lanes), padded with zeros as the words of the memories are."""
    return np.pad(vector, (0, -len(vector) % lanes)).reshape(-1, lanes)
