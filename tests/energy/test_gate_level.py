"""What gate-level results say together: medians and ranges, ratios between equal runs, and what stays when one fails."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.figure import Figure, Level
from tritloom.sim.energy.gate import measure as gate
from tritloom.sim.energy.gate.errors import NetlistError
from tritloom.sim.energy.gate.flows import Flow
from tritloom.sim.energy.gate.level import GROUPS, GateLevel, gate_level
from tritloom.sim.energy.gate.measure import GateResult
from tritloom.sim.energy.gate.stimulus import random

ONE = GateResult(
    design="pe-4-pitch2", lanes=4, flow="fa", delays=True, stimulus="random", seed=1, operations=8000, cycles=2000, pj_per_op=6.0,
    parts={"internal": 2.0, "switching": 2.0, "clock": 1.9, "leakage": 0.1}, area_um2=12000.0, cells=200, nets=300, flip_flops=30,
    nets_without_toggles_found=0, period_ns=40.0, settled_ns=8.0, library="osu018", voltage_v=1.8)


def level(*results: GateResult) -> GateLevel:
    groups = {result.design: ["pe" if result.design.startswith("pe") else "peers"] for result in results}
    return GateLevel(4, groups, {design: f"about {design}" for design in groups}, [], list(results))


def test_medians_and_ranges() -> None:
    found = level(ONE, replace(ONE, seed=2, pj_per_op=7.0), replace(ONE, flow="abc", pj_per_op=9.0))
    [row] = found.as_json()["summary"]
    assert row["pj_per_op"] == {"value": 7.0, "low": 6.0, "high": 9.0}
    assert row["flows"] == {"fa": 6.5, "abc": 9.0}
    assert row["um2_per_lane"]["value"] == 12000 * 2000 / 8000
    [figure] = found.figures()
    assert (figure.level, figure.value, figure.low, figure.high) == (Level.GATE, 7.0, 6.0, 9.0)
    for word in ("about pe-4-pitch2", "osu018, 1.8 V", "flow fa, abc", "with delays", "random", "seeds 1, 2"):
        assert word in figure.conditions
    assert "clock tree" in figure.excludes


def test_ratios_pair_equal_runs() -> None:
    found = level(
        ONE, replace(ONE, seed=2, pj_per_op=10.0),
        replace(ONE, design="int8-4", pj_per_op=24.0), replace(ONE, design="int8-4", seed=2, pj_per_op=30.0),
        replace(ONE, design="int8-4", seed=3, pj_per_op=900.0),       # no element with this seed
        replace(ONE, design="int8-8", lanes=8, pj_per_op=20.0),       # other lanes
    )
    ratios = {figure.what: figure for figure in found.figures() if figure.unit == "x"}
    assert list(ratios) == ["int8-4 over pe-4-pitch2"]
    ratio = ratios["int8-4 over pe-4-pitch2"]
    assert (ratio.low, ratio.value, ratio.high) == (3.0, 3.5, 4.0)


def test_json() -> None:
    record = json.loads(json.dumps(level(ONE, replace(ONE, design="int8-4")).as_json(), allow_nan=False))
    assert [Figure.from_json(figure).unit for figure in record["figures"]] == ["pJ/op", "pJ/op", "x"]
    assert record["results"][0]["nets_without_toggles_found"] == 0
    assert "not in it: wires, clock tree" in record["note"]


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_has_designs(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "measure", lambda design, *args, **kwargs: replace(ONE, design=design.name, lanes=design.lanes))
    found = GateLevel(4)
    gate_level(found, [group, group], Geometry(rows=2, cols=2), None, [Flow.FA], [True], [random(1)])
    names = [result.design for result in found.results]
    assert len(names) == len(set(names)) == len(found.groups) > 1    # asked for twice, measured once
    record = found.as_json()
    assert bool(record["variants"]) == (group == "variants")
    assert len(record["widths"]) == (6 if group == "widths" else 0)


def test_a_design_of_two_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "measure", lambda design, *args, **kwargs: replace(ONE, design=design.name, lanes=design.lanes))
    found = GateLevel(4)
    gate_level(found, ["widths", "variants"], Geometry(), None, [Flow.FA], [True], [random(1)])
    both = [design for design, groups in found.groups.items() if groups == ["widths", "variants"]]
    record = found.as_json()
    assert both
    for design in both:
        assert [result.design for result in found.results].count(design) == 1
        assert design in record["variants"]


def test_what_was_measured_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def measure(design, cells, flow, stimulus, *, delays, progress):
        progress("simulation", 0.5)
        if stimulus.seed == 2:
            raise NetlistError("it is wrong")
        return replace(ONE, design=design.name, seed=stimulus.seed)

    monkeypatch.setattr(gate, "measure", measure)
    found = GateLevel(4)
    with pytest.raises(NetlistError):
        gate_level(found, ["pe"], Geometry(), None, [Flow.FA], [True], [random(1), random(2)], lambda what, share: told.append((what, share)))
    assert [(result.design, result.seed) for result in found.results] == [("pe-4-pitch2", 1)]
    assert told == [("pe-4-pitch2, fa, seed 1: simulation (1 of 6)", pytest.approx(1 / 12)), ("pe-4-pitch2, fa, seed 2: simulation (2 of 6)", 0.25)]
