"""Whether a geometry fits a board: a lower bound before minutes are spent, the tools' own figures after that, and the nearest that does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from math import log2, prod

from tritloom.boards.board import Board
from tritloom.boards.errors import FitError
from tritloom.boards.report import lut4_of
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["block_rams", "block_rams_of", "check", "check_cells", "check_placement", "nearest", "shaped", "sprams"]

#: LUT4 a lane that no design of ours goes below: products and adder tree alone, as measured (docs/density.md).
_LEAST_LUT4 = {Family.ICE40: 16.0, Family.ECP5: 12.5, Family.GOWIN: 12.5}

#: LUT4 a lane, and beside the lanes, that a whole design takes, to judge what to offer instead. Rounded up from built designs.
_USUAL_LUT4 = {Family.ICE40: (20.0, 2500), Family.ECP5: (18.0, 3000), Family.GOWIN: (19.0, 3000)}

#: Block RAMs for the link's buffers and the results, at least.
_LEAST_OTHER_RAMS = {Family.ICE40: 4, Family.ECP5: 2, Family.GOWIN: 2}

#: (width, depth) that one block RAM can have, with a port to write and one to read.
_RAM_SHAPES = {
    Family.ICE40: ((16, 256), (8, 512), (4, 1024), (2, 2048)),
    Family.ECP5: ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)),
    Family.GOWIN: ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384)),
}

_RAM_CELLS = {
    Family.ICE40: re.compile("SB_RAM40_4K.*"),
    Family.ECP5: re.compile("DP16KD|PDPW16KD"),
    Family.GOWIN: re.compile("(SDP|SP|DP)X?9?B"),
}

_SPRAM_WIDTH, _SPRAM_DEPTH = 16, 16384

#: A part fuller than this may be more than the placer can do, and one emptier than this is not.
_FULL, _ROOMY = 0.95, 0.9


def block_rams(family: Family, width: int, depth: int) -> int:
    """Block RAMs of a memory with a port to write and one to read."""
    return min(-(-width // wide) * -(-depth // deep) for wide, deep in _RAM_SHAPES[family])


def block_rams_of(cells: Mapping[str, int], family: Family) -> int:
    """Block RAMs among synthesised cells."""
    return sum(count for kind, count in cells.items() if _RAM_CELLS[family].fullmatch(kind))


def sprams(width: int, depth: int) -> int:
    """SPRAMs (UP5K) of a memory."""
    return -(-width // _SPRAM_WIDTH) * -(-depth // _SPRAM_DEPTH)


def shaped(board: Board, rows: int, cols: int, lanes: int) -> Geometry:
    """A board's geometry with other rows, columns and lanes: its weight store has as many words as the memory of the board's own gives.

    Raises
    ------
    ValueError
        If no such geometry is possible.
    """
    own = board.geometry
    if (rows, cols, lanes) == (own.rows, own.cols, own.lanes):
        return own
    width = 2 * cols * lanes
    if board.capacity.sprams:
        words = max(1, board.capacity.sprams // sprams(width, 1)) * _SPRAM_DEPTH
    else:
        limit = block_rams(board.family, 2 * own.cols * own.lanes, own.weight_words)
        words = 2 * own.stream_words
        while words < 1 << 16 and block_rams(board.family, width, words + own.stream_words) <= limit:
            words += own.stream_words
    return replace(own, rows=rows, cols=cols, lanes=lanes, weight_words=words)


def check(board: Board, geometry: Geometry) -> None:
    """Refuse what cannot fit, whatever the tools make of it.

    Raises
    ------
    FitError
        With how much too large it is, and the nearest that fits.
    """
    lanes = geometry.lanes_total
    wanted = [
        (f"{_LEAST_LUT4[board.family] * lanes:,.0f} LUT4", _LEAST_LUT4[board.family] * lanes, board.capacity.lut4),
        (f"{_least_rams(board, geometry):,} block RAMs", _least_rams(board, geometry), board.capacity.block_rams),
    ]
    if board.capacity.sprams:
        needed = sprams(2 * geometry.cols * geometry.lanes, geometry.weight_words)
        wanted.append((f"{needed} SPRAMs", needed, board.capacity.sprams))
    for what, needed, there in wanted:
        if needed > there:
            raise FitError(f"{geometry} does not fit {board.name}: it needs at least {what}, {needed - there:,.0f} more than the "
                           f"{there:,} there are; {_instead(board, geometry)}")


def check_cells(board: Board, geometry: Geometry, cells: Mapping[str, int]) -> None:
    """Refuse what is too large once it is synthesised.

    Raises
    ------
    FitError
        With how much too large it is, and the nearest that fits.
    """
    for what, used, there in (
        ("LUT4", lut4_of(cells, board.family), board.capacity.lut4),
        ("block RAMs", block_rams_of(cells, board.family), board.capacity.block_rams),
        ("SPRAMs", cells.get("SB_SPRAM256KA", 0), board.capacity.sprams),
    ):
        if used > there:
            raise FitError(f"{geometry} does not fit {board.name}: it takes {used:,} {what}, {used - there:,} more than the {there:,} there are; "
                           f"{_instead(board, geometry)}")


def check_placement(board: Board, geometry: Geometry, log: str) -> None:
    """Read in nextpnr's log whether it failed because the part is full.

    Raises
    ------
    FitError
        If so, with how full, and the nearest geometry that fits.
    """
    found = {kind: (int(used), int(there)) for kind, used, there in re.findall(r"Info:\s+(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", log)}
    for kind, (used, there) in found.items():
        if used > there:
            raise FitError(f"{geometry} does not fit {board.name}: it takes {used:,} {kind}, {used - there:,} more than the {there:,} there are; "
                           f"{_instead(board, geometry)}")
    for kind, (used, there) in found.items():
        if there > 1000 and used > _FULL * there:
            raise FitError(f"{geometry} does not fit {board.name}: it takes {used:,} of {there:,} {kind}, which nextpnr can't place and "
                           f"route; {_instead(board, geometry)}")


def nearest(board: Board, geometry: Geometry) -> Geometry | None:
    """The largest geometry that should fit with no number larger than in this one; of equal ones that whose shape is most alike."""
    per_lane, fixed = _USUAL_LUT4[board.family]
    found = []
    for rows in _halves(geometry.rows):
        for cols in _halves(geometry.cols):
            for lanes in _halves(geometry.lanes):
                try:
                    smaller = shaped(board, rows, cols, lanes)
                except ValueError:
                    continue
                fits = (smaller.lanes_total < geometry.lanes_total or smaller.weight_words < geometry.weight_words) \
                    and per_lane * smaller.lanes_total + fixed <= _ROOMY * board.capacity.lut4 \
                    and _least_rams(board, smaller) <= board.capacity.block_rams \
                    and (not board.capacity.sprams or sprams(2 * cols * lanes, smaller.weight_words) <= board.capacity.sprams)
                if fits:
                    found.append(smaller)
    shape = geometry.rows, geometry.cols, geometry.lanes

    def unlike(other: Geometry) -> float:
        return max(log2(mine / its) for mine, its in zip(shape, (other.rows, other.cols, other.lanes), strict=True))

    return max(found, key=lambda other: (prod((other.rows, other.cols, other.lanes)), -unlike(other)), default=None)


def _instead(board: Board, geometry: Geometry) -> str:
    found = nearest(board, geometry) or board.geometry
    words = f" with {found.weight_words:,} words of weights" if str(found) == str(geometry) else ""
    return f"the nearest that should fit is {found}{words}"


def _least_rams(board: Board, geometry: Geometry) -> int:
    """Block RAMs of the weights (unless they lie in SPRAM), the activations and the rest."""
    weights = 0 if board.capacity.sprams else block_rams(board.family, 2 * geometry.cols * geometry.lanes, geometry.weight_words)
    acts = geometry.rows * block_rams(board.family, 8 * geometry.lanes, geometry.act_words)
    return weights + acts + _LEAST_OTHER_RAMS[board.family]


def _halves(value: int) -> list[int]:
    """A number, and half of it rounded up, and so on down to 1."""
    found = [value]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found
