"""From every format through a model file to the array: the compiled gateware's int32 are those of the trits that the test wrote into the checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tritloom.host.driver import Accelerator, connect
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.file import open_model
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import Geometry

from .checkpoints import AUTO, CLASSIC, ONLINE, Gguf, Golden, HuggingFace, gguf_name, make_golden, write_tokenizer

Written = dict[str, np.ndarray]
"""The trits that a checkpoint's matrices must be read as."""

LAYER = "model.layers.0."
FUSED = [["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"], ["self_attn.o_proj"], ["mlp.gate_proj", "mlp.up_proj"], ["mlp.down_proj"]]


@pytest.fixture(scope="module")
def golden() -> Golden:
    """TQ1_0 and TQ2_0 need rows of 256 weights; the rest is small, because every product is simulated."""
    return make_golden(seed=21, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_key_value_heads=1)


@pytest.fixture(scope="module")
def array() -> Iterator[Accelerator]:
    with connect("sim") as acc:
        yield acc


@pytest.fixture(scope="module")
def streaming() -> Iterator[Accelerator]:
    """One with no room for any of these matrices, and of a shape that divides none of them."""
    with connect("sim", geometry=Geometry(rows=1, cols=3, lanes=5, depth=64, weight_words=64, stream_words=32, queue=2)) as acc:
        yield acc


def hf_packed(golden: Golden, folder: Path) -> Path:
    return HuggingFace(folder / "hf", golden).add_floats().add_packed(AUTO).write()


def hf_packed_reciprocal(golden: Golden, folder: Path) -> Path:
    return HuggingFace(folder / "hf", golden).add_floats().add_packed(CLASSIC, "F32").write()


def hf_ternary_floats(golden: Golden, folder: Path) -> Path:
    return HuggingFace(folder / "hf", golden).add_floats().add_masters("BF16", {name: m.trits * np.float32(m.scale) for name, m in golden.matrices.items()}).write()


def gguf_of(kind: str) -> Callable[[Golden, Path], Path]:
    return lambda golden, folder: Gguf(folder / "m.gguf", golden).add_floats("F16").add_matrices(kind).write()


def gguf_in_blocks(kind: str) -> Callable[[Golden, Path], Path]:
    """Every row of 256 weights has a scale of its own."""
    def make(golden: Golden, folder: Path) -> Path:
        made = Gguf(folder / "m.gguf", golden).add_floats()
        for name, matrix in golden.matrices.items():
            scales = 2.0 ** np.random.default_rng(22).integers(-6, 4, (len(matrix.trits), 1))
            made.put(gguf_name(name), (matrix.trits * scales).astype(np.float32), kind)
        return made.write()

    return make


def gguf_i2s(block: int) -> Callable[[Golden, Path], Path]:
    return lambda golden, folder: Gguf(folder / "m.gguf", golden).add_floats().add_i2s(block).write()


def hf_masters(golden: Golden, folder: Path) -> tuple[Path, Written]:
    random = np.random.default_rng(23)
    masters = {name: (random.standard_normal(matrix.trits.shape) * 0.02).astype(np.float32) for name, matrix in golden.matrices.items()}
    made = HuggingFace(folder / "hf", golden).add_floats().add_masters("F32", masters)
    made.config["quantization_config"] = ONLINE
    return made.write(), {name: np.clip(np.rint(w / np.float32(np.abs(w).mean(dtype=np.float64))), -1, 1).astype(np.int8) for name, w in masters.items()}


def gguf_q1(golden: Golden, folder: Path) -> tuple[Path, Written]:
    made, random, written = Gguf(folder / "m.gguf", golden).add_floats(), np.random.default_rng(24), {}
    for name, matrix in golden.matrices.items():
        written[name] = random.choice(np.array([-1, 1], np.int8), matrix.trits.shape)
        made.put_q1(gguf_name(name), written[name], random.uniform(0.01, 1, (len(matrix.trits), 2)))
    return made.write(), written


FORMATS = {
    "hf packed": hf_packed, "hf packed, reciprocal scale": hf_packed_reciprocal, "hf ternary floats": hf_ternary_floats, "hf masters": hf_masters,
    **{f"gguf {kind}": gguf_of(kind) for kind in ("TQ1_0", "TQ2_0", "F16", "BF16", "F32")},
    "gguf TQ1_0 in blocks": gguf_in_blocks("TQ1_0"), "gguf TQ2_0 in blocks": gguf_in_blocks("TQ2_0"), "gguf Q1_0": gguf_q1,
    "gguf I2_S x86": gguf_i2s(128), "gguf I2_S arm": gguf_i2s(64),
}  # fmt: skip


def products(path: Path, array: Accelerator, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """What the array makes of `x` with every matrix of a model file: ``(M, N)`` int32, groups of columns summed as they are."""
    file = open_model(path)
    for parts in FUSED:
        names = [f"{LAYER}{part}.weight" for part in parts]
        linear = file.linear(names)
        step = linear.group or linear.shape[1]
        if linear.words is not None and linear.words[0].fits(array.geometry):
            matrices = [array.load_words(words) for words in linear.words]
        else:
            trits = linear.trits()
            matrices = [array.load(trits[:, first : first + step]) for first in range(0, trits.shape[1], step)]
        sums = sum(array.matmuls([(matrix, np.ascontiguousarray(x[:, step * i : step * (i + 1)])) for i, matrix in enumerate(matrices)]))
        for matrix in matrices:
            matrix.unload()
        ends = np.cumsum([file.facts(name).shape[0] for name in names])
        yield from zip(names, np.split(sums, ends[:-1], axis=1), strict=True)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reaches_the_array(golden: Golden, array: Accelerator, tmp_path: Path, form: str) -> None:
    made = FORMATS[form](golden, tmp_path)
    path, written = made if isinstance(made, tuple) else (made, {name: matrix.trits for name, matrix in golden.matrices.items()})
    write_tokenizer(tmp_path / "tokenizer.json")
    layout = {"gguf I2_S x86": "x86", "gguf I2_S arm": "arm"}.get(form)
    convert(open_source(path, tokenizer=tmp_path / "tokenizer.json", i2s_layout=layout), tmp_path / "m.trit", "base3")
    x = np.random.default_rng(25).integers(-128, 128, (2, 256)).astype(np.int8)
    seen = []
    for name, sums in products(tmp_path / "m.trit", array, x):
        np.testing.assert_array_equal(sums, x.astype(np.int32) @ written[name].T.astype(np.int32), err_msg=f"{name}, seeds 21 to 25")
        seen.append(name)
    assert sorted(seen) == sorted(written)


@pytest.mark.parametrize("grouped", [False, True], ids=["one scale", "groups"])
@pytest.mark.parametrize("order", [None, "its own", "another's"])
@pytest.mark.parametrize("packing", ["2bit", "base3"])
def test_every_kind_of_model_file_reaches_the_array(
    golden: Golden, streaming: Accelerator, tmp_path: Path, packing: str, order: str | None, grouped: bool
) -> None:
    """Here every matrix is streamed, and in several parts."""
    if grouped:
        path, written = gguf_q1(golden, tmp_path)
    else:
        path, written = hf_packed(golden, tmp_path), {name: matrix.trits for name, matrix in golden.matrices.items()}
    write_tokenizer(tmp_path / "tokenizer.json")
    geometry = {None: None, "its own": streaming.geometry, "another's": Geometry()}[order]
    source = open_source(path, tokenizer=tmp_path / "tokenizer.json")
    convert(source, tmp_path / "m.trit", packing, order=None if geometry is None else ArrayOrder.of(geometry))
    x = np.random.default_rng(26).integers(-128, 128, (1, 256)).astype(np.int8)
    for name, sums in products(tmp_path / "m.trit", streaming, x):
        np.testing.assert_array_equal(sums, x.astype(np.int32) @ written[name].T.astype(np.int32), err_msg=f"{name}, seeds 21 to 26")
