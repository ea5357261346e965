"""Small random models, made fresh for each test from a seed that the test names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, open_model, write_model
from tritloom.host.model.model import Model
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.sim.golden import NumpyAccelerator

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,!?'-ABCDEFGHIJKLMNOPQRSTUVWXYZ"

TINY = {
    "hidden_size": 12,
    "intermediate_size": 18,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 6,
    "vocab_size": 11,
    "max_position_embeddings": 24,
}


class WatchedAccelerator(NumpyAccelerator):
    """The golden model, which also notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.loaded: list[Any] = []
        self.calls: list[tuple[tuple[int, int], int]] = []

    @property
    def resident(self) -> list[Any]:
        """The matrices that have not been unloaded."""
        return [matrix for matrix in self.loaded if matrix.weights is not None]

    def load(self, w: np.ndarray) -> Any:
        assert w.dtype == np.int8
        self.loaded.append(super().load(w))
        return self.loaded[-1]

    def matmul(self, w: Any, x: np.ndarray) -> np.ndarray:
        assert w in self.resident
        assert x.dtype == np.int8
        self.calls.append((w.shape, len(x)))
        return super().matmul(w, x)


def random_tensors(config: ModelConfig, seed: int, group: int | None = None) -> dict[str, np.ndarray | Ternary]:
    """Every tensor `config` asks for: norms around 1, biases around 0, each matrix with a scale of its own (or one for each `group` columns of a
    row), and embeddings small beside what the layers add, or else a tied head would only ever repeat the last token."""
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray | Ternary] = {}
    for name, shape in config.float_tensors():
        values = random.standard_normal(shape)
        tensors[name] = (1 + 0.2 * values if len(shape) == 1 and not name.endswith(".bias") else 0.2 * values).astype(np.float32)
    for name, n, k in config.matrices():
        trits, scale = random.integers(-1, 2, (n, k)).astype(np.int8), float(random.uniform(0.5, 1.5) / np.sqrt(k))
        tensors[name] = Ternary(trits, scale if group is None else (scale * random.uniform(0.5, 2, (n, k // group))).astype(np.float32))
    return tensors


@pytest.fixture
def acc() -> WatchedAccelerator:
    return WatchedAccelerator()


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Model]:
    """A function of config fields that differ from `TINY`, ``seed``, ``end`` and ``group``, giving a model read back from its file."""

    def make(*, seed: int = 0, end: str | None = None, group: int | None = None, **changes: Any) -> Model:
        config = ModelConfig(**{**TINY, **changes})
        path = tmp_path / f"random{len(list(tmp_path.iterdir()))}.trit"
        tokenizer = CharTokenizer(ALPHABET[: config.vocab_size], end)
        write_model(path, config=config, tokenizer=tokenizer.to_dict(), tensors=random_tensors(config, seed, group), training={"seed": seed})
        return Model(open_model(path))

    return make
