"""What the datapath costs in cells and how fast it is, out of context: the figures of docs/density.md.

``python -m tritloom.boards.density`` synthesises everything anew with the tools that builds use; ``--json FILE`` keeps the figures.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
from amaranth import Elaboratable, Module, Mux, Signal, Value, signed
from amaranth.back import rtlil
from amaranth.lib import data, wiring
from rich.console import Console

from tritloom.boards.report import ff_of, lut4_of
from tritloom.boards.synthesis import script
from tritloom.boards.toolchain import Toolchain, find_toolchain
from tritloom.host.beside import written_beside
from tritloom.rtl.array import Array
from tritloom.rtl.dot_product import DotProduct
from tritloom.rtl.family import Family
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.layouts import Trit, acts_word
from tritloom.rtl.pe import PE
from tritloom.rtl.ports import ports

__all__ = ["Figure", "main"]

_FAMILIES = (Family.ECP5, Family.ICE40, Family.GOWIN)

#: Place-and-route's seeds for clock rates.
_SEEDS = (1, 2, 3)


@dataclass(frozen=True)
class Figure:
    """One row.

    Parameters
    ----------
    what : str
    family : Family
    lanes : int
    lut4, ff : int
        A CCU2C counts two LUT4, an ALU one; an iCE40 carry shares its LUT.
    mhz : list of float
        Fastest clock after place-and-route, register to register, a value a seed; empty if it was not routed.
    """

    what: str
    family: Family
    lanes: int
    lut4: int
    ff: int
    mhz: list[float]


class _Naive(wiring.Component):
    """The dot product as one writes it first: negate, choose, add."""

    def __init__(self, geometry: Geometry):
        super().__init__({
            "acts":    wiring.In(acts_word(geometry)),
            "weights": wiring.In(data.ArrayLayout(Trit, geometry.lanes)),
            "sum":     wiring.Out(signed(8 + geometry.tree_levels)),
        })

    def elaborate(self, platform):
        m = Module()
        terms = [Mux(weight.nz, Mux(weight.neg, -act.as_signed(), act.as_signed()), 0)
                 for act, weight in zip(self.acts, self.weights, strict=True)]
        while len(terms) > 1:
            terms = [a + b for a, b in zip(terms[::2], terms[1::2], strict=True)]
        m.d.comb += self.sum.eq(terms[0])
        return m


class _Between(Elaboratable):
    """A component with a register at each input, as the array has them: what is measured is a path from register to register."""

    def __init__(self, inner: wiring.Component):
        self._inner = inner
        self.ports = {}
        for path, member, value in inner.signature.flatten(inner):
            self.ports["__".join(map(str, path))] = (Signal.like(Value.cast(value)), member.flow, Value.cast(value))

    def given(self) -> dict[str, tuple[Value, None]]:
        """As `tritloom.rtl.ports.ports`."""
        return {name: (self.ports[name][0], None) for name in ports(self._inner)}

    def elaborate(self, platform):
        m = Module()
        m.submodules.inner = self._inner
        for port, flow, value in self.ports.values():
            if flow is wiring.In:
                held = Signal.like(port, reset_less=True)
                m.d.sync += held.eq(port)
                m.d.comb += value.eq(held)
            else:
                m.d.comb += port.eq(value)
        return m


def measure(what: str, component: wiring.Component, lanes: int, family: Family, *, route: bool = False, held: bool = False) -> Figure:
    """Synthesise a component, and route it if asked for.

    Parameters
    ----------
    what : str
        Names the row.
    component : wiring.Component
    lanes : int
    family : Family
    route : bool
        Place and route it as well (ECP5 only: a part of 85,000 LUT4, speed grade 6).
    held : bool
        Put registers at its inputs, which are not counted.
    """
    tools = find_toolchain(family)
    top = _Between(component) if held else component
    given = top.given() if held else ports(component)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "top.il").write_text(rtlil.convert(top, name="top", platform=family, ports=given, emit_src=False))
        (folder / "top.ys").write_text(script(family, "top.il", "top.json", "stat.json"))
        tools.synthesis.run(["top.ys"], folder, folder / "yosys.log")
        cells = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
        mhz = [_route(tools, folder, seed) for seed in _SEEDS] if route else []
    ff = ff_of(cells, family)
    return Figure(what, family, lanes, lut4_of(cells, family), ff - (sum(len(value) for value, _ in _inputs(top)) if held else 0), mhz)


def _inputs(top: _Between) -> list[tuple[Value, wiring.Flow]]:
    return [(port, flow) for port, flow, _ in top.ports.values() if flow is wiring.In]


def _route(tools: Toolchain, folder: Path, seed: int) -> float:
    tools.place.run(["--85k", "--package", "CABGA381", "--speed", "6", "--out-of-context", "--json", "top.json", "--freq", "250",
                     "--seed", str(seed), "--timing-allow-fail", "--report", "nextpnr.json"], folder, folder / "nextpnr.log")
    [clock] = json.loads((folder / "nextpnr.json").read_text())["fmax"].values()
    return round(clock["achieved"], 1)


def figures() -> Iterator[Figure]:
    """All of them, one after another."""
    eight = Geometry.parse("1,1,8", tree_pitch=8)
    for family in _FAMILIES:
        yield measure("dot product, negate and choose", _Naive(eight), 8, family)
        yield measure("dot product, products and tree", DotProduct(eight, corrected=False), 8, family)
        yield measure("dot product, exact", DotProduct(eight), 8, family)
    for family in _FAMILIES:
        yield measure("PE, 21-bit accumulator, pitch 2", PE(Geometry.parse("1,1,16", tree_pitch=2)), 16, family)
    for pitch in (1, 2, 3):
        geometry = Geometry.parse("1,1,16", tree_pitch=pitch)
        yield measure(f"PE, pitch {pitch}, by itself", PE(geometry), 16, Family.ECP5, route=True)
        yield measure(f"PE, pitch {pitch}, between registers", PE(geometry), 16, Family.ECP5, route=True, held=True)
    for pitch in (2, 3):
        geometry = Geometry.parse("4,8,16", tree_pitch=pitch, col_pitch=8)
        yield measure(f"array {geometry}, pitch {pitch}", Array(geometry), geometry.lanes_total, Family.ECP5)
    for family, shape in ((Family.ICE40, "1,2,16"), (Family.GOWIN, "2,4,16")):
        geometry = Geometry.parse(shape)
        yield measure(f"array {geometry}, pitch 2", Array(geometry), geometry.lanes_total, family)


def _markdown(rows: Sequence[Figure]) -> str:
    lines = ["| | family | LUT4 | FF | LUT4 a lane | FF a lane | MHz, three seeds |", "| --- | --- | ---: | ---: | ---: | ---: | --- |"]
    for row in rows:
        mhz = ", ".join(f"{mhz:.0f}" for mhz in row.mhz)
        lines.append(f"| {row.what} | {row.family} | {row.lut4:,} | {row.ff:,} | {row.lut4 / row.lanes:.2f} | {row.ff / row.lanes:.1f} | {mhz} |")
    return "\n".join(lines)


@click.command()
@click.option("--json", "path", type=click.Path(path_type=Path, dir_okay=False), help="Keep the figures in a file as well.")
def main(path: Path | None) -> None:
    """Synthesise the datapath's parts for each family and print what they take, as Markdown."""
    rows = []
    with Console(stderr=True).status("Synthesising") as status:
        for row in figures():
            rows.append(row)
            status.update(f"Synthesising; last: {row.what}, {row.family}, {row.lut4 / row.lanes:.2f} LUT4 a lane")
    click.echo(_markdown(rows))
    if path is not None:
        with written_beside(path) as beside:
            beside.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
