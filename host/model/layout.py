"""What lies where in a model file: which tensors, in which order, and how many bytes of each. Reader and writer share it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Any

from tritloom.host.model.config import ModelConfig
from tritloom.host.trits import PACKINGS
from tritloom.host.words import ArrayOrder

__all__ = ["ALIGNMENT", "CRC", "FORMAT_VERSION", "HEADER_AT", "MAGIC", "MOST_HEADER", "PREFIX", "Slot", "check_names", "common_group", "padded", "slot_count", "slots"]

#: As PNG's: a byte no text starts with, and line ends that a transfer in text mode would change.
MAGIC = b"\x89TRIT\r\n\x1a"
FORMAT_VERSION = 3
ALIGNMENT = 64

PREFIX = Struct("<8sII")    # magic, version, header length
CRC = Struct("<I")
HEADER_AT = PREFIX.size + CRC.size
#: A vocabulary of 256k tokens is about 5 MB of JSON.
MOST_HEADER = 1 << 26

#: What BitLinears that lie side by side are called together, by the first of them.
_FUSED = {"q_proj": "qkv_proj", "gate_proj": "gate_up_proj"}


@dataclass(frozen=True)
class Slot:
    """One tensor of a file.

    Parameters
    ----------
    name
        In the file's table.
    kind
        ``"float"`` or ``"ternary"``.
    shape
        Of the whole.
    parts
        The model's tensors in it and their rows, in order: one, except for BitLinears side by side in array order.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parts: tuple[tuple[str, int], ...]

    def packed_bytes(self, packing: str, order: ArrayOrder | None, groups: list[int | None]) -> int:
        """Bytes of a ternary tensor's weights."""
        n, k = self.shape
        return n * PACKINGS[packing].row_bytes(k) if order is None else order.nbytes(n, k, common_group(k, groups), packing)

    def scale_bytes(self, groups: list[int | None]) -> int:
        """Bytes of a ternary tensor's scales that lie before its weights: those of parts with groups."""
        return sum(4 * rows * (self.shape[1] // group) for (_, rows), group in zip(self.parts, groups, strict=True) if group is not None)

    def float_bytes(self, itemsize: int, scaled: bool) -> int:
        """Bytes of a float tensor, with a float32 scale a row before its values where it is `scaled`."""
        return itemsize * math.prod(self.shape) + (4 * self.shape[0] if scaled else 0)


def slots(config: ModelConfig, order: ArrayOrder | None) -> list[Slot]:
    """The tensors of a file in its order: floats, then matrices, in array order those of one input side by side, as the runtime loads them."""
    found = [Slot(name, "float", shape, ((name, shape[0]),)) for name, shape in config.float_tensors()]
    for job in [[matrix] for matrix in config.matrices()] if order is None else config.jobs():
        name, _, k = job[0]
        prefix, own, _ = name.rsplit(".", 2)
        whole = name if len(job) == 1 else f"{prefix}.{_FUSED[own]}.weight"
        found.append(Slot(whole, "ternary", (sum(n for _, n, _ in job), k), tuple((part, n) for part, n, _ in job)))
    return found


def slot_count(config: ModelConfig, order: ArrayOrder | None) -> int:
    """How many there are, known before any list of them is made."""
    inner = 0 if order is None else sum(size - 1 for size in config.job_sizes)
    return config.tensor_count - inner * config.num_hidden_layers


def common_group(k: int, groups: list[int | None]) -> int | None:
    """The widest groups of columns whose edges are those of every part's; ``None`` when no part has groups."""
    return None if all(group is None for group in groups) else math.gcd(*(group or k for group in groups))


def check_names(given: set[str], expected: Mapping[str, Any] | list[str], fail: Callable[[str], Exception]) -> None:
    """Raise what `fail` makes of a sentence when names are missing, or are there that are not expected."""
    missing = [name for name in expected if name not in given]
    if missing:
        raise fail(f"tensor {missing[0]!r} is missing ({len(missing)} of {len(expected)} are)")
    surplus = sorted(given - set(expected))
    if surplus:
        raise fail(f"tensor {surplus[0]!r} is not one that the config asks for")


def padded(size: int) -> int:
    """The next place for a tensor."""
    return -(-size // ALIGNMENT) * ALIGNMENT
