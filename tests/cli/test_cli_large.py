"""`tritloom run` and `eval` with a model that the default geometry does not hold, and with caches that round."""

from __future__ import annotations

import numpy as np
import pytest

from tritloom.host.cli.options import simulated_geometry
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, write_model
from tritloom.host.model.model import Model
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.sim.golden import NumpyAccelerator

from .conftest import ALPHABET

NOTE = "Note: the default geometry's weight store does not hold this model: `model` is built as 16,16,20 with "


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of 885,000 weights; the default store holds 516,000."""
    config = ModelConfig(hidden_size=192, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=4, head_dim=48,
                         vocab_size=len(ALPHABET), max_position_embeddings=64)
    random = np.random.default_rng(5)
    tensors: dict[str, np.ndarray | Ternary] = {
        name: (random.standard_normal(shape) / 5 + (len(shape) == 1)).astype(np.float32) for name, shape in config.float_tensors()}
    tensors |= {name: Ternary(random.integers(-1, 2, (n, k), np.int8), float(1 / np.sqrt(k))) for name, n, k in config.matrices()}
    path = tmp_path_factory.mktemp("models") / "wide.trit"
    write_model(path, config=config, tokenizer=CharTokenizer(ALPHABET).to_dict(), tensors=tensors, training={})
    return str(path)


def test_model_is_built_as_large_as_the_model_and_says_so(succeed, record, wide) -> None:
    shown = succeed("run", "a", "--model", wide, "--device", "model", "--tokens", "20", "--temperature", "0")
    assert NOTE in shown.stderr and NOTE not in shown.stdout
    expected = "a" + "".join(Model.load(wide).generate("a", NumpyAccelerator(), max_tokens=20))
    assert shown.stdout.startswith(expected)
    got = record("run", "a", "--model", wide, "--device", "model", "--tokens", "2")
    assert got["geometry"] == "16,16,20" and got["decode"]["link_bytes_per_token"] < 20_000    # no weight crosses the link


def test_a_geometry_that_was_given_is_taken(tritloom, wide) -> None:
    result = tritloom("run", "a", "--model", wide, "--device", "model", "--tokens", "2", "--geometry", "2,8,4", "--json")
    assert result.exit_code == 0 and NOTE not in result.stderr and '"geometry": "2,8,4"' in result.stdout


def test_a_small_model_gets_the_default_without_a_word(tritloom, tiny) -> None:
    result = tritloom("run", "a", "--model", tiny, "--device", "model", "--tokens", "2", "--json")
    assert "Note" not in result.stderr and '"geometry": "2,8,4"' in result.stdout


@pytest.mark.parametrize("device", ["sim", "board:ulx3s_85f", "tcp:localhost:7333", "serial:/dev/ttyUSB1"])
def test_no_other_device_is_built_larger(wide, device) -> None:
    assert simulated_geometry(device, Model.load(wide)) is None


def test_eval_does_the_same(tritloom, wide, tmp_path) -> None:
    text = tmp_path / "text"
    text.write_text("it is the same text here as there")
    scores = []
    for geometry in ((), ("--geometry", "2,8,4")):
        result = tritloom("eval", "--model", wide, "--text", text, *geometry)
        assert result.exit_code == 0 and (NOTE in result.stderr) == (not geometry)
        scores.append(result.stdout.replace("16,16,20", "2,8,4").splitlines()[1:3])
    assert scores[0] == scores[1]


def test_the_cache_rounds_as_it_is_told(record, wide) -> None:
    got = record("run", "Hello", "--model", wide, "--device", "model", "--tokens", "40", "--temperature", "0", "--kv-cache", "int8")
    model = Model.load(wide)
    texts = {kind: "".join(model.generate("Hello", NumpyAccelerator(), max_tokens=40, kv_cache=kind)) for kind in ("int8", "float32")}
    assert got["kv_cache"] == "int8" and got["text"] == texts["int8"] != texts["float32"]


def test_an_unknown_cache_is_refused(fail, wide) -> None:
    assert "'bfloat16' is not one of 'float32', 'float16', 'int8'" in fail(2, "run", "--model", wide, "--device", "model", "--kv-cache", "bfloat16")
