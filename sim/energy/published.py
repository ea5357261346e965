"""Published energies of operations and memories: what others measured or estimated, with a source and how sure it is that the source says so.

The figures are in `published.toml` beside this module, and nowhere else.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

from tritloom.host.errors import UnknownNameError
from tritloom.sim.energy.figure import Confidence, Figure, Level

__all__ = ["Entry", "Node", "Published", "published"]


@dataclass(frozen=True)
class Entry:
    """One published figure.

    Parameters
    ----------
    name : str
        "int8 add", "sram-1m", "lpddr5".
    title : str
        The same for people.
    pj : float
        Picojoules of one operation, or of one access.
    bits : int
        Bits of an access; 1 where the source gives the energy of a bit, or for an operation.
    low, high : float or None
        The source's range, in pJ as `pj`.
    bytes : int or None
        Size of the memory that it is for, where the energy depends on it.
    confidence : Confidence
    source : str
        Who says so.
    """

    name: str
    title: str
    pj: float
    bits: int
    low: float | None
    high: float | None
    bytes: int | None
    confidence: Confidence
    source: str

    @property
    def pj_per_bit(self) -> float:
        """Of a memory or a link."""
        return self.pj / self.bits

    def figure(self, unit: str, conditions: str = "") -> Figure:
        """The figure as it stands in the table: of one bit if `unit` is "pJ/bit", else of the whole."""
        scale = 1 / self.bits if unit == "pJ/bit" else 1.0
        ends = {} if self.low is None else {"low": self.low * scale, "high": self.high * scale}
        return Figure(Level.TABLE, self.title, self.pj * scale, unit, **ends, conditions=conditions, source=self.source, confidence=self.confidence)

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return {**self.__dict__, "confidence": self.confidence.value, "pj_per_bit": self.pj_per_bit}


@dataclass(frozen=True)
class Node:
    """What is published for one process node.

    Parameters
    ----------
    name : str
        "45nm".
    title : str
        "45 nm, 0.9 V".
    operations : mapping of str to Entry
        By name.
    sram : tuple of Entry
        From the smallest to the largest.
    """

    name: str
    title: str
    operations: Mapping[str, Entry]
    sram: tuple[Entry, ...]

    def operation(self, name: str) -> Entry:
        """One operation.

        Raises
        ------
        UnknownNameError
            If nothing is published for it at this node.
        """
        if name not in self.operations:
            raise UnknownNameError(f"operation of {self.name}", name, self.operations)
        return self.operations[name]

    def add(self, bits: int) -> Entry:
        """An integer addition of a width that need not be in the table.

        Between two published widths it lies on the line through them, because an adder's energy grows with its width; its range is
        theirs. Below the narrowest and above the widest it is proportional to the width, with the published one as the other end of its
        range.

        Parameters
        ----------
        bits : int
            Width of the sum.
        """
        known = sorted((int(name[3:-4]), entry) for name, entry in self.operations.items() if name.startswith("int") and name.endswith(" add"))
        for width, entry in known:
            if width == bits:
                return entry
        below = [pair for pair in known if pair[0] < bits][-1:]
        above = [pair for pair in known if pair[0] > bits][:1]
        near = below + above
        if len(near) == 2:
            (left, first), (right, second) = near
            pj = first.pj + (second.pj - first.pj) * (bits - left) / (right - left)
            ends = first.pj, second.pj
        else:
            [(width, entry)] = near
            pj = entry.pj * bits / width
            ends = min(pj, entry.pj), max(pj, entry.pj)
        named = " and ".join(entry.name for _, entry in near)
        return Entry(f"int{bits} add", f"int{bits} add", pj, 1, *ends, None, Confidence.weakest([entry.confidence for _, entry in near]),
                     f"from {named} by width: {'; '.join(dict.fromkeys(entry.source for _, entry in near))}")

    def memory(self, size: int) -> Entry:
        """An SRAM of a size that need not be in the table.

        Between two published sizes its energy lies on the power law through them, and its range is theirs. Below the smallest it is the
        smallest's, which is then too much, and above the largest it is the largest's, which is then too little.

        Parameters
        ----------
        size : int
            Bytes.
        """
        below = [entry for entry in self.sram if entry.bytes <= size][-1:]
        above = [entry for entry in self.sram if entry.bytes >= size][:1]
        near = list(dict.fromkeys(below + above))
        if len(near) == 1:
            return near[0] if near[0].bytes == size else replace(near[0], title=f"{near[0].title} (for one of {size / 1024:,.0f} KB)")
        first, second = near
        share = math.log(size / first.bytes) / math.log(second.bytes / first.bytes)
        return Entry(
            "sram", f"SRAM of {size / 1024:,.0f} KB", first.pj * (second.pj / first.pj) ** share, first.bits, first.pj, second.pj, size,
            Confidence.weakest([first.confidence, second.confidence]), f"between {first.title} and {second.title}: {first.source}")


@dataclass(frozen=True)
class Published:
    """All of it.

    Parameters
    ----------
    nodes : mapping of str to Node
    external : mapping of str to Entry
        Memories beside the chip, by name.
    links : mapping of str to Entry
        Ways to the host.
    """

    nodes: Mapping[str, Node]
    external: Mapping[str, Entry]
    links: Mapping[str, Entry]

    def node(self, name: str) -> Node:
        """A process node.

        Raises
        ------
        UnknownNameError
            If nothing is published for it.
        """
        if name not in self.nodes:
            raise UnknownNameError("table", name, self.nodes)
        return self.nodes[name]

    def memory(self, name: str) -> Entry:
        """A memory beside the chip.

        Raises
        ------
        UnknownNameError
            If there is none of that name.
        """
        if name not in self.external:
            raise UnknownNameError("memory", name, self.external)
        return self.external[name]

    def link(self, name: str) -> Entry:
        """A way to the host.

        Raises
        ------
        UnknownNameError
            If there is none of that name.
        """
        if name not in self.links:
            raise UnknownNameError("link", name, self.links)
        return self.links[name]


@cache
def published() -> Published:
    """What `published.toml` holds."""
    data = tomllib.loads(files(__package__).joinpath("published.toml").read_text(encoding="utf-8"))
    sources = data["sources"]

    def entries(rows: list[dict[str, Any]]) -> dict[str, Entry]:
        return {row["name"]: _entry(row, sources) for row in rows}

    nodes = {
        name: Node(name, title, entries(data["operations"][name]), tuple(entries(data["sram"][name]).values()))
        for name, title in data["nodes"].items()
    }
    return Published(nodes, entries(data["external"]["memories"]), entries(data["external"]["links"]))


def _entry(row: Mapping[str, Any], sources: Mapping[str, str]) -> Entry:
    return Entry(
        row["name"], row.get("title", row["name"]), float(row["pj"]), row.get("bits", 1), row.get("low"), row.get("high"), row.get("bytes"),
        Confidence(row["confidence"]), sources[row["source"]],
    )
