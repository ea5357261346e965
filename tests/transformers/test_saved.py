"""Checkpoints that transformers has loaded and written again, in shards: other files, the same model.

Transformers 5.23 cannot write those of the linear class ``autobitlinear`` in the mode ``offline``: it raises `NotImplementedError`.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, PreTrainedConfig

from tritloom.host.formats.convert import open_source
from tritloom.host.model.floats import FloatTensor
from tritloom.host.trits import Ternary

from .cases import DIVIDING, ONLINE, Case, sizes
from .reference import MASTERS, PACKED, Reference


@pytest.mark.parametrize("changes", [
    {"quantization": DIVIDING, "stored": PACKED},
    {"quantization": ONLINE, "stored": MASTERS},
    {"quantization": DIVIDING | {"use_rms_norm": True}, "stored": PACKED, "kind": LlamaConfig, "act": "silu"},
], ids=["packed", "masters", "packed, norms in the linear layers"])  # fmt: skip
def test_saved_again_it_is_the_same_model(changes: dict[str, Any], tmp_path: Path) -> None:
    act: str = changes.pop("act", "relu2")
    kind: type[PreTrainedConfig] = changes.pop("kind", Case.kind)
    first, again = tmp_path / "first", tmp_path / "again"
    case = Case(seed=31, sizes=sizes(64, 172, 2, 4, 2, tie_word_embeddings=False, hidden_act=act, rms_norm_eps=1e-5), kind=kind, **changes)
    first.mkdir()
    case.write(first)
    Reference(first).model.save_pretrained(again, max_shard_size="100KB")
    shutil.copy(first / "tokenizer.json", again)
    assert len(list(again.glob("*.safetensors"))) > 1
    assert "quantization_config" in json.loads((again / "config.json").read_text())

    ours, theirs = open_source(first), open_source(again)
    assert theirs.config == ours.config
    for name, expected in ours.tensors():
        found = theirs.tensor(name)
        if isinstance(expected, Ternary):
            assert np.array_equal(found.trits, expected.trits), name
            assert found.scale == expected.scale, name
        else:
            assert np.array_equal(_floats(found), _floats(expected)), name


def _floats(tensor: np.ndarray | FloatTensor) -> np.ndarray:
    return tensor.array() if isinstance(tensor, FloatTensor) else tensor


def test_our_trits_are_transformers(tmp_path: Path) -> None:
    """Master weights, quantised here and there: the very trits, and the scale but for the order in which the mean is summed."""
    case = Case(seed=32, sizes=sizes(96, 259, 2, 6, 2), quantization=ONLINE, stored=MASTERS)
    case.write(tmp_path)
    source, reference = open_source(tmp_path), Reference(tmp_path)
    for name, linear in reference.linears.items():
        found = source.tensor(f"{name}.weight")
        with torch.inference_mode():
            weight = linear.weight.float()
            scale = 1 / weight.abs().mean().clamp(min=1e-5)
            trits = (weight * scale).round().clamp(-1, 1)
        assert np.array_equal(found.trits, trits.numpy()), name
        assert found.scale == pytest.approx(1 / float(scale), rel=2**-22), name
