"""What is said to stay on a device is what the driver leaves there."""

from __future__ import annotations

import pytest

from tritloom.boards import Board, boards
from tritloom.host.driver import connect
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.model import Model
from tritloom.host.model.placement import fused_shapes, resident_weights
from tritloom.rtl.geometry import Geometry


def on_device(geometry: Geometry) -> tuple[list[tuple[int, int]], int]:
    model = Model.load("nano")
    with connect("model", geometry=geometry) as acc:
        matrices = [linear.matrices[0] for layer in model.bind(acc).layers for linear in (layer.qkv, layer.o, layer.gate_up, layer.down)]
        return [matrix.shape for matrix in matrices], sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices if matrix.resident)


def ungrouped(config: ModelConfig) -> list[tuple[int, int, None]]:
    return [(n, k, None) for n, k in fused_shapes(config)]


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_boards(board: Board) -> None:
    shapes, resident = on_device(board.geometry)
    config = Model.load("nano").config
    assert fused_shapes(config) == shapes
    assert resident_weights(ungrouped(config), board.geometry) == resident


@pytest.mark.parametrize("words, share", [(512, "none"), (4096, "some"), (65536, "all")])
def test_a_store_of_some_size(words: int, share: str) -> None:
    geometry = Geometry(rows=1, cols=4, lanes=8, depth=512, weight_words=words)
    config = Model.load("nano").config
    resident = resident_weights(ungrouped(config), geometry)
    assert resident == on_device(geometry)[1]
    assert {"none": resident == 0, "some": 0 < resident < config.ternary_weights, "all": resident == config.ternary_weights}[share]


def test_deep_matrices_are_split_as_the_driver_does() -> None:
    geometry = Geometry(rows=1, cols=4, lanes=8, depth=128, weight_words=65536)
    config = Model.load("nano").config
    assert config.intermediate_size > geometry.depth
    assert resident_weights(ungrouped(config), geometry) == on_device(geometry)[1] == config.ternary_weights
