"""Level "table": 71.4 to the last digit, what is left of it, and that a token is the sum of its additions."""

from __future__ import annotations

import json
from functools import cache

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.figure import Confidence, Figure, Level
from tritloom.sim.energy.operations import count
from tritloom.sim.energy.published import published
from tritloom.sim.energy.table import Table, headline


@cache
def table(node: str = "7nm", geometry: Geometry | None = None) -> Table:
    return Table(published(), published().node(node), count("nano", geometry=geometry, tokens=2))


def test_the_fields_ratio() -> None:
    narrow, wide = headline(published().node("7nm"))
    assert narrow.value == (0.34 + 0.16) / 0.007
    assert f"{narrow.value:.1f}" == "71.4"
    assert narrow.conditions == "7 nm: (0.34 (fp16 mul) + 0.16 (fp16 add)) / 0.007"
    assert wide.value == (0.34 + 0.16) / 0.03
    assert f"{wide.value:.1f}" == "16.7"
    for figure in (narrow, wide):
        assert figure.level is Level.TABLE
        assert figure.confidence is Confidence.SECOND_HAND
        assert {"registers", "clock", "memory"} <= set(figure.excludes)


def test_at_45_nm() -> None:
    assert [figure.value for figure in headline(published().node("45nm"))] == pytest.approx([50, 15])


def test_the_array_by_hand() -> None:
    """2,8,4: of four lanes two 9-bit sums, one of 10 and the accumulator's 21; 32 words of a 128-column tile, and 7 of a ramp for each matrix."""
    found = table()
    seven = published().node("7nm")
    by_hand = (2 * seven.add(9).pj + seven.add(10).pj + seven.add(21).pj) / 4
    slots = found.operations.decode.counts.slots / found.operations.decode.counts.macs
    assert found.array.pj == pytest.approx(by_hand * slots)
    assert slots == pytest.approx(1 + 12 * 7 * 8 * 4 / 491_520)
    assert found.array.weight_bits == pytest.approx(2 * slots)    # one row at work: every product has its weight to itself
    assert found.nj_per_token(found.array.pj) == pytest.approx(sum(number * entry.pj for _, number, entry in found.adds) / 1000)


def test_one_lane_is_one_accumulator_add_for_each_weight() -> None:
    found = table(geometry=Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=512, weight_words=1 << 20))
    assert [bits for bits, _, _ in found.adds] == [18]
    assert found.array.pj == pytest.approx(published().node("7nm").add(18).pj)


@pytest.mark.parametrize("node", ["7nm", "45nm"])
def test_what_weight_fetch_makes_of_it(node: str) -> None:
    found = table(node)
    ratios = [found.fetch(memory)["ratio"] for memory in found.memories]
    arithmetic = found.steps()[2]["ratio"]
    for name, bits in (("int8", 8), ("fp16", 16)):
        limit = bits / found.array.weight_bits
        assert all(limit < ratio[name] < arithmetic[name] for ratio in ratios)
        assert ratios[-1][name] == pytest.approx(limit, rel=0.01)
    hbm = next(found.fetch(memory) for memory in found.memories if memory.name == "hbm2")
    assert hbm["pj_per_weight"]["fp16"] == pytest.approx(found.arithmetic[4].pj + 16 * 3.92)


def test_bitlinears_add_up_to_the_token() -> None:
    found = table()
    linears = found.bitlinears()
    assert len(linears) == 7 * 3
    assert sum(linear["nj_per_token"] for linear in linears) == pytest.approx(found.nj_per_token(found.array.pj))
    assert sum(linear["macs_per_token"] for linear in linears) == 491_520
    assert sum(linear["zero_weights"] for linear in linears) == found.operations.zero_weights


def test_json() -> None:
    record = json.loads(json.dumps(table().as_json(), allow_nan=False))
    figures = [Figure.from_json(figure) for figure in record["figures"]]
    assert {figure.level for figure in figures} == {Level.TABLE}
    assert all(figure.confidence is not None and figure.source and figure.excludes for figure in figures)
    assert record["operations"]["decode_tokens"] == 2
    assert [round(step["ratio"]["fp16"], 1) for step in record["steps"][:2]] == [71.4, 16.7]
    ways = {way["name"]: way for way in record["arithmetic"]}
    assert list(ways) == ["ternary-int8", "ternary-int32", "array", "int8", "fp16", "fp16-fp32"]
    assert ways["array"]["ratio_to_array"] == 1
    assert all(way["low"] <= way["pj_per_mac"] <= way["high"] for way in ways.values())
    assert {entry["name"] for entry in record["published"]["memories"]} >= {"sram-8k", "hbm2", "lpddr5", "sdr"}
