"""BitLinears side by side on an accelerator: one scale each, scales by groups of columns, and matrices in an array's words."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.driver import Accelerator, connect
from tritloom.host.model.bound_linear import BoundLinear
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, open_model, write_model
from tritloom.host.model.linear import FusedTernary
from tritloom.host.model.model import Model
from tritloom.host.model.ops import quantize_rows
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import Geometry
from tritloom.sim.golden import NumpyAccelerator

from .conftest import ALPHABET, TINY, random_tensors

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, col_pitch=2, depth=10, weight_words=512, stream_words=64)
QKV = [f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"]


def make_parts(seed: int, columns: int, groups: list[tuple[int, int | None]]) -> list[Ternary]:
    """Matrices of some rows each, with scales for so many groups of columns, or one scale."""
    random = np.random.default_rng(seed)
    return [
        Ternary(random.integers(-1, 2, (rows, columns)).astype(np.int8),
                float(random.uniform(0.1, 2)) if count is None else random.uniform(0.1, 2, (rows, count)).astype(np.float32))
        for rows, count in groups
    ]  # fmt: skip


def real(part: Ternary) -> np.ndarray:
    """The matrix that it stands for, in float64."""
    scales = np.array(part.scale, np.float64, ndmin=2)
    return part.trits * np.repeat(np.broadcast_to(scales, (len(part.trits), scales.shape[1])), part.trits.shape[1] // scales.shape[1], axis=1)


@pytest.mark.parametrize("groups", [
    [(5, None)], [(5, 1)], [(5, 3)], [(3, 4), (2, 4)], [(3, 4), (2, 6)], [(4, None), (3, 2), (1, 1)], [(3, None), (2, None)],
], ids=str)  # fmt: skip
@pytest.mark.parametrize("device", ["numpy", "model"])
def test_a_product_is_that_of_the_real_matrix(groups: list[tuple[int, int | None]], device: str) -> None:
    parts = make_parts(41, 24, groups)
    acc = NumpyAccelerator() if device == "numpy" else connect("model", geometry=GEOMETRY)
    factors = [0.5, 1.0, 3.0][: len(parts)]
    biases = [np.random.default_rng(42).standard_normal(len(part.trits)).astype(np.float32) for part in parts]
    x = np.random.default_rng(43).standard_normal((3, 24)).astype(np.float32)
    linear = BoundLinear(acc, FusedTernary.of(parts), factors, biases)
    q, s = quantize_rows(x)
    expected = np.concatenate([factor * (q.astype(np.float64) @ real(part).T / s + bias)
                               for part, factor, bias in zip(parts, factors, biases, strict=True)], axis=1)
    np.testing.assert_allclose(linear(x), expected, rtol=2e-5, atol=1e-5, err_msg="seeds 41 to 43")


def test_groups_are_summed_in_the_documented_order() -> None:
    (part,) = make_parts(44, 12, [(7, 3)])
    x = np.random.default_rng(45).standard_normal((2, 12)).astype(np.float32)
    q, s = quantize_rows(x)
    expected = np.zeros((2, 7), np.float32)
    for group in range(3):
        columns = slice(4 * group, 4 * group + 4)
        sums = q[:, columns].astype(np.int32) @ part.trits[:, columns].T.astype(np.int32)
        expected += sums.astype(np.float32) * part.scale[:, group]
    expected /= s
    np.testing.assert_array_equal(BoundLinear(NumpyAccelerator(), FusedTernary.of([part]), [1.0])(x), expected)


def test_a_device_that_queues_gives_the_same_floats() -> None:
    parts = make_parts(46, 24, [(9, 6), (4, 2)])
    x = np.random.default_rng(47).standard_normal((5, 24)).astype(np.float32)
    results = [BoundLinear(acc, FusedTernary.of(parts), [1.0, 1.0])(x) for acc in (NumpyAccelerator(), connect("model", geometry=GEOMETRY))]
    np.testing.assert_array_equal(*results)


def test_a_failed_load_leaves_nothing_on_the_accelerator(acc: Any) -> None:
    (part,) = make_parts(48, 12, [(3, 4)])
    load = acc.load

    def failing(w: np.ndarray) -> Any:
        if len(acc.loaded) == 2:
            raise MemoryError
        return load(w)

    acc.load = failing
    with pytest.raises(MemoryError):
        BoundLinear(acc, FusedTernary.of([part]), [1.0])
    assert (len(acc.loaded), acc.resident) == (2, [])
    acc.load = load
    linear = BoundLinear(acc, FusedTernary.of([part]), [1.0])
    assert [matrix.shape for matrix in acc.resident] == [(3, 3)] * 4
    linear.unload()
    linear.unload()
    assert acc.resident == []


def grouped_tensors(config: ModelConfig, seed: int) -> dict[str, Any]:
    """As `random_tensors`, with scales by groups in every second matrix."""
    tensors, random = random_tensors(config, seed), np.random.default_rng(seed)
    for name, n, k in config.matrices()[::2]:
        tensors[name] = Ternary(tensors[name].trits, random.uniform(0.1, 0.5, (n, k // 6)).astype(np.float32))
    return tensors


@pytest.mark.parametrize("packing", ["2bit", "base3"])
@pytest.mark.parametrize("make", [random_tensors, grouped_tensors])
def test_array_order_changes_nothing_but_the_packing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, packing: str) -> None:
    """The same logits from a file of rows and one of words; the device of those words is never asked to pack, another is."""
    config = ModelConfig(**TINY)
    given = {"config": config, "tokenizer": CharTokenizer(ALPHABET[: config.vocab_size]).to_dict(), "tensors": make(config, 5), "training": {}}
    write_model(tmp_path / "rows.trit", **given)
    write_model(tmp_path / "words.trit", **given, order=ArrayOrder.of(GEOMETRY), packing=packing)
    ids = [1, 2, 3, 4]
    expected = Model(open_model(tmp_path / "rows.trit")).logits(ids, NumpyAccelerator())
    other = Geometry(rows=1, cols=3, lanes=2, col_pitch=3, depth=64)
    packed: list[tuple[int, int]] = []
    load = Accelerator.load

    def watched(self: Accelerator, w: np.ndarray) -> Any:
        packed.append(w.shape)
        return load(self, w)

    monkeypatch.setattr(Accelerator, "load", watched)
    for geometry, packs in ((GEOMETRY, False), (other, True)):
        packed.clear()
        with connect("model", geometry=geometry) as acc:
            np.testing.assert_array_equal(Model(open_model(tmp_path / "words.trit")).logits(ids, acc), expected)
        assert bool(packed) == packs, geometry
    np.testing.assert_array_equal(Model(open_model(tmp_path / "words.trit")).logits(ids, NumpyAccelerator()), expected)


@pytest.mark.parametrize(("order", "share"), [("rows", 1.5), ("words", 0.25)])
@pytest.mark.parametrize("packing", ["2bit", "base3"])
def test_what_is_streamed_takes_the_memory_of_its_packed_words_or_none(tmp_path: Path, packing: str, order: str, share: float) -> None:
    """Rows: the words, and besides one matrix at a time while it is packed. Words of the array: nothing but scales, they stay in the mapped file."""
    config = ModelConfig(**{**TINY, "hidden_size": 256, "intermediate_size": 256, "num_hidden_layers": 16})
    geometry = Geometry(rows=1, cols=8, lanes=8, depth=512, weight_words=64, stream_words=32)
    write_model(tmp_path / "m.trit", config=config, tokenizer={}, tensors=random_tensors(config, 7), training={}, packing=packing,
                order=ArrayOrder.of(geometry) if order == "words" else None)
    file, weights = open_model(tmp_path / "m.trit"), 16 * 2 * 256 * 256
    with connect("model", geometry=geometry) as acc:
        tracemalloc.start()
        linears = [BoundLinear(acc, file.linear([f"model.layers.{i}.mlp.{part}_proj.weight" for part in ("gate", "up")]), [1.0, 1.0]) for i in range(16)]
        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert not any(linear.matrices[0].resident for linear in linears)
    assert kept < share * weights / 4
    assert peak < kept + 8 * 2 * 256 * 256


def test_a_norm_in_front_of_each_linear_leaves_them_apart(tmp_path: Path) -> None:
    config = ModelConfig(**TINY, linear_norms=True)
    write_model(tmp_path / "m.trit", config=config, tokenizer={}, tensors=random_tensors(config, 6), training={}, order=ArrayOrder.of(GEOMETRY))
    file = open_model(tmp_path / "m.trit")
    for name, expected in random_tensors(config, 6).items():
        if isinstance(expected, Ternary):
            np.testing.assert_array_equal(file.ternary(name).trits, expected.trits)
            assert file.linear([name]).words is not None
    assert file.linear(QKV).words is None
    np.testing.assert_array_equal(file.linear(QKV).trits(), np.concatenate([file.ternary(name).trits for name in QKV]))
