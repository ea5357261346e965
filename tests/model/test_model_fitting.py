"""Geometries that hold a whole model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tritloom.host.model.fitting import fitting_geometry
from tritloom.host.model.model import Model
from tritloom.host.model.placement import resident_weights
from tritloom.host.model.shape import shape_of
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import Geometry

#: The matrices of BitNet b1.58 2B-4T, fused as the runtime loads them.
LARGE = [(3840, 2560, None), (2560, 2560, None), (13824, 2560, None), (2560, 6912, None)] * 30


def weights(matrices: list[tuple[int, int, int | None]]) -> int:
    return sum(n * k for n, k, _ in matrices)


def test_a_small_model_gets_the_default() -> None:
    assert fitting_geometry(shape_of("nano").matrices) == Geometry()
    assert Model.load("nano").fitting_geometry() == Geometry()


@pytest.mark.parametrize("matrices", [
    LARGE,
    [(n, k, 128) for n, k, _ in LARGE],
    [(512, 200_000, None)] * 3,
    [(n, 2 * k, None) for n, k, _ in LARGE] * 2,    # 8.3 billion weights
], ids=["2B-4T", "by groups", "deep", "8B"])
def test_all_of_a_large_model_is_resident(matrices: list[tuple[int, int, int | None]]) -> None:
    geometry = fitting_geometry(matrices)
    assert resident_weights(matrices, geometry) == weights(matrices)
    less = replace(geometry, weight_words=geometry.weight_words - 2 * geometry.stream_words)
    assert resident_weights(matrices, less) < weights(matrices)


def test_2b_4t_has_no_padding_but_the_store_s() -> None:
    geometry = fitting_geometry(LARGE)
    assert (geometry.cols, geometry.lanes) == (16, 20)
    assert geometry.weight_words * geometry.word_bytes < 1.002 * weights(LARGE) / 4


def test_a_file_s_order_is_kept() -> None:
    order = ArrayOrder(cols=8, lanes=32, col_pitch=2, depth=3000)
    geometry = fitting_geometry(LARGE, order)
    assert ArrayOrder.of(geometry) == order and resident_weights(LARGE, geometry) == weights(LARGE)


def test_what_no_geometry_holds_is_held_in_part() -> None:
    geometry = fitting_geometry(LARGE * 9)
    assert 0 < resident_weights(LARGE * 9, geometry) < weights(LARGE * 9)
    with pytest.raises(ValueError, match="weight_words"):
        replace(geometry, weight_words=2 * geometry.weight_words)
