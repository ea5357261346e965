"""The checkpoints that are compared: what is common to their tests."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoConfig, BitNetConfig, PreTrainedConfig

from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.model import Model
from tritloom.sim.golden import NumpyAccelerator

from .comparison import Comparison, compare
from .reference import Reference, write_checkpoint

__all__ = ["DIVIDING", "MULTIPLYING", "ONLINE", "Case", "compare_case", "sizes"]

MULTIPLYING = {"linear_class": "autobitlinear", "quantization_mode": "offline"}
DIVIDING = {"linear_class": "bitlinear", "quantization_mode": "offline"}
ONLINE = {"linear_class": "autobitlinear", "quantization_mode": "online"}

_VOCABULARY = 300


def sizes(hidden: int, ffn: int, layers: int, heads: int, kv_heads: int, **others: Any) -> dict[str, Any]:
    """Fields of a transformers config."""
    return {"hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "vocab_size": _VOCABULARY, "max_position_embeddings": 512, "tie_word_embeddings": True, "bos_token_id": 0, "eos_token_id": 1} | others  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A checkpoint; see `write_checkpoint`.

    Parameters
    ----------
    seed
        Of weights and tokens.
    sizes
        Fields of the config; see `sizes`.
    quantization
        Fields of its ``quantization_config``.
    stored
        How the matrices lie.
    dtype
        Of what lies as floats.
    kind
        The config's class, and with it the architecture.
    old_spelling
        Whether ``config.json`` is spelled as transformers 4 did, and as most checkpoints on the hub are: ``rope_theta`` in the open.
    """

    seed: int
    sizes: dict[str, Any]
    quantization: dict[str, Any]
    stored: str
    dtype: torch.dtype = torch.float32
    kind: type[PreTrainedConfig] = BitNetConfig
    old_spelling: bool = False

    def write(self, folder: Path) -> Model:
        """Write the checkpoint, and give it back as our model file has it."""
        write_checkpoint(folder, self.kind(**self.sizes), self.quantization, self.seed, self.stored, self.dtype)
        if self.old_spelling:
            _respell(folder / "config.json")
        Tokenizer(models.BPE({f"t{i}": i for i in range(_VOCABULARY)}, [])).save(str(folder / "tokenizer.json"))
        convert(open_source(folder), folder / "model.trit")
        return Model.load(folder / "model.trit")


def compare_case(case: Case, folder: Path, sequences: int, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> Comparison:
    """Both sides' logits of random sequences.

    Parameters
    ----------
    case
        The checkpoint.
    folder
        Where it is written.
    sequences
        How many.
    calls
        Tokens that are taken in at a time, the same on both sides. One call is a prefill without a cache on transformers' side.
    """
    model, reference = case.write(folder), Reference(folder)
    ids = np.random.default_rng(case.seed).integers(0, _VOCABULARY, (sequences, sum(calls)))
    expected, seen = reference.prefill(ids) if len(calls) == 1 else reference.steps(ids, calls)
    found = compare(model, NumpyAccelerator(), ids, expected, seen, calls, monkeypatch)
    print(f"seed {case.seed}, calls of {calls[0]}: {found}")
    return found


def _respell(path: Path) -> None:
    values = json.loads(path.read_text())
    values["rope_theta"] = values.pop("rope_parameters")["rope_theta"]
    path.write_text(json.dumps(values))
    assert AutoConfig.from_pretrained(path.parent).rope_parameters["rope_theta"] == values["rope_theta"]
