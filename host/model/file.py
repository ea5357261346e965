"""The ``*.trit`` model file: one file that holds everything a model is, and says when it has been damaged.

Layout (all integers little endian; ``docs/numerics.md`` has it as a table): a 20-byte prefix of magic, format version, header length
and a CRC-32 over those and the header; the header, which is JSON; then the tensors in the header's order, each at the next multiple of 64 bytes,
padded with zeros, each with its own CRC-32 in the header. The file ends with the last tensor. Nothing in it is free to vary, so
every flipped, missing or surplus byte is noticed before the first weight is used.

A file whose ternary tensors have two bits a weight is of version 1; one with five weights a byte is of version 2, so that a program that does not
know them says so.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import shutil
import struct
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from tritloom.host.beside import written_beside
from tritloom.host.errors import ModelFileError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.trits import BASE3, PACKINGS, TWO_BIT, Packing, Ternary, is_scale

__all__ = ["FORMAT_VERSION", "ModelFile", "TensorFacts", "Ternary", "open_model", "write_model"]

# As PNG's: a byte no text starts with, and line ends that a transfer in text mode would change.
MAGIC = b"\x89TRIT\r\n\x1a"
FORMAT_VERSION = 1
BASE3_VERSION = 2
ALIGNMENT = 64

_PREFIX = struct.Struct("<8sII")  # magic, version, header length
_CRC = struct.Struct("<I")
_HEADER_AT = _PREFIX.size + _CRC.size
# A vocabulary of 256k tokens is about 5 MB of JSON.
_MAX_HEADER = 1 << 26
# Bytes copied, or floats looked at, at a time.
_CHUNK = 1 << 20


def write_model(
    path: str | os.PathLike[str],
    *,
    config: ModelConfig,
    tokenizer: dict[str, Any],
    tensors: Mapping[str, np.ndarray | Ternary],
    training: dict[str, Any],
    packing: str = TWO_BIT.name,
) -> None:
    """Write a model file, beside its place first and then renamed, so that `path` is always a whole file.

    Each tensor is asked for once, in the file's order, and let go when it is written, so that a mapping that makes them as they are
    asked for needs the memory of one.

    Parameters
    ----------
    path
        Where; an existing file is replaced.
    config
        The model's shape; it fixes which tensors there must be.
    tokenizer
        A tokenizer's ``to_dict()``; see `tritloom.host.model.tokenizer.tokenizer_from_dict`.
    tensors
        By Hugging Face's name: `Ternary` for every BitLinear, float32 arrays for the rest.
    training
        Facts about how it was trained; any JSON values.
    packing
        How ternary tensors are stored: ``"2bit"``, four weights a byte, or ``"base3"``, five.

    Raises
    ------
    UsageError
        (a ``ValueError``) when a tensor is missing, surplus, misshapen, of another type or not finite, or when `tokenizer` or `training`
        is not JSON.
    ModelFileError
        When the file cannot be written.
    """
    if packing not in PACKINGS:
        raise UsageError(f"`packing` must be one of {', '.join(PACKINGS)}, not {packing!r}")
    expected = _expected_tensors(config)
    _check_names(set(tensors), expected, UsageError)
    path = Path(path)
    try:
        # The header comes first and holds the checksums, so the tensors wait in a file without a name, on the same disk.
        with tempfile.TemporaryFile(dir=path.resolve().parent) as body:
            table = []
            for name, (kind, shape) in expected.items():
                body.write(bytes(_padded(body.tell()) - body.tell()))
                facts, blob = _store(name, kind, shape, tensors[name], PACKINGS[packing])
                table.append(facts | {"offset": body.tell(), "nbytes": len(blob), "crc32": zlib.crc32(blob)})
                body.write(blob)
            header = {"config": config.to_dict(), "tokenizer": tokenizer, "training": training, "tensors": table}
            _write_beside(path, _head(header, FORMAT_VERSION if packing == TWO_BIT.name else BASE3_VERSION), body)
    except OSError as error:
        raise ModelFileError(f"cannot write the model file {path}: {error.strerror or error}") from error


def _store(name: str, kind: str, shape: tuple[int, ...], tensor: object, packing: Packing) -> tuple[dict[str, Any], memoryview]:
    """A tensor's facts for the header, without its place, and its bytes."""
    entry: dict[str, Any] = {"name": name, "kind": kind, "shape": list(shape)}
    if kind == "ternary":
        if not isinstance(tensor, Ternary):
            raise UsageError(f"tensor {name!r} must be a Ternary {shape}, not {_describe(tensor)}")
        given = tensor.trits.shape
        entry["scale"] = float(tensor.scale)
        if packing is not TWO_BIT:
            entry["packing"] = packing.name
    else:
        if not isinstance(tensor, np.ndarray) or tensor.dtype != np.float32:
            raise UsageError(f"tensor {name!r} must be a float32 array {shape}, not {_describe(tensor)}")
        if not _all_finite(tensor):
            raise UsageError(f"tensor {name!r} {tensor.shape} must be finite; it holds infinities or NaN")
        given = tensor.shape
    if given != shape:
        raise UsageError(f"tensor {name!r} must have the shape {shape}, not {given}")
    stored = packing.pack(tensor.trits) if isinstance(tensor, Ternary) else np.ascontiguousarray(tensor, "<f4")
    return entry, stored.reshape(-1).view(np.uint8).data


def _head(header: dict[str, Any], version: int) -> bytes:
    """Prefix and header."""
    try:
        text = json.dumps(header, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"tokenizer and training facts must be plain JSON values: {error}") from error
    if len(text) > _MAX_HEADER:
        raise UsageError(f"tokenizer and training facts must fit into a header of {_MAX_HEADER} bytes, not {len(text)}")
    prefix = _PREFIX.pack(MAGIC, version, len(text))
    return prefix + _CRC.pack(zlib.crc32(text, zlib.crc32(prefix))) + text


def open_model(path: str | os.PathLike[str]) -> ModelFile:
    """Open a model file, memory-mapped, and verify all of it.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    ModelFile
        Its contents; tensors stay on disk until they are used.

    Raises
    ------
    ModelFileError
        When the file is missing, truncated, damaged anywhere, of a newer version, or when its tensors are not the ones its config asks for.
    """
    return ModelFile(Path(path))


class ModelFile:
    """An open, verified model file. Made by `open_model`.

    Attributes
    ----------
    path : Path
        Where it lies.
    config : ModelConfig
        The model's shape.
    tokenizer, training : dict
        As they were given to `write_model`.
    nbytes : int
        Size of the file in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map_file(path)
        self.nbytes = len(self._map)
        header, end = self._read_header()
        self.config, self.tokenizer, self.training, table = self._read_facts(header)
        self._tensors = self._check_tensors(table, end)

    def __repr__(self) -> str:
        return f"ModelFile({str(self.path)!r})"

    @property
    def packing(self) -> str:
        """How its ternary tensors are stored: ``"2bit"`` or ``"base3"``."""
        return self._packing.name

    @property
    def names(self) -> list[str]:
        """The tensors' names, in the file's order."""
        return list(self._tensors)

    def tensor(self, name: str) -> np.ndarray | Ternary:
        """One tensor.

        Parameters
        ----------
        name
            As in `names`.

        Returns
        -------
        np.ndarray or Ternary
            As `array` or `ternary` gives it.

        Raises
        ------
        UsageError
            When there is no tensor of that name.
        """
        return self.array(name) if self._stored(name).scale is None else self.ternary(name)

    def array(self, name: str) -> np.ndarray:
        """A float32 tensor: a read-only view of the file. Raises as `tensor`, and for a ternary one."""
        stored = self._stored(name)
        if stored.scale is not None:
            raise UsageError(f"tensor {name!r} is ternary, not float32")
        return stored.values

    def ternary(self, name: str) -> Ternary:
        """A ternary tensor: freshly unpacked trits and their scale. Raises as `tensor`, and for a float32 one."""
        stored = self._stored(name)
        if stored.scale is None:
            raise UsageError(f"tensor {name!r} is float32, not ternary")
        return Ternary(stored.packing.unpack(stored.values, stored.shape[1]), stored.scale)

    def facts(self, name: str) -> TensorFacts:
        """What there is to say of a tensor without unpacking it. Raises as `tensor`."""
        values, shape, scale, packing = self._stored(name)
        zeros = None if scale is None else packing.zeros(values, shape[1])
        return TensorFacts(shape, values.nbytes, scale, zeros)

    def _stored(self, name: str) -> _Stored:
        if name not in self._tensors:
            raise UsageError(f"the model file has no tensor {name!r}")
        return self._tensors[name]

    def _fail(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {what}")

    def _read_header(self) -> tuple[Any, int]:
        """The parsed header, and the byte at which it ends."""
        mapped = self._map
        if bytes(mapped[: len(MAGIC)]) != MAGIC[: len(mapped)]:
            raise self._fail("this is not a tritloom model file (wrong magic bytes)")
        if len(mapped) < _HEADER_AT:
            raise self._fail(f"the file is truncated: {len(mapped)} bytes do not even hold the header's prefix; copy or download it again")
        _, version, length = _PREFIX.unpack_from(mapped)
        if version not in (FORMAT_VERSION, BASE3_VERSION):
            newer = "is newer than this program reads" if version > BASE3_VERSION else "is not one this program reads"
            raise self._fail(f"its format version {version} {newer} (it reads {FORMAT_VERSION} and {BASE3_VERSION}): update tritloom, or the file is damaged")
        self._packing = TWO_BIT if version == FORMAT_VERSION else BASE3
        if length > _MAX_HEADER:
            raise self._fail(f"its header claims {length} bytes, more than the {_MAX_HEADER} allowed: the file is damaged")
        if _HEADER_AT + length > len(mapped):
            raise self._fail(f"the file is truncated: its header needs {_HEADER_AT + length} bytes of {len(mapped)}; copy or download it again")
        text = mapped[_HEADER_AT : _HEADER_AT + length]
        (crc,) = _CRC.unpack_from(mapped, _PREFIX.size)
        if zlib.crc32(text, zlib.crc32(mapped[: _PREFIX.size])) != crc:
            raise self._fail("the header's checksum is wrong: the file is damaged; copy or download it again")
        try:
            return json.loads(text, parse_constant=_refuse_constant), _HEADER_AT + length
        except (ValueError, RecursionError) as error:
            raise self._fail(f"its header is not valid JSON: {error}") from error

    def _read_facts(self, header: Any) -> tuple[ModelConfig, dict[str, Any], dict[str, Any], list[Any]]:
        kinds = {"config": dict, "tokenizer": dict, "training": dict, "tensors": list}
        if not isinstance(header, dict) or set(header) != set(kinds):
            raise self._fail(f"its header must hold exactly {', '.join(kinds)}")
        for key, kind in kinds.items():
            if not isinstance(header[key], kind):
                raise self._fail(f"`{key}` in its header must be a JSON {'object' if kind is dict else 'array'}")
        try:
            config = ModelConfig.from_dict(header["config"])
        except UsageError as error:
            raise self._fail(f"its config is not valid: {error}") from error
        return config, header["tokenizer"], header["training"], header["tensors"]

    def _check_tensors(self, table: list[Any], end: int) -> dict[str, _Stored]:
        """Views of the tensors by name, once table, places, padding and checksums all hold; the header ends at `end`."""
        # Compared first: only then is the number of layers known to be no larger than the file can pay for.
        if len(table) != self.config.tensor_count:
            raise self._fail(f"it lists {len(table)} tensors where its config asks for {self.config.tensor_count}")
        expected = _expected_tensors(self.config)
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in table]
        if names != list(expected):
            _check_names({str(name) for name in names}, expected, self._fail)
            raise self._fail("its tensors are not in the order of the format")
        data_at = _padded(end)
        tensors = {}
        for entry, (name, (kind, shape)) in zip(table, expected.items(), strict=True):
            start = _padded(end)
            nbytes = self._stored_bytes(kind, shape)
            want = {"name": name, "kind": kind, "shape": list(shape), "offset": start - data_at, "nbytes": nbytes, "crc32": entry.get("crc32")}
            if kind == "ternary":
                want["scale"] = entry.get("scale")
                if self._packing is not TWO_BIT:
                    want["packing"] = self._packing.name
                if not is_scale(want["scale"]):
                    raise self._fail(f"tensor {name!r} has the scale {want['scale']!r} where a positive float32 number must be")
            if entry != want:
                wrong = sorted(key for key in set(entry) | set(want) if key not in entry or key not in want or entry[key] != want[key])[0]
                given, needed = entry.get(wrong, "nothing"), want.get(wrong, "nothing")
                raise self._fail(f"tensor {name!r} has {wrong} {given!r} where its config asks for {needed!r}")
            if start + nbytes > self.nbytes:
                raise self._fail(f"the file is truncated: tensor {name!r} ends at byte {start + nbytes} of {self.nbytes}; copy or download it again")
            if any(self._map[end:start]):
                raise self._fail(f"the padding before tensor {name!r} is not zero: the file is damaged; copy or download it again")
            tensors[name] = self._check_tensor(name, kind, shape, start, want)
            end = start + nbytes
        if end != self.nbytes:
            raise self._fail(f"{self.nbytes - end} bytes follow the last tensor: the file is damaged or something was appended to it")
        return tensors

    def _check_tensor(self, name: str, kind: str, shape: tuple[int, ...], start: int, entry: dict[str, Any]) -> _Stored:
        raw = np.frombuffer(self._map, np.uint8, count=entry["nbytes"], offset=start)
        if zlib.crc32(raw.data) != entry["crc32"]:
            raise self._fail(f"the checksum of tensor {name!r} is wrong: the file is damaged; copy or download it again")
        if kind == "ternary":
            packed = raw.reshape(shape[0], -1)
            if self._packing.has_invalid_code(packed, shape[1]):
                raise self._fail(f"tensor {name!r} holds {self._packing.invalid}, which is no ternary weight")
            return _Stored(packed, shape, entry["scale"], self._packing)
        values = raw.view("<f4").reshape(shape)
        if not _all_finite(values):
            raise self._fail(f"tensor {name!r} holds infinities or NaN")
        return _Stored(values, shape, None, self._packing)

    def _stored_bytes(self, kind: str, shape: tuple[int, ...]) -> int:
        return shape[0] * self._packing.row_bytes(shape[1]) if kind == "ternary" else 4 * math.prod(shape)


class TensorFacts(NamedTuple):
    """A tensor in figures.

    Parameters
    ----------
    shape
        Of the tensor as it is used.
    nbytes
        In the file.
    scale, zeros
        A ternary tensor's scale, and how many of its weights are 0; ``None`` for another.
    """

    shape: tuple[int, ...]
    nbytes: int
    scale: float | None
    zeros: int | None


class _Stored(NamedTuple):
    """A verified tensor as it lies in the file: packed trits and their scale, or float32 values."""

    values: np.ndarray
    shape: tuple[int, ...]
    scale: float | None
    packing: Packing


def _expected_tensors(config: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of each tensor by name, in the file's order."""
    expected: dict[str, tuple[str, tuple[int, ...]]] = {name: ("float32", shape) for name, shape in config.float_tensors()}
    expected |= {name: ("ternary", (n, k)) for name, n, k in config.matrices()}
    return expected


def _check_names(given: set[str], expected: Mapping[str, Any], fail: Callable[[str], Exception]) -> None:
    missing = [name for name in expected if name not in given]
    if missing:
        raise fail(f"tensor {missing[0]!r} is missing ({len(missing)} of {len(expected)} are)")
    surplus = sorted(given - set(expected))
    if surplus:
        raise fail(f"tensor {surplus[0]!r} is not one that the config asks for")


def _describe(tensor: object) -> str:
    if isinstance(tensor, np.ndarray):
        return f"a {tensor.dtype} array {tensor.shape}"
    return type(tensor).__name__


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _map_file(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ModelFileError(f"{path}: the file is empty; copy or download it again")
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except FileNotFoundError as error:
        raise ModelFileError(f"there is no model file {path}") from error
    except OSError as error:
        raise ModelFileError(f"cannot read the model file {path}: {error.strerror or error}") from error


def _write_beside(path: Path, head: bytes, body: BinaryIO) -> None:
    """Write the header, and behind it from the next multiple of the alignment the tensors, to a temporary name in the same folder, then rename."""
    with written_beside(path) as beside, beside.open("wb") as file:
        file.write(head)
        file.write(bytes(_padded(len(head)) - len(head)))
        body.seek(0)
        shutil.copyfileobj(body, file, _CHUNK)


def _all_finite(values: np.ndarray) -> bool:
    """Whether no value is infinite or NaN, without a truth value for each at once."""
    flat = values.reshape(-1)
    return all(np.isfinite(flat[at : at + _CHUNK]).all() for at in range(0, flat.size, _CHUNK))
