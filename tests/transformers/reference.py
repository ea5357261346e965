"""transformers' side: a checkpoint as it writes them, and the model that it makes of one, watched at every BitLinear."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.integrations import bitnet
from transformers.utils.quantization_config import BitNetQuantConfig

__all__ = ["MASTERS", "PACKED", "TERNARY", "Activations", "Reference", "write_checkpoint"]

PACKED, TERNARY, MASTERS = "packed", "ternary floats", "masters"


def write_checkpoint(folder: Path, config: PreTrainedConfig, quantization: dict[str, Any], seed: int, stored: str, dtype: torch.dtype = torch.float32) -> None:
    """A checkpoint with random weights: transformers' own files.

    Parameters
    ----------
    folder
        Where ``config.json`` and ``model.safetensors`` are written.
    config
        The shape, and with it the architecture.
    quantization
        Fields of `BitNetQuantConfig`.
    seed
        Of the weights. They are such that the layers add about as much to the residual stream as there is, so that the logits depend on
        every layer and on every position, and spread by about 2.
    stored
        `MASTERS`: float matrices that the model quantises itself; `PACKED`: four trits a byte by transformers' `pack_weights`, with a scale, which is how
        BitNet b1.58 2B-4T lies on the hub; `TERNARY`: -1, 0 and 1 as floats, with a scale.
    dtype
        Of what is stored as floats.
    """
    generator = torch.Generator().manual_seed(seed)
    # Without quantization_config: transformers' plain linear layers are what the quantised ones take the place of.
    model = AutoModelForCausalLM.from_config(config)
    tensors = {}
    for name, parameter in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        shape = parameter.shape
        values = torch.randn(shape, generator=generator)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * values
        elif name.endswith(".bias"):
            values *= 0.1
        elif name in ("model.embed_tokens.weight", "lm_head.weight"):
            values *= 2 / shape[1] ** 0.5
        else:
            values *= 1.5 / shape[1] ** 0.5
        tensors[name] = values
    if quantization.get("use_rms_norm"):
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            tensors[name.replace(".weight", ".rms_norm.weight")] = 1 + 0.2 * torch.randn(tensors[name].shape[1], generator=generator)
    tensors = {name: values.to(dtype) for name, values in tensors.items()}
    if stored != MASTERS:
        for name in [name for name in tensors if name.endswith("_proj.weight")]:
            trits, scale = _ternary(tensors[name])
            reciprocal = quantization.get("linear_class", "bitlinear") == "bitlinear"
            tensors[f"{name}_scale"] = (1 / scale if reciprocal else scale).reshape(1).to(dtype)
            tensors[name] = bitnet.pack_weights(trits) if stored == PACKED else trits.to(dtype)
    config.quantization_config = BitNetQuantConfig(**quantization)
    config.architectures = [type(model).__name__]
    config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _ternary(masters: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What `WeightQuant` makes of master weights: trits as floats, and what they are multiplied by."""
    scale = 1 / masters.float().abs().mean().clamp(min=1e-5)
    return (masters.float() * scale).round().clamp(-1, 1), 1 / scale


@dataclass
class Activations:
    """What went into one BitLinear: ``x`` ``(B, T, K)`` float32, ``q`` int8 of the same shape, ``s`` ``(B, T, 1)`` float32."""

    x: list[np.ndarray] = field(default_factory=list)
    q: list[np.ndarray] = field(default_factory=list)
    s: list[np.ndarray] = field(default_factory=list)

    def add(self, x: torch.Tensor, q: torch.Tensor, s: torch.Tensor) -> None:
        for parts, tensor in ((self.x, x), (self.q, q), (self.s, s)):
            parts.append(tensor.numpy().copy())

    def whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All calls' tokens behind one another."""
        return tuple(np.concatenate(parts, axis=1) for parts in (self.x, self.q, self.s))


class Reference:
    """transformers' model of a checkpoint in float32. In another type its products and norms would be rounded to that type, which says nothing about ours.

    Parameters
    ----------
    folder
        The checkpoint.
    attention
        transformers' name of the attention's implementation, or ``None`` for its own choice.
    """

    def __init__(self, folder: Path, attention: str | None = None) -> None:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
        # Of a quantised checkpoint in bfloat16, transformers 5.23 loads the linear layers in the type it is asked for and leaves embedding and norms as they are
        # stored; and its own `float` refuses quantised models.
        self.model = torch.nn.Module.float(model).eval()
        self.linears = {name: module for name, module in self.model.named_modules() if isinstance(module, bitnet.BitLinear | bitnet.AutoBitLinear)}
        plain = [name for name, module in self.model.named_modules() if type(module) is torch.nn.Linear]
        assert plain == ["lm_head"], "the reference must quantise every matrix but the head"
        for name, module in self.linears.items():
            assert getattr(module, "dtype", module.weight.dtype) == torch.float32, name

    def prefill(self, ids: np.ndarray) -> tuple[np.ndarray, dict[str, Activations]]:
        """All tokens at once: ``(B, T)`` integers to logits ``(B, T, vocab)`` and what went into every BitLinear."""
        with torch.inference_mode(), self._watched() as seen:
            logits = self.model(torch.from_numpy(ids), use_cache=False).logits
        return logits.numpy(), seen

    def steps(self, ids: np.ndarray, sizes: list[int]) -> tuple[np.ndarray, dict[str, Activations]]:
        """As `prefill`, so many tokens at a time, the keys and values before them from transformers' cache."""
        assert sum(sizes) == ids.shape[1]
        logits, cache, at = [], None, 0
        with torch.inference_mode(), self._watched() as seen:
            for size in sizes:
                out = self.model(torch.from_numpy(ids[:, at : at + size]), past_key_values=cache, use_cache=True)
                cache, at = out.past_key_values, at + size
                logits.append(out.logits.numpy())
        return np.concatenate(logits, axis=1), seen

    @contextmanager
    def _watched(self) -> Iterator[dict[str, Activations]]:
        """Records what the quantisers themselves return, and not what they should."""
        seen = {name: Activations() for name in self.linears}
        running: list[str] = []
        hooks = []
        for name, module in self.linears.items():
            hooks.append(module.register_forward_pre_hook(lambda *_, name=name: running.append(name)))
            if isinstance(module, bitnet.BitLinear):
                module.activation_quant = lambda x, quant=module.activation_quant: self._packed(seen[running[-1]], quant, x)
        kept, bitnet.ActQuant = bitnet.ActQuant, _Watch(bitnet.ActQuant, lambda: seen[running[-1]])
        try:
            yield seen
        finally:
            bitnet.ActQuant = kept
            for hook in hooks:
                hook.remove()
            for module in self.linears.values():
                module.__dict__.pop("activation_quant", None)

    @staticmethod
    def _packed(seen: Activations, quant: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        q, s = quant(x)
        assert q.dtype == torch.int8
        seen.add(x, q, s)
        return q, s


class _Watch:
    """Stands where the integration looks for `ActQuant`, which returns ``q / s``: by its formula both are had again, and checked."""

    def __init__(self, quant: Any, seen: Any) -> None:
        self._quant = quant
        self._seen = seen

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        fake = self._quant.apply(x)
        s = 127 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
        q = (x * s).round().clamp(-128, 127)
        assert torch.equal(fake, q / s), "the reference must multiply quantised activations"
        self._seen().add(x, q.to(torch.int8), s)
        return fake

