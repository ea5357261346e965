"""Checkpoints read a second time, without tritloom: what a file that was accepted must have become.

Safetensors through the library's `deserialize`, which gives raw bytes; GGUF by a parser of its own. Values are computed from the formats'
descriptions (transformers' ``integrations/bitnet.py``, ggml's ``ggml-quants.c``), floats through numpy.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Gguf", "parse_gguf", "read_folder_tensors"]


def _wide(kind: str, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """float32 values of a float tensor."""
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[kind]).astype(np.float32)
    return values.reshape(shape)


def read_folder_tensors(folder: Path) -> dict[str, np.ndarray]:
    """What each tensor of a Hugging Face folder multiplies by, or is: float32, the scale of a matrix multiplied in."""
    from safetensors import deserialize

    config = json.loads((folder / "config.json").read_bytes())
    quantization = config.get("quantization_config") or {}
    raw: dict[str, Any] = {}
    for path in sorted(folder.glob("*.safetensors")):
        raw |= dict(deserialize(path.read_bytes()))
    found = {}
    for name, entry in raw.items():
        shape = tuple(entry["shape"])
        if entry["dtype"] == "U8":
            packed = np.frombuffer(entry["data"], np.uint8).reshape(shape)
            values = np.concatenate([packed >> 2 * i & 3 for i in range(4)]).astype(np.float32) - 1
        elif entry["dtype"] in ("F32", "F16", "BF16"):
            values = _wide(entry["dtype"], bytes(entry["data"]), shape)
        else:
            continue
        if f"{name}_scale" in raw:
            scale = raw[f"{name}_scale"]
            factor = _wide(scale["dtype"], bytes(scale["data"]), ()) if len(scale["shape"]) == 0 else _wide(scale["dtype"], bytes(scale["data"]), (1,))[0]
            values = values * factor if quantization.get("linear_class") == "autobitlinear" else values / factor
        elif quantization.get("quantization_mode") == "online" and name.endswith("_proj.weight"):
            step = max(float(np.abs(values).mean(dtype=np.float64)), 1e-5)
            values = np.clip(np.rint(values * np.float32(1 / np.float32(step))), -1, 1) * np.float32(step)
        found[name] = values
    return found


@dataclass
class Gguf:
    """A GGUF file, and where its numbers are."""

    version: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, tuple[int, tuple[int, ...], bytes]] = field(default_factory=dict)
    """Type's number, shape with the slowest dimension first, and all bytes from where it begins."""
    places: list[tuple[int, int]] = field(default_factory=list)
    """Offset and width of each number in the file that says how to read it, and of the metadata's values."""

    def matrix(self, name: str, i2s_block: int) -> np.ndarray:
        """float32 values of a tensor."""
        import gguf

        number, shape, data = self.tensors[name]
        count = math.prod(shape)
        if number == 36:
            group = i2s_block // 4
            packed = np.frombuffer(data, np.uint8, count // 4).reshape(-1, 1, group)
            codes = packed >> np.array([[6], [4], [2], [0]], np.uint8) & 3
            values = (codes.astype(np.float32) - 1).reshape(shape) * np.frombuffer(data, "<f4", 1, count // 4)[0]
        elif number == 41:
            blocks = np.frombuffer(data, np.uint8, count // 128 * 18).reshape(-1, 18)
            signs = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype(np.float32) * 2 - 1
            values = (signs * blocks[:, :2].copy().view("<f2").astype(np.float32)).reshape(shape)
        else:
            kind = gguf.GGMLQuantizationType(number)
            block, size = gguf.GGML_QUANT_SIZES[kind]
            rows = np.frombuffer(data, np.uint8, count // block * size).reshape(-1, shape[-1] // block * size)
            values = gguf.quants.dequantize(rows, kind).astype(np.float32).reshape(shape)
        scale = f"{name.removesuffix('.weight')}.scale"
        return values * np.frombuffer(self.tensors[scale][2], "<f4", 1)[0] if scale in self.tensors else values


_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@lru_cache(maxsize=8)
def parse_gguf(data: bytes) -> Gguf:
    """Read a GGUF file, little endian, as ggml's documentation (``docs/gguf.md``) describes it. Raises what slicing raises if it is damaged."""
    made, at = Gguf(), 4

    def number(code: str, noted: bool = True) -> Any:
        nonlocal at
        size = struct.calcsize(f"<{code}")
        if noted:
            made.places.append((at, size))
        (value,) = struct.unpack_from(f"<{code}", data, at)
        at += size
        return value

    def text() -> str:
        nonlocal at
        size = number("Q")
        if at + size > len(data):
            raise ValueError("text beyond the end")
        at += size
        return data[at - size:at].decode()

    def value(kind: int) -> Any:
        if kind == 8:
            return text()
        if kind == 9:
            inner, count = number("I"), number("Q")
            return [value(inner) for _ in range(count)]
        return number(_SCALARS[kind])

    if data[:4] != b"GGUF":
        raise ValueError("no GGUF file")
    made.version = number("I")
    tensors, pairs = number("Q"), number("Q")
    for _ in range(pairs):
        key = text()
        made.values[key] = value(number("I"))
    found = []
    for _ in range(tensors):
        name = text()
        shape = tuple(reversed([number("Q") for _ in range(number("I"))]))
        found.append((name, shape, number("I"), number("Q")))
    alignment = made.values.get("general.alignment", 32)
    start = -(-at // alignment) * alignment
    made.tensors = {name: (kind, shape, data[start + offset:]) for name, shape, kind, offset in found}
    return made
