"""Writing a model file, one tensor in memory at a time."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tritloom.host.beside import resolved, written_beside
from tritloom.host.errors import ModelFileError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.floats import FloatTensor
from tritloom.host.model.layout import CRC, FORMAT_VERSION, MAGIC, MOST_HEADER, PREFIX, Slot, check_names, common_group, padded, slots
from tritloom.host.trits import PACKINGS, TWO_BIT, Ternary, are_scales
from tritloom.host.words import ArrayOrder

__all__ = ["Tensor", "write_model"]

Tensor = np.ndarray | FloatTensor | Ternary
"""What a model's tensor is given as: `Ternary` for a BitLinear, and for another a float32 array or a `FloatTensor`."""

#: Bytes copied at a time.
_CHUNK = 1 << 20


def write_model(
    path: str | os.PathLike[str],
    *,
    config: ModelConfig,
    tokenizer: dict[str, Any],
    tensors: Mapping[str, Tensor],
    training: dict[str, Any],
    packing: str = TWO_BIT.name,
    order: ArrayOrder | None = None,
) -> None:
    """Write a model file, beside its place first and then renamed, so that `path` is always a whole file.

    Each tensor is asked for once, in the file's order, and let go when it is written, so that a mapping that makes them as they are
    asked for needs the memory of one (of the BitLinears that share an input, in array order).

    Parameters
    ----------
    path
        Where; an existing file is replaced.
    config
        The model's shape; it fixes which tensors there must be.
    tokenizer
        A tokenizer's ``to_dict()``; see `tritloom.host.model.tokenizer.tokenizer_from_dict`.
    tensors
        By Hugging Face's name: `Ternary` for every BitLinear, float32 arrays for the rest; matrices among those may be a `FloatTensor` of any type.
    training
        Facts about how it was trained; any JSON values.
    packing
        How ternary tensors are stored: ``"2bit"``, four weights a byte, or ``"base3"``, five.
    order
        Write matrices in the words that arrays of this order read; ``None`` for row by row.

    Raises
    ------
    UsageError
        (a ``ValueError``) when a tensor is missing, surplus, misshapen, of another type or not finite, or when `tokenizer` or `training`
        is not JSON.
    ModelFileError
        When the file cannot be written.
    """
    if not isinstance(packing, str) or packing not in PACKINGS:
        raise UsageError(f"`packing` must be one of {', '.join(PACKINGS)}, not {packing!r}")
    if not isinstance(tensors, Mapping):
        raise UsageError(f"`tensors` must be tensors by name, not {type(tensors).__name__}")
    expected = slots(config, order)
    check_names(set(tensors), [name for slot in expected for name, _ in slot.parts], UsageError)
    path = Path(path)
    try:
        # The header comes first and holds the checksums, so the tensors wait in a file without a name, on the same disk.
        with tempfile.TemporaryFile(dir=resolved(path).parent) as body:
            table = []
            for slot in expected:
                body.write(bytes(padded(body.tell()) - body.tell()))
                given = [tensors[name] for name, _ in slot.parts]
                facts, chunks = _ternary(slot, given, packing, order) if slot.kind == "ternary" else _floats(slot, given[0])
                del given
                offset, crc = body.tell(), 0
                for chunk in chunks:
                    crc = zlib.crc32(chunk, crc)
                    body.write(chunk)
                table.append({"name": slot.name, "kind": slot.kind, "shape": list(slot.shape), **facts, "offset": offset,
                              "nbytes": body.tell() - offset, "crc32": crc})
            header = {"config": config.to_dict(), "tokenizer": tokenizer, "training": training,
                      "order": None if order is None else order.to_dict(), "tensors": table}
            _write_beside(path, _head(header), body)
    except OSError as error:
        raise ModelFileError(f"cannot write the model file {path}: {error.strerror or error}") from error


def _ternary(slot: Slot, tensors: list[Tensor], packing: str, order: ArrayOrder | None) -> tuple[dict[str, Any], Iterator[memoryview]]:
    """Packing and parts of a ternary tensor for the table, and its bytes: scales of groups, then weights."""
    parts, scales, trits = [], [], []
    for (name, rows), tensor in zip(slot.parts, tensors, strict=True):
        shape = (rows, slot.shape[1])
        if not isinstance(tensor, Ternary):
            raise UsageError(f"tensor {name!r} must be a Ternary {shape}, not {_describe(tensor)}")
        if tensor.trits.shape != shape:
            raise UsageError(f"tensor {name!r} must have the shape {shape}, not {tensor.trits.shape}")
        if isinstance(tensor.scale, np.ndarray):
            scales.append(np.ascontiguousarray(tensor.scale, "<f4"))
            parts.append({"name": name, "rows": rows, "group": tensor.group})
        else:
            parts.append({"name": name, "rows": rows, "scale": float(tensor.scale)})
        trits.append(tensor.trits)
    whole = trits[0] if len(trits) == 1 else np.concatenate(trits)
    if order is None:
        packed = [PACKINGS[packing].pack(whole)]
    else:
        packed = order.pack(whole, common_group(slot.shape[1], [part.get("group") for part in parts]), packing)
    return {"packing": packing, "parts": parts}, (_bytes(array) for array in (*scales, *packed))


def _floats(slot: Slot, given: Tensor) -> tuple[dict[str, Any], Iterator[memoryview]]:
    """Type of a float tensor for the table, and its bytes: scales of an int8 tensor, then values."""
    name = slot.name
    tensor = given if isinstance(given, FloatTensor) else FloatTensor(given) if isinstance(given, np.ndarray) and given.dtype == np.float32 else None
    if tensor is None or (len(slot.shape) == 1 and tensor.dtype != "float32"):
        kinds = "a float32 array" if len(slot.shape) == 1 else "a float32 array or a FloatTensor"
        raise UsageError(f"tensor {name!r} must be {kinds} {slot.shape}, not {_describe(given)}")
    if tensor.shape != slot.shape:
        raise UsageError(f"tensor {name!r} must have the shape {slot.shape}, not {tensor.shape}")
    if tensor.scales is not None and not are_scales(tensor.scales):
        raise UsageError(f"tensor {name!r} {tensor.shape} must have positive finite scales")
    if not tensor.is_finite():
        raise UsageError(f"tensor {name!r} {tensor.shape} must be finite; it holds infinities or NaN")
    return {"dtype": tensor.dtype}, _float_chunks(tensor)


def _float_chunks(tensor: FloatTensor) -> Iterator[memoryview]:
    if tensor.scales is not None:
        yield _bytes(tensor.scales)
    for start, stop in tensor.blocks():
        yield _bytes(tensor.stored[start:stop])


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _describe(tensor: object) -> str:
    if isinstance(tensor, np.ndarray):
        return f"a {tensor.dtype} array {tensor.shape}"
    if isinstance(tensor, FloatTensor):
        return f"a {tensor.dtype} FloatTensor {tensor.shape}"
    return type(tensor).__name__


def _head(header: dict[str, Any]) -> bytes:
    """Prefix and header."""
    try:
        text = json.dumps(header, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"tokenizer and training facts must be plain JSON values: {error}") from error
    if len(text) > MOST_HEADER:
        raise UsageError(f"tokenizer and training facts must fit into a header of {MOST_HEADER} bytes, not {len(text)}")
    prefix = PREFIX.pack(MAGIC, FORMAT_VERSION, len(text))
    return prefix + CRC.pack(zlib.crc32(text, zlib.crc32(prefix))) + text


def _write_beside(path: Path, head: bytes, body: BinaryIO) -> None:
    """Write the header, and behind it from the next multiple of the alignment the tensors, to a temporary name in the same folder, then rename."""
    with written_beside(path) as beside, beside.open("wb") as file:
        file.write(head)
        file.write(bytes(padded(len(head)) - len(head)))
        body.seek(0)
        shutil.copyfileobj(body, file, _CHUNK)
