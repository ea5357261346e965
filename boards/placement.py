"""Where nextpnr put what, and to which part of the design it belongs: its placed netlist of tens of megabytes, cut down to that."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PARTS", "PLACEMENT", "Placement", "part_of"]

#: Name of the file in a build's folder.
PLACEMENT = "placement.json.gz"

#: Parts of a design that are told apart, and what their components' names begin with behind ``device.``.
PARTS = {
    "array":       ("core.array",),
    "weights":     ("core.weights",),
    "activations": ("core.acts",),
    "results":     ("core.packer",),
    "link":        ("front", "core.deframer", "core.framer", "core.switch"),
    "control":     ("core.commands", "core.sequencer", "core.queue", "core.counters", "core.replies"),
    "other":       (),
}

#: A site's name: ``X12/Y7/lc3`` (iCE40), ``X12/Y7/SLICEA.FF0`` (ECP5), ``X12Y7/LUT3`` (Gowin).
_SITE = re.compile(r"X(\d+)/?Y(\d+)/(.+)")

#: What Amaranth and the tools number a name with to make it differ from another.
_NUMBERED = re.compile(r"\$\d+")


@dataclass(frozen=True)
class Placement:
    """The cells of a placed design.

    Parameters
    ----------
    cells : Counter of (str, int, int, str, str)
        How many cells there are of a kind (nextpnr's name), at a tile's column and row, on sites of a name (without its digits), of a
        component of the design ("device.core.array.pe0_1"; "" for what the tools added).
    """

    cells: Counter[tuple[str, int, int, str, str]]

    @property
    def parts(self) -> dict[str, int]:
        """How many cells each part has, in the order of `PARTS`."""
        tally: Counter[str] = Counter()
        for (*_, component), count in self.cells.items():
            tally[part_of(component)] += count
        return {part: tally[part] for part in PARTS}

    @classmethod
    def of_netlist(cls, path: Path) -> Placement:
        """What nextpnr wrote with ``--write``."""
        cells: Counter[tuple[str, int, int, str, str]] = Counter()
        for name, cell in json.loads(path.read_text(encoding="utf-8"))["modules"]["top"]["cells"].items():
            if site := _SITE.fullmatch(cell["attributes"].get("NEXTPNR_BEL", "")):
                cells[cell["type"], int(site[1]), int(site[2]), site[3], _component(name)] += 1
        return cls(cells)

    @classmethod
    def read(cls, path: Path) -> Placement:
        """What `write` wrote."""
        rows = json.loads(gzip.decompress(path.read_bytes()))
        return cls(Counter({(kind, x, y, site, component): count for kind, x, y, site, component, count in rows}))

    def write(self, path: Path) -> None:
        """Keep it, compressed; the same placement gives the same bytes."""
        rows = [[*key, count] for key, count in sorted(self.cells.items())]
        path.write_bytes(gzip.compress(json.dumps(rows, separators=(",", ":")).encode(), mtime=0))


def part_of(component: str) -> str:
    """One of `PARTS`."""
    inside = component.removeprefix("device.")
    return next((part for part, begins in PARTS.items() if inside.startswith(begins)), "other")


def _component(name: str) -> str:
    """The component that a cell belongs to: yosys names a cell by the signal it drives, behind the path of its component."""
    if name.startswith("$"):
        return ""
    path = _NUMBERED.sub("", name).split("[")[0].split(".")
    return ".".join(path[:-1])
