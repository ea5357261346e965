"""The named recipes of `tritloom train`: a model's shape and everything that decides what training makes of it.

They are data, and import no PyTorch, so that the command line can list them where it is not installed. The recipe of a shipped
model is its preset: running it again with its default seed gives that model.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from tritloom.host.errors import UnknownNameError
from tritloom.host.model.config import ModelConfig

__all__ = ["PRESETS", "Phase", "Preset", "preset_named"]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of the steps with one batch shape.

    Parameters
    ----------
    share : float
        Part of all steps, above 0; the shares of a preset add up to 1.
    batch : int
        Sequences a step.
    block : int
        Characters a sequence, at most the model's context.
    """

    share: float
    batch: int
    block: int


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One recipe.

    Parameters
    ----------
    name, summary : str
        What it is called, and one line about it.
    hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings : int
        The model, as in `ModelConfig`.
    steps : int
        Optimiser steps unless the caller says otherwise.
    phases : tuple of Phase
        Batch shapes, in order. Short blocks first: they cost less and learn faster; at full learning rate long ones diverge.
    learning_rate : float
        Peak, reached after `warmup` steps, then a cosine down to `final_share` of it at the last step.
    warmup : int
        Steps of linear rise.
    final_share : float
        Last learning rate as a part of the peak.
    weight_decay, weight_decay_share : float
        AdamW's decay of the ternary matrices' master weights, and for which first part of the steps; 0 afterwards, so that trits settle.
    betas : tuple of float
        AdamW's.
    clip : float
        Largest norm of all gradients together.
    weight_std, embedding_std : float
        Where the weights start.
    precision : str
        ``"bfloat16"`` or ``"float32"``: what training multiplies whole numbers in (evaluation is always float32).
    held_out : float
        Last part of the text, kept for evaluation.
    seed : int
        Unless the caller says otherwise.
    evaluate_every, save_every : int
        Steps between evaluations, and between checkpoints.
    """

    name: str
    summary: str
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    max_position_embeddings: int
    steps: int
    phases: tuple[Phase, ...]
    learning_rate: float = 4e-3
    warmup: int = 150
    final_share: float = 0.02
    weight_decay: float = 0.1
    weight_decay_share: float = 0.5
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    weight_std: float = 0.04
    embedding_std: float = 0.1
    precision: str = "bfloat16"
    held_out: float = 0.1
    seed: int = 1
    evaluate_every: int = 2000
    save_every: int = 500

    def config(self, vocab_size: int) -> ModelConfig:
        """The model's configuration for a vocabulary of that size."""
        return ModelConfig(
            hidden_size=self.hidden_size,
            intermediate_size=self.intermediate_size,
            num_hidden_layers=self.num_hidden_layers,
            num_attention_heads=self.num_attention_heads,
            num_key_value_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            vocab_size=vocab_size,
            max_position_embeddings=self.max_position_embeddings,
        )

    def phase_at(self, step: int, steps: int) -> Phase:
        """The phase that step number `step` (from 0) of `steps` belongs to."""
        ends = accumulate(phase.share for phase in self.phases)
        return next((phase for phase, end in zip(self.phases, ends, strict=True) if step < round(end * steps)), self.phases[-1])


def preset_named(name: str) -> Preset:
    """Find a preset.

    Raises
    ------
    UnknownNameError
        There is none of that name; the nearest ones are given.
    """
    if name not in PRESETS:
        raise UnknownNameError("training preset", name, PRESETS)
    return PRESETS[name]


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="nano",
            summary="character model of 491,520 ternary weights, which fit 1 Mbit at 2 bits; about 35 minutes on one core",
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=256,
            steps=48_000,
            phases=(Phase(share=0.6, batch=8, block=128), Phase(share=0.4, batch=4, block=256)),
        ),
        Preset(
            name="pico",
            summary="character model of 9,216 ternary weights, trained in seconds, to try things out",
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            max_position_embeddings=64,
            steps=300,
            phases=(Phase(share=0.6, batch=8, block=32), Phase(share=0.4, batch=4, block=64)),
            warmup=20,
            precision="float32",
            evaluate_every=100,
            save_every=100,
        ),
    )
}
