"""Hugging Face folders become the tensors they stand for, and what is wrong with one is said in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.safetensors_dir import SafetensorsDir
from tritloom.host.model.floats import FloatTensor
from tritloom.host.trits import Ternary

from .checkpoints import AUTO, CLASSIC, ONLINE, Golden, HuggingFace, assert_reads_as, make_golden, pack_quarters

Make = Callable[..., HuggingFace]
Q = "model.layers.1.self_attn.q_proj.weight"
DOWN = "model.layers.0.mlp.down_proj.weight"


@pytest.mark.parametrize("scale_dtype", ["BF16", "F16", "F32"])
@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_packed_with_a_scale_to_multiply_by(hugging_face: Make, golden: Golden, dtype: str, scale_dtype: str) -> None:
    assert_reads_as(SafetensorsDir(hugging_face().add_floats(dtype).add_packed(AUTO, scale_dtype).write()), golden)


def test_packed_with_a_scale_to_divide_by(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed(CLASSIC, "F32")
    for name, matrix in golden.matrices.items():
        stored.put(f"{name}_scale", np.array([1 / matrix.scale], np.float32), "F32")
    assert_reads_as(SafetensorsDir(stored.write()), golden, scale_rtol=2**-23)


def test_quantization_config_has_transformers_defaults(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed({"quant_method": "bitnet"})
    found = SafetensorsDir(stored.write()).tensor(Q)
    assert isinstance(found, Ternary)
    assert found.scale == float(np.float32(1) / np.float32(golden.matrices[Q].scale))


@pytest.mark.parametrize("sizes", [{"intermediate_size": 5}, {"intermediate_size": 7}, {"intermediate_size": 1}, {"num_key_value_heads": 1}])
def test_packed_with_rows_that_four_does_not_divide(hugging_face: Make, sizes: dict[str, int]) -> None:
    golden = make_golden(seed=2, **sizes)
    assert_reads_as(SafetensorsDir(hugging_face(golden).add_floats().add_packed(AUTO).write()), golden)


def test_our_packing_in_the_tests_is_that_of_the_documentation() -> None:
    """transformers' documented example: the bytes 10100001 and 10010000 of one row."""
    trits = np.array([[0, -1], [-1, -1], [1, 0], [1, 1]], np.int8)
    assert pack_quarters(trits).tolist() == [[0b10100001, 0b10010000]]


@pytest.mark.parametrize("shards", [2, 5])
def test_shards(hugging_face: Make, golden: Golden, shards: int) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    stored.shards = shards
    assert_reads_as(SafetensorsDir(stored.write()), golden)


def test_an_untied_head(hugging_face: Make) -> None:
    golden = make_golden(seed=3, tied=False)
    assert_reads_as(SafetensorsDir(hugging_face(golden).add_floats().add_packed(AUTO).write()), golden)


def test_a_tied_head_may_be_stored_as_well_but_not_another(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    head = golden.floats["model.embed_tokens.weight"].copy()
    stored.put("lm_head.weight", head, "BF16")
    assert_reads_as(SafetensorsDir(stored.write()), golden)
    head[-1, -1] += 1
    stored.put("lm_head.weight", head, "BF16")
    with pytest.raises(CheckpointError, match=r"ties the head to the embedding and holds another 'lm_head.weight'"):
        SafetensorsDir(stored.write())


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_master_weights_are_quantised_as_the_formula_says(hugging_face: Make, golden: Golden, dtype: str) -> None:
    random = np.random.default_rng(7)
    masters = {name: (random.standard_normal(matrix.trits.shape) * 0.05).astype(np.float32) for name, matrix in golden.matrices.items()}
    stored = hugging_face().add_floats().add_masters(dtype, masters)
    stored.config["quantization_config"] = ONLINE
    expected = {}
    for name in masters:
        held = stored.tensors[name]
        w = (held.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else held.astype(np.float32)
        s = np.float32(1) / np.maximum(np.mean(np.abs(w), dtype=np.float64).astype(np.float32), np.float32(1e-5))
        expected[name] = Ternary(np.clip(np.rint(w * s), -1, 1).astype(np.int8), float(np.float32(1) / s))
    source = SafetensorsDir(stored.write())
    assert_reads_as(source, golden.with_tensors(**expected))
    assert source.facts["matrices"] == {"absmean": 14}


def test_halves_are_rounded_to_the_even_neighbour(hugging_face: Make, golden: Golden) -> None:
    """The mean magnitude is 1, so the scale is: 0.5 and -0.5 become 0, and what is just above them does not."""
    row = np.array([0.5, -0.5, 1.5, -1.5, 0.5625, -0.5625, 1.4375, 1.4375], np.float32)
    assert np.abs(row).mean() == 1
    stored = hugging_face().add_floats().add_masters("BF16", {name: matrix.trits.astype(np.float32) for name, matrix in golden.matrices.items()})
    stored.put(Q, np.tile(row, (8, 1)), "BF16")
    stored.config["quantization_config"] = ONLINE
    found = SafetensorsDir(stored.write()).tensor(Q)
    assert isinstance(found, Ternary)
    assert found.trits.tolist() == [[0, 0, 1, -1, 1, -1, 1, 1]] * 8
    assert found.scale == 1


def test_master_weights_of_nearly_nothing_have_the_floor_as_scale(hugging_face: Make, golden: Golden) -> None:
    masters = {name: np.full(matrix.trits.shape, 1e-9, np.float32) for name, matrix in golden.matrices.items()}
    stored = hugging_face().add_floats().add_masters("F32", masters)
    stored.config["quantization_config"] = ONLINE
    found = SafetensorsDir(stored.write()).tensor(Q)
    assert isinstance(found, Ternary)
    assert not found.trits.any()
    assert found.scale == pytest.approx(1e-5, rel=1e-6)


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32"])
def test_floats_that_are_ternary_already_are_read_exactly(hugging_face: Make, golden: Golden, dtype: str) -> None:
    masters = {name: matrix.trits * np.float32(matrix.scale) for name, matrix in golden.matrices.items()}
    assert_reads_as(SafetensorsDir(hugging_face().add_floats().add_masters(dtype, masters).write()), golden)


@pytest.mark.parametrize("group", ["row", 64])
def test_floats_that_are_ternary_by_groups_are_read_exactly(hugging_face: Make, group: Any) -> None:
    golden = make_golden(seed=5, hidden_size=128, intermediate_size=192, num_hidden_layers=1)
    random, masters, expected = np.random.default_rng(6), {}, {}
    for name, matrix in golden.matrices.items():
        k = matrix.trits.shape[1]
        size = k if group == "row" else group
        scales = random.uniform(0.1, 1, (len(matrix.trits), k // size)).astype(np.float32)
        expected[name] = Ternary(matrix.trits, scales)
        masters[name] = matrix.trits * np.repeat(scales, size, axis=1)
    source = SafetensorsDir(hugging_face(golden).add_floats().add_masters("F32", masters).write())
    assert_reads_as(source, golden.with_tensors(**expected))
    assert sum(count for kind, count in source.facts["matrices"].items() if "in groups of" in kind) == 7


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_the_embeddings_type_is_kept(hugging_face: Make, dtype: str) -> None:
    golden = make_golden(seed=3, tied=False)
    source = SafetensorsDir(hugging_face(golden).add_floats(dtype).add_packed(AUTO).write())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        table = source.tensor(name)
        assert isinstance(table, FloatTensor)
        assert table.dtype == {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
        assert not table.stored.flags.owndata, "a view of the checkpoint"


def test_float_trits_beside_a_scale(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    stored.add_masters("BF16", {name: matrix.trits.astype(np.float32) for name, matrix in golden.matrices.items()})
    assert_reads_as(SafetensorsDir(stored.write()), golden)


def test_a_checkpoint_that_is_not_ternary_must_be_asked_for(hugging_face: Make, golden: Golden) -> None:
    random = np.random.default_rng(8)
    masters = {name: random.standard_normal(matrix.trits.shape).astype(np.float32) for name, matrix in golden.matrices.items()}
    path = hugging_face().add_floats().add_masters("F32", masters).write()
    source = SafetensorsDir(path)
    with pytest.raises(CheckpointError, match=r"is not ternary: it holds the magnitudes .* --quantize absmean .* nonsense"):
        source.tensor(Q)
    asked = SafetensorsDir(path, quantize="absmean")
    w = masters[Q]
    s = np.float32(1) / np.float32(np.mean(np.abs(w), dtype=np.float64))
    found = asked.tensor(Q)
    assert isinstance(found, Ternary)
    np.testing.assert_array_equal(found.trits, np.clip(np.rint(w * s), -1, 1))
    assert asked.facts["matrices"] == {"absmean by option": 1}


def test_the_new_spelling_of_rope(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    del stored.config["rope_theta"]
    stored.config["rope_parameters"] = {"rope_theta": 5000.0, "rope_type": "default"}
    assert_reads_as(SafetensorsDir(stored.write()), golden)
    stored.config["rope_theta"] = 5000.0
    assert_reads_as(SafetensorsDir(stored.write()), golden)


@pytest.mark.parametrize(("change", "kind", "message"), [
    ({"model_type": "llama"}, UnsupportedCheckpointError, r"model_type 'llama'.*only BitNetForCausalLM"),
    ({"architectures": ["LlamaForCausalLM"]}, UnsupportedCheckpointError, r"architecture \['LlamaForCausalLM'\]"),
    ({"hidden_act": "gelu"}, UnsupportedCheckpointError, r"activation 'gelu', and tritloom runs only 'relu2' and 'silu'"),
    ({"attention_bias": True}, CheckpointError, r"lacks the tensor 'model.layers.0.self_attn.q_proj.bias' \(8 of"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2}}, UnsupportedCheckpointError, r"asks for rope_type 'dynamic'"),
    ({"logit_softcapping": 30.0}, UnsupportedCheckpointError, r"has the key 'logit_softcapping' \(30.0\)"),
    ({"rope_theta": None}, CheckpointError, r"neither rope_theta nor rope_parameters"),
    ({"rope_parameters": {"rope_theta": 1e4}}, CheckpointError, r"rope_theta 5000.0 and, within rope_parameters, 10000.0"),
    ({"rope_parameters": {"rope_theta": 5e3, "rope_type": "longrope"}}, UnsupportedCheckpointError, r"rope_type 'longrope'"),
    ({"rope_parameters": {"rope_theta": 5e3, "factor": 8}}, UnsupportedCheckpointError, r"rope_parameters that tritloom does not support"),
    ({"rope_parameters": {"rope_type": "default"}}, CheckpointError, r"rope_parameters without a rope_theta"),
    ({"vocab_size": None}, CheckpointError, r"lacks the key 'vocab_size'"),
    ({"tie_word_embeddings": None}, CheckpointError, r"lacks the key 'tie_word_embeddings'"),
    ({"num_attention_heads": 3}, CheckpointError, r"hidden_size \(8\) that num_attention_heads \(3\) does not divide"),
    ({"num_key_value_heads": 3}, CheckpointError, r"`num_attention_heads` must be a multiple of num_key_value_heads"),
    ({"hidden_size": "8"}, CheckpointError, r"hidden_size \('8'\)"),
    ({"rms_norm_eps": -1}, CheckpointError, r"`rms_norm_eps` must be a positive finite number, not -1"),
    ({"quantization_config": {"quant_method": "gptq"}}, UnsupportedCheckpointError, r"quant_method 'gptq'"),
    ({"quantization_config": {**AUTO, "linear_class": "hbitlinear"}}, UnsupportedCheckpointError, r"linear_class 'hbitlinear'"),
    ({"quantization_config": {**AUTO, "use_rms_norm": True}}, CheckpointError, r"lacks the tensor 'model.layers.0.self_attn.q_proj.rms_norm.weight' \(14 of"),
    ({"quantization_config": {**AUTO, "use_rms_norm": True, "rms_norm_eps": None}}, CheckpointError, r"use_rms_norm in quantization_config without an rms_norm_eps"),
    ({"quantization_config": {**AUTO, "use_rms_norm": 1.5}}, UnsupportedCheckpointError, r"use_rms_norm 1.5"),
    ({"quantization_config": {**AUTO, "modules_to_not_convert": ["q_proj"]}}, UnsupportedCheckpointError, r"modules_to_not_convert \['q_proj'\]"),
    ({"quantization_config": {**AUTO, "modules_to_not_convert": []}}, UnsupportedCheckpointError, r"modules_to_not_convert \[\]"),
    ({"quantization_config": {**AUTO, "activation_bits": 4}}, UnsupportedCheckpointError, r"key 'activation_bits' in quantization_config"),
    ({"quantization_config": {**CLASSIC, "quantization_mode": "online"}}, UnsupportedCheckpointError, r"'bitlinear' with quantization_mode 'online'"),
    ({"quantization_config": None}, CheckpointError, r"is packed, and config.json has no quantization_config"),
    ({"quantization_config": ONLINE}, CheckpointError, r"is packed, and config.json asks for quantization_mode 'online'"),
    ({"quantization_config": 5}, CheckpointError, r"quantization_config that is no JSON object"),
    ({"intermediate_size": 12}, CheckpointError, r"ffn_sub_norm.weight' in .* has the shape \(6,\) where the config asks for \(12,\)"),
    ({"num_hidden_layers": 3}, CheckpointError, r"lacks the tensor 'model.layers.2.input_layernorm.weight' \(11 of"),
    ({"num_hidden_layers": 1 << 24}, CheckpointError, r"has 38 tensors, too few for the 16777216 layers"),
    ({"num_hidden_layers": 1}, UnsupportedCheckpointError, r"has the tensor 'model.layers.1.*', which its config does not ask for"),
    ({"tie_word_embeddings": False}, CheckpointError, r"lacks the tensor 'lm_head.weight' \(1 of"),
    ({"bos_token_id": 300}, CheckpointError, r"`start` must be from 0 to 299"),
])  # fmt: skip
def test_what_a_config_may_not_say(hugging_face: Make, change: dict[str, Any], kind: type, message: str) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    stored.config |= change
    with pytest.raises(kind, match=message) as caught:
        SafetensorsDir(stored.write())
    assert "\n" not in str(caught.value)


def put(name: str, values: Any, dtype: str) -> Callable[[HuggingFace], None]:
    return lambda stored: stored.put(name, np.array(values, np.float32), dtype)


def keep(name: str, values: np.ndarray) -> Callable[[HuggingFace], None]:
    def change(stored: HuggingFace) -> None:
        stored.brain.discard(name)
        stored.tensors[name] = values

    return change


def drop(name: str) -> Callable[[HuggingFace], None]:
    def change(stored: HuggingFace) -> None:
        del stored.tensors[name]
        stored.brain.discard(name)

    return change


@pytest.mark.parametrize(("change", "message"), [
    (drop(Q), f"lacks the tensor '{Q}' \\(1 of 24 are missing\\)"),
    (drop(f"{Q}_scale"), f"'{Q}' in .* is packed, and '{Q}_scale' is missing"),
    (drop("model.norm.weight"), "lacks the tensor 'model.norm.weight'"),
    (keep(Q, np.zeros((3, 8), np.uint8)), r"has the shape \(3, 8\) where the config asks for \(2, 8\)"),
    (keep(Q, np.zeros((8, 8), np.int8)), "is of the type I8, and tritloom reads F32, F16, BF16, U8 there"),
    (keep("model.norm.weight", np.zeros(8, np.float64)), "is of the type F64, and tritloom reads F32, F16, BF16 there"),
    (keep("model.layers.0.self_attn.q_proj.bias", np.zeros(8, np.float32)), "q_proj.bias', which its config does not ask for: it would be left out"),
    (keep("model.extra.weight", np.zeros(8, np.float32)), "'model.extra.weight', which its config does not ask for"),
    (keep(f"{Q}_scale", np.ones(8, np.float32)), r"is F32 \(8,\), and tritloom runs one float scale a matrix"),
])
def test_wrong_tensors_are_noticed_when_it_is_opened(hugging_face: Make, change: Callable[[HuggingFace], None], message: str) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    change(stored)
    with pytest.raises(CheckpointError, match=message):
        SafetensorsDir(stored.write())


@pytest.mark.parametrize(("change", "message"), [
    (put(f"{Q}_scale", [np.nan], "BF16"), f"'{Q}_scale' in .* is the scale nan"),
    (put(f"{Q}_scale", [np.inf], "BF16"), "is the scale inf"),
    (put(f"{Q}_scale", [0], "F32"), "is the scale 0.0"),
    (put(f"{Q}_scale", [-1], "F16"), "is the scale -1.0"),
    (keep(Q, np.full((2, 8), 0b11_00_01_10, np.uint8)), "holds the code 11, which is no ternary weight"),
    (put(Q, np.full((8, 8), 0.5), "BF16"), "holds 0.5 where, beside a scale, only -1, 0 and 1 may be"),
    (put(Q, [[0, 1, 2, 0, 1, 1, 0, -1]] * 8, "BF16"), "is not ternary: it holds the magnitudes 2 and 1"),
    (put(Q, np.full((8, 8), np.nan), "BF16"), "is not ternary: it holds infinities or NaN"),
    (put("model.embed_tokens.weight", np.full((300, 8), np.inf), "F16"), "'model.embed_tokens.weight' in .* holds infinities or NaN"),
    (put("model.norm.weight", [np.nan] * 8, "BF16"), "'model.norm.weight' in .* holds infinities or NaN"),
])
def test_wrong_values_are_noticed_when_they_are_read(hugging_face: Make, change: Callable[[HuggingFace], None], message: str) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    change(stored)
    with pytest.raises(CheckpointError, match=message):
        list(SafetensorsDir(stored.write()).tensors())


def test_a_scale_where_none_belongs(hugging_face: Make, golden: Golden) -> None:
    stored = hugging_face().add_floats().add_packed(ONLINE)
    stored.add_masters("F32", {name: matrix.trits.astype(np.float32) for name, matrix in golden.matrices.items()})
    with pytest.raises(CheckpointError, match="is a scale, and config.json does not ask for quantization_mode 'offline'"):
        SafetensorsDir(stored.write()).tensor(Q)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_to(name: str, length: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content)


def reindex(change: Callable[[dict[str, str]], Any]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        change(index["weight_map"])
        path.write_text(json.dumps(index))

    return edit


SHARD = "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(("change", "message"), [
    (remove("config.json"), "has no config.json"),
    (remove(SHARD), f"the shard .*{SHARD} is missing"),
    (remove("tokenizer.json"), "there is no tokenizer .*tokenizer.json: give a tokenizer.json with --tokenizer"),
    (cut_to(SHARD, 0), f"{SHARD} is truncated, damaged or no safetensors file"),
    (cut_to(SHARD, 7), "is truncated, damaged"),
    (cut_to(SHARD, 500), "is truncated, damaged"),
    (cut_to(SHARD, -1), "is truncated, damaged"),
    (text(SHARD, "GGUF"), "is truncated, damaged"),
    (text("config.json", "{"), "config.json is not valid JSON"),
    (text("config.json", "[]"), "config.json must hold a JSON object, not list"),
    (text("tokenizer.json", "{}"), "tokenizer.json: the tokenizer is not one the tokenizers library reads"),
    (text("model.safetensors.index.json", "{}"), "must hold a weight_map"),
    (text("model.safetensors.index.json", '{"weight_map": {"a": "../b"}}'), "must hold a weight_map from tensors to files of its folder"),
    (reindex(lambda placed: placed.update(extra=SHARD)), f"tensor 'extra' is missing in .*{SHARD}"),
    (reindex(lambda placed: placed.update({"model.norm.weight": "model-00003-of-00003.safetensors"})), "the shard .*00003.safetensors is missing"),
    (text("generation_config.json", '{"eos_token_id": [1, 999]}'), "`end` must be from 0 to 299 .* not 999"),
])
def test_damaged_folders(hugging_face: Make, change: Callable[[Path], None], message: str) -> None:
    stored = hugging_face().add_floats().add_packed(AUTO)
    stored.shards = 2
    folder = stored.write()
    assert SafetensorsDir(folder)
    change(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        SafetensorsDir(folder)
    assert "\n" not in str(caught.value)


def test_no_weights_at_all(hugging_face: Make) -> None:
    folder = hugging_face().add_floats().add_packed(AUTO).write()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="has neither model.safetensors nor model.safetensors.index.json"):
        SafetensorsDir(folder)


def test_an_unknown_type_is_a_sentence(hugging_face: Make) -> None:
    folder = hugging_face().add_floats().add_packed(AUTO).write()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"XF16"'))
    with pytest.raises(CheckpointError, match="is truncated, damaged or no safetensors file .*XF16"):
        SafetensorsDir(folder)
