"""Energy by hand: each kind of cell by itself, with numbers read off the library's text and written down here as arithmetic.

No expected value is computed by what is tested. Toggles are given, not simulated; times are in ns, capacitances in pF, energies in pJ.
"""

from pathlib import Path

import pytest

from tritloom.sim.energy.gate.calculator import energy, switching_pj
from tritloom.sim.energy.gate.liberty import read_library
from tritloom.sim.energy.gate.netlist import Instance, Netlist
from tritloom.sim.energy.gate.netlist_sim import Toggles
from tritloom.sim.energy.gate.standard_cells import find_cells

TINY = read_library(Path(__file__).parent / "cells" / "tiny.lib")
EXACT = {"rel": 1e-6, "abs": 1e-15}

OSU = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")
installed = pytest.mark.skipif(not OSU.exists(), reason="Debian's qflow-tech-osu018 is not installed")


def circuit(library, *instances, **inputs):
    """Cells between nets: inputs by name and net, cells as (name, pins)."""
    return Netlist(library, {name: (net,) for name, net in inputs.items()}, {}, tuple(Instance(cell, cell, pins) for cell, pins in instances))


def toggles(counts, cycles=100, period_ns=10.0, duty=None):
    """Net to (rises, falls)."""
    return Toggles({net: rise for net, (rise, _) in counts.items()}, {net: fall for net, (_, fall) in counts.items()},
                   dict.fromkeys(counts, 0.5) | (duty or {}), cycles, period_ns, 0.0, 0)


def test_inverter_and_its_load():
    """Net 1 to an inverter, net 2 to two more; 50 ps."""
    netlist = circuit(TINY, ("INV", {"A": 1, "Y": 2}), ("INV", {"A": 2, "Y": 3}), ("INV", {"A": 2, "Y": 4}), a=1)
    given = toggles({1: (7, 6), 2: (5, 4), 3: (0, 0), 4: (0, 0)})
    spent = energy(netlist, given, transition_ns=0.05)
    # Two input pins are 4 fF to a rising edge and 8 fF to a falling one: 0.4 and 0.8 of the way from 0 to 10 fF, where 50 ps has 1 and 3 fJ.
    rise, fall = 1 + 0.4 * (3 - 1), 1 + 0.8 * (3 - 1)
    assert spent.internal == pytest.approx((5 * rise + 4 * fall) * 1e-3, **EXACT)
    # Half C V²: net 1 has one pin, net 2 has two; 2 V.
    assert switching_pj(netlist, 1, given) == pytest.approx(0.5 * 4 * (0.002 * 7 + 0.004 * 6), **EXACT)
    assert switching_pj(netlist, 2, given) == pytest.approx(0.5 * 4 * (0.004 * 5 + 0.008 * 4), **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * (0.002 * 7 + 0.004 * 6 + 0.004 * 5 + 0.008 * 4), **EXACT)
    assert spent.clock == 0
    # Three cells of 100 pW for 100 cycles of 10 ns.
    assert spent.leakage == pytest.approx(3 * 100e-12 * 1000e-9 * 1e12, **EXACT)
    assert spent.total == pytest.approx(spent.internal + spent.switching + spent.leakage, **EXACT)


@pytest.mark.parametrize("transition_ns, load_inverters, expected_fj", [
    (0.05, 0, 1.0),                                     # a point of the table
    (0.1, 0, 1.5),                                      # half way between 1 and 2
    (0.1, 5, (3 + 4) / 2),                              # 10 fF: half way between 3 and 4
    (0.15, 10, (4 + 8) / 2),                            # 20 fF: half way between 4 and 8
    (0.05, 20, 5 + (40 - 30) / 20 * (5 - 3)),           # 40 fF: beyond 30, on along the last two points
    (0.25, 0, 2 + (2 - 1)),                             # 250 ps: beyond 150
])
def test_table_of_an_inverter(transition_ns, load_inverters, expected_fj):
    netlist = circuit(TINY, ("INV", {"A": 1, "Y": 2}), *(("INV", {"A": 2, "Y": 10 + i}) for i in range(load_inverters)), a=1)
    counts = dict.fromkeys(netlist.nets, (0, 0)) | {2: (1, 0)}
    assert energy(netlist, toggles(counts), transition_ns=transition_ns).internal == pytest.approx(expected_fj * 1e-3, **EXACT)


def test_two_inputs_share_the_output():
    """A NAND's output moved 10 times; A 6 times and B 18 times: a quarter of it is A's."""
    netlist = circuit(TINY, ("NAND2", {"A": 1, "B": 2, "Y": 3}), a=1, b=2)
    spent = energy(netlist, toggles({1: (3, 3), 2: (9, 9), 3: (5, 5)}))
    assert spent.internal == pytest.approx(10 * (0.25 * 6 + 0.75 * 12) * 1e-3, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * (6 * 0.003 + 18 * 0.005), **EXACT)


def test_constant_input():
    """B is tied to 1: all of it is A's, and B's pin loads nothing."""
    netlist = circuit(TINY, ("NAND2", {"A": 1, "B": "1", "Y": 3}), a=1)
    spent = energy(netlist, toggles({1: (3, 3), 3: (3, 3)}))
    assert spent.internal == pytest.approx(6 * 6e-3, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * 6 * 0.003, **EXACT)


def test_states():
    """An XOR whose B is high for a fifth of the time; A moves 8 times, B 2 times."""
    netlist = circuit(TINY, ("XOR2", {"A": 1, "B": 2, "Y": 3}), a=1, b=2)
    given = toggles({1: (4, 4), 2: (1, 1), 3: (6, 4)}, duty={1: 0.5, 2: 0.2})
    # Weights: A with B high 8 · 0.2, A with B low 8 · 0.8, B 2: of 10.
    rise = (1.6 * 10 + 6.4 * 30 + 2 * 50) / 10
    fall = (1.6 * 20 + 6.4 * 40 + 2 * 60) / 10
    spent = energy(netlist, given)
    assert spent.internal == pytest.approx((6 * rise + 4 * fall) * 1e-3, **EXACT)
    # 1000 pW while both are high, a tenth of the time; else 3000 pW.
    assert spent.leakage == pytest.approx((0.1 * 1000 + 0.9 * 3000) * 1e-12 * 1000e-9 * 1e12, **EXACT)


def test_half_adder():
    netlist = circuit(TINY, ("HA", {"A": 1, "B": 2, "C": 3, "S": 4}), a=1, b=2)
    spent = energy(netlist, toggles({1: (3, 3), 2: (5, 5), 3: (2, 2), 4: (6, 7)}))
    assert spent.internal == pytest.approx((4 * 7 + 13 * 9) * 1e-3, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * (6 + 10) * 0.006, **EXACT)


def test_full_adder():
    """Inputs move 2, 4 and 10 times."""
    netlist = circuit(TINY, ("FA", {"A": 1, "B": 2, "CI": 3, "CO": 4, "S": 5}), a=1, b=2, c=3)
    spent = energy(netlist, toggles({1: (1, 1), 2: (2, 2), 3: (5, 5), 4: (4, 4), 5: (7, 7)}))
    assert spent.internal == pytest.approx((8 * (2 * 4 + 4 * 8 + 10 * 16) / 16 + 14 * 11) * 1e-3, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * (2 * 0.008 + 4 * 0.009 + 10 * 0.010), **EXACT)


def test_flip_flop():
    """At 100 ps, half way in every table. Its Q drives an inverter: 2 and 4 fF."""
    netlist = circuit(TINY, ("DFF", {"CK": 1, "D": 2, "Q": 3}), ("INV", {"A": 3, "Y": 4}), clk=1, d=2)
    spent = energy(netlist, toggles({1: (100, 100), 2: (30, 29), 3: (20, 21), 4: (0, 0)}), transition_ns=0.1)
    # Clock: the pin's own 30 and 20 fJ, and 5 fF charged and discharged.
    assert spent.clock == pytest.approx(100 * (30 + 20) * 1e-3 + 0.5 * 4 * 200 * 0.005, **EXACT)
    # D: 3 and 7 fJ. Q rising: at 0 fF 15, at 10 fF 35, so 19 at 2 fF; falling 25.
    assert spent.internal == pytest.approx((30 * 3 + 29 * 7 + 20 * 19 + 21 * 25) * 1e-3, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * (59 * 0.004 + 20 * 0.002 + 21 * 0.004), **EXACT)


def test_gated_clock_is_clock():
    """A NAND and an inverter make a clock of a clock: the net with the flip-flop on it counts as clock, and the cell that drives it; the net between does not."""
    netlist = circuit(TINY, ("NAND2", {"A": 1, "B": 2, "Y": 3}), ("INV", {"A": 3, "Y": 4}), ("DFF", {"CK": 4, "D": 2, "Q": 5}), clk=1, enable=2)
    spent = energy(netlist, toggles({1: (10, 10), 2: (0, 0), 3: (6, 6), 4: (6, 6), 5: (0, 0)}), transition_ns=0.05)
    on_clk = 0.5 * 4 * 20 * 0.003
    on_gated = 0.5 * 4 * 12 * 0.005 + 6 * (20 + 10) * 1e-3 + 6 * ((1 + 0.5 * 2) + (1 + 0.5 * 2)) * 1e-3     # 5 fF on the inverter: half way to 10
    assert spent.clock == pytest.approx(on_clk + on_gated, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 4 * 6 * (0.002 + 0.004), **EXACT)
    assert spent.internal == pytest.approx(12 * 6e-3, **EXACT)


def osu(*instances, **inputs):
    return circuit(find_cells().library, *instances, **inputs)


def between(low, high, at):
    return low + (high - low) * at


#: Of the way from 0.06 to 0.18 ns, where the tables of gates have points, 0.1 ns is a third.
THIRD = (0.1 - 0.06) / (0.18 - 0.06)


@installed
def test_osu_inverter():
    """INVX1 on INVX1 (0.00932196 and 0.00932456 pF)."""
    netlist = osu(("INVX1", {"A": 1, "Y": 2}), ("INVX1", {"A": 2, "Y": 3}), a=1)
    spent = energy(netlist, toggles({1: (0, 0), 2: (3, 2), 3: (0, 0)}))
    up, down = (0.00932196 - 0.005) / 0.0075, (0.00932456 - 0.005) / 0.0075
    rise = between(between(0.023555, 0.029044, THIRD), between(0.023165, 0.028621, THIRD), up)
    fall = between(between(0.009213, 0.004772, THIRD), between(0.009047, 0.005677, THIRD), down)
    assert spent.internal == pytest.approx(3 * rise + 2 * fall, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 1.8 * 1.8 * (3 * 0.00932196 + 2 * 0.00932456), **EXACT)
    assert spent.leakage == pytest.approx(2 * 0.0221741e-9 * 1000e-9 * 1e12, **EXACT)


@installed
def test_osu_nand():
    """NAND2X1 with nothing behind it, at 0.06 ns; 0 pF lies before the first load, 0.005, as far as two thirds of the way to the second, 0.0125."""
    netlist = osu(("NAND2X1", {"A": 1, "B": 2, "Y": 3}), a=1, b=2)
    spent = energy(netlist, toggles({1: (4, 4), 2: (1, 1), 3: (5, 5)}), transition_ns=0.06)
    a_fall, a_rise = between(0.010032, 0.009375, -2 / 3), between(0.044515, 0.045446, -2 / 3)
    b_fall, b_rise = between(0.009782, 0.009413, -2 / 3), between(0.03356, 0.033477, -2 / 3)
    assert spent.internal == pytest.approx(5 * (0.8 * (a_fall + a_rise) + 0.2 * (b_fall + b_rise)), **EXACT)


@installed
def test_osu_xor():
    """XOR2X1 on the D of a flip-flop, at 0.06 ns; only A moves. Pins: A 0.029651 and 0.0296528 pF, D 0.00882947 and 0.00881001."""
    netlist = osu(("XOR2X1", {"A": 1, "B": 2, "Y": 3}), ("DFFPOSX1", {"CLK": 4, "D": 3, "Q": 5}), a=1, b=2, clk=4)
    spent = energy(netlist, toggles({1: (4, 4), 2: (0, 0), 3: (4, 4), 4: (0, 0), 5: (0, 0)}), transition_ns=0.06)
    rise = between(0.039147, 0.039465, (0.00882947 - 0.005) / 0.0075)
    fall = between(0.115486, 0.11447, (0.00881001 - 0.005) / 0.0075)
    d = 4 * 0.045424 + 4 * 0.08841
    assert spent.internal == pytest.approx(4 * rise + 4 * fall + d, **EXACT)
    assert spent.switching == pytest.approx(0.5 * 3.24 * 4 * (0.029651 + 0.0296528 + 0.00882947 + 0.00881001), **EXACT)


@installed
def test_osu_adders():
    """FAX1 whose carry goes to a HAX1 (0.0211106 and 0.0210191 pF at its B), at 0.06 ns. Only C of the full adder moves, and B of the half adder."""
    netlist = osu(("FAX1", {"A": 1, "B": 2, "C": 3, "YC": 4, "YS": 5}), ("HAX1", {"A": 6, "B": 4, "YC": 7, "YS": 8}), a=1, b=2, c=3, d=6)
    spent = energy(netlist, toggles({1: (0, 0), 2: (0, 0), 3: (9, 9), 4: (6, 5), 5: (8, 9), 6: (0, 0), 7: (0, 0), 8: (2, 3)}), transition_ns=0.06)
    yc = (6 * between(0.036017, 0.037705, (0.0211106 - 0.0125) / 0.0125)
          + 5 * between(0.112156, 0.112995, (0.0210191 - 0.0125) / 0.0125))
    ys = 8 * between(0.109316, 0.112156, -2 / 3) + 9 * between(0.035808, 0.036017, -2 / 3)
    half = 2 * between(0.06765, 0.067897, -2 / 3) + 3 * between(0.047187, 0.047188, -2 / 3)
    assert spent.internal == pytest.approx(yc + ys + half, **EXACT)
    assert spent.leakage == pytest.approx((0.230647 + 0.161137) * 1e-9 * 1000e-9 * 1e12, **EXACT)


@installed
def test_osu_flip_flop():
    """DFFPOSX1 on INVX1, at 0.06 ns."""
    netlist = osu(("DFFPOSX1", {"CLK": 1, "D": 2, "Q": 3}), ("INVX1", {"A": 3, "Y": 4}), clk=1, d=2)
    spent = energy(netlist, toggles({1: (100, 100), 2: (10, 11), 3: (7, 6), 4: (0, 0)}), transition_ns=0.06)
    assert spent.clock == pytest.approx(100 * (0.006865 + 0.11034) + 0.5 * 3.24 * 100 * (0.0279235 + 0.0274634), **EXACT)
    q = (7 * between(0.040752, 0.041217, (0.00932196 - 0.005) / 0.0075)
         + 6 * between(0.064773, 0.063395, (0.00932456 - 0.005) / 0.0075))
    assert spent.internal == pytest.approx(10 * 0.045424 + 11 * 0.08841 + q, **EXACT)
