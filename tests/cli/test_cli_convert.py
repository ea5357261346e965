"""`tritloom convert` and `tritloom inspect`: from a checkpoint to text and figures."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tritloom.host.model.file import Ternary, open_model, write_model


@pytest.fixture(scope="module")
def checkpoints() -> ModuleType:
    """The tests of the formats know how to write checkpoints."""
    path = Path(__file__).parents[1] / "formats" / "checkpoints.py"
    spec = importlib.util.spec_from_file_location("checkpoints", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["checkpoints"] = module    # where dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["checkpoints"]


@pytest.fixture
def folder(checkpoints: ModuleType, tmp_path: Path) -> Path:
    return checkpoints.HuggingFace(tmp_path / "checkpoint", checkpoints.make_golden(seed=1)).add_floats().add_packed(checkpoints.AUTO).write()


def test_convert_inspect_and_run(succeed: Callable[..., Any], record: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    done = succeed("convert", folder, tmp_path / "m.trit")
    assert done.stdout == ""
    assert "14 packed matrices" in done.stderr
    assert "m.trit" in done.stderr
    shown = succeed("inspect", tmp_path / "m.trit").stdout
    assert "huggingface" in shown
    assert "2bit, 2." in shown
    text = record("run", "--model", tmp_path / "m.trit", "--device", "model", "--tokens", "3", "the loom")
    assert isinstance(text["text"], str)


def test_packings(record: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    sizes = {}
    for packing in ("2bit", "base3"):
        told = record("convert", folder, tmp_path / f"{packing}.trit", "--packing", packing)
        assert told["packing"] == packing
        assert told["nbytes"] == (tmp_path / f"{packing}.trit").stat().st_size
        assert told["matrices"] == {"packed": 14}
        sizes[packing] = record("inspect", tmp_path / f"{packing}.trit")["sizes"]
    # Rows of 8 trits take two bytes either way; rows of 6 do too.
    assert sizes["base3"] == sizes["2bit"]


@pytest.mark.parametrize("where", [("--for", "icebreaker"), ("--geometry", "1,4,4")])
def test_a_file_for_one_array_runs_on_any(record: Callable[..., Any], folder: Path, tmp_path: Path, where: tuple[str, str]) -> None:
    told = record("convert", folder, tmp_path / "m.trit", *where, "--packing", "base3")
    order = open_model(tmp_path / "m.trit").order
    assert order is not None
    assert told["order"] == order.to_dict()
    if where[0] == "--geometry":
        assert (order.cols, order.lanes) == (4, 4)
    record("convert", folder, tmp_path / "rows.trit")
    texts = {record("run", "--model", tmp_path / name, "--device", "model", "--tokens", "3", "the loom")["text"] for name in ("m.trit", "rows.trit")}
    assert len(texts) == 1


def test_a_file_for_one_array_gets_a_device_of_its_order_and_is_told_so(succeed: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    succeed("convert", folder, tmp_path / "m.trit", "--for", "icebreaker")
    said = succeed("run", "--model", tmp_path / "m.trit", "--device", "model", "--tokens", "1", "the loom").stderr
    assert "Note: the file is in the words of arrays of 2 columns and 16 lanes: `model` is built as 2,2,16 with 16,384 words" in " ".join(said.split())


def test_an_embedding_of_int8_is_lossy_and_says_so(succeed: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    assert "no longer exactly the checkpoint's" in succeed("convert", folder, tmp_path / "m.trit", "--embedding", "int8").stderr
    assert open_model(tmp_path / "m.trit").floats("model.embed_tokens.weight").dtype == "int8"
    assert "exactly" not in succeed("convert", folder, tmp_path / "m.trit").stderr


@pytest.mark.parametrize("packing", ["2bit", "base3"])
def test_figures_are_those_of_the_tensors(record: Callable[..., Any], folder: Path, tmp_path: Path, packing: str) -> None:
    record("convert", folder, tmp_path / "m.trit", "--packing", packing)
    told = record("inspect", tmp_path / "m.trit")
    file = open_model(tmp_path / "m.trit")
    matrices = {name: file.ternary(name) for name, _, _ in file.config.matrices()}
    zeros = {name: int((matrix.trits == 0).sum()) for name, matrix in matrices.items()}
    assert told["sizes"]["zero_share"] == sum(zeros.values()) / file.config.ternary_weights
    for layer in (0, 1):
        shares = told["layers"][layer]["zeros"]
        assert shares["down"] == zeros[f"model.layers.{layer}.mlp.down_proj.weight"] / matrices[f"model.layers.{layer}.mlp.down_proj.weight"].trits.size
        own = [name for name in matrices if name.startswith(f"model.layers.{layer}.")]
        assert shares["all"] == pytest.approx(sum(zeros[name] for name in own) / sum(matrices[name].trits.size for name in own))
        assert told["layers"][layer]["scales"]["q"] == matrices[f"model.layers.{layer}.self_attn.q_proj.weight"].scale
    assert told["shapes"]["down"] == [8, 6]
    embedding = file.floats("model.embed_tokens.weight")
    assert embedding.dtype == "bfloat16"
    assert told["sizes"]["float_bytes"] == 4 * file.config.float_weights - 2 * embedding.stored.size


def test_scales_by_groups_are_shown(record: Callable[..., Any], succeed: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    succeed("convert", folder, tmp_path / "m.trit")
    file = open_model(tmp_path / "m.trit")
    tensors = {name: file.tensor(name) for name in file.names}
    down = "model.layers.1.mlp.down_proj.weight"
    tensors[down] = Ternary(tensors[down].trits, np.full((8, 2), 0.5, np.float32))
    write_model(tmp_path / "g.trit", config=file.config, tokenizer=file.tokenizer, tensors=tensors, training={})
    layers = record("inspect", tmp_path / "g.trit")["layers"]
    assert [layer["groups"]["down"] for layer in layers] == [None, 3]
    assert (layers[1]["scales"]["down"], layers[1]["groups"]["up"]) == (None, None)
    shown = succeed("inspect", tmp_path / "g.trit").stdout
    assert any(line.split() == "down 8 6 one or one for 3 columns of a row".split() for line in shown.splitlines())
    assert any(line.split() == "up 6 8 one".split() for line in shown.splitlines())


def test_what_the_shipped_model_needs(record: Callable[..., Any]) -> None:
    told = record("inspect", "nano")
    assert told["sizes"]["bits_per_weight"] == 2
    held = {board["name"]: board for board in told["boards"]}
    assert held["icebreaker"]["resident"]
    assert 0 < held["tang_nano_9k"]["resident_share"] < 1


def test_quantising_what_need_not_be_is_said(succeed: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    assert "--quantize changed nothing" in succeed("convert", folder, tmp_path / "m.trit", "--quantize", "absmean").stderr


def test_a_model_that_is_not_ternary(fail: Callable[..., str], record: Callable[..., Any], checkpoints: ModuleType, tmp_path: Path) -> None:
    golden = checkpoints.make_golden(seed=1)
    random = np.random.default_rng(2)
    masters = {name: random.standard_normal(matrix.trits.shape).astype(np.float32) for name, matrix in golden.matrices.items()}
    path = checkpoints.HuggingFace(tmp_path / "checkpoint", golden).add_floats().add_masters("BF16", masters).write()
    assert "--quantize absmean makes them ternary" in fail(1, "convert", path, tmp_path / "m.trit")
    assert not (tmp_path / "m.trit").exists()
    assert record("convert", path, tmp_path / "m.trit", "--quantize", "absmean")["matrices"] == {"absmean by option": 14}


def test_wrong_input(fail: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    assert fail(1, "convert", tmp_path / "absent", tmp_path / "m.trit") == f"there is no checkpoint {tmp_path / 'absent'}."
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "llama"}))
    assert "runs only BitNetForCausalLM" in fail(1, "convert", folder, tmp_path / "m.trit")
    assert fail(2, "convert", folder, tmp_path / "m.trit", "--for", "icebraker").startswith("there is no board named 'icebraker'. Did you mean icebreaker")
    assert fail(2, "convert", folder, tmp_path / "m.trit", "--for", "icebreaker", "--geometry", "1,4,4").startswith("--for and --geometry both say")
    assert fail(2, "convert", folder, tmp_path / "m.trit", "--packing", "3bit").startswith("Invalid value for '--packing'")
    assert fail(1, "inspect", tmp_path / "none.trit").startswith("there is no model file")
    assert fail(2, "inspect", "mano").startswith("there is no model named 'mano'. Did you mean nano?")
    assert "not a tritloom model file" in fail(1, "inspect", folder / "model.safetensors")


def test_only_a_model_file_is_replaced(fail: Callable[..., str], succeed: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    """Most of all not the checkpoint itself."""
    shard = folder / "model.safetensors"
    before = shard.read_bytes()
    assert fail(2, "convert", folder, shard) == f"{shard} is there already and is no model file, so it is not replaced: give another DST."
    assert shard.read_bytes() == before
    (tmp_path / "m.trit").touch()
    for packing in ("2bit", "base3"):
        succeed("convert", folder, tmp_path / "m.trit", "--packing", packing)
        assert open_model(tmp_path / "m.trit").packing == packing


def test_a_destination_that_cannot_be_written(fail: Callable[..., str], folder: Path, tmp_path: Path) -> None:
    assert "cannot write the model file" in fail(1, "convert", folder, tmp_path / "absent" / "m.trit")
    (tmp_path / "circle.trit").symlink_to(tmp_path / "circle.trit")
    assert "Too many levels of symbolic links" in fail(1, "convert", folder, tmp_path / "circle.trit")
