"""The `gguf` library's reader, with what checkpoints from strangers need: bounds, bitnet.cpp's type I2_S, and Q1_0.

The library slices a memory map, and a slice that leaves the file is short without a word; and it knows no types but llama.cpp's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats import i2s, q1
from tritloom.host.formats.source import missing_library

__all__ = ["StoredTensor", "dequantize", "read_gguf"]

#: Numbers and texts in the metadata: a vocabulary of 262,144 tokens takes two million, and each some microseconds. A length that was
#: damaged may claim all of a file of gigabytes.
_MOST_READS = 1 << 22


class StoredTensor(NamedTuple):
    """Where a tensor lies, and as what.

    Parameters
    ----------
    type
        ``"F16"``, ``"TQ1_0"``, ``"I2_S"``, ...
    shape
        Slowest dimension first, as numpy has it.
    offset, nbytes
        In the file.
    """

    type: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


def read_gguf(path: Path) -> tuple[dict[str, Any], dict[str, StoredTensor]]:
    """A GGUF file's metadata and its table of tensors, both by name.

    Raises
    ------
    CheckpointError
        When it is truncated, damaged or no GGUF file.
    UnsupportedCheckpointError
        On a type of tensor, or an order of bytes, that is not known.
    """
    try:
        import gguf
    except ImportError as error:
        raise missing_library("gguf", "*.gguf files") from error

    class Reader(gguf.GGUFReader):
        """Refuses to leave the file, or to go through all of it number by number, and only notes where tensors lie."""

        reads = 0

        def _get(self, offset: int, dtype: Any, count: int = 1, *order: Any, **named: Any) -> np.ndarray:
            self.reads += 1
            if self.reads > _MOST_READS:
                raise CheckpointError(f"{path} has more than {_MOST_READS:,} numbers and texts in its metadata, which no model needs: the file is damaged; download it again")
            if not 0 <= int(offset) + np.dtype(dtype).itemsize * int(count) <= len(self.data):
                raise CheckpointError(f"{path} is truncated or damaged: it speaks of byte {int(offset) + int(count):,} of {len(self.data):,}; download it again")
            return super()._get(offset, dtype, count, *order, **named)

        def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
            self.stored = {}
            for field in fields:
                _, name, _, dims, number, offset = field.parts
                shape = tuple(reversed([int(size) for size in dims]))
                entry = _stored(path, gguf, bytes(name).decode(), shape, int(number[0]), int(start_offs) + int(offset[0]))
                if entry.offset + entry.nbytes > len(self.data):
                    raise CheckpointError(f"{path} is truncated: tensor {bytes(name).decode()!r} ends at byte {entry.offset + entry.nbytes:,} of {len(self.data):,}; download it again")
                self.stored[bytes(name).decode()] = entry
            if len(self.stored) < len(fields):
                raise CheckpointError(f"{path} has two tensors of the same name")

    try:
        reader = Reader(path)
        values = {name: field.contents() for name, field in reader.fields.items()}
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, IndexError, OverflowError, RecursionError) as error:    # the library raises what its slices and enums do
        raise CheckpointError(f"{path} is truncated, damaged or no GGUF file ({error}): download it again") from error
    if reader.byte_order != "I":
        raise UnsupportedCheckpointError(f"{path} is a GGUF file of the other byte order: convert it first")
    return values, reader.stored


def dequantize(raw: np.ndarray, tensor_type: str) -> np.ndarray:
    """Rows of a tensor as float32, as the library reads them, or llama.cpp where it does not.

    Parameters
    ----------
    raw
        ``(rows, bytes a row)`` uint8.
    tensor_type
        Not ``"I2_S"``.
    """
    import gguf

    if tensor_type == q1.NAME:
        return q1.dequantize_q1(raw)
    return gguf.quants.dequantize(raw, gguf.GGMLQuantizationType[tensor_type])


def _stored(path: Path, gguf: Any, name: str, shape: tuple[int, ...], number: int, offset: int) -> StoredTensor:
    if number == i2s.TYPE:
        return StoredTensor("I2_S", shape, offset, i2s.nbytes(shape))
    try:
        kind = gguf.GGMLQuantizationType(number)
    except ValueError as error:
        raise UnsupportedCheckpointError(f"tensor {name!r} in {path} is of the type number {number}, which tritloom does not know") from error
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if not shape or shape[-1] % block:
        raise CheckpointError(f"tensor {name!r} in {path} has rows of {shape[-1:]} values where the type {kind.name} needs a multiple of {block}: the file is damaged")
    return StoredTensor(kind.name, shape, offset, int(np.prod(shape, dtype=object)) // block * size)
