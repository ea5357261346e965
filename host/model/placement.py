"""Which of a model's matrices a device's weight store holds, before there is a device."""

from __future__ import annotations

from tritloom.host.model.config import ModelConfig
from tritloom.host.space import Space
from tritloom.rtl.geometry import Geometry

__all__ = ["fused_shapes", "resident_weights"]


def fused_shapes(config: ModelConfig) -> list[tuple[int, int]]:
    """``(N, K)`` of every matrix as the runtime loads it: those of one input as one, in the order in which they are loaded."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    layer = [(config.q_size + 2 * config.kv_size, hidden), (hidden, config.q_size), (2 * ffn, hidden), (hidden, ffn)]
    return layer * config.num_hidden_layers


def resident_weights(config: ModelConfig, geometry: Geometry) -> int:
    """How many of a model's ternary weights stay in the weight store; the others are streamed for every token.

    The driver places matrices first come, first served, each deeper one in parts along K; so does this.

    Parameters
    ----------
    config : ModelConfig
    geometry : Geometry
    """
    space, resident = Space(geometry.resident_words), 0
    for n, k in fused_shapes(config):
        for first in range(0, k, geometry.depth):
            part = min(geometry.depth, k - first)
            if space.take(geometry.words(n, part)) is not None:
                resident += n * part
    return resident
