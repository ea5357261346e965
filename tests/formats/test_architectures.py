"""BitNet's relatives in both formats: what a checkpoint of each is read as, and what it may not ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.gguf_file import GgufFile
from tritloom.host.formats.safetensors_dir import SafetensorsDir
from tritloom.host.model.rope_scaling import RopeScaling

from .checkpoints import AUTO, CLASSIC, ONLINE, Gguf, Golden, HuggingFace, assert_reads_as, cut, gguf_name, make_golden, write_tokenizer

Make = Callable[..., HuggingFace]
MakeGguf = Callable[..., Gguf]

LLAMA = {"hidden_act": "silu", "sub_norms": False}
QWEN3 = {**LLAMA, "qk_norm": True}
BIASES = {"attention_bias": True, "mlp_bias": True}
LLAMA_CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "pretraining_tp": 1,
                "activation": "swiglu"}  # fmt: skip
QWEN3_CONFIG = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "attention_bias": False, "head_dim": 2,
                "use_sliding_window": False, "sliding_window": 4096, "max_window_layers": 2, "layer_types": ["full_attention"] * 2}  # fmt: skip
# As the published file spells it.
ONE_BIT_CONFIG = {"architectures": ["BitnetForCausalLM"], "model_type": "llama", "hidden_act": "silu", "attention_bias": False, "attention_dropout": 0.0,
                  "input_bits": 8, "weight_bits": 1, "rope_scaling": None, "pretraining_tp": 1, "initializer_range": 0.02, "pad_token_id": 2}  # fmt: skip
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 32.0, "beta_slow": 1.0}

Q = "model.layers.1.self_attn.q_proj"


def with_masters(golden: Golden, seed: int = 5) -> tuple[Golden, dict[str, np.ndarray]]:
    """Random master weights, and the model that absmean makes of them, by the published code's formula."""
    random = np.random.default_rng(seed)
    masters = {name: cut(random.normal(0, 0.02, matrix.trits.shape)) for name, matrix in golden.matrices.items()}
    made = {}
    for name, weight in masters.items():
        s = np.float32(1) / np.maximum(np.float32(np.abs(weight.astype(np.float64)).mean()), np.float32(1e-5))
        trits = np.clip(np.rint(weight * s), -1, 1).astype(np.int8)
        made[name] = type(golden.matrices[name])(trits, float(np.float32(1) / s))
    return golden.with_tensors(**made), masters


def one_bit_llm(make: Make, golden: Golden, masters: dict[str, np.ndarray]) -> HuggingFace:
    """A folder as 1bitLLM's: fp16 masters, its own names for the sub-norms, and RoPE's frequencies in every layer."""
    stored = make(golden).add_floats("F16").add_masters("BF16", masters)
    for name in list(stored.tensors):
        old = name.replace("attn_sub_norm", "inner_attn_ln").replace("ffn_sub_norm", "ffn_layernorm")
        stored.tensors[old] = stored.tensors.pop(name)
    for layer in range(golden.config.num_hidden_layers):
        frequencies = [golden.config.rope_theta ** (-2 * i / golden.config.head_dim) for i in range(golden.config.head_dim // 2)]
        stored.put(f"model.layers.{layer}.self_attn.rotary_emb.inv_freq", np.array(frequencies), "F16")
    stored.config |= ONE_BIT_CONFIG
    return stored


@pytest.mark.parametrize("model_type", ["llama", "bitnet"])
@pytest.mark.parametrize("shards", [1, 3])
def test_one_bit_llm(hugging_face: Make, model_type: str, shards: int) -> None:
    golden, masters = with_masters(make_golden(seed=3, hidden_act="silu", hidden_size=24))
    stored = one_bit_llm(hugging_face, golden, masters)
    stored.config["model_type"] = model_type
    stored.shards = shards
    source = SafetensorsDir(stored.write())
    assert_reads_as(source, golden, scale_rtol=2**-22)
    assert source.facts["matrices"] == {"absmean": 14}


@pytest.mark.parametrize("attention_bias", [True, False])
@pytest.mark.parametrize("quantization", [AUTO, CLASSIC, ONLINE, None])
def test_biases_mean_what_the_linear_class_makes_of_them(hugging_face: Make, quantization: dict[str, Any] | None, attention_bias: bool) -> None:
    golden = make_golden(seed=4, tied=False, **LLAMA, attention_bias=attention_bias, mlp_bias=True)
    if quantization == ONLINE:
        golden, masters = with_masters(golden)
    stored = hugging_face(golden).add_floats("F32")
    stored.config |= {**LLAMA_CONFIG, "attention_bias": attention_bias, "mlp_bias": True}
    expected = golden
    if quantization in (ONLINE, None):
        ternary = {name: matrix.trits * np.float32(matrix.scale) for name, matrix in golden.matrices.items()}
        stored.add_masters("F32", masters if quantization else ternary)
        stored.config["quantization_config"] = quantization
    else:
        stored.add_packed(quantization, "F32")
        scales = {name: np.float32(matrix.scale) for name, matrix in golden.matrices.items()}
        if quantization == CLASSIC:
            for name, scale in scales.items():
                stored.put(f"{name}_scale", np.array([1 / scale]), "F32")
        else:
            # AutoBitLinear: F.linear(x, w, bias) * weight_scale.
            scaled = {name: values * scales[name.replace(".bias", ".weight")] for name, values in golden.floats.items() if name.endswith(".bias")}
            assert len(scaled) == (14 if attention_bias else 6)
            expected = golden.with_tensors(**scaled)
    assert_reads_as(SafetensorsDir(stored.write()), expected, scale_rtol=2**-22)


def test_norms_inside_the_linear_layers(hugging_face: Make) -> None:
    for eps in ({}, {"rms_norm_eps": 0.25}):
        golden = make_golden(seed=6, **LLAMA, linear_norms=True, linear_norm_eps=eps.get("rms_norm_eps", 1e-6))
        stored = hugging_face(golden).add_floats().add_packed({**AUTO, "use_rms_norm": True, **eps})
        stored.config |= LLAMA_CONFIG
        assert_reads_as(SafetensorsDir(stored.write()), golden)


@pytest.mark.parametrize("scaling", [LLAMA3, YARN, {"rope_type": "linear", "factor": 2.0}])
@pytest.mark.parametrize("spelling", ["old", "older", "new", "both"])
def test_rope_scaling(hugging_face: Make, scaling: dict[str, Any], spelling: str) -> None:
    golden = make_golden(seed=7, **LLAMA, rope_scaling=scaling)
    stored = hugging_face(golden).add_floats().add_packed(AUTO)
    stored.config |= LLAMA_CONFIG
    if spelling in ("old", "both"):
        stored.config["rope_scaling"] = scaling
    if spelling == "older":
        stored.config["rope_scaling"] = {("type" if key == "rope_type" else key): value for key, value in scaling.items()}
    if spelling in ("new", "both"):
        stored.config["rope_parameters"] = {"rope_theta": stored.config.pop("rope_theta"), "partial_rotary_factor": 1.0, **scaling}
    assert_reads_as(SafetensorsDir(stored.write()), golden)


def test_qwen3(hugging_face: Make) -> None:
    golden = make_golden(seed=8, **QWEN3)
    stored = hugging_face(golden).add_floats().add_packed(AUTO)
    stored.config |= QWEN3_CONFIG
    assert_reads_as(SafetensorsDir(stored.write()), golden)
    del stored.tensors["model.layers.1.self_attn.k_norm.weight"]
    stored.brain.remove("model.layers.1.self_attn.k_norm.weight")
    with pytest.raises(CheckpointError, match=r"lacks the tensor 'model.layers.1.self_attn.k_norm.weight' \(1 of"):
        SafetensorsDir(stored.write())


def test_silu_and_biases_in_transformers_own_bitnet(hugging_face: Make) -> None:
    golden = make_golden(seed=9, hidden_act="silu", attention_bias=True)
    stored = hugging_face(golden).add_floats("F32").add_masters("F32", {name: matrix.trits * np.float32(matrix.scale) for name, matrix in golden.matrices.items()})
    stored.config |= {"hidden_act": "silu", "attention_bias": True}
    assert_reads_as(SafetensorsDir(stored.write()), golden)


@pytest.mark.parametrize(("base", "change", "kind", "sentence"), [
    (LLAMA_CONFIG, {"model_type": "bitnet"}, UnsupportedCheckpointError, ("is of the architecture ['LlamaForCausalLM'] (model_type 'bitnet'), and tritloom runs only "
     "BitNetForCausalLM (model_type 'bitnet'), BitnetForCausalLM (model_type 'llama' or 'bitnet'), LlamaForCausalLM (model_type 'llama'), "
     "Qwen3ForCausalLM (model_type 'qwen3')")),
    (LLAMA_CONFIG, {"architectures": ["LlamaForCausalLM", "Other"]}, UnsupportedCheckpointError, "is of the architecture ['LlamaForCausalLM', 'Other'] (model_type 'llama')"),
    (LLAMA_CONFIG, {"architectures": "LlamaForCausalLM"}, UnsupportedCheckpointError, "is of the architecture 'LlamaForCausalLM' (model_type 'llama')"),
    (LLAMA_CONFIG, {"architectures": None, "model_type": ["llama"]}, UnsupportedCheckpointError, "is of the architecture [None] (model_type ['llama'])"),
    (LLAMA_CONFIG, {"mlp_bias": True}, CheckpointError, "lacks the tensor 'model.layers.0.mlp.gate_proj.bias' (6 of 26 are missing)"),
    (LLAMA_CONFIG, {"mlp_bias": 1}, CheckpointError, ": `mlp_bias` must be true or false, not 1"),
    (LLAMA_CONFIG, {"hidden_act": "gelu"}, UnsupportedCheckpointError, "asks for the activation 'gelu', and tritloom runs only 'relu2' and 'silu'"),
    (LLAMA_CONFIG, {"activation": "geglu"}, UnsupportedCheckpointError, "asks for activation 'geglu', which tritloom does not support"),
    (LLAMA_CONFIG, {"sliding_window": 4096}, UnsupportedCheckpointError, "asks for sliding_window 4096, which tritloom does not support"),
    (LLAMA_CONFIG, {"use_sliding_window": False}, UnsupportedCheckpointError, "has the key 'use_sliding_window' (False): tritloom does not know"),
    (LLAMA_CONFIG, {"weight_bits": 1}, UnsupportedCheckpointError, "has the key 'weight_bits' (1): tritloom does not know"),
    (LLAMA_CONFIG, {"partial_rotary_factor": 0.5}, UnsupportedCheckpointError, "asks for partial_rotary_factor 0.5, which tritloom does not support"),
    (LLAMA_CONFIG, {"rope_scaling": 8}, CheckpointError, "has a rope_scaling that is no JSON object: 8"),
    (LLAMA_CONFIG, {"rope_scaling": {**YARN, "mscale": 0.7}}, UnsupportedCheckpointError, "asks for mscale 0.7 in rope_scaling, which tritloom does not support"),
    (LLAMA_CONFIG, {"rope_scaling": {**LLAMA3, "rope_type": "longrope"}}, UnsupportedCheckpointError,
     "asks for rope_type 'longrope', and tritloom runs only 'default', 'linear', 'llama3', 'yarn'"),
    (LLAMA_CONFIG, {"rope_scaling": {**LLAMA3, "alpha": 2}}, UnsupportedCheckpointError, "has a rope_scaling that tritloom cannot follow: `rope_scaling` has the unknown key 'alpha'"),
    (LLAMA_CONFIG, {"rope_scaling": {"rope_type": "divisors", "divisors": [1]}}, UnsupportedCheckpointError, "asks for rope_type 'divisors'"),
    (LLAMA_CONFIG, {"rope_scaling": LLAMA3, "rope_parameters": {"rope_theta": 5000.0, **YARN}}, CheckpointError, "they must agree"),
    (LLAMA_CONFIG, {"rope_parameters": {"rope_theta": 5000.0, "rope_type": "default", "factor": 8}}, UnsupportedCheckpointError,
     "has rope_parameters that tritloom does not support"),
    (QWEN3_CONFIG, {"head_dim": None}, CheckpointError, "lacks the key 'head_dim', which tritloom does not guess"),
    (QWEN3_CONFIG, {"use_sliding_window": True}, UnsupportedCheckpointError, "asks for use_sliding_window True, which tritloom does not support"),
    (QWEN3_CONFIG, {"layer_types": ["full_attention", "sliding_attention"]}, UnsupportedCheckpointError,
     "asks for layer_types ['full_attention', 'sliding_attention'], and tritloom runs only 'full_attention'"),
    (QWEN3_CONFIG, {}, CheckpointError, "lacks the tensor 'model.layers.0.self_attn.q_norm.weight' (4 of 24 are missing)"),
])  # fmt: skip
def test_what_a_relative_may_not_ask_for(hugging_face: Make, base: dict[str, Any], change: dict[str, Any], kind: type, sentence: str) -> None:
    stored = hugging_face(make_golden(seed=10, **LLAMA)).add_floats().add_packed(AUTO)
    stored.config |= base | change
    with pytest.raises(kind) as caught:
        SafetensorsDir(stored.write())
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "sentence"), [
    ({"weight_bits": 2}, "asks for weight_bits 2, which tritloom does not support"),
    ({"input_bits": 4}, "asks for input_bits 4, which tritloom does not support"),
    ({"mlp_bias": True}, "asks for mlp_bias True, which tritloom does not support"),
    ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "asks for rope_scaling {'type': 'linear', 'factor': 2.0}, which tritloom does not support"),
    ({"quantization_config": AUTO}, "asks for quantization_config {'quant_method': 'bitnet', "),
    ({"attention_bias": True}, "lacks the tensor 'model.layers.0.self_attn.q_proj.bias' (8 of"),
    ({"rope_theta": 1e4}, "'model.layers.0.self_attn.rotary_emb.inv_freq' in"),
])  # fmt: skip
def test_what_one_bit_llm_may_not_ask_for(hugging_face: Make, change: dict[str, Any], sentence: str) -> None:
    golden, masters = with_masters(make_golden(seed=3, hidden_act="silu", hidden_size=24))
    stored = one_bit_llm(hugging_face, golden, masters)
    stored.config |= change
    with pytest.raises(CheckpointError) as caught:
        SafetensorsDir(stored.write())
    assert sentence in str(caught.value)


@pytest.mark.parametrize(("add", "sentence"), [
    (f"{Q}.bias", f"has the tensor '{Q}.bias', which its config does not ask for: it would be left out of what the model computes"),
    (f"{Q}.rms_norm.weight", f"has the tensor '{Q}.rms_norm.weight', which its config does not ask for"),
    ("model.layers.0.self_attn.q_norm.weight", "has the tensor 'model.layers.0.self_attn.q_norm.weight', which its config does not ask for"),
    ("model.layers.0.self_attn.attn_sub_norm.weight", "has the tensor 'model.layers.0.self_attn.attn_sub_norm.weight', which its config does not ask for"),
])  # fmt: skip
def test_tensors_that_the_config_does_not_ask_for(hugging_face: Make, add: str, sentence: str) -> None:
    stored = hugging_face(make_golden(seed=10, **LLAMA)).add_floats().add_packed(AUTO)
    stored.config |= LLAMA_CONFIG
    stored.put(add, np.ones(8), "F32")
    with pytest.raises(UnsupportedCheckpointError) as caught:
        SafetensorsDir(stored.write())
    assert sentence in str(caught.value)


@pytest.fixture
def gguf(tmp_path: Path) -> MakeGguf:
    def make(arch: str, golden: Golden) -> Gguf:
        made = Gguf(tmp_path / "model.gguf", golden, arch)
        made.strings.clear()
        made.tokenizer = write_tokenizer(tmp_path / "written.json")
        return made

    return make


def neighbours(values: np.ndarray, head_dim: int) -> np.ndarray:
    """Rows as llama.cpp's ``llama`` has them: of each head first the first of both halves, then the second of both, and so on."""
    rows = []
    for head in range(0, len(values), head_dim):
        for pair in range(head_dim // 2):
            rows += [values[head + pair], values[head + pair + head_dim // 2]]
    return np.array(rows)


def fill(made: Gguf) -> Gguf:
    """Every tensor in float32, permuted where llama.cpp's converter does."""
    for name, tensor in made.golden.tensors.items():
        values = tensor if isinstance(tensor, np.ndarray) else tensor.trits * np.float32(tensor.scale)
        if made.arch == "llama" and (".q_proj." in name or ".k_proj." in name):
            permuted = neighbours(values, made.golden.config.head_dim)
            assert not np.array_equal(permuted, values)
            values = permuted
        made.put(gguf_name(name), values, "F32")
    return made


GGUF_CASES = {
    "1bitLLM": ("bitnet", {"hidden_act": "silu"}),
    "llama": ("llama", LLAMA),
    "llama with biases, untied": ("llama", {**LLAMA, **BIASES, "tied": False}),
    "qwen3": ("qwen3", QWEN3),
    "qwen3 with biases": ("qwen3", {**QWEN3, "attention_bias": True}),
    "bitnet.cpp with biases": ("bitnet-b1.58", {"attention_bias": True}),
}


@pytest.mark.parametrize("case", GGUF_CASES)
def test_architectures_of_gguf(gguf: MakeGguf, case: str) -> None:
    arch, fields = GGUF_CASES[case]
    golden = make_golden(seed=12, hidden_size=32, num_attention_heads=4, **fields)
    assert_reads_as(GgufFile(fill(gguf(arch, golden)).write()), golden)


def test_the_activation_that_newer_files_name(gguf: MakeGguf) -> None:
    for act in ("relu2", "silu"):
        golden = make_golden(seed=12, hidden_act=act)
        made = fill(gguf("bitnet", golden))
        made.strings["hidden_activation"] = act
        assert_reads_as(GgufFile(made.write()), golden)


@pytest.mark.parametrize(("strings", "numbers", "scaling"), [
    ({"rope.scaling.type": "none"}, {"rope.scaling.factor": 4.0}, None),
    ({"rope.scaling.type": "linear"}, {"rope.scaling.factor": 1.0}, None),
    ({"rope.scaling.type": "linear"}, {"rope.scaling.factor": 2.5}, {"rope_type": "linear", "factor": 2.5}),
    ({}, {"rope.scaling.factor": 2.5}, {"rope_type": "linear", "factor": 2.5}),
    ({"rope.scaling.type": "yarn"}, {"rope.scaling.factor": 4.0}, {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}),
    ({"rope.scaling.type": "yarn"}, {"rope.scaling.factor": 4.0, "rope.scaling.attn_factor": 1.0, "rope.scaling.yarn_beta_fast": 20.0, "rope.scaling.yarn_beta_slow": 2.0},
     {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 20.0, "beta_slow": 2.0}),
])  # fmt: skip
def test_rope_scaling_of_gguf(gguf: MakeGguf, strings: dict[str, str], numbers: dict[str, float], scaling: dict[str, Any] | None) -> None:
    golden = make_golden(seed=13, **QWEN3, rope_scaling=scaling)
    made = fill(gguf("qwen3", golden))
    made.strings |= strings
    made.float32 |= numbers
    made.uint32["rope.scaling.original_context_length"] = 16
    assert_reads_as(GgufFile(made.write()), golden)


def test_llama_3_divides_frequencies_as_the_file_lists(gguf: MakeGguf) -> None:
    golden = make_golden(seed=14, hidden_size=32, **LLAMA, rope_scaling={"rope_type": "divisors", "divisors": [1.0, 1.5, 4.25, 8.0]})
    made = fill(gguf("llama", golden))
    made.put("rope_freqs.weight", np.array([1, 1.5, 4.25, 8]), "F32")
    assert_reads_as(GgufFile(made.write()), golden)


@pytest.mark.parametrize("arch", ["llama", "bitnet-25"])
def test_divisors_of_one_change_nothing(gguf: MakeGguf, arch: str) -> None:
    golden = make_golden(seed=14, hidden_size=32, **(LLAMA if arch == "llama" else {}))
    made = fill(gguf(arch, golden))
    made.put("rope_freqs.weight", np.ones(4), "F32")
    assert_reads_as(GgufFile(made.write()), golden)


def test_llama_3_by_its_rule_and_by_its_divisors_is_the_same() -> None:
    """llama.cpp's converter divides where transformers has a rule; the frequencies must come out alike."""
    base, dim = 500000.0, 64
    frequencies = (1 / np.float32(base) ** (np.arange(0, dim, 2, dtype=np.float32) / dim)).astype(np.float32)
    rule = RopeScaling(**{**LLAMA3, "original_max_position_embeddings": 8192})
    divisors = []
    for frequency in frequencies.tolist():
        wavelength = 2 * np.pi / frequency
        smooth = (8192 / wavelength - 1) / 3
        divisors.append(1.0 if wavelength < 8192 / 4 else 8.0 if wavelength > 8192 else 1 / ((1 - smooth) / 8 + smooth))
    assert len(set(divisors)) > 4
    listed = RopeScaling(rope_type="divisors", divisors=tuple(divisors))
    np.testing.assert_allclose(rule.stretch(frequencies, base), listed.stretch(frequencies, base), rtol=1e-6)


@pytest.mark.parametrize(("arch", "change", "sentence"), [
    ("bitnet", lambda made: made.strings.update(hidden_activation="gelu"), "asks for the activation 'gelu', and tritloom runs 'bitnet' only with 'silu' or 'relu2'"),
    ("bitnet-25", lambda made: made.strings.update(hidden_activation="silu"), "asks for the activation 'silu', and tritloom runs 'bitnet-25' only with 'relu2'"),
    ("llama", lambda made: made.strings.update(hidden_activation="silu"), "has the key 'llama.hidden_activation' ('silu'): tritloom does not know"),
    ("llama", lambda made: made.uint32.update({"attention.sliding_window": 512}), "asks for llama.attention.sliding_window 512, which tritloom does not support"),
    ("llama", lambda made: made.float32.update(logit_scale=0.5), "has the key 'llama.logit_scale' (0.5): tritloom does not know"),
    ("llama", lambda made: made.float32.update({"rope.scaling.attn_factor": 0.5}), "asks for llama.rope.scaling.attn_factor 0.5, which tritloom does not support"),
    ("llama", lambda made: made.put("blk.0.attn_q.bias", np.ones(8), "F32"), "lacks the tensor 'blk.0.attn_k.bias' (7 of"),
    ("llama", lambda made: made.put("blk.1.attn_q_norm.weight", np.ones(2), "F32"), "has the tensor 'blk.1.attn_q_norm.weight', which tritloom does not know there"),
    ("llama", lambda made: made.put("rope_freqs.weight", np.ones(2), "F32"), "is F32 (2,) where F32 (1,) must be, one number a pair"),
    ("llama", lambda made: made.put("rope_freqs.weight", np.zeros(1), "F32"), "cannot be followed: `divisors` must be positive finite numbers, not (0.0,)"),
    ("llama", lambda made: made.put("rope_freqs.weight", np.ones((1, 1)), "F32"), "is F32 (1, 1) where F32 (1,) must be"),
    ("llama", lambda made: made.put("rope_freqs.weight", np.ones(1), "F16"), "is F16 (1,) where F32 (1,) must be"),
    ("qwen3", lambda made: made.tensors.pop("blk.0.attn_k_norm.weight"), "lacks the tensor 'blk.0.attn_k_norm.weight' (1 of"),
    ("qwen3", lambda made: made.put("rope_freqs.weight", np.full(1, 2), "F32"), "has the tensor 'rope_freqs.weight', which tritloom follows only for the architecture 'llama'"),
    ("qwen3", lambda made: made.strings.update({"rope.scaling.type": "yarn"}), "lacks the key 'qwen3.rope.scaling.factor'"),
])  # fmt: skip
def test_what_a_gguf_of_a_relative_may_not_be(gguf: MakeGguf, arch: str, change: Callable[[Gguf], Any], sentence: str) -> None:
    golden = make_golden(seed=15, **{"bitnet": {"hidden_act": "silu"}, "bitnet-25": {}, "llama": LLAMA, "qwen3": QWEN3}[arch])
    # Heads of two elements hold one pair, which is in order either way.
    made = gguf(arch, golden).add_floats().add_matrices("F32")
    change(made)
    with pytest.raises(CheckpointError) as caught:
        GgufFile(made.write())
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rope_scaling_twice_is_refused(gguf: MakeGguf) -> None:
    made = gguf("llama", make_golden(seed=15, **LLAMA)).add_floats().add_matrices("F32")
    made.put("rope_freqs.weight", np.full(1, 2), "F32")
    made.strings["rope.scaling.type"] = "linear"
    made.float32["rope.scaling.factor"] = 2.0
    with pytest.raises(UnsupportedCheckpointError, match=r"has both rope.scaling and 'rope_freqs.weight'"):
        GgufFile(made.write())
