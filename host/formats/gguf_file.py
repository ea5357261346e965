"""A GGUF checkpoint of a BitNet, as llama.cpp and bitnet.cpp write them.

Every type that the `gguf` library can dequantise is read, and a matrix must then hold one magnitude and 0: so it is with TQ1_0, TQ2_0 and floats that
were made from a ternary model, exactly. I2_S is unpacked here. A tensor ``*.scale`` beside a matrix multiplies it, as in llama.cpp's graph.

RoPE is the half-split form and no row is permuted: llama.cpp runs BitNet in the same form.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats import i2s
from tritloom.host.formats.gguf_config import architecture, gguf_config
from tritloom.host.formats.gguf_reader import StoredTensor, dequantize, read_gguf
from tritloom.host.formats.gguf_tokenizer import gguf_tokenizer
from tritloom.host.formats.source import Source, check_layers
from tritloom.host.formats.ternarise import NotTernaryError, absmean, exact_trits
from tritloom.host.trits import Ternary, is_scale

__all__ = ["GgufFile"]

_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "self_attn.attn_sub_norm": "attn_sub_norm", "post_attention_layernorm": "ffn_norm", "mlp.ffn_sub_norm": "ffn_sub_norm",
}  # fmt: skip
_OUTER = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}

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
        architecture(path, values)    # another kind of file should hear what it is, rather than what it lacks
        embedding = self._stored.get("token_embd.weight")
        if embedding is None or len(embedding.shape) != 2:
            found = "none" if embedding is None else f"one of the shape {embedding.shape}"
            raise CheckpointError(f"{path} must have a matrix 'token_embd.weight', and there is {found}")
        self.config = gguf_config(path, values, embedding.shape[0], "output.weight" not in self._stored)
        check_layers(self.config, len(self._stored), path)
        self._places = {name: _place(name) for name in self.names}
        self._matrices = {name: (n, k) for name, n, k in self.config.matrices()}
        self._quantize = quantize
        self._check()
        self._layout = self._choose_layout(i2s_layout)
        self._read: Counter[str] = Counter()
        self.tokenizer = gguf_tokenizer(path, values, self.config.vocab_size, tokenizer)
        self.facts = {"source": path.name, "format": "gguf", "matrices": self._read}

    def tensor(self, name: str) -> np.ndarray | Ternary:
        stored = self._stored[self._places[name]]
        if name in self._matrices:
            return self._ternary(name, self._matrices[name], stored)
        values = np.empty(stored.shape, np.float32)
        flat = values.reshape(-1, stored.shape[-1])
        step = max(1, _BLOCK // flat.shape[1])
        for at in range(0, len(flat), step):
            flat[at : at + step] = self._rows(stored, at, min(at + step, len(flat)))
            if not np.isfinite(flat[at : at + step]).all():
                raise self._fail(self._places[name], "holds infinities or NaN")
        return values

    def _fail(self, name: str, what: str) -> CheckpointError:
        return CheckpointError(f"tensor {name!r} in {self.path} {what}")

    def _check(self) -> None:
        """Names, shapes and types are those of the config, and nothing is left over."""
        shapes: dict[str, tuple[int, ...]] = {**dict(self.config.float_tensors()), **self._matrices}
        missing = [place for place in self._places.values() if place not in self._stored]
        if missing:
            raise CheckpointError(f"{self.path} lacks the tensor {missing[0]!r} ({len(missing)} of {len(shapes)} are missing)")
        scales = {_scale_place(self._places[name]) for name in self._matrices}
        surplus = sorted(set(self._stored) - set(self._places.values()) - scales)
        if surplus:
            kind = "biases are not supported" if surplus[0].endswith(".bias") else "it would be left out of what the model computes"
            raise UnsupportedCheckpointError(f"{self.path} has the tensor {surplus[0]!r}, which its architecture does not: {kind}")
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
            trits, magnitude = exact_trits(shape, rows)
        except NotTernaryError as error:
            if self._quantize is None or "infinities" in str(error) or _scale_place(place) in self._stored:
                offer = "" if "infinities" in str(error) else ("; tritloom runs one scale a matrix; --quantize absmean makes it ternary, and if the "
                                                               "model was not trained for that it will write nonsense")
                raise self._fail(place, f"({stored.type}) is not ternary: it holds {error}{offer}") from error
            self._read["absmean by option"] += 1
            return absmean(shape, rows)
        self._read[stored.type] += 1
        return Ternary(trits, self._scale(place, magnitude or 1.0))

    def _scale(self, place: str, scale: float) -> float:
        """A matrix's own scale times the one that stands beside it, if there is one."""
        if not is_scale(scale):
            raise self._fail(place, f"has the scale {scale!r} where a positive finite number must be")
        beside = self._stored.get(_scale_place(place))
        if beside is None:
            return scale
        factor = self._map(beside).view("<f4")[0]
        scale = float(np.float32(scale) * factor)
        if not is_scale(float(factor)) or not is_scale(scale):
            raise self._fail(_scale_place(place), f"is the scale {float(factor)!r} where a positive finite number must be")
        return scale


def _place(name: str) -> str:
    """GGUF's name of a tensor."""
    if name in _OUTER:
        return _OUTER[name]
    layer, rest = name.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def _scale_place(place: str) -> str:
    return f"{place.removesuffix('.weight')}.scale"

