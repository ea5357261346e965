"""Which geometries `explore` looks at: shapes that fit the board, and for the best of them other pitches of the registers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from itertools import islice, product

from tritloom.boards.board import Board
from tritloom.boards.errors import FitError
from tritloom.boards.fit import check, shaped
from tritloom.boards.parts import Cost
from tritloom.boards.workload import Workload
from tritloom.rtl.geometry import Geometry

__all__ = ["MOST", "fits", "pitches", "shapes", "variants"]

#: Candidates at most: shapes, and all with the other pitches.
_SHAPES, MOST = 36, 60

#: Shapes with equally many lanes.
_ALIKE = 4

#: Share of the products that must belong to weights.
_LEAST_EFFICIENCY = 0.5

_ROWS = (1, 2, 3, 4, 6, 8, 12, 16)
_COLS = (1, 2, 4, 8, 16, 32)
_LANES = (4, 8, 16, 32)

_TREE_PITCHES = (1, 2, 3)
_COL_PITCHES = (4, 8)

#: Estimated logic that nextpnr can still be expected to place: a cell holds a table and a flip-flop, but not any two.
_FULL = 0.9

#: Block RAMs by which the estimate was too low: the queues of some shapes just do not fit one that another's does.
_SPARE_RAMS = 1


def shapes(board: Board, workload: Workload, estimate: Callable[[Geometry], Cost], most_lanes: int | None = None) -> list[Geometry]:
    """Rows, columns and lanes that fit the board, with its own pitches and memory, and its own geometry first.

    Left out is what would multiply more padding than weights of the model. Of what has equally many lanes, the few that need the fewest
    beats for a prompt and its answer are taken, from the most lanes down.

    Parameters
    ----------
    board : Board
    workload : Workload
        The model.
    estimate : callable
        What a geometry takes.
    most_lanes : int, optional
        Leave out what has more lanes in all; the board's own geometry as well.
    """
    own = board.geometry
    groups: dict[int, list[Geometry]] = {}
    for rows, cols, lanes in product(_ROWS, _COLS, _LANES):
        total = rows * cols * lanes
        if (rows, cols, lanes) == (own.rows, own.cols, own.lanes) or most_lanes is not None and total > most_lanes:
            continue
        with suppress(ValueError, FitError):    # no such geometry, or surely too large
            geometry = shaped(board, rows, cols, lanes)
            check(board, geometry)
            if workload.efficiency(geometry) >= _LEAST_EFFICIENCY:
                groups.setdefault(total, []).append(geometry)
    kept = [own] if most_lanes is None or own.lanes_total <= most_lanes else []
    for total in sorted(groups, reverse=True):
        group = sorted(groups[total], key=lambda geometry: _cost_in_beats(workload, geometry))
        kept += islice((geometry for geometry in group if fits(board, estimate(geometry))), min(_ALIKE, _SHAPES - len(kept)))
    return kept


def variants(best: Iterable[Geometry], room: int) -> list[Geometry]:
    """The same shapes with other pitches, as many as there is room for, those of the best first.

    Parameters
    ----------
    best : iterable of Geometry
        Shapes, the best first.
    room : int
        At most so many.
    """
    found: list[Geometry] = []
    for geometry in best:
        seen = {pitches(geometry)}
        for tree_pitch, col_pitch in product(_TREE_PITCHES, (*_COL_PITCHES, geometry.cols)):
            other = replace(geometry, tree_pitch=tree_pitch, col_pitch=col_pitch)
            if pitches(other) not in seen:
                seen.add(pitches(other))
                found.append(other)
    return found[:room]


def fits(board: Board, cost: Cost) -> bool:
    """Whether a design of this cost can be expected to be placed."""
    there = board.capacity
    return cost.lut4 <= _FULL * there.lut4 and cost.ff <= _FULL * there.ff and cost.block_rams + _SPARE_RAMS <= there.block_rams


def pitches(geometry: Geometry) -> tuple[int, int]:
    """`tree_pitch` and `col_pitch` as far as they make a difference: beyond the tree's levels and the columns, there is one way to have none."""
    return min(geometry.tree_pitch, geometry.tree_levels + 1), min(geometry.col_pitch, geometry.cols)


def _cost_in_beats(workload: Workload, geometry: Geometry) -> tuple[bool, float, int]:
    """Beats of a token of the prompt and one of the answer, the weights that are streamed first of all."""
    words = sum(geometry.words(n, k) for n, k in workload.matrices)
    return words > geometry.resident_words, workload.beats(geometry) * (1 + 1 / geometry.rows), geometry.cols
