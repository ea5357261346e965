"""Small random checkpoints in other programs' formats, written by those programs' libraries."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from tritloom.host.model.config import ModelConfig
from tritloom.host.model.floats import FloatTensor
from tritloom.host.trits import Ternary

SIZES = {"hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 300,
         "max_position_embeddings": 32}  # fmt: skip

HF_CONFIG: dict[str, Any] = {
    **SIZES, "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_act": "relu2", "rms_norm_eps": 1e-5, "rope_theta": 5000.0,
    "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip

AUTO = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
CLASSIC = {"quant_method": "bitnet", "linear_class": "bitlinear", "quantization_mode": "offline"}
ONLINE = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}


@dataclass(frozen=True)
class Golden:
    """What a checkpoint must be read as."""

    config: ModelConfig
    tensors: dict[str, np.ndarray | Ternary]

    @property
    def matrices(self) -> dict[str, Ternary]:
        return {name: tensor for name, tensor in self.tensors.items() if isinstance(tensor, Ternary)}

    @property
    def floats(self) -> dict[str, np.ndarray]:
        return {name: tensor for name, tensor in self.tensors.items() if isinstance(tensor, np.ndarray)}

    def with_tensors(self, **tensors: np.ndarray | Ternary) -> Golden:
        return replace(self, tensors={**self.tensors, **tensors})


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Bit patterns, cut off: exact for what has at most 8 bits."""
    return (np.asarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def cut(values: np.ndarray) -> np.ndarray:
    """Float32 values that bfloat16 and float16 hold."""
    return (bfloat16(values).astype(np.uint32) << 16).view(np.float32)


def make_golden(seed: int = 0, *, tied: bool = True, **sizes: int) -> Golden:
    """Random tensors; scales and floats are such that every type holds them exactly."""
    random = np.random.default_rng(seed)
    given = {**SIZES, **sizes}
    config = ModelConfig(**given, head_dim=given["hidden_size"] // given["num_attention_heads"], rope_theta=5000.0, tie_word_embeddings=tied)
    tensors: dict[str, np.ndarray | Ternary] = {}
    for name, shape in config.float_tensors():
        normal = random.standard_normal(shape).astype(np.float32)
        values = cut(1 + normal / 8 if len(shape) == 1 else normal / 4)
        tensors[name] = np.where(np.abs(values) < 2**-6, np.float32(0), values)    # float16 has fewer digits below
    for name, n, k in config.matrices():
        trits = random.integers(-1, 2, (n, k)).astype(np.int8)
        trits[0, -1] = 1    # never all zero, which would leave the scale open
        tensors[name] = Ternary(trits, float(cut(np.float32(random.uniform(0.2, 1.5)).reshape(1))[0]))
    return Golden(config, tensors)


def pack_quarters(trits: np.ndarray) -> np.ndarray:
    """Packed as transformers does it, weight by weight."""
    quarter = -(-len(trits) // 4)
    packed = np.zeros((quarter, trits.shape[1]), np.uint8)
    for row, values in enumerate(trits.tolist()):
        for column, trit in enumerate(values):
            packed[row % quarter, column] |= trit + 1 << 2 * (row // quarter)
    return packed


def write_safetensors(path: Path, tensors: dict[str, np.ndarray], brain: set[str] = frozenset()) -> None:
    """As the library writes it; what is in `brain` are bit patterns of bfloat16, which numpy does not know, so the header is told afterwards."""
    save_file(tensors, path)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    for name in brain:
        header[name]["dtype"] = "BF16"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def write_tokenizer(path: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=["<begin>", "<end>"], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the weaver at the loom, the thread and the shuttle"] * 3, trainer)
    tokenizer.save(str(path))
    return tokenizer


class HuggingFace:
    """A Hugging Face folder in the making: everything in it can be changed before `write`."""

    def __init__(self, folder: Path, golden: Golden) -> None:
        self.folder = folder
        self.golden = golden
        self.config = {**HF_CONFIG, **{key: getattr(golden.config, key) for key in SIZES}, "tie_word_embeddings": golden.config.tie_word_embeddings}
        self.tensors: dict[str, np.ndarray] = {}
        self.brain: set[str] = set()
        self.shards = 1

    def add_floats(self, dtype: str = "BF16") -> HuggingFace:
        for name, values in self.golden.floats.items():
            self.put(name, values, dtype)
        return self

    def put(self, name: str, values: np.ndarray, dtype: str) -> None:
        self.brain.discard(name)
        if dtype == "BF16":
            self.brain.add(name)
        self.tensors[name] = {"BF16": bfloat16, "F16": np.float16, "F32": np.float32}[dtype](values)

    def add_packed(self, quantization: dict[str, Any], scale_dtype: str = "BF16") -> HuggingFace:
        self.config["quantization_config"] = quantization
        for name, matrix in self.golden.matrices.items():
            self.tensors[name] = pack_quarters(matrix.trits)
            self.put(f"{name}_scale", np.array([matrix.scale], np.float32), scale_dtype)
        return self

    def add_masters(self, dtype: str, masters: dict[str, np.ndarray]) -> HuggingFace:
        for name, values in masters.items():
            self.put(name, values, dtype)
        return self

    def write(self) -> Path:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "config.json").write_text(json.dumps(self.config))
        write_tokenizer(self.folder / "tokenizer.json")
        names = sorted(self.tensors)
        if self.shards == 1:
            write_safetensors(self.folder / "model.safetensors", self.tensors, self.brain)
            return self.folder
        placed = {}
        for i in range(self.shards):
            file = f"model-{i + 1:05}-of-{self.shards:05}.safetensors"
            part = names[i :: self.shards]
            write_safetensors(self.folder / file, {name: self.tensors[name] for name in part}, self.brain & set(part))
            placed |= dict.fromkeys(part, file)
        (self.folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
        return self.folder


def assert_reads_as(source: Any, golden: Golden, scale_rtol: float = 0.0) -> None:
    """A source, or an open model file, holds exactly these tensors."""
    assert source.config == golden.config
    assert sorted(source.names) == sorted(golden.tensors)
    for name, expected in golden.tensors.items():
        found = source.tensor(name)
        if isinstance(expected, Ternary):
            assert isinstance(found, Ternary), name
            np.testing.assert_array_equal(found.trits, expected.trits, err_msg=name)
            assert found.group == expected.group, name
            assert (np.abs(found.scale - expected.scale) <= scale_rtol * expected.scale).all(), (name, found.scale, expected.scale)
        else:
            wide = found.array() if isinstance(found, FloatTensor) else found
            assert wide.dtype == np.float32
            np.testing.assert_array_equal(wide, expected, err_msg=name)


GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm", "post_attention_layernorm": "ffn_norm", "mlp.ffn_sub_norm": "ffn_sub_norm",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip


def gguf_name(name: str) -> str:
    """llama.cpp's name of a tensor."""
    outer = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
    if name in outer:
        return outer[name]
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{GGUF_NAMES[part]}.{kind}"


def pack_i2s(trits: np.ndarray, scale: float, block: int) -> bytes:
    """As bitnet.cpp's quantiser walks: weight j of a block goes to byte ``j % (block / 4)``, the first group into the high bits."""
    group = block // 4
    packed = bytearray(trits.size // 4)
    for at, trit in enumerate(trits.reshape(-1).tolist()):
        place = at % block
        packed[at // block * group + place % group] |= trit + 1 << 6 - 2 * (place // group)
    return bytes(packed) + struct.pack("<f", scale) + bytes(28)


def pack_q1(trits: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Signs as llama.cpp's ``block_q1_0`` has them: for each 128 a float16 scale, then a bit a weight, the first in the lowest."""
    packed = np.zeros((len(trits), trits.shape[1] // 128, 18), np.uint8)
    for row, values in enumerate(trits.tolist()):
        for column, trit in enumerate(values):
            packed[row, column // 128, 2 + column % 128 // 8] |= (trit > 0) << column % 8
        packed[row, :, :2] = np.frombuffer(scales[row].astype("<f2").tobytes(), np.uint8).reshape(-1, 2)
    return packed.reshape(len(trits), -1)


class Gguf:
    """A GGUF file in the making, written by the `gguf` library."""

    def __init__(self, path: Path, golden: Golden, arch: str = "bitnet-b1.58") -> None:
        self.path = path
        self.golden = golden
        self.arch = arch
        config = golden.config
        self.uint32 = {
            "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size, "block_count": config.num_hidden_layers,
            "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
            "context_length": config.max_position_embeddings, "rope.dimension_count": config.head_dim, "vocab_size": config.vocab_size,
        }  # fmt: skip
        self.float32 = {"attention.layer_norm_rms_epsilon": 1e-5, "rope.freq_base": 5000.0}
        self.strings: dict[str, str] = {"rope.scaling.type": "linear"}
        self.tensors: dict[str, tuple[np.ndarray, int | None]] = {}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.tokenizer: Tokenizer | None = None
        self.cut = "gpt-2"

    def put(self, name: str, values: np.ndarray, kind: str) -> None:
        import gguf

        self.shapes.pop(name, None)
        if kind in ("F32", "F16"):
            self.tensors[name] = (values.astype({"F32": np.float32, "F16": np.float16}[kind]), None)
        else:
            number = gguf.GGMLQuantizationType[kind]
            self.tensors[name] = (gguf.quants.quantize(values.astype(np.float32), number), number)

    def add_floats(self, kind: str = "F32") -> Gguf:
        for name, values in self.golden.floats.items():
            self.put(gguf_name(name), values, kind if values.ndim == 2 else "F32")
        return self

    def add_matrices(self, kind: str) -> Gguf:
        """Ternary floats through the library's own quantiser."""
        for name, matrix in self.golden.matrices.items():
            self.put(gguf_name(name), matrix.trits * np.float32(matrix.scale), kind)
        return self

    def add_i2s(self, block: int) -> Gguf:
        for name, matrix in self.golden.matrices.items():
            data = np.frombuffer(pack_i2s(matrix.trits, matrix.scale, block), np.int8)
            # The library does not know the type I2_S, number 36; it writes down what it is told.
            self.tensors[gguf_name(name)] = (data, 36)
            self.shapes[gguf_name(name)] = matrix.trits.shape
        return self

    def put_q1(self, name: str, trits: np.ndarray, scales: np.ndarray) -> None:
        import gguf

        self.shapes.pop(name, None)
        self.tensors[name] = (pack_q1(trits, scales), gguf.GGMLQuantizationType.Q1_0)

    def write(self) -> Path:
        import gguf

        writer = gguf.GGUFWriter(self.path, self.arch)
        for key, value in self.uint32.items():
            writer.add_uint32(f"{self.arch}.{key}", value)
        for key, value in self.float32.items():
            writer.add_float32(f"{self.arch}.{key}", value)
        for key, value in self.strings.items():
            writer.add_string(f"{self.arch}.{key}" if "." not in key or key.startswith("rope") else key, value)
        if self.tokenizer is not None:
            self._add_tokenizer(writer)
        for name, (values, number) in self.tensors.items():
            writer.add_tensor(name, values, raw_shape=self.shapes.get(name), raw_dtype=number)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return self.path

    def _add_tokenizer(self, writer: Any) -> None:
        model = json.loads(self.tokenizer.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].get)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(self.cut)
        writer.add_token_list(tokens)
        writer.add_token_types([3 if token in ("<begin>", "<end>") else 1 for token in tokens])
        writer.add_token_merges([" ".join(pair) for pair in model["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
