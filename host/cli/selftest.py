"""`tritloom selftest`: is every sum of a device right? Random shapes and the extremes, against numpy."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click
import numpy as np

from tritloom.host.cli.options import device_option, faults_option, geometry_option, json_option
from tritloom.host.cli.output import complain, note, print_json, show_table
from tritloom.host.cli.progress import progress, waiting
from tritloom.host.errors import UsageError
from tritloom.host.faults import Faults
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.host.driver import Accelerator

__all__ = ["selftest"]

#: Largest K, N and M of a random case.
_LARGEST = 300

#: Most weights that the case with streamed weights may have; a device with a larger store is not given one.
_MOST_STREAMED = 2_000_000

#: Wrong places of the weight store that are told one by one.
_MOST_TOLD = 20

_Fill = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]


@dataclass(frozen=True)
class _Case:
    """One multiplication: (N, K) times (M, K)."""

    name: str
    k: int
    n: int
    m: int
    weights: _Fill
    acts: _Fill

    def draw(self, seed: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Its matrix and its vectors; each case has random numbers of its own, so that it can be repeated alone."""
        rng = np.random.default_rng([seed, number])
        return self.weights(rng, (self.n, self.k)).astype(np.int8), self.acts(rng, (self.m, self.k)).astype(np.int8)


#: Multiplications, unless told.
_CASES = 100


@dataclass(frozen=True)
class _Mismatch:
    """A case whose sums are not all right, and the first of those that are not."""

    case: int
    name: str
    k: int
    n: int
    m: int
    wrong: int
    vector: int
    output: int
    got: int
    expected: int

    def __str__(self) -> str:
        return (f"case {self.case} ({self.name}; K={self.k}, N={self.n}, M={self.m}): {self.wrong} of {self.n * self.m} sums are wrong, "
                f"the first at vector {self.vector}, output {self.output}: {self.got} instead of {self.expected}")


@click.command(short_help="Check every sum of a device against numpy.")
@device_option("sim")
@click.option("--cases", type=click.IntRange(min=1), metavar="N", help=f"Multiplications; the extremes come first. {_CASES} if not given.")
@click.option("--seed", type=click.IntRange(min=0), metavar="S", help="Repeat a run; a new seed is drawn, and printed, if none is given.")
@click.option("--memory", is_flag=True, help="Test the weight store instead, all words and every bit of them that is a weight.")
@faults_option
@geometry_option
@json_option
def selftest(device: str, cases: int | None, seed: int | None, memory: bool, faults: Faults | None, geometry: Geometry | None, as_json: bool) -> None:
    """Multiply random and extreme matrices on a device and compare every sum with numpy's.

    K, N and M are drawn from 1 to 300; the extremes are the largest and smallest sums, the smallest shapes, one vector and one output
    more than the array has, a matrix deeper than its accumulators, and one larger than its weight store. Exit code 1 if a sum is wrong.

    With --memory the weight store is filled with random weights and multiplied, three times, so that each has each value once. Exit code 1
    if one is not what was written.
    """
    from tritloom.host.driver import connect

    if memory and cases is not None:
        raise UsageError("--cases says how many multiplications, and --memory makes its own: leave one of both out")
    seed = secrets.randbelow(1 << 32) if seed is None else seed
    with waiting(f"Opening {device}", quiet=as_json):
        acc = connect(device, geometry=geometry, faults=faults)
    if memory:
        _test_memory(acc, device, seed, as_json)
        return
    cases = cases or _CASES
    mismatches: list[_Mismatch] = []
    with acc:
        before = acc.counters()
        with progress(f"Testing {device}", quiet=as_json) as update:
            for number, case in enumerate(_cases(acc.geometry, cases, seed)):
                w, x = case.draw(seed, number)
                mismatch = _compare(number, case, acc.matmul(w, x), x.astype(np.int32) @ w.T.astype(np.int32))
                if mismatch:
                    mismatches.append(mismatch)
                update(number + 1, cases, f"{len(mismatches)} wrong")
        counters = acc.counters() - before

    if as_json:
        print_json({
            "cases": cases, "mismatches": len(mismatches), "seed": seed, "device": device, "geometry": str(acc.geometry),
            "failures": [asdict(mismatch) for mismatch in mismatches], "counters": asdict(counters),
        })
    else:
        for mismatch in mismatches:
            complain(f"{mismatch} (seed {seed})", label="Wrong")
        columns = ["cases", "mismatches", "sums", "jobs", "array cycles", "utilisation"]
        show_table(columns, [[
            *(f"{count:,}" for count in (cases, len(mismatches), counters.results, counters.jobs, counters.cycles)),
            f"{counters.utilization:.1%}",
        ]], numbers=columns, caption=f"{device}, geometry {acc.geometry}; seed {seed}")
        if counters.bad_frames:
            note(f"the device saw {counters.bad_frames:,} damaged frames, which were sent again: check the cable and the speed")
    if mismatches:
        click.get_current_context().exit(1)


def _test_memory(acc: Accelerator, device: str, seed: int, as_json: bool) -> None:
    """Test the weight store, and tell."""
    from tritloom.host.memory import MemoryTest

    with acc, progress(f"Testing the weight store of {device}", quiet=as_json) as update:
        test = MemoryTest(acc, seed)
        bad = test.run(lambda done, total: update(done, total, ""))
    if as_json:
        print_json({
            "words": test.words, "trits": test.trits, "patterns": test.PATTERNS, "seed": seed, "device": device, "geometry": str(acc.geometry),
            "failures": [asdict(output) for output in bad],
        })
    else:
        for output in bad[:_MOST_TOLD]:
            complain(f"weights in {output} are not what was written (seed {seed})", label="Wrong")
        columns = ["words", "weights", "patterns", "wrong"]
        show_table(columns, [[f"{test.words:,}", f"{test.trits:,}", f"{test.PATTERNS}", f"{len(bad):,}"]], numbers=columns,
                   caption=f"{device}, geometry {acc.geometry}; seed {seed}")
    if bad:
        click.get_current_context().exit(1)


def _cases(geometry: Geometry, count: int, seed: int) -> Iterator[_Case]:
    """The first `count` of all cases: the extremes, then random ones without end."""
    extremes = _extremes(geometry)[:count]
    yield from extremes
    rng = np.random.default_rng(seed)
    for _ in range(count - len(extremes)):
        k, n, m = (int(size) for size in rng.integers(1, _LARGEST + 1, 3))
        yield _Case("random", k, n, m, _trits, _bytes)


def _extremes(geometry: Geometry) -> list[_Case]:
    """Where sums are largest, shapes are smallest, and the array, its depth and its store are just exceeded."""
    least, most, plus, minus = _constant(-128), _constant(127), _constant(1), _constant(-1)
    cols, rows, depth, size = geometry.cols, geometry.rows, geometry.depth, _LARGEST
    cases = [
        _Case("one by one, -128 x -1", 1, 1, 1, minus, least),
        _Case("K = 1", 1, size, size, _trits, _bytes),
        _Case("N = 1", size, 1, size, _trits, _bytes),
        _Case("M = 1", size, size, 1, _trits, _bytes),
        _Case("-128 x -1", size, size, 3, minus, least),
        _Case("-128 x +1", size, size, 3, plus, least),
        _Case("127 x -1", size, size, 3, minus, most),
        _Case("127 x +1", size, size, 3, plus, most),
        _Case("zero weights", size, size, 3, _constant(0), _bytes),
        _Case("zero activations", size, size, 3, _trits, _constant(0)),
        _Case("one more than lanes, columns and rows", geometry.lanes + 1, cols + 1, rows + 1, _trits, _bytes),
        _Case("as deep as the accumulators, -128 x -1", depth, cols, rows, minus, least),
        _Case("deeper than the accumulators", depth + 1, cols + 1, rows, plus, least),
    ]
    streamed = cols * (geometry.resident_words // geometry.beats(size) + 1)
    if streamed * size <= _MOST_STREAMED:
        cases.append(_Case("larger than the weight store", size, streamed, rows, _trits, _bytes))
    return cases


def _compare(number: int, case: _Case, got: np.ndarray, expected: np.ndarray) -> _Mismatch | None:
    wrong = np.argwhere(got != expected)
    if not len(wrong):
        return None
    vector, output = (int(place) for place in wrong[0])
    given, right = int(got[vector, output]), int(expected[vector, output])
    return _Mismatch(number, case.name, case.k, case.n, case.m, len(wrong), vector, output, given, right)


def _trits(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(-1, 2, shape)


def _bytes(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return rng.integers(-128, 128, shape)


def _constant(value: int) -> _Fill:
    return lambda rng, shape: np.full(shape, value)
