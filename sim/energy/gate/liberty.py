"""Cell libraries: what the gate level has to know of each cell, in one set of units (pF, ns, V, pJ, nW, square micrometres)."""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tritloom.sim.energy.gate.errors import LibraryError
from tritloom.sim.energy.gate.function import Function
from tritloom.sim.energy.gate.liberty_syntax import Group, parse

__all__ = ["Cell", "Library", "Pin", "Power", "Table", "read_library"]

#: Factors of a unit's prefix.
_PREFIX = {"": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9, "p": 1e-12, "f": 1e-15}

#: What a table may depend on.
_LOAD = "total_output_net_capacitance"
_TRANSITIONS = ("input_transition_time", "input_net_transition")


@dataclass(frozen=True)
class Table:
    """Energy of one transition over the input's transition time and the output's load.

    Parameters
    ----------
    transitions : tuple of float
        ns, rising; empty if the energy does not depend on it.
    loads : tuple of float
        pF, rising; empty if the energy does not depend on it.
    values : tuple of tuple of float
        pJ, ``values[transition][load]``.
    """

    transitions: tuple[float, ...]
    loads: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def __call__(self, transition_ns: float, load_pf: float) -> float:
        """Bilinear between the table's points, and on along its last two beyond them, as timing analysers do. pJ."""
        i, u = _place(self.transitions, transition_ns)
        j, v = _place(self.loads, load_pf)
        at = self.values
        low = at[i][j] if v == 0 else at[i][j] * (1 - v) + at[i][j + 1] * v
        if u == 0:
            return low
        high = at[i + 1][j] if v == 0 else at[i + 1][j] * (1 - v) + at[i + 1][j + 1] * v
        return low * (1 - u) + high * u


@dataclass(frozen=True)
class Power:
    """Energy that a cell takes in, beside what charges its load, at a transition of a pin.

    Parameters
    ----------
    related : tuple of str
        Input pins that cause the transition; empty for a pin's own (an input that toggles and nothing comes of it, a clock).
    when : Function or None
        The state in which it holds.
    rise, fall : Table or None
        For either direction of the pin.
    """

    related: tuple[str, ...]
    when: Function | None
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True)
class Pin:
    """One pin.

    Parameters
    ----------
    name : str
    direction : str
        "input", "output", "inout" or "internal".
    rise_pf, fall_pf : float
        Capacitance that a rising and a falling edge sees, pF.
    clock : bool
    function : Function or None
        Of an output.
    powers : tuple of Power
    """

    name: str
    direction: str
    rise_pf: float
    fall_pf: float
    clock: bool
    function: Function | None
    powers: tuple[Power, ...]


@dataclass(frozen=True)
class Cell:
    """One cell.

    Parameters
    ----------
    name : str
    area_um2 : float
        In the library's unit, which is taken for square micrometres.
    pins : dict of str to Pin
    leakage_nw : float
    leakage_when : tuple of (Function, float)
        Leakage by state, nW; empty if there is only one figure.
    sequential : bool
        A flip-flop or a latch.
    """

    name: str
    area_um2: float
    pins: dict[str, Pin]
    leakage_nw: float
    leakage_when: tuple[tuple[Function, float], ...]
    sequential: bool

    @property
    def inputs(self) -> list[str]:
        return [pin.name for pin in self.pins.values() if pin.direction == "input"]

    @property
    def outputs(self) -> list[str]:
        return [pin.name for pin in self.pins.values() if pin.direction == "output"]

    def output_of(self, inputs: tuple[str, ...], table: tuple[int, ...]) -> str | None:
        """The output that has this truth table over these inputs (`Function.table`), if there is one."""
        for pin in self.pins.values():
            if pin.function is not None and set(pin.function.pins) == set(inputs) and pin.function.table(inputs) == table:
                return pin.name
        return None


@dataclass(frozen=True)
class Library:
    """A cell library.

    Parameters
    ----------
    name : str
    path : Path
        The Liberty file.
    voltage_v : float
        Its nominal voltage.
    temperature_c : float
    cells : dict of str to Cell
    """

    name: str
    path: Path
    voltage_v: float
    temperature_c: float
    cells: dict[str, Cell]

    @cached_property
    def digest(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_library(path: Path) -> Library:
    """Read a Liberty file.

    Raises
    ------
    LibraryError
        If it is missing, is no Liberty, has units or tables that are not understood, or no internal-power tables. The message names file and line.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise LibraryError(f"the cell library {path} cannot be read ({error.strerror or error}): give a Liberty file") from error
    return _Reader(path).library(parse(path, text))


class _Reader:
    """From groups to cells."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._templates: dict[str, Group] = {}
        self._pf = self._ns = self._pj = self._nw = 1.0     # what the file's units are in ours

    def library(self, group: Group) -> Library:
        self._templates = {inner.arguments[0]: inner for inner in group.all("power_lut_template", "lu_table_template") if inner.arguments}
        volts = self._unit(group, "voltage_unit", "V")
        self._ns = self._unit(group, "time_unit", "s") / 1e-9
        self._pf = self._load_unit(group) / 1e-12
        # The Liberty manual: energies in tables are in the unit of capacitance times that of voltage, squared.
        self._pj = self._pf * volts**2
        self._nw = self._unit(group, "leakage_power_unit", "W") / 1e-9
        cells = {cell.arguments[0]: self._cell(cell, group) for cell in group.all("cell") if cell.arguments}
        if not cells:
            raise self._error(group.line, "there is no cell in it")
        if not any(pin.powers for cell in cells.values() for pin in cell.pins.values()):
            raise self._error(group.line, "it has no internal-power tables (`internal_power`), without which a transition has no energy")
        return Library(
            name=group.arguments[0] if group.arguments else self._path.stem,
            path=self._path,
            voltage_v=self._number(group, "nom_voltage") * volts,
            temperature_c=self._number(group, "nom_temperature", 25.0),
            cells=cells,
        )

    def _error(self, line: int, what: str) -> LibraryError:
        return LibraryError(f"{self._path}, line {line}: {what}: give a Liberty file of a standard-cell library with power tables")

    def _number(self, group: Group, name: str, default: float | None = None) -> float:
        text = group.text(name)
        if not text:
            if default is None:
                raise self._error(group.line, f"`{group.name}{' (' + group.arguments[0] + ')' if group.arguments else ''}` has no `{name}`")
            return default
        try:
            return float(text)
        except ValueError:
            raise self._error(group.line_of(name), f"`{name}` must be a number, not {text!r}") from None

    def _unit(self, group: Group, name: str, unit: str) -> float:
        text = group.text(name)
        match = re.fullmatch(rf"\s*([0-9.]+)\s*([munpf]?){unit}\s*", text)
        if match is None:
            raise self._error(group.line_of(name), f"`{name}` must be a unit such as \"1{'n' if unit != 'V' else ''}{unit}\", not {text!r}")
        return float(match[1]) * _PREFIX[match[2]]

    def _load_unit(self, group: Group) -> float:
        values, line = group.attributes.get("capacitive_load_unit", ([], group.line))
        match = re.fullmatch(r"([0-9.]+) ([pf])f", " ".join(values).lower())
        if match is None:
            raise self._error(line, f"`capacitive_load_unit` must be like (1, pf), not ({', '.join(values)})")
        return float(match[1]) * _PREFIX[match[2]]

    def _cell(self, group: Group, library: Group) -> Cell:
        pins: dict[str, Pin] = {}
        for inner in group.all("pin"):
            for name in " ".join(inner.arguments).split():
                pins[name] = self._pin(name, inner, library)
        states = []
        for inner in group.all("leakage_power"):
            value = self._number(inner, "value") * self._nw
            if inner.text("when"):
                states.append((self._function(inner, "when"), value))
        if "cell_leakage_power" in group.attributes or not states:
            leakage = self._number(group, "cell_leakage_power", self._number(library, "default_cell_leakage_power", 0.0)) * self._nw
        else:
            leakage = sum(value for _, value in states) / len(states)
        return Cell(
            name=group.arguments[0],
            area_um2=self._number(group, "area", 0.0),
            pins=pins,
            leakage_nw=leakage,
            leakage_when=tuple(states),
            sequential=any(True for _ in group.all("ff", "latch", "statetable")),
        )

    def _pin(self, name: str, group: Group, library: Group) -> Pin:
        direction = group.text("direction")
        both = self._number(group, "capacitance", self._number(library, f"default_{direction}_pin_cap", 0.0))
        return Pin(
            name=name,
            direction=direction,
            rise_pf=self._number(group, "rise_capacitance", both) * self._pf,
            fall_pf=self._number(group, "fall_capacitance", both) * self._pf,
            clock=group.text("clock") == "true",
            # That of a flip-flop's output is the name of its state, which is no pin.
            function=self._function(group, "function") if group.text("function") else None,
            powers=tuple(self._power(inner) for inner in group.all("internal_power")),
        )

    def _function(self, group: Group, name: str) -> Function:
        try:
            return Function(group.text(name))
        except ValueError as error:
            raise self._error(group.line_of(name), f"`{name}`: {error}") from error

    def _power(self, group: Group) -> Power:
        tables = {table.name: self._table(table) for table in group.all("rise_power", "fall_power", "power")}
        if not tables:
            raise self._error(group.line, "`internal_power` has neither `rise_power` nor `fall_power`")
        return Power(
            related=tuple(group.text("related_pin").split()),
            when=self._function(group, "when") if group.text("when") else None,
            rise=tables.get("rise_power", tables.get("power")),
            fall=tables.get("fall_power", tables.get("power")),
        )

    def _table(self, group: Group) -> Table:
        name = group.arguments[0] if group.arguments else ""
        if name == "scalar":
            template = Group("power_lut_template", [name], group.line)
        elif name in self._templates:
            template = self._templates[name]
        else:
            raise self._error(group.line, f"`{group.name}` names the template {name!r}, which is not there")
        rows = [self._numbers(group, text) for text in group.attributes.get("values", ([], 0))[0]]
        variables = [template.text(f"variable_{i}") for i in (1, 2, 3) if template.text(f"variable_{i}")]
        axes = []
        for i, variable in enumerate(variables, 1):
            if variable not in (_LOAD, *_TRANSITIONS):
                raise self._error(template.line, f"a power table over {variable!r} is not understood, only over {_LOAD} and {_TRANSITIONS[0]}")
            index = f"index_{i}"
            [text] = (group if index in group.attributes else template).attributes.get(index, ([""], 0))[0] or [""]
            axes.append(tuple(self._numbers(group, text)))
        flat = [value for row in rows for value in row]
        size = 1
        for axis in axes:
            size *= len(axis)
            if not axis or any(b <= a for a, b in zip(axis, axis[1:], strict=False)):
                raise self._error(group.line, f"the indices of `{group.name}` must rise, not {axis}")
        if len(flat) != size or len(axes) > 2 or len(set(variables)) != len(variables):
            raise self._error(group.line, f"`{group.name}` must have {size} values over different variables, and has {len(flat)} over {variables}")
        flat = [value * self._pj for value in flat]
        by = dict(zip(variables, axes, strict=True))
        loads = tuple(value * self._pf for value in by.pop(_LOAD, ()))
        transitions = tuple(value * self._ns for value in next(iter(by.values()), ()))
        wide, high = max(len(loads), 1), max(len(transitions), 1)
        if variables and variables[0] == _LOAD:
            values = [[flat[load * high + at] for load in range(wide)] for at in range(high)]
        else:
            values = [[flat[at * wide + load] for load in range(wide)] for at in range(high)]
        return Table(transitions, loads, tuple(map(tuple, values)))

    def _numbers(self, group: Group, text: str) -> list[float]:
        try:
            return [float(word) for word in text.replace("\\", " ").replace(",", " ").split()]
        except ValueError:
            raise self._error(group.line, f"`{group.name}` must have numbers, not {text!r}") from None


def _place(axis: tuple[float, ...], value: float) -> tuple[int, float]:
    """Between which two points, and how far along; in the first or last interval, or beyond it, if it lies outside."""
    if len(axis) < 2:
        return 0, 0.0
    at = min(max(bisect_right(axis, value) - 1, 0), len(axis) - 2)
    return at, (value - axis[at]) / (axis[at + 1] - axis[at])
