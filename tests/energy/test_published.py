"""Published figures: what is in the file, what is made of it between the rows, and that each says where it is from."""

from __future__ import annotations

import math

import pytest

from tritloom.host.errors import UnknownNameError
from tritloom.sim.energy.figure import Confidence, Level
from tritloom.sim.energy.published import Entry, published

#: As the sources have them: BitNet's table 2, Horowitz' and Jouppi's tables.
OPERATIONS = {
    "45nm": {"int8 add": 0.03, "int16 add": 0.05, "int32 add": 0.1, "int8 mul": 0.2, "int32 mul": 3.1, "fp16 add": 0.4, "fp16 mul": 1.1,
             "fp32 add": 0.9, "fp32 mul": 3.7},
    "7nm": {"int8 add": 0.007, "int32 add": 0.03, "int8 mul": 0.07, "int32 mul": 1.48, "bf16 add": 0.11, "bf16 mul": 0.21, "fp16 add": 0.16,
            "fp16 mul": 0.34, "fp32 add": 0.38, "fp32 mul": 1.31},
}
SRAM = {"45nm": [10, 20, 100], "7nm": [7.5, 8.5, 14]}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_tables(name: str) -> None:
    node = published().node(name)
    assert {entry.name: entry.pj for entry in node.operations.values()} == OPERATIONS[name]
    assert [(entry.bytes, entry.bits, entry.pj) for entry in node.sram] == list(zip([8192, 32768, 1 << 20], [64] * 3, SRAM[name], strict=True))


def everything() -> list[Entry]:
    known = published()
    return [*(entry for node in known.nodes.values() for entry in (*node.operations.values(), *node.sram)), *known.external.values(), *known.links.values()]


@pytest.mark.parametrize("entry", everything(), ids=lambda entry: entry.name)
def test_every_row_has_a_source_and_a_confidence(entry: Entry) -> None:
    assert len(entry.source) > 10
    assert entry.confidence in Confidence
    assert entry.pj > 0 and entry.bits > 0
    assert (entry.low is None) == (entry.high is None)
    figure = entry.figure("pJ")
    assert (figure.level, figure.confidence, figure.source) == (Level.TABLE, entry.confidence, entry.source)
    assert entry.as_json()["pj_per_bit"] == pytest.approx(entry.pj / entry.bits)


def test_nothing_is_said_to_be_read_that_was_only_quoted() -> None:
    for entry in everything():
        if "quote" in entry.source or "names Horowitz" in entry.source:
            assert entry.confidence is not Confidence.READ
        if "from memory" in entry.source or "assum" in entry.source:
            assert entry.confidence is Confidence.UNVERIFIED


def test_a_figure_of_a_bit_has_the_range_of_a_bit() -> None:
    figure = published().memory("gddr6").figure("pJ/bit")
    assert (figure.low, figure.high) == (350 / 64, 480 / 64)
    assert figure.value == pytest.approx(415 / 64)


@pytest.mark.parametrize("node", ["45nm", "7nm"])
def test_adds_between_the_rows(node: str) -> None:
    table = published().node(node)
    assert table.add(8) is table.operation("int8 add")
    widths = [4, 8, 9, 10, 15, 16, 21, 31, 32, 40]
    energies = [table.add(bits) for bits in widths]
    assert [entry.pj for entry in energies] == sorted({entry.pj for entry in energies})    # rises, without a step back
    for entry in energies:
        if entry.low is not None:
            assert entry.low <= entry.pj <= entry.high
    assert table.add(4).pj == pytest.approx(table.operation("int8 add").pj / 2)
    assert table.add(64).pj == pytest.approx(2 * table.operation("int32 add").pj)


def test_adds_lie_on_the_line() -> None:
    assert published().node("45nm").add(12).pj == pytest.approx(0.04)
    assert published().node("7nm").add(20).pj == pytest.approx((0.007 + 0.03) / 2)
    between = published().node("45nm").add(24)
    assert (between.low, between.high) == (0.05, 0.1)
    assert "int16 add and int32 add" in between.source


@pytest.mark.parametrize("node", ["45nm", "7nm"])
def test_sram_between_the_rows(node: str) -> None:
    table = published().node(node)
    assert table.memory(32768) is table.sram[1]
    middle = table.memory(16384)
    assert middle.pj == pytest.approx(math.sqrt(table.sram[0].pj * table.sram[1].pj))    # of a power law
    assert (middle.low, middle.high) == (table.sram[0].pj, table.sram[1].pj)
    assert table.memory(100).pj == table.sram[0].pj
    assert table.memory(1 << 30).pj == table.sram[-1].pj
    assert "for one of" in table.memory(1 << 30).title


def test_unknown_names() -> None:
    with pytest.raises(UnknownNameError, match="there is no table named '5nm'. Did you mean 45nm or 7nm"):
        published().node("5nm")
    with pytest.raises(UnknownNameError, match="there is no memory named 'lpdr5'. Did you mean lpddr5"):
        published().memory("lpdr5")
    with pytest.raises(UnknownNameError, match="there is no link named 'usb'.* Known: pcie, uart"):
        published().link("usb")
    with pytest.raises(UnknownNameError, match="there is no operation of 7nm named 'int16 mul'"):
        published().node("7nm").operation("int16 mul")
