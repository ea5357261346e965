"""The cycle model for jobs of millions of words: a job's middle repeats itself, so two short jobs tell what a long one takes.

`timing.batch` follows every word and result. What it follows comes back to the same state again and again: a tile's words begin at the same
place of a STREAM frame, and its results at the same place of a RESULT frame. So jobs with some such periods fewer are counted, and one more
period tells what each of the others adds.
"""

from __future__ import annotations

from dataclasses import fields, replace
from math import gcd, lcm

from tritloom.host.counters import Counters
from tritloom.host.timing import JobShape, batch
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import PAYLOAD_BYTES, RESULT_BYTES

__all__ = ["long_batch", "stream_frames"]

#: Steps of `timing.batch`, words and result bytes, that are followed one by one: a tenth of a second. The longest job of `nano` has 25,000.
_STEPS = 100_000

#: A tile's result bytes times this are fewer than the cycles the tile takes: a frame of them is sent while the next one fills.
_RELAXED = 3


def stream_frames(geometry: Geometry, words: int) -> tuple[int, ...]:
    """Words in each STREAM frame of a job, as the driver sends them: as many as a frame holds, the last one fewer."""
    per_frame = PAYLOAD_BYTES // geometry.word_bytes
    whole, rest = divmod(words, per_frame)
    return (per_frame,) * whole + ((rest,) if rest else ())


def long_batch(geometry: Geometry, jobs: tuple[JobShape, ...]) -> Counters:
    """What `timing.batch` says of jobs with one number of outputs, in a fraction of a second however many these are.

    Exact up to 100,000 words and result bytes. Beyond that it is exact where the periods of words and results have a common one that is
    short, and else off by less than a period of one of them: a test holds it to 0.1 % of the cycles.

    Parameters
    ----------
    geometry : Geometry
    jobs : tuple of JobShape
        At least one, all with the same `n`. Frames are those of `stream_frames`.

    Raises
    ------
    ValueError
        If their `n` differ.
    """
    n = jobs[0].n
    if any(job.n != n for job in jobs):
        raise ValueError(f"jobs of one matrix must have one number of outputs, not {sorted({job.n for job in jobs})}")
    tiles, period, lead = geometry.tiles(n), *_period_and_lead(geometry, jobs)
    left_out = max(0, (tiles - lead) // period - 1) if tiles * _steps(geometry, jobs) > _STEPS else 0
    if not left_out:
        return batch(geometry, jobs)
    short = n - left_out * period * geometry.cols
    first, second = (batch(geometry, tuple(_resized(geometry, job, outputs) for job in jobs)) for outputs in (short, short + period * geometry.cols))
    return Counters(**{
        field.name: getattr(first, field.name) + left_out * (getattr(second, field.name) - getattr(first, field.name)) for field in fields(Counters)
    })


def _steps(geometry: Geometry, jobs: tuple[JobShape, ...]) -> int:
    """Of each tile of all jobs."""
    return sum((geometry.beats(job.k) if job.frames else 0) + _result_bytes(geometry, job) for job in jobs)


def _period_and_lead(geometry: Geometry, jobs: tuple[JobShape, ...]) -> tuple[int, int]:
    """Tiles after which everything repeats, and tiles before that can be said: queues and frames that fill at first."""
    per_frame = PAYLOAD_BYTES // geometry.word_bytes
    words = lcm(*(per_frame // gcd(per_frame, geometry.beats(job.k)) for job in jobs if job.frames))
    lead = geometry.stream_words // min(geometry.beats(job.k) for job in jobs) + 4
    if all(_RELAXED * _result_bytes(geometry, job) < geometry.beats(job.k) * (geometry.word_bytes + 1 if job.frames else 1) for job in jobs):
        return words, lead    # results leave long before more come, so they hold nothing up
    per_tile = [_result_bytes(geometry, job) for job in jobs]
    results = lcm(*(RESULT_BYTES // gcd(RESULT_BYTES, size) for size in per_tile))
    both = lcm(words, results)
    # Where a common period is too long to follow, the words' one, so often that it is nearly the results' as well.
    period = both if both * _steps(geometry, jobs) <= _STEPS else words * max(1, round(results / words))
    return period, lead + 2 * geometry.tiles_in_flight + 4 * -(-RESULT_BYTES // min(per_tile))


def _result_bytes(geometry: Geometry, job: JobShape) -> int:
    """Of one tile."""
    return geometry.cols * job.rows * job.result_bytes


def _resized(geometry: Geometry, job: JobShape, n: int) -> JobShape:
    return replace(job, n=n, frames=stream_frames(geometry, geometry.words(n, job.k)) if job.frames else ())
