"""The ``*.trit`` model file: one file that holds everything a model is, and says when it has been damaged.

Layout (all integers little endian; ``docs/numerics.md`` has it as a table): a 20-byte prefix of magic, format version, header length
and a CRC-32 over those and the header; the header, which is JSON; then the tensors in the header's order, each at the next multiple of 64 bytes,
padded with zeros, each with its own CRC-32 in the header. The file ends with the last tensor. Nothing in it is free to vary, so
every flipped, missing or surplus byte is noticed before the first weight is used.

Matrices lie row by row or, in a file made for one board, in the words that its array reads (`tritloom.host.words`).
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tritloom.host.errors import ModelFileError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file_writer import write_model
from tritloom.host.model.floats import FLOAT_TYPES, FloatTensor
from tritloom.host.model.layout import (
    CRC,
    FORMAT_VERSION,
    HEADER_AT,
    MAGIC,
    MOST_HEADER,
    PREFIX,
    Slot,
    check_names,
    padded,
    slot_count,
    slots,
)
from tritloom.host.model.linear import FusedTernary
from tritloom.host.model.stored_matrix import StoredMatrix
from tritloom.host.trits import PACKINGS, TWO_BIT, Packing, Ternary, are_scales, is_scale
from tritloom.host.words import ArrayOrder

__all__ = ["FORMAT_VERSION", "FloatTensor", "ModelFile", "TensorFacts", "Ternary", "open_model", "write_model"]


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
        When the file is missing, truncated, damaged anywhere, of another version, or when its tensors are not the ones its config asks for.
    """
    if not isinstance(path, str | os.PathLike) or "\0" in str(path):
        raise UsageError(f"a model file is named by a path, not {path!r}")
    return ModelFile(Path(path))


class TensorFacts(NamedTuple):
    """A tensor in figures.

    Parameters
    ----------
    shape
        Of the tensor as it is used.
    nbytes
        In the file; of a matrix that lies with others in one, its rows' share.
    dtype
        Of a float tensor: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"``; ``"ternary"`` for another.
    scale
        A ternary tensor's scale; ``None`` for another, and when it has groups.
    group
        Columns that share a scale; ``None`` when there is one for all.
    zeros
        How many of a ternary tensor's weights are 0; ``None`` for another.
    """

    shape: tuple[int, ...]
    nbytes: int
    dtype: str
    scale: float | None
    group: int | None
    zeros: int | None


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
    order : ArrayOrder or None
        For which arrays its matrices are packed; ``None`` when they lie row by row.
    nbytes : int
        Size of the file in bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map = _map_file(path)
        self.nbytes = len(self._map)
        header, end = self._read_header()
        self._packing: Packing | None = None
        self.config, self.tokenizer, self.training, self.order, table = self._read_facts(header)
        self._floats: dict[str, FloatTensor] = {}
        self._matrices: dict[str, StoredMatrix] = {}    # by the model's names, several of which may lie in one
        self._check_tensors(table, end)
        self.forget()

    def __repr__(self) -> str:
        return f"ModelFile({str(self.path)!r})"

    def forget(self) -> None:
        """Give back the memory in which what was read of the file lies; whatever is used again is read again.

        To check a file means to read all of it, and to load it on an accelerator most of it; after that it is the embedding that is needed.
        """
        if hasattr(mmap, "MADV_DONTNEED"):    # not on Windows, which takes such memory back when it runs short
            self._map.madvise(mmap.MADV_DONTNEED)

    @property
    def packing(self) -> str:
        """How its ternary tensors are stored: ``"2bit"`` or ``"base3"``."""
        return (self._packing or TWO_BIT).name

    @property
    def names(self) -> list[str]:
        """The model's tensors by name: floats, then matrices, each in the config's order."""
        return [*self._floats, *(name for name, _, _ in self.config.matrices())]

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
        return self.ternary(name) if name in self._matrices else self.array(name)

    def floats(self, name: str) -> FloatTensor:
        """A float tensor as it is stored: a read-only view of the file. Raises as `tensor`, and for a ternary one."""
        if name in self._matrices:
            raise UsageError(f"tensor {name!r} is ternary, not float")
        if name not in self._floats:
            raise UsageError(f"the model file has no tensor {name!r}")
        return self._floats[name]

    def array(self, name: str) -> np.ndarray:
        """A float tensor as float32: a read-only view of the file where it is stored so, else a new array. Raises as `floats`."""
        return self.floats(name).array()

    def ternary(self, name: str) -> Ternary:
        """A ternary tensor: freshly unpacked trits and their scale or scales. Raises as `tensor`, and for a float one."""
        return self._matrix(name).ternary(name)

    def linear(self, names: Sequence[str]) -> FusedTernary:
        """Ternary tensors of one input side by side, in the array's words where they lie so in the file. Raises as `ternary`."""
        stored = self._matrix(names[0])
        if [name for name, _, _ in stored.parts] == list(names):
            return stored.fused()
        return FusedTernary.of([self.ternary(name) for name in names])

    def facts(self, name: str) -> TensorFacts:
        """What there is to say of a tensor. Raises as `tensor`."""
        if name not in self._matrices:
            floats = self.floats(name)
            return TensorFacts(floats.shape, floats.nbytes, floats.dtype, None, None, None)
        stored = self._matrices[name]
        scale = stored.scale(name)
        return TensorFacts(stored.shape_of(name), stored.nbytes_of(name), "ternary", None if isinstance(scale, np.ndarray) else scale, self.group(name),
                           stored.zeros(name))

    def group(self, name: str) -> int | None:
        """Columns of a ternary tensor that share a scale; ``None`` when there is one for all. Raises as `ternary`, and reads no weights."""
        stored = self._matrix(name)
        scale = stored.scale(name)
        return stored.shape_of(name)[1] // scale.shape[1] if isinstance(scale, np.ndarray) else None

    def _matrix(self, name: str) -> StoredMatrix:
        if name in self._floats:
            raise UsageError(f"tensor {name!r} is {self._floats[name].dtype}, not ternary")
        if name not in self._matrices:
            raise UsageError(f"the model file has no tensor {name!r}")
        return self._matrices[name]

    def _fail(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self.path}: {what}")

    def _read_header(self) -> tuple[Any, int]:
        """The parsed header, and the byte at which it ends."""
        mapped = self._map
        if bytes(mapped[: len(MAGIC)]) != MAGIC[: len(mapped)]:
            raise self._fail("this is not a tritloom model file (wrong magic bytes)")
        if len(mapped) < HEADER_AT:
            raise self._fail(f"the file is truncated: {len(mapped)} bytes do not even hold the header's prefix; copy or download it again")
        _, version, length = PREFIX.unpack_from(mapped)
        if version != FORMAT_VERSION:
            if 0 < version < FORMAT_VERSION:
                raise self._fail(f"its format version {version} is an old one (this program reads {FORMAT_VERSION}): convert the checkpoint again, or download the model anew")
            newer = "is newer than this program reads" if version > FORMAT_VERSION else "is not one this program reads"
            raise self._fail(f"its format version {version} {newer} (it reads {FORMAT_VERSION}): update tritloom, or the file is damaged")
        if length > MOST_HEADER:
            raise self._fail(f"its header claims {length} bytes, more than the {MOST_HEADER} allowed: the file is damaged")
        if HEADER_AT + length > len(mapped):
            raise self._fail(f"the file is truncated: its header needs {HEADER_AT + length} bytes of {len(mapped)}; copy or download it again")
        text = mapped[HEADER_AT : HEADER_AT + length]
        (crc,) = CRC.unpack_from(mapped, PREFIX.size)
        if zlib.crc32(text, zlib.crc32(mapped[: PREFIX.size])) != crc:
            raise self._fail("the header's checksum is wrong: the file is damaged; copy or download it again")
        try:
            return json.loads(text, parse_constant=_refuse_constant), HEADER_AT + length
        except (ValueError, RecursionError) as error:
            raise self._fail(f"its header is not valid JSON: {error}") from error

    def _read_facts(self, header: Any) -> tuple[ModelConfig, dict[str, Any], dict[str, Any], ArrayOrder | None, list[Any]]:
        kinds = {"config": dict, "tokenizer": dict, "training": dict, "order": dict, "tensors": list}
        if not isinstance(header, dict) or set(header) != set(kinds):
            raise self._fail(f"its header must hold exactly {', '.join(kinds)}")
        for key, kind in kinds.items():
            if not isinstance(header[key], kind) and not (key == "order" and header[key] is None):
                raise self._fail(f"`{key}` in its header must be a JSON {'object' if kind is dict else 'array'}")
        try:
            config = ModelConfig.from_dict(header["config"])
        except UsageError as error:
            raise self._fail(f"its config is not valid: {error}") from error
        try:
            order = None if header["order"] is None else ArrayOrder(**header["order"])
        except (UsageError, TypeError) as error:    # a key that there is not is a TypeError
            raise self._fail(f"its order is not valid: {error}") from error
        return config, header["tokenizer"], header["training"], order, header["tensors"]

    def _check_tensors(self, table: list[Any], end: int) -> None:
        """Take views of the tensors, once table, places, padding and checksums all hold; the header ends at `end`."""
        # Compared first: only then is the number of layers known to be no larger than the file can pay for.
        count = slot_count(self.config, self.order)
        if len(table) != count:
            raise self._fail(f"it lists {len(table)} tensors where its config asks for {count}")
        expected = slots(self.config, self.order)
        names = [entry.get("name") if isinstance(entry, dict) else None for entry in table]
        if names != [slot.name for slot in expected]:
            check_names({str(name) for name in names}, [slot.name for slot in expected], self._fail)
            raise self._fail("its tensors are not in the order of the format")
        data_at = padded(end)
        for entry, slot in zip(table, expected, strict=True):
            start = padded(end)
            want = {"name": slot.name, "kind": slot.kind, "shape": list(slot.shape), "offset": start - data_at, "crc32": entry.get("crc32")}
            want |= self._want_ternary(slot, entry) if slot.kind == "ternary" else self._want_float(slot, entry)
            if entry != want:
                wrong = sorted(key for key in set(entry) | set(want) if key not in entry or key not in want or entry[key] != want[key])[0]
                given, needed = entry.get(wrong, "nothing"), want.get(wrong, "nothing")
                raise self._fail(f"tensor {slot.name!r} has {wrong} {given!r} where its config asks for {needed!r}")
            # From here on `want`, whose numbers are integers: 16.0 equals 16.
            if start + want["nbytes"] > self.nbytes:
                raise self._fail(f"the file is truncated: tensor {slot.name!r} ends at byte {start + want['nbytes']} of {self.nbytes}; copy or download it again")
            if any(self._map[end:start]):
                raise self._fail(f"the padding before tensor {slot.name!r} is not zero: the file is damaged; copy or download it again")
            raw = np.frombuffer(self._map, np.uint8, count=want["nbytes"], offset=start)
            if zlib.crc32(raw.data) != want["crc32"]:
                raise self._fail(f"the checksum of tensor {slot.name!r} is wrong: the file is damaged; copy or download it again")
            if slot.kind == "ternary":
                self._take_ternary(slot, want, raw)
            else:
                self._take_float(slot, want["dtype"], raw)
            end = start + want["nbytes"]
        if end != self.nbytes:
            raise self._fail(f"{self.nbytes - end} bytes follow the last tensor: the file is damaged or something was appended to it")

    def _want_float(self, slot: Slot, entry: dict[str, Any]) -> dict[str, Any]:
        """What the table must say of a float tensor; its type is for it to say."""
        allowed = ["float32"] if len(slot.shape) == 1 else list(FLOAT_TYPES)
        dtype = entry.get("dtype")
        if dtype not in allowed:
            raise self._fail(f"tensor {slot.name!r} has the dtype {dtype!r} where {' or '.join(allowed)} must be")
        return {"dtype": dtype, "nbytes": slot.float_bytes(FLOAT_TYPES[dtype].itemsize, dtype == "int8")}

    def _take_float(self, slot: Slot, dtype: str, raw: np.ndarray) -> None:
        at = 4 * slot.shape[0] if dtype == "int8" else 0
        tensor = FloatTensor(raw[at:].view(FLOAT_TYPES[dtype]).reshape(slot.shape), dtype, raw[:at].view("<f4") if at else None)
        if tensor.scales is not None and not are_scales(tensor.scales):
            raise self._fail(f"tensor {slot.name!r} holds a scale of a row that is no positive float32 number")
        if not tensor.is_finite():
            raise self._fail(f"tensor {slot.name!r} holds infinities or NaN")
        self._floats[slot.name] = tensor

    def _want_ternary(self, slot: Slot, entry: dict[str, Any]) -> dict[str, Any]:
        """What the table must say of a ternary tensor; its packing (one in all of the file), scales and groups are for it to say."""
        packing = entry.get("packing") if self._packing is None else self._packing.name
        if not isinstance(packing, str) or packing not in PACKINGS:
            raise self._fail(f"tensor {slot.name!r} has the packing {packing!r} where {' or '.join(PACKINGS)} must be")
        self._packing = PACKINGS[packing]
        given = entry.get("parts")
        if not isinstance(given, list) or len(given) != len(slot.parts) or not all(isinstance(part, dict) for part in given):
            raise self._fail(f"tensor {slot.name!r} has the parts {given!r} where {len(slot.parts)} of them must be")
        parts: list[dict[str, Any]] = []
        for (name, rows), part in zip(slot.parts, given, strict=True):
            own = {"group": self._group(slot, part["group"])} if "group" in part else {"scale": part.get("scale")}
            if "scale" in own and not is_scale(own["scale"]):
                raise self._fail(f"tensor {name!r} has the scale {own['scale']!r} where a positive float32 number must be")
            parts.append({"name": name, "rows": rows} | own)
        groups = [part.get("group") for part in parts]
        return {"packing": packing, "parts": parts, "nbytes": slot.scale_bytes(groups) + slot.packed_bytes(packing, self.order, groups)}

    def _group(self, slot: Slot, group: Any) -> int:
        if isinstance(group, bool) or not isinstance(group, int) or group < 1 or slot.shape[1] % group:
            raise self._fail(f"tensor {slot.name!r} has groups of {group!r} columns where a divisor of {slot.shape[1]} must be")
        return group

    def _take_ternary(self, slot: Slot, facts: dict[str, Any], raw: np.ndarray) -> None:
        stored = StoredMatrix(slot, facts["parts"], PACKINGS[facts["packing"]], self.order, raw)
        problem = stored.problem()
        if problem is not None:
            raise self._fail(problem)
        self._matrices |= dict.fromkeys((name for name, _ in slot.parts), stored)


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
