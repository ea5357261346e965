"""From a checkpoint to a model file, to text, on the golden model and on the device `model`."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tritloom.host.errors import CheckpointError, ModelFileError, PromptError, UnsupportedCheckpointError, UsageError
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer
from tritloom.host.model.file import open_model, write_model
from tritloom.host.model.model import Model
from tritloom.host.model.tokenizer import tokenizer_from_dict
from tritloom.host.trits import Ternary
from tritloom.sim.golden import NumpyAccelerator

from .checkpoints import AUTO, Golden, HuggingFace, assert_reads_as, make_golden, write_tokenizer

Make = Callable[..., HuggingFace]
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def checkpoint(hugging_face: Make) -> Path:
    return hugging_face().add_floats().add_packed(AUTO).write()


@pytest.mark.parametrize("packing", ["2bit", "base3"])
def test_a_model_file_holds_what_the_checkpoint_held(checkpoint: Path, golden: Golden, tmp_path: Path, packing: str) -> None:
    seen = []
    convert(open_source(checkpoint), tmp_path / "m.trit", packing, lambda *progress: seen.append(progress))
    file = open_model(tmp_path / "m.trit")
    assert_reads_as(file, golden)
    assert file.packing == packing
    assert file.training == {"source": "checkpoint", "format": "safetensors", "matrices": {"packed": 14}}
    assert seen == [(i, len(file.names), name) for i, name in enumerate(file.names)]


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_embedding_and_head_keep_their_type(hugging_face: Make, tmp_path: Path, dtype: str) -> None:
    golden = make_golden(seed=3, tied=False)
    convert(open_source(hugging_face(golden).add_floats(dtype).add_packed(AUTO).write()), tmp_path / "m.trit")
    file = open_model(tmp_path / "m.trit")
    assert_reads_as(file, golden)
    kept = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
    assert {name: file.floats(name).dtype for name in golden.floats} == {
        name: kept if values.ndim == 2 else "float32" for name, values in golden.floats.items()}


def test_an_embedding_of_int8_is_asked_for(hugging_face: Make, tmp_path: Path) -> None:
    golden = make_golden(seed=3, tied=False)
    source = open_source(hugging_face(golden).add_floats().add_packed(AUTO).write())
    convert(source, tmp_path / "m.trit", int8_embedding=True)
    file = open_model(tmp_path / "m.trit")
    for name, values in golden.floats.items():
        assert file.floats(name).dtype == ("int8" if values.ndim == 2 else "float32")
        if values.ndim == 2:
            steps = np.abs(values).max(axis=1, keepdims=True) / 127
            assert (np.abs(file.array(name) - values) <= 0.501 * steps).all()
            assert (file.array(name) != values).any()
        else:
            np.testing.assert_array_equal(file.array(name), values)
    for name, matrix in golden.matrices.items():
        np.testing.assert_array_equal(file.ternary(name).trits, matrix.trits)


def test_base3_is_smaller_and_computes_the_same(checkpoint: Path, tmp_path: Path) -> None:
    logits = {}
    for packing in ("2bit", "base3"):
        convert(open_source(checkpoint), tmp_path / f"{packing}.trit", packing)
        logits[packing] = Model.load(tmp_path / f"{packing}.trit").logits([0, 5, 9, 4], NumpyAccelerator())
    np.testing.assert_array_equal(logits["2bit"], logits["base3"])


def test_text_comes_out(checkpoint: Path, tmp_path: Path) -> None:
    convert(open_source(checkpoint), tmp_path / "m.trit")
    model = Model.load(tmp_path / "m.trit")
    generation = model.generate("the loom", NumpyAccelerator(), max_tokens=5)
    text = "".join(generation)
    tokenizer = write_tokenizer(tmp_path / "again.json")
    assert generation.prompt_ids == tokenizer.encode("the loom").ids
    assert text == tokenizer.decode(generation.tokens)
    from_nothing = model.generate("", NumpyAccelerator())
    assert (from_nothing.prompt_ids, from_nothing.notes) == ([0], ("the prompt is empty: started from the model's first token",))


def test_any_of_several_ids_ends_the_text(checkpoint: Path, tmp_path: Path) -> None:
    convert(open_source(checkpoint), tmp_path / "plain.trit")
    first, second = [], []
    generation = Model.load(tmp_path / "plain.trit").generate("the", NumpyAccelerator(), max_tokens=4)
    first.extend(generation)
    (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, generation.tokens[0]]}))
    convert(open_source(checkpoint), tmp_path / "ends.trit")
    ended = Model.load(tmp_path / "ends.trit").generate("the", NumpyAccelerator(), max_tokens=4)
    second.extend(ended)
    assert (len(first), second, ended.stop_reason) == (4, [], "end")


def test_a_character_of_several_tokens_comes_whole(checkpoint: Path) -> None:
    tokenizer = tokenizer_from_dict(open_source(checkpoint).tokenizer)
    ids = tokenizer.encode("größer: ö€").ids.tolist()
    assert len(ids) > len("größer: ö€")
    step = tokenizer.stream()
    pieces = [step(token) for token in ids]
    assert "".join(pieces) == "größer: ö€"
    assert "" in pieces
    assert "\ufffd" not in "".join(pieces)
    assert tokenizer.decode([299]) == ""    # an id of the model that the tokenizer does not have


def test_a_tokenizer_survives_its_dictionary(checkpoint: Path) -> None:
    values = open_source(checkpoint).tokenizer
    again = tokenizer_from_dict(json.loads(json.dumps(values)))
    assert isinstance(again, HuggingFaceTokenizer)
    assert again.to_dict() == values
    assert (again.vocab_size, again.start_id, again.end_id) == (300, 0, 1)


@pytest.mark.parametrize(("change", "message"), [
    ({"vocab_size": 100}, "the tokenizer's highest id must be from 0 to 99"),
    ({"end": [True]}, "`end` must be from 0 to 299 .* not True"),
    ({"colour": 1}, "unknown key 'colour'"),
    ({"definition": {"model": {"type": "BPE", "vocab": {}, "merges": []}}}, "has no tokens"),
])
def test_a_model_files_tokenizer_is_checked(checkpoint: Path, change: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tokenizer_from_dict({**open_source(checkpoint).tokenizer, **change})


def test_an_empty_prompt_needs_a_token_to_start_from(hugging_face: Make) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    del stored.config["bos_token_id"], stored.config["eos_token_id"]
    tokenizer = tokenizer_from_dict(open_source(stored.write()).tokenizer)
    assert tokenizer.end_id is None
    with pytest.raises(PromptError, match="the prompt is empty"):
        _ = tokenizer.start_id


def test_another_tokenizer_can_be_given(checkpoint: Path, tmp_path: Path) -> None:
    (checkpoint / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    with pytest.raises(CheckpointError, match="--tokenizer"):
        open_source(checkpoint)
    assert open_source(checkpoint, tokenizer=tmp_path / "elsewhere.json").tokenizer["kind"] == "huggingface"


def test_the_chat_template_is_kept(checkpoint: Path) -> None:
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    assert open_source(checkpoint).tokenizer["chat_template"] == "{{ messages }}"
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"chat_template": [1]}))
    with pytest.raises(CheckpointError, match="must be text, not list"):
        open_source(checkpoint)


def test_a_failed_conversion_leaves_nothing(hugging_face: Make, tmp_path: Path) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    stored.put("model.layers.1.mlp.down_proj.weight_scale", np.array([np.nan]), "F32")
    (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="is the scale nan"):
        convert(open_source(stored.write()), tmp_path / "out" / "m.trit")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_is_no_checkpoint(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        open_source(tmp_path / "absent")
    (tmp_path / "model.bin").write_bytes(b"PK")
    with pytest.raises(UnsupportedCheckpointError, match=r"model.bin is no checkpoint that tritloom knows"):
        open_source(tmp_path / "model.bin")
    with pytest.raises(UnsupportedCheckpointError, match="--i2s-layout is for GGUF files"):
        open_source(checkpoint, i2s_layout="arm")


@pytest.mark.parametrize(("at", "value"), [("invalid", 243), ("behind", 0)])
def test_a_base3_file_with_wrong_codes_is_noticed(tmp_path: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch, at: str, value: int) -> None:
    """Under right checksums: the packing itself writes them."""
    from tritloom.host import trits

    true_pack = trits.BASE3.pack

    def pack(matrix: np.ndarray) -> np.ndarray:
        packed = true_pack(matrix)
        packed[0, 0 if at == "invalid" else -1] = value
        return packed

    assert golden.config.hidden_size % 5
    monkeypatch.setitem(trits.PACKINGS, "base3", trits.Packing(**{**vars(trits.BASE3), "pack": pack}))
    write_model(tmp_path / "m.trit", config=golden.config, tokenizer={}, tensors=golden.tensors, training={}, packing="base3")
    with pytest.raises(ModelFileError, match="holds a byte above 242 or trits behind a row's end, which is no ternary weight"):
        open_model(tmp_path / "m.trit")


def test_an_unknown_packing(tmp_path: Path, golden: Golden) -> None:
    with pytest.raises(UsageError, match="`packing` must be one of base3, 2bit, not '3bit'"):
        write_model(tmp_path / "m.trit", config=golden.config, tokenizer={}, tensors=golden.tensors, training={}, packing="3bit")


def test_memory_is_that_of_a_tensor_and_not_of_the_model(hugging_face: Make, tmp_path: Path) -> None:
    golden = make_golden(seed=4, hidden_size=256, intermediate_size=512, num_hidden_layers=12)
    folder = hugging_face(golden).add_floats().add_packed(AUTO).write()
    weights = golden.config.ternary_weights
    source = open_source(folder)
    tracemalloc.start()
    convert(source, tmp_path / "m.trit")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < weights / 2, f"{peak} bytes, of which 1 MB is the buffer for copying, for {weights} weights in matrices of at most {256 * 512}"
    q = open_model(tmp_path / "m.trit").ternary(Q)
    expected = golden.tensors[Q]
    assert isinstance(expected, Ternary)
    np.testing.assert_array_equal(q.trits, expected.trits)


@pytest.mark.parametrize(("library", "what"), [("safetensors", "*.safetensors"), ("tokenizers", "this model's text")])
def test_a_library_that_is_not_installed(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, library: str, what: str) -> None:
    monkeypatch.setitem(sys.modules, library, None)    # what Python looks up first; None is an ImportError
    with pytest.raises(CheckpointError) as caught:
        open_source(checkpoint)
    assert str(caught.value) == f"reading {what} needs the Python package {library}: pip install 'tritloom[formats]'"


def test_gguf_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(CheckpointError, match=r"needs the Python package gguf: pip install 'tritloom\[formats\]'"):
        open_source(tmp_path / "m.gguf")
