"""The memory that a model asks for, by its sizes: weights where the array reads them, embedding, head and cache on the host."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from tritloom.host.model.cache import CACHE_KINDS, cache_bytes
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.floats import FLOAT_TYPES
from tritloom.host.trits import PACKINGS

__all__ = ["Needs"]


@dataclass(frozen=True)
class Needs:
    """What a model takes.

    Parameters
    ----------
    config : ModelConfig
    context : int
        Positions of the cache.
    sequences : int
        Caches.
    """

    config: ModelConfig
    context: int
    sequences: int = 1

    def weights(self, packing: str) -> int:
        """Bytes of the ternary weights, each row in whole bytes, as ``"2bit"`` or ``"base3"``."""
        return sum(n * PACKINGS[packing].row_bytes(k) for _, n, k in self.config.matrices())

    def table(self, dtype: str) -> int:
        """Bytes of the embedding, and of the head where that is another matrix; `dtype` is one of `FLOAT_TYPES`."""
        row = self.config.hidden_size * FLOAT_TYPES[dtype].itemsize + (4 if dtype == "int8" else 0)    # int8 has a scale a row
        return (1 if self.config.tie_word_embeddings else 2) * self.config.vocab_size * row

    def cache(self, kind: str) -> int:
        """Bytes of keys and values; `kind` is one of `CACHE_KINDS`."""
        return self.sequences * cache_bytes(self.config, self.context, kind)

    def position(self, kind: str) -> int:
        """Bytes of one position in all caches."""
        return self.sequences * cache_bytes(self.config, 1, kind)

    @property
    def vectors(self) -> int:
        """Bytes of norms and biases, float32."""
        return 4 * sum(prod(shape) for _, shape in self.config.float_tensors() if len(shape) == 1)

    def host(self, cache: str, table: str, packing: str = "2bit") -> int:
        """Bytes on the host: everything, since it keeps what it streams, and what it loads again after a reset."""
        return self.weights(packing) + self.table(table) + self.cache(cache) + self.vectors

    def as_json(self) -> dict[str, Any]:
        """All of it, in bytes."""
        return {
            "weights": {packing: self.weights(packing) for packing in PACKINGS}, "table": {dtype: self.table(dtype) for dtype in FLOAT_TYPES},
            "cache": {kind: self.cache(kind) for kind in CACHE_KINDS}, "vectors": self.vectors,
        }
