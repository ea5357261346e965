"""A search over geometries for one board: what each would take, and how fast a model would run on it.

Logic is estimated from synthesised parts (`Parts`), speed is what the model's runtime does, in the device `model`'s cycles (`Workload`), and a clock
rate is known of what was placed and routed, and of nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tritloom.boards.board import Board
from tritloom.boards.build import Build, build, built
from tritloom.boards.candidates import MOST, pitches, shapes, variants
from tritloom.boards.errors import FitError, TimingError
from tritloom.boards.fit import block_rams_of
from tritloom.boards.parts import Cost, Parts, sprams_of
from tritloom.boards.report import ff_of, lut4_of, slowest
from tritloom.boards.workload import Phase, Speed, Workload
from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry

__all__ = ["Candidate", "Exploration", "Placed", "explore"]

_log = logging.getLogger("tritloom.boards")

#: Of the front's shapes so many, and the board's own, are looked at with other pitches.
_VARIED = 2


@dataclass(frozen=True)
class Placed:
    """What place-and-route made of a candidate.

    Parameters
    ----------
    cost : Cost
        From synthesis of the whole design.
    achieved_mhz : float
        Of the slowest clock, whether or not that is enough.
    met : bool
        It is enough.
    """

    cost: Cost
    achieved_mhz: float
    met: bool


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One geometry on one board.

    Parameters
    ----------
    board : Board
    geometry : Geometry
    estimated : Cost
        From parts.
    speed : Speed
        Of the model.
    placed : Placed, optional
        If it was placed and routed: now, or by an earlier build.
    """

    board: Board
    geometry: Geometry
    estimated: Cost
    speed: Speed
    placed: Placed | None = None

    @property
    def own(self) -> bool:
        """It is the board's geometry."""
        return self.geometry == self.board.geometry

    @property
    def cost(self) -> Cost:
        """The best that is known."""
        return self.placed.cost if self.placed else self.estimated

    @property
    def sprams(self) -> int:
        """SPRAMs that hold weights."""
        return sprams_of(self.board, self.geometry)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns, lanes."""
        return self.geometry.rows, self.geometry.cols, self.geometry.lanes

    @property
    def missed(self) -> bool:
        """It was placed, and did not meet the clock."""
        return self.placed is not None and not self.placed.met

    @property
    def decode_tokens_per_s(self) -> float:
        """Of the core alone."""
        return self.speed.decode.array_tokens_per_s(self.board.pll.output_hz)

    @property
    def prefill_tokens_per_s(self) -> float:
        """Of the core alone."""
        return self.speed.prefill.array_tokens_per_s(self.board.pll.output_hz)

    def through_link(self, phase: Phase) -> float:
        """Tokens a second through the board's UART at its highest rate."""
        return phase.link_tokens_per_s(self.board.pll.output_hz, self.board.baud)

    @property
    def rank(self) -> tuple[bool, float, int, int]:
        """Sorts the best to the front: what misses the clock last, then seconds for a prompt and as many tokens again, then what it takes."""
        return self.missed, self.speed.request_s(self.board.pll.output_hz), self.cost.lut4, self.cost.ff

    def beats(self, other: Candidate) -> bool:
        """No worse in logic, decode and prefill, and better in one of them.

        A candidate with fewer registers does not beat one with more, unless it is known to meet the clock: which of them does, only
        place-and-route can tell.
        """
        if self.missed:
            return False
        if other.missed:
            return True
        mine, theirs = self._figures(), other._figures()
        if mine == theirs or any(a > b for a, b in zip(mine, theirs, strict=True)):
            return False
        return bool(self.placed) or all(a <= b for a, b in zip(pitches(self.geometry), pitches(other.geometry), strict=True))

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "geometry": str(self.geometry), **asdict(self.geometry), "lanes_total": self.geometry.lanes_total, "own": self.own,
            "estimated": asdict(self.estimated),
            "placed": {**asdict(self.placed.cost), "achieved_mhz": self.placed.achieved_mhz, "met": self.placed.met} if self.placed else None,
            "sprams": self.sprams,
            "resident": self.speed.streamed == 0, "streamed_share": round(self.speed.streamed, 4),
            **{name: self._phase(phase) for name, phase in (("prefill", self.speed.prefill), ("decode", self.speed.decode))},
        }

    def _phase(self, phase: Phase) -> dict[str, Any]:
        return {
            "tokens": phase.tokens, "cycles": phase.counters.cycles, "link_bytes": phase.link_bytes,
            "utilization": round(phase.utilization, 4),
            "core_tokens_per_s": round(phase.array_tokens_per_s(self.board.pll.output_hz), 1),
            "uart_tokens_per_s": round(self.through_link(phase), 2),
        }

    def _figures(self) -> tuple[float, ...]:
        """Less is better."""
        return self.cost.lut4, -self.decode_tokens_per_s, -self.prefill_tokens_per_s


@dataclass(frozen=True)
class Exploration:
    """What a search found.

    Parameters
    ----------
    board : Board
    model : str
        Its name.
    front : list of Candidate
        Those that none beats (see `Candidate.beats`), the best first.
    others : list of Candidate
        The rest, likewise.
    """

    board: Board
    model: str
    front: list[Candidate]
    others: list[Candidate]

    @classmethod
    def of(cls, board: Board, model: str, found: Iterable[Candidate]) -> Exploration:
        """Put candidates in order."""
        ranked = sorted(found, key=lambda candidate: candidate.rank)
        front = [candidate for candidate in ranked if not candidate.missed and not any(other.beats(candidate) for other in ranked)]
        return cls(board, model, front, [candidate for candidate in ranked if candidate not in front])

    @property
    def errors(self) -> dict[str, float]:
        """How far the estimate of LUT4 was off, as a share of the true figure, for each geometry that was built. The board's own is not
        among them: the estimate starts from it."""
        return {f"{candidate.geometry} {'/'.join(map(str, pitches(candidate.geometry)))}":
                round(candidate.estimated.lut4 / candidate.placed.cost.lut4 - 1, 4)
                for candidate in (*self.front, *self.others) if candidate.placed and not candidate.own}

    def record(self) -> dict[str, Any]:
        """For JSON."""
        board = self.board
        return {
            "board": board.name, "model": self.model, "clock_mhz": board.pll.output_hz / 1e6, "constraint_mhz": board.constraint_mhz,
            "baud": board.baud, "lut4_available": board.capacity.lut4, "estimate_errors": self.errors,
            "candidates": [{"front": True, **candidate.record()} for candidate in self.front]
            + [{"front": False, **candidate.record()} for candidate in self.others],
        }


def explore(board: Board, model: str = "nano", *, place: int = 0, most_lanes: int | None = None) -> Exploration:
    """Search. Says what it does through the logger `tritloom.boards`.

    First come shapes (rows, columns, lanes) with the board's own pitches, then the best of them, and the board's own, with other pitches:
    at most 60 in all.

    Parameters
    ----------
    board : Board
    model : str
        A shipped model's name, or a file.
    place : int
        Candidates to place and route with one seed, down the front: one of each shape, and then others of shapes that missed the clock.
    most_lanes : int, optional
        Leave out what has more lanes in all.

    Raises
    ------
    UsageError
        If `place` is negative, or no shape has so few lanes.
    UnknownNameError, ModelFileError
        If there is no such model.
    ToolError
        If a tool is missing or fails.
    """
    if place < 0:
        raise UsageError(f"`place` must be at least 0, not {place}")
    workload, parts = Workload.of(model), Parts(board)
    chosen = shapes(board, workload, parts.estimate, most_lanes)
    if not chosen:
        raise UsageError(f"there is no shape of at most {most_lanes} lanes for {board.name} that {workload.name} would make use of: allow more lanes")
    found = [_judge(board, geometry, parts, workload) for geometry in _counted(chosen, workload)]
    best = [candidate.geometry for candidate in Exploration.of(board, workload.name, found).front[:_VARIED]]
    best += [geometry for geometry in chosen if geometry == board.geometry and geometry not in best]
    found += [_judge(board, geometry, parts, workload) for geometry in _counted(variants(best, MOST - len(found)), workload)]

    result = Exploration.of(board, workload.name, found)
    tried: list[Candidate] = []
    while len(tried) < place and (due := _due(result, tried)):
        tried.append(due)
        _log.info("Placing %d of at most %d: %s, pitches %s", len(tried), place, due.geometry, "/".join(map(str, pitches(due.geometry))))
        placed = _place(due)
        found = [candidate for candidate in found if candidate is not due] + ([placed] if placed else [])
        result = Exploration.of(board, workload.name, found)
    return result


def _due(result: Exploration, tried: list[Candidate]) -> Candidate | None:
    """What to place next: the best shape that was not tried, with the board's pitches if it has them; then what else there is of shapes
    that did not meet the clock."""
    known = {candidate.shape for candidate in result.front if candidate.placed}
    geometries = {candidate.geometry for candidate in tried}
    left = [candidate for candidate in result.front if candidate.shape not in known and candidate.geometry not in geometries]
    seen = {candidate.shape for candidate in tried}
    left = [candidate for candidate in left if candidate.shape not in seen] or left
    own = result.board.geometry
    alike = [candidate for candidate in left if candidate.shape == left[0].shape]
    usual = (candidate for candidate in alike
             if pitches(candidate.geometry) == pitches(replace(candidate.geometry, tree_pitch=own.tree_pitch, col_pitch=own.col_pitch)))
    return next(usual, alike[0] if alike else None)


def _counted(geometries: list[Geometry], workload: Workload) -> Iterable[Geometry]:
    for number, geometry in enumerate(geometries, 1):
        _log.info("Running %s on %s (%d of %d)", workload.name, geometry, number, len(geometries))
        yield geometry


def _judge(board: Board, geometry: Geometry, parts: Parts, workload: Workload) -> Candidate:
    earlier = built(board, geometry)
    return Candidate(board=board, geometry=geometry, estimated=parts.estimate(geometry), speed=workload.run(geometry),
                     placed=_placed(board, earlier) if earlier else None)


def _place(candidate: Candidate) -> Candidate | None:
    """Build it; None if it does not fit after all."""
    board = candidate.board
    try:
        placed = _placed(board, build(board, candidate.geometry, seeds=1))
    except TimingError as error:
        placed = Placed(_cost(error.cells, board), error.achieved_mhz, met=False)
    except FitError as error:
        _log.info("%s", error)
        return None
    return replace(candidate, placed=placed)


def _placed(board: Board, done: Build) -> Placed:
    return Placed(_cost(done.cells, board), done.clocks[slowest(done.clocks)].achieved_mhz, met=True)


def _cost(cells: Mapping[str, int], board: Board) -> Cost:
    return Cost(lut4_of(cells, board.family), ff_of(cells, board.family), block_rams_of(cells, board.family))
