"""A picture of a placed design: every tile of the part in the colours of what lies there, as SVG.

``tritloom build BOARD --picture FILE.svg`` draws it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from tritloom.boards.board import Board
from tritloom.boards.build import Build
from tritloom.boards.placement import PLACEMENT, Placement, part_of
from tritloom.host.beside import written_beside
from tritloom.host.errors import TritloomError
from tritloom.rtl.family import Family

__all__ = ["draw", "draw_build"]

#: Of each family: the kinds of cells that are logic, and how many of them a tile has.
_LOGIC = {
    Family.ICE40: (("ICESTORM_LC",), 8),
    Family.ECP5: (("TRELLIS_COMB", "TRELLIS_FF"), 16),
    Family.GOWIN: (("LUT1", "LUT2", "LUT3", "LUT4", "ALU", "DFF"), 12),
}

#: Memories: how kinds of cells begin, what to call them, and how many tiles they are wide and high.
_MEMORIES = {
    "ICESTORM_RAM": ("block RAM", 1, 2),
    "ICESTORM_SPRAM": ("SPRAM", 1, 4),
    "DP16KD": ("block RAM", 2, 1),
    "BSRAM": ("block RAM", 3, 1),
    "SDP": ("block RAM", 3, 1),
    "SP": ("block RAM", 3, 1),
    "DP": ("block RAM", 3, 1),
}

#: Columns and rows of tiles (nextpnr's and Project Trellis', IceStorm's and Apicula's data).
_TILES = {
    "iCE40UP5K": (26, 32),
    "LFE5U-25F": (73, 51), "LFE5U-45F": (91, 72), "LFE5U-85F": (127, 96),
    "GW1NR-9C": (47, 29), "GW2A-18C": (56, 55),
}

#: IceStorm gives the four SPRAMs the parts' lower corners: drawn one above the other along the edges, where they are.
_SPRAM_ROW = {"spram_1": 1, "spram_2": 6, "spram_3": 1, "spram_4": 6}

#: Parts in the legend's words, and their colours, which can be told from one another on white and on black.
_STYLES = {
    "array": ("array: weights, activations, drain", "#4f6d8f"),
    "weights": ("weight store", "#c8862a"),
    "activations": ("activation buffer", "#8a9a2b"),
    "results": ("results", "#b0578d"),
    "link": ("link", "#c2503f"),
    "control": ("control", "#3d9970"),
    "other": ("clock, reset, what the tools added", "#909090"),
}

#: The first and the last row of the array.
_FIRST_ROW, _LAST_ROW = (0x1F, 0x5F, 0xBF), (0x7F, 0xC0, 0xF0)

#: Rows with an entry of their own in the legend.
_ROWS_NAMED = 4

#: Pixels of a tile and of its used part; width of the legend, and of a line in it.
_TILE, _USED, _LEGEND, _LINE = 10, 9, 330, 18

_INK = "#808080"


@dataclass(frozen=True)
class _Part:
    """An entry of the legend."""

    name: str
    colour: str


def draw_build(board: Board, done: Build, path: Path) -> None:
    """Draw a build.

    Parameters
    ----------
    board : Board
    done : Build
        Its folder has the placement.
    path : Path
        The SVG file.

    Raises
    ------
    TritloomError
        If the placement cannot be read, or the file cannot be written.
    """
    source = done.bitstream.parent / PLACEMENT
    try:
        placement = Placement.read(source)
    except (OSError, ValueError) as error:
        raise TritloomError(f"there is nothing to draw: {str(source)!r} cannot be read ({error})") from error
    slowest = min(done.clocks.values(), key=lambda clock: clock.achieved_mhz / clock.constraint_mhz)
    title = f"{board.title}, {done.geometry}: {done.lanes_total:,} lanes, {slowest.achieved_mhz:.1f} MHz"
    text = draw(board, placement, title)
    try:
        with written_beside(path) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise TritloomError(f"the picture {str(path)!r} cannot be written: {error.strerror or error}") from error


def draw(board: Board, placement: Placement, title: str) -> str:
    """The SVG of a placement.

    Parameters
    ----------
    board : Board
    placement : Placement
    title : str
        A line above it.
    """
    logic, memories = _sorted(board, placement)
    tiles = _tiles(board, placement)
    parts = _legend(logic, memories)
    size = tiles[0] * _TILE + _LEGEND, max(tiles[1] * _TILE, (len(parts) + 2) * _LINE) + 3 * _LINE
    outlines = defaultdict(list)
    _outline_logic(board, logic, tiles[1], outlines)
    _outline_memories(board, memories, tiles[1], outlines)

    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}" font-family="sans-serif" font-size="13" fill="{_INK}">',
        f"<title>{escape(title)}</title>",
        f'<text x="4" y="{_LINE}" font-size="15">{escape(title)}</text>',
        f'<g transform="translate(4 {2 * _LINE})">',
        f'<rect width="{tiles[0] * _TILE}" height="{tiles[1] * _TILE}" fill="none" stroke="{_INK}"/>',
        *(f'<path fill="{part.colour}" d="{"".join(outlines[part])}"/>' for part in parts),
        "</g>",
        f'<g transform="translate({tiles[0] * _TILE + 20} {2 * _LINE})">',
        *_legend_lines(parts, logic, memories),
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


_Logic = dict[tuple[int, int], Counter[_Part]]
_Memories = list[tuple[str, int, int, str, _Part]]


def _sorted(board: Board, placement: Placement) -> tuple[_Logic, _Memories]:
    """Cells of each tile by part, and every memory: what it is called, column, row, site, part."""
    logic: _Logic = defaultdict(Counter)
    memories: _Memories = []
    kinds, _ = _LOGIC[board.family]
    rows = {_row(component) for _, _, _, _, component in placement.cells} - {None}
    for (kind, x, y, site, component), count in placement.cells.items():
        part = _part(component, len(rows))
        memory = next((name for name in _MEMORIES if kind.startswith(name)), None)
        if memory:
            memories += [(memory, x, y, site, part)] * count
        elif kind.startswith(kinds):
            logic[x, y][part] += count
    return logic, memories


def _row(component: str) -> int | None:
    """The row of the array that a component is an element of."""
    _, found, rest = component.partition("core.array.pe")
    return int(rest.split("_")[0]) if found else None


def _part(component: str, rows: int) -> _Part:
    row = _row(component)
    if row is not None:
        share = row / max(1, rows - 1)
        colour = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_FIRST_ROW, _LAST_ROW, strict=True))
        return _Part(f"array: elements of row {row}", colour)
    return _Part(*_STYLES[part_of(component)])


def _tiles(board: Board, placement: Placement) -> tuple[int, int]:
    """Columns and rows of the part."""
    if board.part in _TILES:
        return _TILES[board.part]
    return max(x for _, x, *_ in placement.cells) + 1, max(y for _, _, y, *_ in placement.cells) + 1


def _top(board: Board, row: int, height: int, rows: int) -> int:
    """Pixels from the top: iCE40 counts its rows from the bottom."""
    return (rows - row - height if board.family is Family.ICE40 else row) * _TILE


def _outline_logic(board: Board, logic: _Logic, rows: int, outlines: dict[_Part, list[str]]) -> None:
    """A bar for each part in a tile, as high as its share of the tile's cells."""
    _, capacity = _LOGIC[board.family]
    for (x, y), counts in logic.items():
        at = _top(board, y, 1, rows) + _USED
        for part, count in counts.items():
            height = round(count / capacity * _USED, 1)
            outlines[part].append(f"M{x * _TILE} {at - height:g}h{_USED}v{height:g}h-{_USED}z")
            at -= height


def _outline_memories(board: Board, memories: _Memories, rows: int, outlines: dict[_Part, list[str]]) -> None:
    """A frame with a bar in it, which no logic looks like."""
    for kind, x, y, site, part in memories:
        _, wide, high = _MEMORIES[kind]
        y = _SPRAM_ROW.get(site, y)
        left, at = x * _TILE, _top(board, y, high, rows)
        width, height = wide * _TILE - 1, high * _TILE - 1
        # The inner frame runs the other way round: what is between the two is filled.
        outlines[part].append(f"M{left} {at}h{width}v{height}h-{width}z"
                              f"M{left + 1} {at + 1}v{height - 2}h{width - 2}v-{height - 2}z"
                              f"M{left + 2} {at + 2}h{width - 4}v{height - 4}h-{width - 4}z")


def _legend(logic: _Logic, memories: _Memories) -> list[_Part]:
    """The parts there are, in order."""
    there = {part for counts in logic.values() for part in counts} | {part for *_, part in memories}
    order = {name: index for index, (name, _) in enumerate(_STYLES.values())}
    return sorted(there, key=lambda part: (order.get(part.name, -1), len(part.name), part.name))


def _legend_lines(parts: list[_Part], logic: _Logic, memories: _Memories) -> Iterator[str]:
    cells: Counter[_Part] = Counter()
    for counts in logic.values():
        cells += counts
    total = sum(cells.values())
    held = Counter((part, _MEMORIES[kind][0]) for kind, *_, part in memories)
    rows = [part for part in parts if part.name.startswith("array: elements")]
    entries: list[tuple[str, list[_Part]]] = [(part.name, [part]) for part in parts if part not in rows or len(rows) <= _ROWS_NAMED]
    if len(rows) > _ROWS_NAMED:
        entries.insert(0, (f"array: elements of rows 0 to {len(rows) - 1}", rows))
    yield f'<text y="11">{total:,} logic cells in use, of which</text>'
    for line, (name, members) in enumerate(entries, 1):
        at = line * _LINE
        share = sum(cells[part] for part in members) / total if total else 0
        memory = "".join(f", {count} {kind}{'s' if count > 1 else ''}" for kind in ("block RAM", "SPRAM")
                         if (count := sum(held[part, kind] for part in members)))
        for index, part in enumerate(members):
            yield f'<rect x="{index * 12 / len(members):g}" y="{at}" width="{12 / len(members):g}" height="12" fill="{part.colour}"/>'
        yield f'<text x="18" y="{at + 11}">{escape(name)}: {share:.1%}{memory}</text>'
