"""Readings of others are theirs, derived ones say so, and without a reading of one's own a board is uncalibrated."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.energy.test_meter import DECODE, box, log_of
from tritloom.sim.energy.board.meter import measure
from tritloom.sim.energy.board.readings import board_level, published_readings, uncalibrated
from tritloom.sim.energy.figure import Confidence, Figure, Level


@pytest.mark.parametrize(("name", "where", "pj"), [
    ("bitnet-kv260 on a Kria KV260, decode", "whole board, idle included", 158),
    ("bitnet-kv260 on a Kria KV260, decode", "whole board, over idle (3.808 W)", 61),
    ("bitnet.cpp on the same KV260's four Cortex-A53, decode", "whole board, idle included", 814),
    ("ternfpga on an Arty A7-35T, decode", "FPGA chip", 672),
    ("RTX 3060, bf16 weights, decode", "graphics card, idle included", 1521),
    ("bitnet.cpp on a Ryzen 9 5950X, decode", "processor package, idle included", 1915),
    ("MARLANN on an iCE40UP5K at 20 MHz, int8 multiply-accumulate", "core rail alone, idle included", 66),
])
def test_what_others_read(name: str, where: str, pj: float) -> None:
    [reading] = [reading for reading in published_readings() if (reading.name, reading.where) == (name, where)]
    assert round(reading.pj_per_operation) == pj
    for figure in reading.figures():
        assert figure.level is Level.BOARD
        assert "theirs" in figure.what
        assert figure.source.startswith("https://")
        assert figure.confidence is reading.confidence
        assert ("derived" in figure.what) == (figure.unit == "pJ/op" or reading.derived)


def test_what_is_no_reading_is_said_to_be_derived() -> None:
    derived = [reading for reading in published_readings() if reading.derived]
    assert [reading.name.split()[0] for reading in derived] == ["ternfpga"]
    assert "no reading" in derived[0].how


def test_without_a_reading_a_board_is_uncalibrated() -> None:
    level = board_level()
    assert not level["calibrated"]
    assert level["note"].startswith("uncalibrated: ")
    figures = [Figure.from_json(figure) for figure in json.loads(json.dumps(level))["figures"]]
    assert len(figures) == sum(len(reading.figures()) for reading in published_readings())
    assert all("theirs" in figure.what for figure in figures)


def test_with_one_it_comes_first() -> None:
    reading = measure(log_of(box(), np.round(np.arange(-5, 7, 0.01), 2)), DECODE)
    level = json.loads(json.dumps(board_level(reading)))
    assert level["calibrated"]
    assert level["reading"]["phases"][0]["name"] == "decode"
    own = [figure for figure in level["figures"] if "theirs" not in figure["what"]]
    assert own == level["figures"][:len(own)] == [figure.as_json() for figure in reading.figures()]


def test_an_estimate_from_theirs_says_whose_it_is() -> None:
    figure = uncalibrated("nano", 491_520)
    assert figure.level is Level.MODEL
    assert "uncalibrated" in figure.what
    assert "bitnet-kv260" in figure.conditions
    assert (figure.low, figure.value) == (pytest.approx(0.147 * 491_520 / 2_412_380_160), pytest.approx(0.381 * 491_520 / 2_412_380_160))
    assert figure.confidence is Confidence.READ
