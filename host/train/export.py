"""From the training graph to a model file: master weights become trits and a scale, the rest is copied as float32."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tritloom.host.model.file import Ternary, write_model
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.host.train.qat import BitLinear, BitNet, quantize_weights

__all__ = ["export_model", "model_tensors", "zero_share"]


def model_tensors(model: BitNet) -> dict[str, np.ndarray | Ternary]:
    """Every tensor of the model under its name, the BitLinears quantised as the training graph quantises them."""
    matrices = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, BitLinear)}
    tensors: dict[str, np.ndarray | Ternary] = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in matrices:
                trits, scale = quantize_weights(parameter)
                tensors[name] = Ternary(trits.to(torch.int8).numpy(), float(scale))
            else:
                tensors[name] = parameter.detach().numpy().copy()
    return tensors


def zero_share(model: BitNet) -> float:
    """The part of the ternary weights that is 0."""
    trits = [tensor.trits for tensor in model_tensors(model).values() if isinstance(tensor, Ternary)]
    return sum(int((t == 0).sum()) for t in trits) / sum(t.size for t in trits)


def export_model(model: BitNet, path: Path, *, chars: str, training: Mapping[str, Any]) -> None:
    """Write the model file (beside, then renamed).

    Parameters
    ----------
    model : BitNet
        The trained graph.
    path : Path
        ``*.trit``.
    chars : str
        The vocabulary, in the order of the embedding's rows.
    training : mapping
        Facts of the run, JSON values.
    """
    tokenizer = CharTokenizer(chars).to_dict()
    write_model(path, config=model.config, tokenizer=tokenizer, tensors=model_tensors(model), training=dict(training))
