"""The project's own gateware as designs to be measured: the processing element and whole arrays, as `tritloom.rtl` has them.

Twice: with a tree of adders, as boards have it, and merged, as `tritloom rtl --family asic` makes it where the tree has no registers.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from tritloom.host.packing import pack_weights
from tritloom.rtl.array import Array
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import COARSEST_TREE_PITCH, Geometry
from tritloom.rtl.pe import PE
from tritloom.sim.energy.designs.driving import element_trace
from tritloom.sim.energy.gate.design import Design, Trace, pack
from tritloom.sim.energy.gate.recorder import Product
from tritloom.sim.energy.gate.stimulus import Stimulus, Weights

__all__ = ["shipped_array", "shipped_element"]


def shipped_element(geometry: Geometry, *, merged: bool = False) -> Design:
    """The processing element of an array: "pe-16-pitch2", or "pe-16-merged".

    Its inputs are driven by the array's registers, which are not in it. `shipped_array` has them.

    Parameters
    ----------
    geometry : Geometry
        Uses `lanes`, `tree_pitch` and `acc_bits`, as the element does.
    merged : bool
        As for standard cells, without registers in the tree, whatever `tree_pitch` says.
    """
    geometry, form = _form(geometry, merged)
    # The array without any rows or columns more, so that two geometries with the same element are the same design.
    geometry = replace(geometry, rows=1, cols=1, col_pitch=1)
    return Design(
        name=f"pe-{geometry.lanes}-{form}" + ("" if geometry.acc_bits == 21 else f"-acc{geometry.acc_bits}"),
        what=f"the shipped element: {geometry.lanes} trits times int8, added to {geometry.acc_bits} bits",
        source=partial(PE, geometry),
        drive=partial(_drive_element, geometry),
        family=Family.ASIC if merged else Family.GENERIC,
        lanes=geometry.lanes,
        macs=geometry.lanes,
    )


def _form(geometry: Geometry, merged: bool) -> tuple[Geometry, str]:
    """The geometry that makes an element merged or not, and its name."""
    if merged:
        return replace(geometry, tree_pitch=COARSEST_TREE_PITCH), "merged"
    return geometry, f"pitch{geometry.tree_pitch}"


def _drive_element(geometry: Geometry, stimulus: Stimulus, cycles: int) -> Trace:
    trace = element_trace(stimulus, cycles, lanes=geometry.lanes, stages=geometry.tree_stages, acc_bits=geometry.acc_bits,
                          weights=Weights.TERNARY, weight_bits=2)
    # Without a family's cells nothing is owed.
    return replace(trace, outputs={**trace.outputs, "owed": np.zeros(trace.cycles, np.int64)})


def shipped_array(geometry: Geometry, rows_at_work: int | None = None, *, merged: bool = False) -> Design:
    """A whole array: "array-4x4x8-pitch2", with its registers of weights and activations, its flags and its drain.

    Parameters
    ----------
    geometry : Geometry
    rows_at_work : int or None
        Rows that have an activation vector, all unless it is said; the others idle. 1 is how a model makes one token after another.
    merged : bool
        As `shipped_element`.

    Raises
    ------
    ValueError
        If more rows are to work than there are.
    """
    at_work = geometry.rows if rows_at_work is None else rows_at_work
    if not 1 <= at_work <= geometry.rows:
        raise ValueError(f"`rows_at_work` must be from 1 to {geometry.rows}, not {at_work}")
    geometry, form = _form(geometry, merged)
    idle = f"-{at_work}of{geometry.rows}" if at_work < geometry.rows else ""
    return Design(
        name=f"array-{geometry.rows}x{geometry.cols}x{geometry.lanes}-{form}-share{geometry.col_pitch}{idle}",
        what=f"the shipped array: {geometry.rows} rows{f', {at_work} of them at work' if idle else ''}, {geometry.cols} columns, {geometry.lanes} lanes",
        source=partial(Array, geometry),
        drive=partial(_drive_array, geometry, at_work),
        family=Family.ASIC if merged else Family.GENERIC,
        lanes=geometry.lanes,
        macs=at_work * geometry.cols * geometry.lanes,
        cycles=400,
    )


def _drive_array(geometry: Geometry, at_work: int, stimulus: Stimulus, cycles: int) -> Trace:
    """Jobs one after another without a pause, as the sequencer starts them (`tritloom.rtl.array` has the times)."""
    rows, cols, lanes, latency = geometry.rows, geometry.cols, geometry.lanes, geometry.latency
    # Before anything is measured, all rows work once: registers that have no reset are known then, idle rows' too.
    full = next(stimulus.jobs(rows, cols, lanes, 1, tiles=1, full=True))
    # Flags reach the last row `rows` cycles later, and a sum `latency` cycles behind them.
    warm = _beats(geometry, full) + geometry.ramp + latency + 2 * rows
    length = warm + cycles
    jobs = [full, *stimulus.jobs(at_work, cols, lanes, length, tiles=16, full=True)]
    beats = [_beats(geometry, job) for job in jobs]

    valid, first, last, active = (np.zeros(length, np.int64) for _ in range(4))
    words = np.zeros(length, object)
    acts = np.zeros((rows, length, lanes), np.int64)
    sums, tile_done = np.zeros((rows, length), np.int64), np.zeros(length, np.int64)
    ends = np.zeros((rows, length), bool)
    start, operations = 1, 0         # cycle 0 is the reset's
    for job, each in zip(jobs, beats, strict=True):
        tiles = geometry.tiles(len(job.weights))
        count = min(tiles * each + geometry.ramp, length - start)
        if count <= 0:
            break
        t = np.arange(count)
        at = slice(start, start + count)
        working = len(job.acts)
        valid[at] = 1
        active[at] = (1 << working) - 1
        first[at] = (t % each == 0) & (t < tiles * each)
        last[at] = (t % each == each - 1) & (t < tiles * each)
        packed = pack_weights(geometry, job.weights)
        words[at] = [int.from_bytes(packed[i * geometry.word_bytes:(i + 1) * geometry.word_bytes], "little") for i in range(count)]
        chunks = np.pad(job.acts, ((0, 0), (0, each * lanes - job.acts.shape[1]))).reshape(len(job.acts), each, lanes)
        for row in range(working):
            here = t[:max(length - start - row, 0)]
            acts[row, start + row + here] = chunks[row, here % each]
        # Column c of a tile ends c beats behind column 0.
        outputs = job.acts.astype(np.int64) @ job.weights.astype(np.int64).T
        for out in range(tiles * cols):
            done = start + out // cols * each + each - 1 + out % cols + latency
            for row in range(working):
                if done + row < length:
                    sums[row, done + row] = outputs[row, out] if out < len(job.weights) else 0
                    ends[row, done + row] = True
            if out % cols == cols - 1 and done + rows - 1 < length:
                tile_done[done + rows - 1] = 1
        # What is worked on in the measured cycles: the beats of one row and column, less what falls into the warming up.
        begin = max(warm - start, 0)
        shares = [max(min(count, tiles * each + col) - max(begin, col), 0) for col in range(cols)]
        operations += round(working * sum(shares) * job.weights.size / (tiles * cols * each * lanes) * lanes)
        start += count

    inputs = {
        "beats__valid": valid,
        "beats__payload": first | last << 1 | active << 2,
        "weights": words if 2 * cols * lanes > 64 else words.astype(np.uint64),
    }
    inputs |= {f"acts__{row}": pack(acts[row], 8) for row in range(rows)}
    mask = (1 << geometry.acc_bits) - 1
    outputs = {"tile_done": tile_done}
    for row in range(rows):
        outputs |= {f"sums__{row}__valid": ends[row].astype(np.int64), f"sums__{row}__payload": sums[row] & mask}
    return Trace(inputs=inputs, outputs=outputs, warm=warm, operations=operations)


def _beats(geometry: Geometry, job: Product) -> int:
    return geometry.beats(job.weights.shape[1])
