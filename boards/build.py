"""From a board and a geometry to a bitstream that meets timing: elaborate, synthesise once, place and route until the clock is met, pack.

What was built is kept in the user's cache folder, named by everything it depends on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from tritloom.boards import fit, place
from tritloom.boards.board import Board
from tritloom.boards.errors import TimingError, ToolError
from tritloom.boards.placement import PLACEMENT, Placement
from tritloom.boards.report import Clock, Use, clocks_of, critical_path, lut4_of, slowest, utilization_of
from tritloom.boards.synthesis import script
from tritloom.boards.toolchain import Toolchain, find_toolchain
from tritloom.host.errors import TritloomError, UsageError
from tritloom.rtl import geometry as rtl_geometry
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry

__all__ = ["Build", "build", "built", "cache_folder"]

_log = logging.getLogger("tritloom.boards")

#: Of each family: the constraint file's suffix, and the bitstream's.
_SUFFIXES = {Family.ICE40: ("pcf", ".bin"), Family.ECP5: ("lpf", ".bit"), Family.GOWIN: ("cst", ".fs")}

#: What is kept of a build that succeeded, beside its bitstream.
_KEPT = ("report.json", PLACEMENT, "nextpnr.json", "nextpnr.log", "nextpnr-route.log", "yosys.log")

#: What is kept of one that failed.
_LOGS = ("yosys.log", "nextpnr.log", "nextpnr-route.log", "nextpnr.json", "pack.log")

#: What is built depends on all of these.
_SOURCES = (Path(rtl_geometry.__file__).parent, Path(__file__).parent)

#: Scratch folders of builds that were killed are removed after this long, in seconds.
_SCRATCH_S = 24 * 3600


@dataclass(frozen=True, kw_only=True)
class Build:
    """A bitstream that meets timing, and what is known of it.

    Parameters
    ----------
    board, part : str
    bitstream : Path
    geometry : str
        Rows, columns, lanes.
    lanes_total : int
        Products in one beat.
    clocks : dict of str to Clock
        By name.
    utilization : dict of str to Use
        Cells after packing, by nextpnr's names.
    cells : dict of str to int
        Cells after synthesis, by yosys' names.
    parts : dict of str to int
        Placed cells of each part of the design (`placement.PARTS`); where they lie is in ``placement.json.gz``.
    lut4 : int
        All that is LUT4 among them, carry cells and memory made of LUTs included.
    peak_gmacs : float
        Ternary multiply-accumulates a second with all rows at work, in billions.
    seed : int
        Place-and-route's.
    critical_path : str
        In words.
    steps_s : dict of str to float
        Seconds of each step.
    wall_s : float
        Seconds of all of them.
    """

    board: str
    part: str
    bitstream: Path
    geometry: str
    lanes_total: int
    clocks: dict[str, Clock]
    utilization: dict[str, Use]
    cells: dict[str, int]
    parts: dict[str, int]
    lut4: int
    peak_gmacs: float
    seed: int
    critical_path: str
    steps_s: dict[str, float]
    wall_s: float

    @property
    def lut4_per_lane(self) -> float:
        """LUT4 of the whole design, link and control and memory logic included, for each of its lanes. A carry cell counts as what it
        takes the place of: CCU2C two, ALU one; an iCE40 carry shares its LUT."""
        return round(self.lut4 / self.lanes_total, 2)

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "bitstream": str(self.bitstream), "lut4_per_lane": self.lut4_per_lane}

    @classmethod
    def read(cls, path: Path) -> Build:
        """A ``report.json``; its bitstream is in the same folder."""
        record = json.loads(path.read_text(encoding="utf-8"))
        del record["lut4_per_lane"]
        record["bitstream"] = path.parent / record["bitstream"]
        record["clocks"] = {name: Clock(**clock) for name, clock in record["clocks"].items()}
        record["utilization"] = {kind: Use(**use) for kind, use in record["utilization"].items()}
        return cls(**record)


def build(board: Board, geometry: Geometry | None = None, *, seeds: int | None = None, out: Path | None = None) -> Build:
    """Build a bitstream, unless that was done before. Says what it does through the logger `tritloom.boards`.

    Parameters
    ----------
    board : Board
    geometry : Geometry, optional
        The board's if none is given.
    seeds : int, optional
        Seeds 1 to this that place-and-route may try; the board's number if none is given.
    out : Path, optional
        A folder that gets a copy of all that is kept.

    Raises
    ------
    FitError
        If the geometry is too large for the board.
    ToolError
        If a tool is missing or fails.
    TimingError
        If no seed meets the clock.
    TritloomError
        If a folder cannot be written.
    """
    geometry = geometry or board.geometry
    seeds = board.seeds if seeds is None else seeds
    if seeds < 1:
        raise UsageError(f"`seeds` must be at least 1, not {seeds}")
    fit.check(board, geometry)
    tools = find_toolchain(board.family)
    folder = cache_folder(board, geometry, tools)
    if not _read(folder):
        with _scratch(folder) as scratch:
            _make(board, geometry, seeds, tools, scratch)
            shutil.rmtree(folder, ignore_errors=True)
            # Another process may have built the same meanwhile.
            with suppress(OSError):
                scratch.replace(folder)
    found = Build.read(folder / "report.json")
    return _copy(folder, out) if out else found


def built(board: Board, geometry: Geometry | None = None) -> Build | None:
    """What `build` would find done, if anything."""
    return _read(cache_folder(board, geometry or board.geometry, find_toolchain(board.family)))


def cache_folder(board: Board, geometry: Geometry, tools: Toolchain) -> Path:
    """Where a build is kept: the name has a digest of all it depends on."""
    digest = hashlib.sha256()
    for path in sorted(path for source in _SOURCES for path in source.glob("*.py")):
        digest.update(path.read_bytes())
    packages = [f"{name} {version(name)}" for name in ("amaranth", "amaranth-boards")]
    digest.update(repr((board.name, geometry, board.site, tools.versions, packages)).encode())
    return user_cache_path("tritloom") / "boards" / f"{board.name}-{str(geometry).replace(',', 'x')}-{digest.hexdigest()[:16]}"


def _read(folder: Path) -> Build | None:
    """What is kept there, if it is all there."""
    try:
        found = Build.read(folder / "report.json")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.bitstream.is_file() else None


def _make(board: Board, geometry: Geometry, seeds: int, tools: Toolchain, folder: Path) -> None:
    """All steps, in a folder of their own; what is not kept is removed from it."""
    constraints, suffix = _SUFFIXES[board.family]
    seconds: dict[str, float] = {}
    began = time.monotonic()

    def step(name: str, saying: str) -> None:
        nonlocal began
        now = time.monotonic()
        if seconds:
            last = list(seconds)[-1]
            seconds[last] += now - began
            _log.info("%s took %.0f s. %s", last.capitalize(), seconds[last], saying)
        else:
            _log.info("%s", saying)
        seconds.setdefault(name, 0.0)
        began = now

    step("elaboration", f"Elaborating {geometry} for {board.name}")
    _elaborate(board, geometry, folder, constraints)

    step("synthesis", "Synthesising with Yosys")
    (folder / "top.ys").write_text(script(board.family, "top.il", "top.json", "stat.json"))
    tools.synthesis.run(["top.ys"], folder, folder / "yosys.log")
    cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]

    fit.check_cells(board, geometry, cells)
    place.prepare(board, folder)
    best: tuple[float, str] = (0.0, "")
    for seed in range(1, seeds + 1):
        tried = f" ({best[0]:.1f} of {board.constraint_mhz:.1f} MHz so far)" if best[0] else ""
        step("placement and routing", f"Placing and routing with seed {seed} of at most {seeds}{tried}")
        try:
            report = place.place(board, tools.place, folder, seed)
        except ToolError:
            fit.check_placement(board, geometry, (folder / place.LOG).read_text(errors="replace"))
            raise
        clocks = clocks_of(report)
        if all(clock.met for clock in clocks.values()):
            break
        name = slowest(clocks)
        best = max(best, (clocks[name].achieved_mhz, critical_path(report, name)))
    else:
        raise TimingError(f"{board.name} with {geometry} needs {board.constraint_mhz:.1f} MHz, and the best of {seeds} seeds reaches "
                          f"{best[0]:.1f}; its slowest path takes {best[1]}: try a smaller --geometry, or more --seeds", best[0], cells)

    step("packing", "Packing the bitstream")
    placement = Placement.of_netlist(folder / place.PLACED)
    placement.write(folder / PLACEMENT)
    bitstream = folder / f"{board.name}{suffix}"
    tools.pack.run(_pack_arguments(board, bitstream.name), folder, folder / "pack.log")
    seconds["packing"] += time.monotonic() - began

    done = Build(
        board=board.name, part=board.part, bitstream=bitstream, geometry=str(geometry), lanes_total=geometry.lanes_total, clocks=clocks,
        utilization=utilization_of(report), cells=cells, parts=placement.parts, lut4=lut4_of(cells, board.family), peak_gmacs=board.peak_gmacs_of(geometry),
        seed=seed, critical_path=critical_path(report, slowest(clocks)),
        steps_s={name: round(value, 1) for name, value in seconds.items()}, wall_s=round(sum(seconds.values()), 1))
    (folder / "report.json").write_text(json.dumps({**done.record(), "bitstream": bitstream.name}, indent=1) + "\n", encoding="utf-8")
    (folder / "nextpnr.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        if path.name not in (bitstream.name, *_KEPT):
            path.unlink()


def _elaborate(board: Board, geometry: Geometry, folder: Path, constraints: str) -> None:
    # Amaranth and all of the gateware take a second to import.
    from tritloom.boards.top import Top

    plan = board.platform().prepare(Top(board, geometry), "top", emit_src=False)
    for name in ("top.il", f"top.{constraints}"):
        content = plan.files[name]
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def _pack_arguments(board: Board, bitstream: str) -> list[str]:
    if board.family is Family.ICE40:
        return [*board.pack_options, "top.asc", bitstream]
    if board.family is Family.ECP5:
        return [*board.pack_options, "--input", "top.config", "--bit", bitstream]
    return [*board.pack_options, "-o", bitstream, place.PLACED]


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to build in, beside the one to be; those that were left behind are removed."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob("tmp*"):
            if time.time() - left.stat().st_mtime > _SCRATCH_S:
                shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix="tmp", dir=folder.parent))
    except OSError as error:
        raise TritloomError(f"what is built cannot be kept in {folder.parent} ({error.strerror or error}): "
                            "make room there, or name another folder in $XDG_CACHE_HOME") from error
    try:
        yield scratch
    except (ToolError, TimingError) as error:
        error.args = (f"{error} (logs: {_keep(scratch, folder)})",)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _keep(scratch: Path, folder: Path) -> Path:
    """The logs of a build that failed, where the next failure of this board replaces them."""
    kept = folder.parent / f"failed-{folder.name.split('-')[0]}"
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir()
    for name in _LOGS:
        if (scratch / name).exists():
            (scratch / name).replace(kept / name)
    return kept


def _copy(folder: Path, out: Path) -> Build:
    """All of a build in another folder."""
    from tritloom.host.beside import written_beside

    try:
        out.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            with written_beside(out / path.name) as beside:
                shutil.copyfile(path, beside)
    except OSError as error:
        raise TritloomError(f"{str(out)!r} cannot be written: {error.strerror or error}") from error
    return Build.read(out / "report.json")
