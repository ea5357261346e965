"""A figure says its level, keeps its range, and comes back from JSON as it was."""

from __future__ import annotations

import json

import pytest

from tritloom.host.errors import UsageError
from tritloom.sim.energy.figure import Confidence, Figure, Level, amount

FULL = Figure(Level.GATE, "ternary PE, per MAC", 7.62, "pJ", 7.31, 7.9, "OSU 180 nm, FA flow", "tritloom energy --gate pe", None,
              ("wires", "clock tree"))


@pytest.mark.parametrize("level", Level)
def test_the_line_names_the_level(level: Level) -> None:
    assert f"[{level.value}]" in str(Figure(level, "an add", 1, "pJ"))


def test_the_line_has_the_range_the_conditions_and_the_confidence() -> None:
    assert FULL.text == "[gate] ternary PE, per MAC: 7.62 pJ (7.31 to 7.9); OSU 180 nm, FA flow"
    assert Figure(Level.TABLE, "int8 add", 0.007, "pJ", confidence=Confidence.SECOND_HAND).text == "[table, second-hand] int8 add: 0.007 pJ"
    assert Figure(Level.TABLE, "fp16 over int8 add", 71.43, "x").text == "[table] fp16 over int8 add: 71.4x"


def test_json_there_and_back() -> None:
    assert Figure.from_json(json.loads(json.dumps(FULL.as_json()))) == FULL
    read = Figure(Level.TABLE, "int8 add", 0.007, "pJ", confidence=Confidence.READ)
    assert Figure.from_json(json.loads(json.dumps(read.as_json()))) == read


@pytest.mark.parametrize("record", [{}, {"level": "guess", "what": "x", "value": 1, "unit": "pJ"},
                                    {"level": "gate", "what": "x", "value": 1, "unit": "pJ", "volts": 2}])
def test_what_is_no_figure_is_said(record: dict) -> None:
    with pytest.raises(UsageError, match="is not one that"):
        Figure.from_json(record)


@pytest.mark.parametrize(("fields", "message"), [
    ({"value": float("nan")}, "value of 'an add' must be a finite number, not nan"),
    ({"high": 2.0}, "both ends or none, not only high"),
    ({"low": 2.0, "high": 3.0}, "must hold its value 1, not 2 to 3"),
])
def test_what_a_figure_cannot_be(fields: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Figure(**{"level": Level.TABLE, "what": "an add", "value": 1.0, "unit": "pJ", **fields})


def test_the_weakest_confidence_is_the_one_of_a_sum() -> None:
    assert Confidence.weakest([Confidence.READ, Confidence.UNVERIFIED, Confidence.SECOND_HAND]) is Confidence.UNVERIFIED
    assert Confidence.weakest([Confidence.READ, Confidence.SECOND_HAND]) is Confidence.SECOND_HAND
    assert Confidence.weakest([]) is Confidence.READ


@pytest.mark.parametrize(("number", "text"), [(0.007, "0.007"), (71.428, "71.4"), (1521.4, "1,521"), (3.2e-9, "3.2e-09"), (0, "0"),
                                              (-12.34, "-12.3")])
def test_amounts(number: float, text: str) -> None:
    assert amount(number) == text
