"""What the parts of a design cost, from synthesising them: enough of them to say what a whole design will take without making it.

Each part takes seconds to synthesise and is then kept in the user's cache folder, named by everything it depends on.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from tritloom.boards import board as board_module
from tritloom.boards import pll, report, synthesis, top
from tritloom.boards.board import Board
from tritloom.boards.fit import block_rams, block_rams_of, sprams
from tritloom.boards.report import ff_of, lut4_of
from tritloom.boards.toolchain import find_toolchain
from tritloom.host.beside import written_beside
from tritloom.rtl import geometry as geometry_module
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    pass

__all__ = ["Cost", "Parts", "sprams_of"]

_log = logging.getLogger("tritloom.boards")

#: A part's cost depends on all of these, and on the tools: the gateware, the top, and how they are synthesised and counted.
_SOURCES = (*sorted(Path(geometry_module.__file__).parent.glob("*.py")), *(Path(module.__file__) for module in (top, pll, board_module, synthesis, report)))

#: The small arrays that show what an array adds to its elements: columns, lanes. They have one row and two.
_SMALL_COLS, _SMALL_LANES = 4, 8


@dataclass(frozen=True)
class Cost:
    """What synthesis makes of something.

    Parameters
    ----------
    lut4 : int
        Four-input tables: a CCU2C counts two, an ALU one; an iCE40 carry shares its LUT.
    ff : int
        Flip-flops.
    block_rams : int
        Block RAMs.
    """

    lut4: int
    ff: int
    block_rams: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.lut4 + other.lut4, self.ff + other.ff, self.block_rams + other.block_rams)

    def __sub__(self, other: Cost) -> Cost:
        return self + other * -1

    def __mul__(self, count: float) -> Cost:
        return Cost(round(self.lut4 * count), round(self.ff * count), round(self.block_rams * count))


class Parts:
    """Costs of a board's parts, and the estimate of a whole design that they add up to.

    A design is R x C elements; what an array adds to them (registers of weights and activations, and the drain); what each row has
    beside the array (its activations, its result queue); and the rest, which is taken to be the same for all geometries: what is left
    of the board's own design when all the others are taken away. So for the board's own geometry the estimate is what synthesis says.

    Parameters
    ----------
    board : Board
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._tools = find_toolchain(board.family)
        self._known: dict[str, Cost] = {}
        self._sources = b"".join(hashlib.sha256(path.read_bytes()).digest() for path in _SOURCES)

    def estimate(self, geometry: Geometry) -> Cost:
        """What a whole design takes, SPRAMs not counted.

        Raises
        ------
        ToolError
            If a tool is missing or fails.
        """
        return self._scaled(geometry) + self._rest

    def element(self, geometry: Geometry) -> Cost:
        """One processing element, by itself."""
        geometry = replace(geometry, rows=1, cols=1, col_pitch=1, weight_words=2 * geometry.stream_words)
        return self._part("pe", geometry)

    @property
    def _rest(self) -> Cost:
        own = self.board.geometry
        return self._whole - self._scaled(own)

    def _scaled(self, geometry: Geometry) -> Cost:
        """All that depends on the geometry."""
        lanes, rows, cols = geometry.lanes, geometry.rows, geometry.cols
        one, two = (self._around(rows) for rows in (1, 2))
        # The first row of a column clears the weights that mean nothing (by the lane), each row has a drain (by the column).
        row = two - one
        column = one - row
        around = Cost(round(row.lut4 * rows * cols / _SMALL_COLS + column.lut4 * cols * lanes / (_SMALL_COLS * _SMALL_LANES)),
                      round(row.ff * rows + column.ff) + _registers(geometry), 0)
        beside = self._beside(2) - self._beside(1)
        family, width = self.board.family, 2 * cols * lanes
        weights = 0 if sprams_of(self.board, geometry) else block_rams(family, width, geometry.weight_words)
        memories = Cost(0, 0, weights + rows * block_rams(family, 8 * lanes, geometry.act_words))
        return self.element(geometry) * (rows * cols) + around + beside * rows + memories

    def _small(self, rows: int) -> Geometry:
        own = self.board.geometry
        return replace(own, rows=rows, cols=_SMALL_COLS, lanes=_SMALL_LANES, col_pitch=_SMALL_COLS, weight_words=2 * own.stream_words)

    def _around(self, rows: int) -> Cost:
        """What the small array has beside its elements and the registers that `_registers` counts."""
        small = self._small(rows)
        return self._part("array", small) - self.element(small) * (rows * _SMALL_COLS) - Cost(0, _registers(small), 0)

    def _beside(self, rows: int) -> Cost:
        """What a small core has beside its array and its activations."""
        small = self._small(rows)
        acts = rows * block_rams(self.board.family, 8 * small.lanes, small.act_words)
        return self._part("core", small) - self._part("array", small) - Cost(0, 0, acts)

    def _part(self, what: str, geometry: Geometry) -> Cost:
        """One of `tritloom.rtl.verilog.PARTS`, out of context."""
        family = self.board.family

        def elaborate() -> str:
            from amaranth.back import rtlil

            from tritloom.rtl.ports import ports
            from tritloom.rtl.verilog import PARTS

            component = PARTS[what](geometry)
            return rtlil.convert(component, name="top", platform=family, ports=ports(component), emit_src=False)

        return self._cost(f"{what} {geometry}, pitch {geometry.tree_pitch}", (what, family, geometry), elaborate)

    @property
    def _whole(self) -> Cost:
        """The board's own design."""
        board = self.board

        def elaborate() -> str:
            content = board.platform().prepare(top.Top(board, board.geometry), "top", emit_src=False).files["top.il"]
            return content.decode() if isinstance(content, bytes) else content

        return self._cost(f"all of {board.name} {board.geometry}", (board.name, board.geometry, board.site, board.leds, board.high), elaborate)

    def _cost(self, saying: str, depends_on: tuple[Any, ...], elaborate: Any) -> Cost:
        """Look it up, or synthesise it."""
        name = self._name(depends_on)
        if name not in self._known:
            path = user_cache_path("tritloom") / "parts" / f"{name}.json"
            found = _read(path)
            if found is None:
                _log.info("Synthesising %s", saying)
                found = self._synthesise(elaborate())
                _write(path, found)
            self._known[name] = found
        return self._known[name]

    def _synthesise(self, text: str) -> Cost:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "top.il").write_text(text, encoding="utf-8")
            (folder / "top.ys").write_text(synthesis.script(self.board.family, "top.il", "top.json", "stat.json"), encoding="utf-8")
            self._tools.synthesis.run(["top.ys"], folder, folder / "yosys.log")
            cells: Mapping[str, int] = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        family = self.board.family
        return Cost(lut4_of(cells, family), ff_of(cells, family), block_rams_of(cells, family))

    def _name(self, depends_on: tuple[Any, ...]) -> str:
        digest = hashlib.sha256(self._sources)
        digest.update(repr((depends_on, self._tools.synthesis.version, version("amaranth"))).encode())
        return digest.hexdigest()[:24]


def sprams_of(board: Board, geometry: Geometry) -> int:
    """SPRAMs that hold the weights; 0 where they lie in block RAM."""
    return sprams(2 * geometry.cols * geometry.lanes, geometry.weight_words) if board.capacity.sprams else 0


def _registers(geometry: Geometry) -> int:
    """Flip-flops of an array that hold weights and activations on their way."""
    rows, cols, lanes = geometry.rows, geometry.cols, geometry.lanes
    return rows * (2 * cols * lanes + 8 * lanes * -(-cols // geometry.col_pitch))


def _read(path: Path) -> Cost | None:
    with suppress(OSError, ValueError, TypeError):
        return Cost(**json.loads(path.read_text(encoding="utf-8")))
    return None


def _write(path: Path, cost: Cost) -> None:
    # What cannot be kept is only slower the next time.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_text(json.dumps(asdict(cost)) + "\n", encoding="utf-8")
