"""A GGUF checkpoint of a BitNet or a relative, as llama.cpp and bitnet.cpp write them.

Every type that the `gguf` library can dequantise is read, and Q1_0. A matrix must then hold one magnitude and 0, in all or in each group of columns: so it is,
exactly, with TQ1_0, TQ2_0, Q1_0 and floats that were made from a ternary model. I2_S is unpacked here. A tensor ``*.scale`` beside a matrix multiplies it, as in llama.cpp's graph.

RoPE is the half-split form, in which llama.cpp runs BitNet and Qwen3 too. Its architecture ``llama`` turns neighbours instead, so its converters
permute the rows of q and k; here they are put back.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError, UsageError
from tritloom.host.formats import i2s, q1
from tritloom.host.formats.gguf_config import architecture, gguf_config
from tritloom.host.formats.gguf_reader import StoredTensor, dequantize, read_gguf
from tritloom.host.formats.gguf_tokenizer import gguf_tokenizer
from tritloom.host.formats.source import Source, check_layers
from tritloom.host.formats.ternarise import NotTernaryError, absmean, exact_ternary
from tritloom.host.model.file_writer import Tensor
from tritloom.host.model.floats import FLOAT_TYPES, FloatTensor
from tritloom.host.model.rope_scaling import RopeScaling
from tritloom.host.trits import Ternary, are_scales, is_scale

__all__ = ["GgufFile"]

_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm", "post_attention_layernorm": "ffn_norm", "mlp.ffn_sub_norm": "ffn_sub_norm",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
}  # fmt: skip
_OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
_DIVISORS = "rope_freqs.weight"

_FLOATS = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}

#: Values dequantised at a time: the library takes about 20 bytes for each.
_BLOCK = 1 << 20


class GgufFile(Source):
    """A GGUF file. Metadata, names, shapes and types are checked here; values when a tensor is asked for.

    Parameters
    ----------
    path
        The file.
    quantize
        ``"absmean"`` to quantise matrices that are not ternary.
    tokenizer
        A ``tokenizer.json`` to take in place of the file's metadata.
    i2s_layout
        ``"x86"`` or ``"arm"``, for matrices of the type I2_S.

    Raises
    ------
    UnsupportedCheckpointError
        On an architecture, option, tokenizer or type that tritloom does not know, by name; or when I2_S's layout must be told.
    CheckpointError
        When something is missing, damaged or does not fit together.
    """

    def __init__(self, path: Path, quantize: str | None = None, tokenizer: Path | None = None, i2s_layout: str | None = None) -> None:
        self.path = path
        values, self._stored = read_gguf(path)
        self._interleaved = architecture(path, values) == "llama"    # another kind of file should hear what it is, rather than what it lacks
        embedding = self._stored.get("token_embd.weight")
        if embedding is None or len(embedding.shape) != 2:
            found = "none" if embedding is None else f"one of the shape {embedding.shape}"
            raise CheckpointError(f"{path} must have a matrix 'token_embd.weight', and there is {found}")
        self.config = gguf_config(path, values, embedding.shape[0], self._stored)
        check_layers(self.config, len(self._stored), path)
        if _DIVISORS in self._stored:
            self._take_divisors()
        self._places = {name: _place(name) for name in self.names}
        self._matrices = {name: (n, k) for name, n, k in self.config.matrices()}
        self._quantize = quantize
        self._check()
        self._layout = self._choose_layout(i2s_layout)
        self._read: Counter[str] = Counter()
        self.tokenizer = gguf_tokenizer(path, values, self.config.vocab_size, tokenizer)
        self.facts = {"source": path.name, "format": "gguf", "matrices": self._read}

    def tensor(self, name: str) -> Tensor:
        stored = self._stored[self._places[name]]
        if name in self._matrices:
            matrix = self._ternary(name, self._matrices[name], stored)
            scale = self._in_halves(name, matrix.scale) if isinstance(matrix.scale, np.ndarray) else matrix.scale
            return Ternary(self._in_halves(name, matrix.trits), scale)
        return self._table(name, stored) if len(stored.shape) == 2 else self._in_halves(name, self._floats(name, stored, np.float32))

    def _table(self, name: str, stored: StoredTensor) -> FloatTensor:
        """Embedding or head, in the file's own type where that is a float's."""
        dtype = _FLOATS.get(stored.type)
        if dtype is None:    # dequantised; Q1_0's values are float16's
            wide = self._floats(name, stored, np.float16 if stored.type == q1.NAME else np.float32)
            return FloatTensor(wide, str(wide.dtype))
        tensor = FloatTensor(np.asarray(self._map(stored)).view(FLOAT_TYPES[dtype]).reshape(stored.shape), dtype)
        if not tensor.is_finite():
            raise self._fail(self._places[name], "holds infinities or NaN")
        return tensor

    def _floats(self, name: str, stored: StoredTensor, dtype: type) -> np.ndarray:
        values = np.empty(stored.shape, dtype)
        flat = values.reshape(-1, stored.shape[-1])
        step = max(1, _BLOCK // flat.shape[1])
        for at in range(0, len(flat), step):
            flat[at : at + step] = self._rows(stored, at, min(at + step, len(flat)))
            if not np.isfinite(flat[at : at + step]).all():
                raise self._fail(self._places[name], "holds infinities or NaN")
        return values

    def _fail(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"tensor {name!r} in {self.path} {what}")

    def _in_halves(self, name: str, values: np.ndarray) -> np.ndarray:
        """Rows of a q or k whose heads hold each pair side by side, with all first elements of the pairs before all second ones."""
        if not self._interleaved or ".q_proj." not in name and ".k_proj." not in name:
            return values
        pairs = values.reshape(-1, self.config.head_dim // 2, 2, *values.shape[1:])
        return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(values.shape)

    def _take_divisors(self) -> None:
        """What llama.cpp divides RoPE's frequencies by in its architecture ``llama``, as its converter works it out for Llama 3.1.

        Numbers that are all 1 change nothing anywhere.
        """
        stored, pairs = self._stored[_DIVISORS], self.config.head_dim // 2
        if stored.type != "F32" or stored.shape != (pairs,):
            raise self._fail(_DIVISORS, f"is {stored.type} {stored.shape} where F32 ({pairs},) must be, one number a pair of a head's elements")
        divisors = tuple(self._rows(stored, 0, 1)[0].tolist())
        if set(divisors) != {1.0}:
            if not self._interleaved:
                raise UnsupportedCheckpointError(f"{self.path} has the tensor {_DIVISORS!r}, which tritloom follows only for the architecture 'llama'")
            if self.config.rope_scaling is not None:
                raise UnsupportedCheckpointError(f"{self.path} has both rope.scaling and {_DIVISORS!r}, which tritloom does not support")
            try:
                self.config = replace(self.config, rope_scaling=RopeScaling(rope_type="divisors", divisors=divisors))
            except UsageError as error:
                raise self._fail(_DIVISORS, f"cannot be followed: {error}") from error
        del self._stored[_DIVISORS]

    def _check(self) -> None:
        """Names, shapes and types are those of the config, and nothing is left over."""
        shapes: dict[str, tuple[int, ...]] = {**dict(self.config.float_tensors()), **self._matrices}
        missing = [place for place in self._places.values() if place not in self._stored]
        if missing:
            raise CheckpointError(f"{self.path} lacks the tensor {missing[0]!r} ({len(missing)} of {len(shapes)} are missing)")
        scales = {_scale_place(self._places[name]) for name in self._matrices}
        surplus = sorted(set(self._stored) - set(self._places.values()) - scales)
        if surplus:
            raise UnsupportedCheckpointError(f"{self.path} has the tensor {surplus[0]!r}, which tritloom does not know there: it would be left out of what the model computes")
        for name, place in self._places.items():
            stored = self._stored[place]
            if stored.shape != shapes[name]:
                raise self._fail(place, f"has the shape {stored.shape} where the metadata ask for {shapes[name]}")
            if stored.type == "I2_S" and name not in self._matrices:
                raise self._fail(place, "is of the type I2_S, which is for matrices")
            if stored.type != "I2_S":
                self._try_type(place, stored)
        for place in scales & set(self._stored):
            if self._stored[place].type != "F32" or self._stored[place].shape != (1,):
                raise UnsupportedCheckpointError(f"tensor {place!r} in {self.path} is {self._stored[place].type} {self._stored[place].shape}, and tritloom runs one float scale a matrix")

    def _try_type(self, place: str, stored: StoredTensor) -> None:
        try:
            self._rows(stored, 0, 1)
        except NotImplementedError as error:
            raise UnsupportedCheckpointError(f"tensor {place!r} in {self.path} is of the type {stored.type}, which the gguf library does not dequantise") from error

    def _choose_layout(self, given: str | None) -> str | None:
        """In which order I2_S tensors lie: as told, or as only can be."""
        widths = sorted({stored.shape[1] for stored in self._stored.values() if stored.type == "I2_S"})
        if not widths:
            if given is not None:
                raise CheckpointError(f"{self.path} has no tensors of the type I2_S: leave --i2s-layout out")
            return None
        possible = [layout for layout, block in i2s.LAYOUTS.items() if not any(width % block for width in widths)]
        if not possible or (given is not None and given not in possible):
            raise CheckpointError(f"{self.path} has I2_S matrices of {widths} columns, which the layout {given or 'x86 or arm'} cannot hold: its blocks are of 128 (x86) or 64 (arm)")
        if given is None and len(possible) > 1:
            raise UnsupportedCheckpointError(
                f"{self.path} has I2_S matrices, and a GGUF file does not say in which of two orders: give --i2s-layout x86 "
                "(Microsoft's published files, and what x86 machines write) or --i2s-layout arm"
            )
        return given or possible[0]

    def _map(self, stored: StoredTensor) -> np.ndarray:
        """A tensor's bytes; mapped anew each time, so that what was read does not stay in memory."""
        return np.memmap(self.path, np.uint8, "r", stored.offset, (stored.nbytes,))

    def _rows(self, stored: StoredTensor, start: int, stop: int) -> np.ndarray:
        rows = self._map(stored).reshape(-1, stored.nbytes // (int(np.prod(stored.shape)) // stored.shape[-1]))
        # A copy: the library looks at types by their alignment, which a file need not give.
        with np.errstate(invalid="ignore", over="ignore"):
            return dequantize(np.array(rows[start:stop]), stored.type)

    def _ternary(self, name: str, shape: tuple[int, int], stored: StoredTensor) -> Ternary:
        place = self._places[name]
        if stored.type == "I2_S":
            try:
                trits, scale = i2s.unpack_i2s(np.asarray(self._map(stored)), shape, self._layout or "")
            except CheckpointError as error:
                raise self._fail(place, str(error)) from error
            self._read["I2_S"] += 1
            return Ternary(trits, self._scale(place, scale))

        def rows(start: int, stop: int) -> np.ndarray:
            return self._rows(stored, start, stop)

        try:
            found = exact_ternary(shape, rows)
        except NotTernaryError as error:
            if self._quantize is None or "infinities" in str(error) or _scale_place(place) in self._stored:
                offer = "" if "infinities" in str(error) else ("; --quantize absmean makes it ternary, and if the model was not trained for that it "
                                                               "will write nonsense")
                raise self._fail(place, f"({stored.type}) is not ternary: it holds {error}{offer}") from error
            self._read["absmean by option"] += 1
            return absmean(shape, rows)
        self._read[stored.type if found.group is None else f"{stored.type} in groups of {found.group}"] += 1
        return Ternary(found.trits, self._scale(place, found.scale))

    def _scale(self, place: str, scale: float | np.ndarray) -> float | np.ndarray:
        """A matrix's own scale, or scales, times the one that stands beside it, if there is one."""
        if not isinstance(scale, np.ndarray) and not is_scale(scale):
            raise self._fail(place, f"has the scale {scale!r} where a positive finite number must be")
        beside = self._stored.get(_scale_place(place))
        if beside is None:
            return scale
        factor = self._map(beside).view("<f4")[0]
        with np.errstate(over="ignore", invalid="ignore"):
            product = np.asarray(scale, np.float32) * factor
        if not is_scale(float(factor)) or not are_scales(product):
            raise self._fail(_scale_place(place), f"is the scale {float(factor)!r} where a positive finite number must be")
        return product if isinstance(scale, np.ndarray) else float(product)


def _place(name: str) -> str:
    """GGUF's name of a tensor."""
    if name in _OUTER:
        return _OUTER[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_NAMES[part]}.{kind}"


def _scale_place(place: str) -> str:
    return f"{place.removesuffix('.weight')}.scale"

