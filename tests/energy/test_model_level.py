"""Level "model": a token by hand, what changes it, and where the adders' saving is lost."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from tritloom.host.errors import UsageError
from tritloom.rtl.geometry import Geometry
from tritloom.sim.energy.costs import Costs, Spread, from_gate, from_table, given
from tritloom.sim.energy.crossover import Crossover, crossovers, curves
from tritloom.sim.energy.figure import Confidence, Figure, Level
from tritloom.sim.energy.model import Surroundings, TokenEnergy, fit_note, token
from tritloom.sim.energy.operations import Operations, count
from tritloom.sim.energy.published import published
from tritloom.sim.energy.report import ReportError, costs_of_report, model_level, read_report

SEVEN = published().node("7nm")
AROUND = Surroundings(SEVEN, published().links["uart"])

#: Two results of an element, as the gate level gives them.
ELEMENT = [
    {"design": "pe-4-pitch2", "lanes": 4, "flow": flow, "delays": True, "stimulus": "recorded", "seed": 1, "pj_per_op": pj,
     "operations": 8000, "cycles": 2000, "parts": {"internal": 3.0, "switching": 2.0, "clock": 2.5, "leakage": 0.001}, "library": "osu018", "voltage_v": 1.8}
    for flow, pj in (("fa", 8.0), ("abc", 10.0))
]


@cache
def run(geometry: Geometry | None = None) -> Operations:
    return count("nano", geometry=geometry, tokens=2)


def parts(energy: TokenEnergy) -> dict[str, float]:
    return {part.name: part.joules.value for part in energy.parts}


def test_a_token_by_hand() -> None:
    operations = run()
    energy = token(operations, given(8.0), AROUND)
    counts = operations.decode.counts
    store, buffer = SEVEN.memory(16384 * 8), SEVEN.memory(6912)
    assert parts(energy) == pytest.approx({
        "array": 8e-12 * counts.slots / 2, "idle": 0.0,
        "weight memory": store.pj / 64 * counts.weight_bits_read * 1e-12 / 2,
        "activation memory": buffer.pj / 64 * (counts.act_bits_read + counts.act_bits_written + 2 * counts.output_bits) * 1e-12 / 2,
        "link": 599e-12 * counts.link_bytes / 2,
    })
    assert energy.joules.value == pytest.approx(sum(parts(energy).values()))
    assert energy.memory_share == pytest.approx(1 - parts(energy)["array"] / energy.joules.value)
    figure = energy.figure
    assert figure.level is Level.MODEL
    assert figure.confidence is Confidence.UNVERIFIED    # the UART's is
    assert "host" in figure.excludes
    assert "SRAM of 128 KB" in figure.conditions and "geometry 2,8,4" in figure.conditions


def test_table_and_model_agree_on_the_array() -> None:
    from tritloom.sim.energy.table import Table

    operations = run()
    table = Table(published(), SEVEN, operations)
    assert parts(token(operations, from_table(SEVEN, operations.geometry), AROUND))["array"] == pytest.approx(table.nj_per_token(table.array.pj) * 1e-9)


def test_an_idle_row_burns_its_clock() -> None:
    [costs] = from_gate({"results": ELEMENT}, Geometry())
    assert costs.pj["ternary"] == Spread(9.0, 8.0, 10.0)
    assert costs.idle["ternary"].value == pytest.approx(2.501)
    decode, prefill = (token(run(), costs, AROUND, phase) for phase in ("decode", "prefill"))
    # One of two rows works on a token, both on a prompt: it then costs next to nothing to wait.
    counts = run().decode.counts
    assert parts(decode)["idle"] == pytest.approx(2.501e-12 * (counts.cycles * 64 - counts.slots) / 2)
    assert parts(decode)["idle"] > 0.95 * 2.501e-12 * counts.slots / 2
    assert parts(prefill)["idle"] < 0.1 * parts(decode)["idle"]
    assert parts(prefill)["weight memory"] == pytest.approx(parts(decode)["weight memory"] / 2, rel=0.01)


def test_other_formats_are_wider() -> None:
    costs = from_table(SEVEN, Geometry())
    ternary, int8, fp16 = (parts(token(run(), costs, AROUND, "decode", kind)) for kind in ("ternary", "int8", "fp16"))
    assert fp16["array"] / int8["array"] == pytest.approx(0.5 / 0.1)
    # 4 times the bits, out of a memory that takes more for each.
    assert int8["weight memory"] > 4 * ternary["weight memory"]
    assert int8["activation memory"] == ternary["activation memory"]
    assert fp16["link"] == 2 * int8["link"] == 2 * ternary["link"]
    with pytest.raises(UsageError, match="has no energy of a multiply-accumulate in fp16; it has ternary"):
        token(run(), given(1.0), AROUND, "decode", "fp16")


def test_a_model_that_does_not_fit() -> None:
    small = Geometry(weight_words=1024, stream_words=256)
    outside = published().memory("lpddr4")
    operations = run(small)
    assert fit_note(run()) == "nano has 491,520 ternary weights and the weight store of 2,8,4 room for 516,096: they stay there"
    assert fit_note(operations, outside).startswith("nano has 491,520 ternary weights and the weight store of 2,8,4 room for 24,576: ")
    assert fit_note(operations, outside).endswith("sent over the link for every job; they are read from LPDDR4")
    assert fit_note(operations).endswith("where the host has them from is not counted")
    without, read = (parts(token(operations, given(1.0), Surroundings(SEVEN, AROUND.link, where))) for where in (None, outside))
    assert "external memory" not in without
    assert read["external memory"] == pytest.approx(8e-12 * 8 * operations.decode.counts.streamed_bytes / 2)
    assert without["link"] > 5 * parts(token(run(), given(1.0), AROUND))["link"]


def test_a_boards_reading_is_not_taken_apart() -> None:
    costs = Costs("meter", Level.BOARD, {"ternary": Spread(60.0, 50.0, 70.0)}, whole=True, conditions="decode of nano", source="log.csv")
    energy = token(run(), costs, AROUND)
    assert [part.name for part in energy.parts] == ["board"]
    assert energy.joules.value == pytest.approx(60e-12 * 491_520)
    assert energy.memory_share is None
    assert crossovers([costs], SEVEN.sram[0], 1024, [published().memory("hbm2")]) == []


@pytest.mark.parametrize("pj", [0.0, -1.0, float("nan"), float("inf")])
def test_energies_that_cannot_be(pj: float) -> None:
    with pytest.raises(UsageError, match="must be a number of pJ above 0, not"):
        given(pj)


def test_gate_results_that_cannot_be() -> None:
    def refused(match: str, **changes: object) -> None:
        with pytest.raises(UsageError, match=match):
            from_gate({"results": [{**ELEMENT[0], **changes}]}, Geometry())

    refused(r"must have a number from 0 up as 'pj_per_op', not '8' \(design pe-4-pitch2\)", pj_per_op="8")
    refused("must have a number from 0 up as 'clock', not None", parts={})
    refused("must have a number from 0 up as 'clock', not None", parts=None)


def test_a_whole_array_has_its_idle_rows_in_it() -> None:
    def array(name: str, pj: float, operations: int) -> dict:
        return {**ELEMENT[0], "design": name, "pj_per_op": pj, "operations": operations, "cycles": 400}

    level = {"results": [array("array-2x8x4-pitch2-share4", 9.0, 400 * 64), array("array-2x8x4-pitch2-share4-1of2", 12.0, 400 * 32),
                         array("array-4x8x4-pitch2-share4", 8.0, 400 * 128)]}
    both, one = from_gate(level, Geometry())
    assert (both.phases, one.phases) == (("prefill",), ("decode",))
    assert one.idle["ternary"].value == pytest.approx(2.501 / 2)    # half of the lanes had the clock for nothing
    energies = [token(run(), costs, AROUND, costs.phases[0]) for costs in (both, one)]
    assert parts(energies[0])["array"] == pytest.approx(9e-12 * 491_520)
    assert parts(energies[1])["array"] == pytest.approx(12e-12 * 491_520)
    counts = run().decode.counts
    assert parts(energies[1])["idle"] == pytest.approx(2.501e-12 / 2 * (counts.cycles - counts.busy - counts.ramp) * 64 / 2)


def simple(against: float, chip_pj: float, outside: str = "lpddr5", rows: int = 1) -> Crossover:
    costs = Costs("simple", Level.TABLE, {"ternary": Spread(1, 1, 1), "int8": Spread(against, against, against)})
    chip = SEVEN.sram[0]
    return Crossover(costs, "int8", type(chip)("chip", "chip", chip_pj, 1, None, None, 1, chip.confidence, "made up"), 1_000_000, published().memory(outside), rows)


def test_where_the_saving_is_lost() -> None:
    """Adders save 8 pJ a weight, so 4 pJ a bit are too much; LPDDR5 takes 7."""
    one = simple(9.0, 0.5)
    assert (one.saving_pj, one.limit_pj_per_bit, one.rows_lost, one.rows_half) == (8.0, 4.0, 14 / 8, 14.0)
    # Half of the model outside makes 0.5 + 0.5 * 7 = 4: twice the 500,000 weights that fit.
    assert one.size_lost == pytest.approx(1_000_000)
    at = one.at(one.size_lost)
    assert at["memory_share"] == pytest.approx(8 / 9)
    # Adders save 8, memory takes 8: with the adders 1 + 8, without them 9 + 8.
    assert at["gain_by_adders"] == pytest.approx(17 / 9)
    assert simple(9.0, 5.0).size_lost == 0      # the chip's own memory takes more than 4
    assert simple(99.0, 0.5).size_lost is None    # 49 pJ a bit
    assert simple(9.0, 0.5, rows=2).size_lost is None    # 8 pJ a bit
    assert simple(9.0, 0.5, rows=2).limit_pj_per_bit == 8.0
    assert simple(9.0, 0.5, rows=2).at(1_000_000)["memory_share"] == pytest.approx(4 / 5)


def test_the_gain_goes_to_the_bits() -> None:
    one = simple(9.0, 0.5)
    tiny, large = one.at(10), one.at(1e12)
    assert tiny["gain"] == pytest.approx((9 + 8 * 0.5) / (1 + 2 * 0.5))
    assert large["gain"] == pytest.approx((9 + 8 * 7.5) / (1 + 2 * 7.5))
    assert simple(9.0, 0.5, "sdr").at(1e12)["gain"] == pytest.approx(8 / 2, rel=0.01)
    assert 1 < large["gain_by_adders"] < tiny["gain_by_adders"]
    # Between the sizes at which 8-bit and ternary weights fit, ternary wins most.
    assert one.at(450_000)["gain"] > tiny["gain"]
    shares = [one.at(10 ** exponent)["memory_share"] for exponent in range(1, 12)]
    assert shares == sorted(shares)


def test_curves() -> None:
    costs = from_table(SEVEN, Geometry())
    found = curves([costs, given(1.0)], SEVEN.sram[-1], 1 << 23, [published().memory("lpddr5")])
    assert {(curve["source"], curve["against"], curve["rows"]) for curve in found} == {
        ("table 7nm", against, rows) for against in ("int8", "fp16") for rows in (1, 64)}
    for curve in found:
        sizes = [point["weights"] for point in curve["points"]]
        assert (sizes[0], sizes[-1]) == (1e5, pytest.approx(1e11))


def test_the_level() -> None:
    operations = run()
    level = model_level(operations, [from_table(SEVEN, operations.geometry), given(8.0)], AROUND, published(), calibrated=False)
    record = json.loads(json.dumps(level, allow_nan=False))
    figures = [Figure.from_json(figure) for figure in record["figures"]]
    assert {figure.level for figure in figures} == {Level.MODEL}
    assert any("uncalibrated" in figure.what for figure in figures)
    assert record["fits"] is True
    assert [(one["source"], one["phase"], one["format"]) for one in record["tokens"]][:2] == [
        ("table 7nm", "decode", "ternary"), ("table 7nm", "decode", "int8")]
    assert all(one["j_per_token"] == pytest.approx(sum(part["j"] for part in one["parts"])) for one in record["tokens"])
    calibrated = model_level(operations, [given(8.0)], AROUND, published(), calibrated=True)
    assert not any("uncalibrated" in figure["what"] for figure in calibrated["figures"])


def test_costs_of_a_saved_gate_level(tmp_path: Path) -> None:
    peers = [{**ELEMENT[0], "design": name, "lanes": int(name.split("-")[1]), "pj_per_op": pj}
             for name, pj in (("int8-4", 33.0), ("int8-8", 30.0), ("int8-4-tree2", 40.0), ("fp16-4-tree2", 100.0), ("pe-8-pitch2", 7.0))]
    level = {"results": [*ELEMENT, *peers], "figures": [], "summary": [], "note": ""}
    [costs] = from_gate(level, Geometry())
    assert {kind: spread.value for kind, spread in costs.pj.items()} == {"ternary": 9.0, "int8": 33.0, "fp16": 100.0}    # at equal lanes, and of two forms the better
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"tritloom": "0", "command": "", "levels": {"gate": level}}))
    [saved] = costs_of_report(path, Geometry())
    assert (saved.pj, saved.name) == (costs.pj, "report.json pe-4-pitch2")
    path.write_text(json.dumps({"levels": {"gate": {"results": [{**ELEMENT[0], "design": "int8-4"}], "note": "", "summary": [], "figures": []}}}))
    with pytest.raises(UsageError, match="has no ternary element and no array of 2,8,4"):
        costs_of_report(path, Geometry())
    path.write_text(json.dumps({"levels": {"board": {"figures": [], "note": ""}}}))
    with pytest.raises(ReportError, match="has no gate level: make it with `tritloom energy --gate pe --json`"):
        costs_of_report(path, Geometry())


@pytest.mark.parametrize(("text", "message"), [
    (None, "cannot be read: No such file"),
    ("{", "is no JSON"),
    ("[]", "is no energy report: it must have levels out of board, gate, model, table"),
    ('{"levels": {"guess": {}}}', "is no energy report"),
    ('{"levels": {"board": {"figures": [{"what": "x"}], "note": ""}}}', "the board level of .* is damaged: the figure 'x' is not one"),
    ('{"levels": {"table": {"figures": []}}}', "the table level of .* is damaged: it lacks 'adds'"),
])
def test_reports_that_are_none(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ReportError, match=message):
        read_report(path)
