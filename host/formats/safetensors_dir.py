"""A Hugging Face checkpoint: a folder of ``config.json``, ``tokenizer.json`` and one or more ``*.safetensors``.

The library checks each file's header; tensors are then mapped one by one, because numpy has no bfloat16 that the library could return.

Packed matrices are uint8 ``(ceil(N / 4), K)``: bits ``2 i + 1 .. 2 i`` of row r hold trit + 1 of the matrix's row ``r + i * ceil(N / 4)``, as
transformers' BitNet integration packs them; a ``weight_scale`` of one value stands beside.

1bitLLM's checkpoints are read under transformers' names, and the RoPE frequencies that old ones hold must be those of their config.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.hf_config import read_config, read_json
from tritloom.host.formats.hf_tokenizer import read_tokenizer
from tritloom.host.formats.source import Source, check_layers, missing_library
from tritloom.host.formats.ternarise import NotTernaryError, absmean, exact_ternary, widen
from tritloom.host.model.file_writer import Tensor
from tritloom.host.model.floats import FloatTensor
from tritloom.host.model.ops import RopeTable
from tritloom.host.trits import Ternary, is_scale

__all__ = ["SafetensorsDir"]

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_FLOATS = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_TYPES = {**_FLOATS, "U8": np.dtype("u1")}
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_OLD_NAMES = {".self_attn.inner_attn_ln.weight": ".self_attn.attn_sub_norm.weight", ".mlp.ffn_layernorm.weight": ".mlp.ffn_sub_norm.weight"}
_FREQUENCIES = ".self_attn.rotary_emb.inv_freq"


class _Stored(NamedTuple):
    """Where a tensor lies, and as what."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int


class SafetensorsDir(Source):
    """A Hugging Face folder. Config, headers, names, shapes and types are checked here; values when a tensor is asked for.

    Parameters
    ----------
    path
        The folder.
    quantize
        ``"absmean"`` to quantise float matrices of which the config does not say that they are to be.
    tokenizer
        A ``tokenizer.json`` to take in place of the folder's.

    Raises
    ------
    UnsupportedCheckpointError
        On an architecture, option or type that tritloom does not know, by name.
    CheckpointError
        When something is missing, damaged or does not fit together.
    """

    def __init__(self, path: Path, quantize: str | None = None, tokenizer: Path | None = None) -> None:
        self.path = path
        self.config, self._quantization = read_config(path / "config.json")
        self._quantize = quantize
        self._read: Counter[str] = Counter()
        self._stored = _read_headers(path)
        check_layers(self.config, len(self._stored), path)
        self._check_frequencies()
        self._check()
        self.tokenizer = read_tokenizer(tokenizer or path / "tokenizer.json", self.config.vocab_size, _token_ids(path))
        self.facts = {"source": path.resolve().name, "format": "safetensors", "matrices": self._read}

    def tensor(self, name: str) -> Tensor:
        shapes = {matrix: (n, k) for matrix, n, k in self.config.matrices()}
        if name in shapes:
            return self._ternary(name, shapes[name])
        return self._table(name) if len(self._stored[name].shape) == 2 else self._floats(name)

    def _table(self, name: str) -> FloatTensor:
        """Embedding or head, in the checkpoint's own type."""
        tensor = FloatTensor(np.asarray(self._map(name)), _NAMES[self._stored[name].dtype])
        if not tensor.is_finite():
            raise self._fail(name, "holds infinities or NaN")
        return tensor

    def _fail(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"tensor {name!r} in {self._stored[name].path} {what}")

    def _check_frequencies(self) -> None:
        """RoPE frequencies say what the config says, and are left out."""
        names = [name for name in self._stored if name.endswith(_FREQUENCIES)]
        expected = RopeTable(self.config.head_dim, self.config.rope_theta, self.config.rope_scaling).frequencies if names else np.empty(0)
        for name in names:
            stored = self._stored[name]
            # Rounded to as little as bfloat16, float16's smallest included.
            if stored.dtype not in _FLOATS or stored.shape != expected.shape or not np.allclose(self._rows(name, 0, len(expected)), expected, 1e-2, 1e-6):
                raise self._fail(name, "holds other frequencies than config.json's RoPE has")
            del self._stored[name]

    def _check(self) -> None:
        """Names, shapes and types are those of the config, and nothing is left over."""
        stored, matrices = self._stored, {name: (n, k) for name, n, k in self.config.matrices()}
        expected: dict[str, tuple[int, ...]] = {**dict(self.config.float_tensors()), **matrices}
        if self.config.tie_word_embeddings and _HEAD in stored:
            expected[_HEAD] = expected[_EMBEDDING]
        missing = [name for name in expected if name not in stored]
        if missing:
            raise CheckpointError(f"the checkpoint {self.path} lacks the tensor {missing[0]!r} ({len(missing)} of {len(expected)} are missing)")
        scales = {_scale_name(name) for name in matrices}
        surplus = sorted(set(stored) - set(expected) - scales)
        if surplus:
            raise UnsupportedCheckpointError(
                f"the checkpoint {self.path} has the tensor {surplus[0]!r}, which its config does not ask for: it would be left out of what the model computes"
            )
        for name, shape in expected.items():
            packed = name in matrices and stored[name].dtype == "U8"
            if stored[name].dtype not in (_TYPES if name in matrices else _FLOATS):
                kinds = ", ".join(_TYPES if name in matrices else _FLOATS)
                raise UnsupportedCheckpointError(
                    f"tensor {name!r} in {stored[name].path} is of the type {stored[name].dtype}, and tritloom reads {kinds} there"
                )
            needed = (-(-shape[0] // 4), shape[1]) if packed else shape
            if stored[name].shape != needed:
                raise self._fail(name, f"has the shape {stored[name].shape} where the config asks for {needed}")
            if packed:
                self._check_packed(name)
        for name in scales & set(stored):
            if stored[name].dtype not in _FLOATS or stored[name].shape not in ((), (1,)):
                raise UnsupportedCheckpointError(
                    f"tensor {name!r} in {stored[name].path} is {stored[name].dtype} {stored[name].shape}, and tritloom runs one float scale a matrix"
                )
        if self.config.tie_word_embeddings and _HEAD in stored and not self._same(_EMBEDDING, _HEAD):
            raise CheckpointError(f"the checkpoint {self.path} ties the head to the embedding and holds another {_HEAD!r}: one of both is wrong")

    def _check_packed(self, name: str) -> None:
        if self._quantization is None:
            raise self._fail(name, "is packed, and config.json has no quantization_config to say what its scale means")
        if self._quantization.online:
            raise self._fail(name, "is packed, and config.json asks for quantization_mode 'online', which is for master weights")
        if _scale_name(name) not in self._stored:
            raise self._fail(name, f"is packed, and {_scale_name(name)!r} is missing")

    def _same(self, one: str, other: str) -> bool:
        rows = self._stored[one].shape[0]
        return all(np.array_equal(self._rows(one, at, at + 1024), self._rows(other, at, at + 1024)) for at in range(0, rows, 1024))

    def _map(self, name: str) -> np.ndarray:
        """A tensor as it is stored; mapped anew each time, so that what was read does not stay in memory."""
        path, dtype, shape, offset = self._stored[name]
        return np.memmap(path, _TYPES[dtype], "r", offset, shape or (1,))

    def _rows(self, name: str, start: int, stop: int) -> np.ndarray:
        return widen(np.asarray(self._map(name)[start:stop]), self._stored[name].dtype)

    def _floats(self, name: str) -> np.ndarray:
        # Block by block: widening a bfloat16 embedding at once would hold it several times.
        values = np.empty(self._stored[name].shape, np.float32)
        step = max(1, (1 << 22) // max(1, values[:1].size))
        for at in range(0, len(values), step):
            values[at : at + step] = self._rows(name, at, at + step)
            if not np.isfinite(values[at : at + step]).all():
                raise self._fail(name, "holds infinities or NaN")
        matrix, quantization = f"{name.removesuffix('.bias')}.weight", self._quantization
        offline = quantization is not None and not quantization.online and not quantization.reciprocal
        if offline and name.endswith(".bias") and _scale_name(matrix) in self._stored:
            # transformers' AutoBitLinear multiplies by the scale after the bias is added, its BitLinear divides before.
            values *= np.float32(self._scale(matrix))
        return values

    def _ternary(self, name: str, shape: tuple[int, int]) -> Ternary:
        if self._stored[name].dtype == "U8":
            self._read["packed"] += 1
            return Ternary(self._unpack(name, shape[0]), self._scale(name))

        def rows(start: int, stop: int) -> np.ndarray:
            return self._rows(name, start, stop)

        has_scale = _scale_name(name) in self._stored
        if has_scale and (self._quantization is None or self._quantization.online):
            raise self._fail(_scale_name(name), "is a scale, and config.json does not ask for quantization_mode 'offline', which alone has one")
        try:
            if self._quantization is not None and self._quantization.online:
                self._read["absmean"] += 1
                return absmean(shape, rows)
            try:
                found = exact_ternary(shape, rows)
            except NotTernaryError:
                if has_scale or self._quantize is None:
                    raise
                self._read["absmean by option"] += 1
                return absmean(shape, rows)
        except NotTernaryError as error:
            raise self._not_ternary(name, error, has_scale) from error
        self._read["ternary floats" if found.group is None else f"ternary floats in groups of {found.group}"] += 1
        if not has_scale:
            return found
        others = np.unique(found.scale)
        if others.tolist() != [1.0]:
            raise self._fail(name, f"holds {others[others != 1][0]:g} where, beside a scale, only -1, 0 and 1 may be")
        return Ternary(found.trits, self._scale(name))

    def _not_ternary(self, name: str, error: NotTernaryError, has_scale: bool) -> CheckpointError:
        if has_scale or "infinities" in str(error):
            return self._fail(name, f"is not ternary: it holds {error}")
        return self._fail(
            name, f"is not ternary: it holds {error}; if they are master weights, --quantize absmean makes them ternary, and if the model "
            "was not trained for that it will write nonsense")

    def _unpack(self, name: str, n: int) -> np.ndarray:
        packed = self._map(name)
        if (packed & (packed >> 1) & 0x55).any():
            raise self._fail(name, "holds the code 11, which is no ternary weight")
        quarter = len(packed)
        trits = np.empty((n, packed.shape[1]), np.int8)
        for i in range(4):
            part = trits[i * quarter : (i + 1) * quarter]
            codes = packed[: len(part)] >> 2 * i & 3
            part[:] = codes.view(np.int8)
            part -= 1
        return trits

    def _scale(self, matrix: str) -> float:
        """What a result is multiplied by."""
        name = _scale_name(matrix)
        stored = float(widen(np.asarray(self._map(name)), self._stored[name].dtype).reshape(-1)[0])
        if not is_scale(stored):
            raise self._fail(name, f"is the scale {stored!r} where a positive finite number must be")
        if not self._quantization.reciprocal:
            return stored
        scale = float(np.float32(1) / np.float32(stored))
        if not is_scale(scale):
            raise self._fail(name, f"is the scale {stored!r}, whose reciprocal float32 does not hold")
        return scale


def _scale_name(matrix: str) -> str:
    return f"{matrix}_scale"


def _read_headers(folder: Path) -> dict[str, _Stored]:
    """Every tensor of the folder by name."""
    if (folder / _INDEX).exists():
        placed = read_json(folder / _INDEX).get("weight_map")
        if not isinstance(placed, dict) or not placed or not all(isinstance(file, str) and Path(file).name == file for file in placed.values()):
            raise CheckpointError(f"{folder / _INDEX} must hold a weight_map from tensors to files of its folder")
    elif (folder / _SINGLE).exists():
        placed = None
    else:
        raise CheckpointError(f"the checkpoint {folder} has neither {_SINGLE} nor {_INDEX}: download it again, whole")
    stored: dict[str, _Stored] = {}
    for file in [_SINGLE] if placed is None else sorted(set(placed.values())):
        for name, entry in _read_header(folder / file).items():
            if name in stored:
                raise CheckpointError(f"tensor {name!r} is in two files of the checkpoint {folder}: {stored[name].path.name} and {file}")
            stored[name] = entry
    for name, file in (placed or {}).items():
        entry = stored.get(_new_name(name))
        if entry is None or entry.path.name != file:
            raise CheckpointError(f"tensor {name!r} is missing in {folder / file}, where {_INDEX} says it is")
    return stored


def _read_header(path: Path) -> dict[str, _Stored]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise missing_library("safetensors", "*.safetensors") from error
    try:
        with safe_open(path, "numpy"):    # it is whole, and its header is sound
            pass
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
    except FileNotFoundError as error:
        raise CheckpointError(f"the shard {path} is missing: download the checkpoint again, whole") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is truncated, damaged or no safetensors file ({error}): download it again") from error
    header.pop("__metadata__", None)
    return {_new_name(name): _Stored(path, entry["dtype"], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]) for name, entry in header.items()}


def _new_name(name: str) -> str:
    for old, new in _OLD_NAMES.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _token_ids(folder: Path) -> dict[str, Any]:
    """Where texts begin and end: what ``generation_config.json`` says, and else ``config.json``."""
    values = read_json(folder / "config.json")
    if (folder / "generation_config.json").exists():
        values |= read_json(folder / "generation_config.json")
    ids = {"start": values.get("bos_token_id"), "end": values.get("eos_token_id")}
    if (folder / "tokenizer_config.json").exists():
        settings = read_json(folder / "tokenizer_config.json")
        ids["chat_template"] = _default_template(settings.get("chat_template"))
        # Older files keep more than its text about a token.
        named = {name: token.get("content") if isinstance(token, dict) else token for name, token in settings.items() if name.endswith("_token")}
        ids["special_tokens"] = {name: text for name, text in named.items() if isinstance(text, str)}
    template = folder / "chat_template.jinja"    # where transformers writes it since 4.53
    if template.exists():
        try:
            ids["chat_template"] = template.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{template} cannot be read: {error}") from error
    return ids


def _default_template(templates: Any) -> Any:
    """Of several templates, each a ``name`` and a ``template``, the one for plain conversations."""
    if isinstance(templates, list) and all(isinstance(one, dict) for one in templates):
        return next((one.get("template") for one in templates if one.get("name") == "default"), None)
    return templates
