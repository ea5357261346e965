"""A synthetic checkpoint of the exact shape of BitNet b1.58 2B-4T, random inside: to measure with, not to ship.

``python tests/formats/make_large.py FOLDER [LAYERS]`` writes about 1.2 GB in the layout of the published one: packed uint8 matrices with a bfloat16
scale to multiply by, bfloat16 embedding and norms, one file.
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tritloom.host.model.published import PUBLISHED

MODEL = PUBLISHED["2b-4t"].config
KEYS = ("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "vocab_size", "max_position_embeddings", "hidden_act",
        "rms_norm_eps", "rope_theta", "tie_word_embeddings")
CONFIG = {
    "architectures": ["BitNetForCausalLM"], "model_type": "bitnet", **{key: getattr(MODEL, key) for key in KEYS}, "bos_token_id": 0, "eos_token_id": 1,
    "torch_dtype": "bfloat16", "quantization_config": {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"},
}  # fmt: skip

#: Rows made at a time.
_ROWS = 8192


def shapes(layers: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor."""
    config = replace(MODEL, num_hidden_layers=layers)
    found: dict[str, tuple[str, tuple[int, ...]]] = {name: ("BF16", shape) for name, shape in config.float_tensors()}
    for name, n, k in config.matrices():
        found |= {name: ("U8", (n // 4, k)), f"{name}_scale": ("BF16", (1,))}
    return found


def values(name: str, kind: str, shape: tuple[int, ...], random: np.random.Generator) -> np.ndarray:
    """One tensor as it is stored."""
    if kind == "U8":
        # Four of the codes 0, 1 and 2 in a byte.
        codes = np.array([a | b << 2 | c << 4 | d << 6 for a in range(3) for b in range(3) for c in range(3) for d in range(3)], np.uint8)
        return codes[random.integers(0, 81, shape, np.uint8)]
    if name.endswith("_scale"):
        floats = np.full(shape, 1.25, np.float32)
    else:
        floats = random.standard_normal(shape, np.float32) / 32 + (len(shape) == 1)
    return (floats.view(np.uint32) >> 16).astype(np.uint16)


def write(folder: Path, layers: int = 30, seed: int = 0) -> None:
    """The checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": layers}))
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(["<begin>", "<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    header, at = {}, 0
    for name, (kind, shape) in shapes(layers).items():
        size = int(np.prod(shape)) * (1 if kind == "U8" else 2)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(seed)
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, (kind, shape) in shapes(layers).items():
            for at in range(0, shape[0], _ROWS):
                file.write(values(name, kind, (min(_ROWS, shape[0] - at), *shape[1:]), random).data)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30)
