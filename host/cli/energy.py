"""`tritloom energy`: what an operation and a token cost, level by level."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tritloom.host.beside import written_beside
from tritloom.host.cli.options import GEOMETRY, json_option, model_option
from tritloom.host.cli.output import complain, note, print_json
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError, UsageError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.sim.energy.board.meter import Reading
    from tritloom.sim.energy.costs import Costs

__all__ = ["energy"]


class _Span(click.ParamType):
    """``START:END`` in seconds."""

    name = "START:END"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, float]:
        if isinstance(value, tuple):
            return value
        try:
            start, end = (float(part) for part in value.split(":"))
        except ValueError:
            self.fail(f"{value!r} is no range of seconds such as 0:10.", param, ctx)
        return start, end


@dataclass(frozen=True)
class _Gates:
    """What `--gate` was given with."""

    asked: tuple[str, ...]
    liberty: Path | None
    cells: Path | None
    flow: str
    delays: str
    stimulus: str
    seeds: int


@dataclass(frozen=True)
class _MeterFiles:
    """What `--meter` was given with."""

    log: Path | None
    marks: Path | None
    supply_v: float | None
    options: dict[str, Any]


_FILE = click.Path(path_type=Path, dir_okay=False)

#: As `tritloom.sim.energy.gate.level.GROUPS`, which is not imported for a help text.
_GROUPS = ("pe", "array", "peers", "variants", "widths")

#: Options that change no figure.
_SHOWING = ("saved", "html", "as_json", "layers")

#: Options that go with another one, and are nothing without it.
_COMPANIONS = {
    "gate": ("liberty", "cells", "flow", "delays", "stimulus", "seeds"),
    "meter": ("marks", "idle", "clock", "offset", "clock_error", "gain_error", "zero_error", "supply"),
}


@click.command(short_help="Energy of an operation and of a token.")
@model_option
@click.option("--prompt", default="ROMEO:", show_default=True, metavar="TEXT", help="What the counted run begins with.")
@click.option("--tokens", type=click.IntRange(min=1), default=16, show_default=True, metavar="N", help="Tokens of the counted run.")
@click.option("--geometry", type=GEOMETRY, metavar="R,C,L", help=f"Rows, columns and lanes; {Geometry()} if not given.")
@click.option("--board", metavar="BOARD", help="Take this board's geometry.")
@click.option("--table", "node", default="7nm", show_default=True, metavar="45nm|7nm", help="Published energies of this process.")
@click.option("--memory", metavar="NAME", help="Where weights come from that do not fit, such as lpddr5 or sdr.")
@click.option("--link", default="uart", show_default=True, metavar="uart|pcie", help="What activations and results come and go by.")
@click.option("--per-op", multiple=True, metavar="PJ|FILE",
              help="Calculate a token from so many pJ a multiply-accumulate as well, or from the gate level of a report.")
@click.option("--layers", is_flag=True, help="Show what every matrix does as well.")
@click.option("--gate", multiple=True, type=click.Choice(_GROUPS), help="Measure netlists too, with the geometry's lanes: the shipped "
              "element, the array, other multipliers, other forms of the element, weights of 1 to 8 bits; several may be given.")
@click.option("--liberty", type=_FILE, metavar="FILE.lib", help="Cell library, instead of Debian's qflow-tech-osu018 ...")
@click.option("--cells", type=_FILE, metavar="FILE.v", help="... and its cells in Verilog.")
@click.option("--flow", type=click.Choice(["fa", "abc", "both"]), default="both", show_default=True, help="Adders of adder cells, or of gates.")
@click.option("--delays", type=click.Choice(["with", "without", "both"]), default="with", show_default=True, help="Of the cells: with glitches or not.")
@click.option("--stimulus", type=click.Choice(["recorded", "random", "both"]), default="recorded", show_default=True, help="What is multiplied.")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, metavar="N", help="So many different stimuli.")
@click.option("--meter", "meter", type=_FILE, metavar="FILE.csv", help="A power meter's log: time, and watts or volts and amperes.")
@click.option("--marks", type=_FILE, metavar="FILE", help="When the metered run began and ended: `tritloom run --marks`.")
@click.option("--idle", type=_Span(), metavar="S:S", help="Where the log is of an idle board, in seconds; looked for if not given.")
@click.option("--clock", type=click.Choice(["wall", "monotonic", "step"]), help="How the log's times belong to the marks'.")
@click.option("--offset", type=float, default=0.0, metavar="S", help="Seconds to add to the log's times.")
@click.option("--clock-error", type=float, default=0.0, metavar="S", help="How far the two clocks may be apart.")
@click.option("--gain-error", type=float, default=0.0, metavar="SHARE", help="Accuracy of the meter: 0.01 is 1 % of its reading ...")
@click.option("--zero-error", type=float, default=0.0, metavar="W", help="... and so many watts.")
@click.option("--supply", type=float, metavar="V", help="Volts, for a log of amperes alone.")
@click.option("--html", type=_FILE, metavar="FILE", help="Write it as one page with plots.")
@click.option("--from", "saved", type=_FILE, metavar="FILE", help="Show a report that --json wrote, and calculate nothing.")
@json_option
def energy(
    model: str, prompt: str, tokens: int, geometry: Geometry | None, board: str | None, node: str, memory: str | None, link: str,
    per_op: tuple[str, ...], layers: bool,
    gate: tuple[str, ...], liberty: Path | None, cells: Path | None, flow: str, delays: str, stimulus: str, seeds: int,
    meter: Path | None, marks: Path | None, idle: tuple[float, float] | None, clock: str | None, offset: float, clock_error: float, gain_error: float,
    zero_error: float, supply: float | None, html: Path | None, saved: Path | None, as_json: bool,
) -> None:
    """Say what an operation and a token cost, and of which level every figure is.

    Levels are never added up: table is published energies of additions and memories, times what a run of the model really does; gate is a
    netlist of standard cells, simulated; board is a reading of a meter; model is a whole token, calculated from any of these.
    """
    if saved is not None:
        _check_alone()
        from tritloom.sim.energy.report import read_report

        report = read_report(saved)
    else:
        _check_companions()
        shape = _geometry(geometry, board)
        gates = _Gates(gate, liberty, cells, flow, delays, stimulus, seeds)
        files = _MeterFiles(meter, marks, supply, {
            "gain": gain_error, "zero_w": zero_error, "clock": clock or "", "offset_s": offset, "clock_error_s": clock_error, "idle_s": idle,
        })
        with waiting(f"Running {model}", quiet=as_json) as say:
            report = _report(model, prompt, tokens, shape, (node, memory, link), per_op, gates, files, say)
    if html is not None:
        _write_page(report, html)
    if as_json:
        print_json(report)
    else:
        from tritloom.host.cli.energy_tables import show_report

        show_report(report, layers=layers)
        if html is not None:
            note(f"wrote {html}")
    problems = report.get("problems", {})
    for level, sentence in problems.items():
        missing = "No reading of the board" if level == "board" else "Not all of the gate level" if level in report["levels"] else f"No {level} level"
        complain(sentence, label=missing)
    if problems:
        click.get_current_context().exit(1)


def _report(
    model: str, prompt: str, tokens: int, geometry: Geometry | None, names: tuple[str, str | None, str], per_op: Iterable[str], gates: _Gates,
    files: _MeterFiles, say: Callable[[str], None],
) -> dict[str, Any]:
    """Everything that was asked for. What is wrong with what was typed is raised; what a level lacks ends that level only."""
    from importlib.metadata import version

    from tritloom.sim.energy.board.readings import board_level
    from tritloom.sim.energy.costs import from_gate, from_reading, from_table
    from tritloom.sim.energy.model import Surroundings
    from tritloom.sim.energy.operations import count
    from tritloom.sim.energy.published import published
    from tritloom.sim.energy.report import model_level
    from tritloom.sim.energy.table import Table

    known = published()
    node_name, memory, link = names
    node = known.node(node_name)
    around = Surroundings(node, known.link(link), None if memory is None else known.memory(memory))
    shape = geometry or Geometry()
    given = [costs for text in per_op for costs in _given(text, shape)]
    operations = count(model, geometry=geometry, prompt=prompt, tokens=tokens)
    problems: dict[str, str] = {}
    levels: dict[str, Any] = {"table": Table(known, node, operations).as_json()}
    sources = [from_table(node, operations.geometry), *given]

    if gates.asked:
        level, problem = _gate_level(gates, shape, model, prompt, tokens, say)
        if level is not None:
            levels["gate"] = level
            sources += from_gate(level, shape)
        if problem:
            problems["gate"] = problem

    reading: Reading | None = None
    if files.log is not None:
        say(f"Reading {files.log}")
        try:
            reading = _reading(files)
        except UsageError:
            raise
        except TritloomError as error:
            problems["board"] = str(error)
        else:
            sources += from_reading(reading)
    levels["board"] = board_level(reading)
    levels["model"] = model_level(operations, sources, around, known, calibrated=reading is not None)
    report: dict[str, Any] = {"tritloom": version("tritloom"), "command": _command_line(), "levels": levels}
    return report | ({"problems": problems} if problems else {})


def _reading(files: _MeterFiles) -> Reading:
    from tritloom.host.marks import Marks
    from tritloom.sim.energy.board.meter import MeterOptions, measure
    from tritloom.sim.energy.board.power_log import read_power_log

    if files.marks is None:
        raise UsageError("a meter's log needs to be told when the run began and ended: give the file of `tritloom run --marks FILE` as --marks")
    options = MeterOptions(**files.options)
    return measure(read_power_log(files.log, files.supply_v), Marks.read(files.marks), options)


def _gate_level(
    gates: _Gates, geometry: Geometry, model: str, prompt: str, tokens: int, say: Callable[[str], None],
) -> tuple[dict[str, Any] | None, str]:
    """The gate level, as far as it could be had, and why no further."""
    from tritloom.sim.energy.gate.standard_cells import find_cells

    level = None
    try:
        # Amaranth, Yosys and Icarus are looked for when there is a library.
        cells = find_cells(gates.liberty, gates.cells)
        from tritloom.sim.energy.gate.flows import Flow
        from tritloom.sim.energy.gate.level import GateLevel, gate_level
        from tritloom.sim.energy.gate.stimulus import random, recorded

        seeds = range(1, gates.seeds + 1)
        stimuli = [recorded(seed, model, prompt, tokens) for seed in seeds] if gates.stimulus != "random" else []
        stimuli += [random(seed) for seed in seeds] if gates.stimulus != "recorded" else []
        flows = list(Flow) if gates.flow == "both" else [Flow(gates.flow)]
        delays = {"with": [True], "without": [False], "both": [True, False]}[gates.delays]
        level = GateLevel(geometry.lanes)
        gate_level(level, gates.asked, geometry, cells, flows, delays, stimuli, lambda what, share: say(f"{what}, {share:.0%}"))
    except UsageError:
        raise
    except TritloomError as error:
        return level.as_json() if level is not None and level.results else None, str(error)
    return level.as_json(), ""


def _given(text: str, geometry: Geometry) -> list[Costs]:
    """A number of pJ, or a report's gate level."""
    from tritloom.sim.energy.costs import given
    from tritloom.sim.energy.report import costs_of_report

    try:
        pj = float(text)
    except ValueError:
        return costs_of_report(Path(text), geometry)
    return [given(pj)]


def _geometry(geometry: Geometry | None, board: str | None) -> Geometry | None:
    if board is None:
        return geometry
    if geometry is not None:
        raise UsageError(f"--board {board} has a geometry of its own: give --board or --geometry, not both")
    from tritloom.boards import find

    return find(board).geometry


def _write_page(report: dict[str, Any], path: Path) -> None:
    from tritloom.sim.energy.page.page import page

    text = page(report)
    try:
        with written_beside(path) as beside:
            beside.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise TritloomError(f"the page {str(path)!r} cannot be written: {error.strerror or error}") from error


def _typed() -> list[click.Parameter]:
    """The options that were given."""
    context = click.get_current_context()
    return [param for param in context.command.params
            if context.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE]


def _check_alone() -> None:
    """A saved report is shown as it is."""
    if others := [param.opts[0] for param in _typed() if param.name not in _SHOWING]:
        raise UsageError(f"--from shows a report as it was saved, so {others[0]} cannot change it: leave one of them out")


def _check_companions() -> None:
    """What goes with an option is not given without it."""
    typed = {param.name for param in _typed()}
    for param in _typed():
        for main, others in _COMPANIONS.items():
            if param.name in others and main not in typed:
                raise UsageError(f"{param.opts[0]} goes with --{main}: give both, or neither")


def _command_line() -> str:
    """What was typed, as far as it decides the figures."""
    context = click.get_current_context()
    words = ["tritloom", "energy"]
    for param in _typed():
        if param.name in _SHOWING:
            continue
        value = context.params[param.name or ""]
        for one in value if param.multiple else (value,):
            words += [param.opts[0], ":".join(f"{part:g}" for part in one) if isinstance(one, tuple) else str(one)]
    return shlex.join(words)
