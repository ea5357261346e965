"""Liberty files: what is read from them, and what is said of those that will not do."""

from pathlib import Path

import pytest

from tritloom.host.errors import UsageError
from tritloom.sim.energy.gate.errors import LibraryError
from tritloom.sim.energy.gate.function import Function
from tritloom.sim.energy.gate.liberty import Table, read_library
from tritloom.sim.energy.gate.standard_cells import find_cells

TINY = Path(__file__).parent / "cells" / "tiny.lib"


def test_units_are_ours():
    library = read_library(TINY)
    assert (library.name, library.voltage_v, library.temperature_c) == ("tiny", 2.0, 25.0)
    inv = library.cells["INV"]
    assert inv.area_um2 == 10
    assert inv.leakage_nw == pytest.approx(0.1)                                                     # 100 pW
    assert (inv.pins["A"].rise_pf, inv.pins["A"].fall_pf) == pytest.approx((0.002, 0.004))          # 2 and 4 fF
    [power] = inv.pins["Y"].powers
    assert power.rise.transitions == pytest.approx((0.05, 0.15))                                    # 50 and 150 ps
    assert power.rise.loads == pytest.approx((0, 0.01, 0.03))
    # fF · V² is fJ. Both orders of the axes come out as values[transition][load].
    assert power.rise.values == power.fall.values == (pytest.approx((0.001, 0.003, 0.005)), pytest.approx((0.002, 0.004, 0.008)))


def test_pins():
    cells = read_library(TINY).cells
    assert cells["DFF"].sequential and not cells["FA"].sequential
    assert cells["DFF"].pins["CK"].clock and not cells["DFF"].pins["D"].clock
    assert cells["FA"].inputs == ["A", "B", "CI"] and cells["FA"].outputs == ["CO", "S"]
    assert cells["FA"].output_of(("A", "B", "CI"), (0, 1, 1, 0, 1, 0, 0, 1)) == "S"
    assert cells["FA"].output_of(("A", "B", "CI"), (0, 0, 0, 1, 0, 1, 1, 1)) == "CO"
    assert cells["FA"].output_of(("A", "B", "CI"), (0, 0, 0, 0, 0, 0, 0, 1)) is None
    assert cells["HA"].pins["S"].powers[0].related == ("A", "B")
    assert [when.text for when, _ in cells["XOR2"].leakage_when] == ["A B", "!A | !B"]


TABLE = Table((0.1, 0.2), (0.0, 1.0, 3.0), ((1.0, 2.0, 6.0), (3.0, 5.0, 11.0)))


@pytest.mark.parametrize("transition, load, expected", [
    (0.1, 0.0, 1.0), (0.2, 3.0, 11.0), (0.1, 1.0, 2.0),     # points
    (0.1, 2.0, 4.0), (0.15, 1.0, 3.5),                      # on an edge
    (0.125, 0.5, 0.75 * 1.5 + 0.25 * 4.0),                  # inside: first along the load, 1.5 and 4
    (0.1, 4.0, 8.0), (0.3, 0.0, 5.0), (0.0, 0.0, -1.0),     # beyond: on along the last two points
])
def test_interpolation(transition, load, expected):
    assert TABLE(transition, load) == pytest.approx(expected)


def test_tables_of_one_axis_or_none():
    assert Table((0.1, 0.2), (), ((1.0,), (3.0,)))(0.15, 7.0) == pytest.approx(2.0)
    assert Table((), (0.0, 2.0), ((1.0, 5.0),))(0.15, 1.0) == pytest.approx(3.0)
    assert Table((), (), ((4.0,),))(0.15, 1.0) == 4.0


@pytest.mark.parametrize("text, pins, table", [
    ("(A B)+!C", "ABC", (1, 0, 1, 0, 1, 0, 1, 1)),
    ("A^B", "AB", (0, 1, 1, 0)),
    ("A'", "A", (1, 0)),
    ("!(A & B)'", "AB", (0, 0, 0, 1)),
    ("A B^C", "ABC", (0, 0, 0, 0, 0, 1, 1, 0)),     # ^ binds closer than and
    ("A|B C", "ABC", (0, 0, 0, 1, 1, 1, 1, 1)),
    ("A * B + 1", "AB", (1, 1, 1, 1)),
])
def test_functions(text, pins, table):
    function = Function(text)
    assert function.pins == tuple(pins)
    assert function.table(tuple(pins)) == table


def test_chance_of_a_state():
    assert Function("A !B").chance({"A": 0.25, "B": 0.5}) == pytest.approx(0.125)
    assert Function("A + B").chance({"A": 0.25, "B": 0.5}) == pytest.approx(1 - 0.75 * 0.5)


@pytest.mark.parametrize("text", ["", "A &", "(A", "A)", "A ? B", "& A", "A ! "])
def test_no_functions(text):
    with pytest.raises(ValueError, match="is no Boolean function"):
        Function(text)


@pytest.mark.parametrize("old, new, says", [
    ('time_unit : "1ps"', 'time_unit : "1 fortnight"', r"line 5: `time_unit` must be a unit such as \"1ns\", not '1 fortnight'"),
    ('  time_unit : "1ps";\n', "", r"line 3: `time_unit` must be a unit"),
    ('capacitive_load_unit (1, ff)', "capacitive_load_unit (1, pints)", r"line 9: `capacitive_load_unit` must be like \(1, pf\), not \(1, pints\)"),
    ("nom_voltage : 2.0", "nom_voltage : high", r"line 10: `nom_voltage` must be a number, not 'high'"),
    ("  nom_voltage : 2.0;\n", "", r"line 3: `library \(tiny\)` has no `nom_voltage`"),
    ("rise_power (load_first)", "rise_power (elsewhere)", r"line 39: `rise_power` names the template 'elsewhere', which is not there"),
    ('values ("1, 3, 5", "2, 4, 8")', 'values ("1, 3", "2, 4")', r"line 42: `fall_power` must have 6 values .* and has 4"),
    ('values ("1, 3, 5", "2, 4, 8")', 'values ("1, 3, 5", "2, 4, ten")', r"line 42: `fall_power` must have numbers, not '2, 4, ten'"),
    ('index_1 ("0, 10, 30")', 'index_1 ("0, 30, 10")', r"the indices of `rise_power` must rise"),
    ("variable_1 : total_output_net_capacitance", "variable_1 : equal_or_opposite_output_net_capacitance", r"over 'equal_or_opposite_output_net_capacitance' is not"),
    ("function : \"A ^ B ^ CI\"", "function : \"A ^ B ^ (CI\"", r"`function`: 'A \^ B \^ \(CI' is no Boolean function: it ends too early"),
    ("related_pin : \"A\";\n        power (scalar) { values (\"6\"); }", "related_pin : \"A\";", r"`internal_power` has neither"),
    ("library (tiny) {", "library (tiny) ", r"line 4: .*':' or '\(' was expected|line \d+"),
    ("cell (INV) {\n    area : 10;", "cell (INV) {\n    area = 10;", r"line 31: ':' or '\(' was expected behind 'area', not '='"),
])
def test_what_is_wrong_and_where(tmp_path, old, new, says):
    text = TINY.read_text()
    assert old in text
    path = tmp_path / "wrong.lib"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LibraryError, match=says) as raised:
        read_library(path)
    assert str(raised.value).startswith(str(path))


@pytest.mark.parametrize("text, says", [
    ("", "0 groups `library`"),
    ("power (x) { }", "0 groups `library`"),
    ("\x00\x01\x02 garbage", "line 1"),
    ("library (x) {\n  cell (y) {\n", "line 2: the file ends within a group"),
    ('library (x) {\n  comment : "open;\n}\n', "line 2: '\"' begins nothing"),
    ("library (x) {\n)\n}", r"line 2: a name was expected, not '\)'"),
])
def test_garbage(tmp_path, text, says):
    path = tmp_path / "garbage.lib"
    path.write_text(text)
    with pytest.raises(LibraryError, match=says):
        read_library(path)


def test_no_power_tables(tmp_path):
    path = tmp_path / "timing-only.lib"
    path.write_text('library (x) {\n time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1nW"; capacitive_load_unit (1, pf); nom_voltage : 1;\n'
                    " cell (INV) { pin (A) { direction : input; capacitance : 1; } } }\n")
    with pytest.raises(LibraryError, match="line 1: it has no internal-power tables"):
        read_library(path)


def test_no_file(tmp_path):
    with pytest.raises(LibraryError, match="cannot be read"):
        read_library(tmp_path / "nothing.lib")
    with pytest.raises(LibraryError, match="cannot be read"):
        read_library(tmp_path)


def test_both_files_or_none(tmp_path):
    with pytest.raises(UsageError, match="give both --liberty FILE"):
        find_cells(liberty=TINY)
    with pytest.raises(LibraryError, match="the cells' models .* are not there"):
        find_cells(TINY, tmp_path / "nothing.v")
    assert find_cells(TINY, TINY.with_suffix(".v")).library.name == "tiny"
