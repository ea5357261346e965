"""A small random model, and a folder that is to hold it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .checkpoints import Golden, HuggingFace, make_golden


@pytest.fixture
def golden() -> Golden:
    return make_golden(seed=1)


@pytest.fixture
def hugging_face(tmp_path: Path, golden: Golden) -> Callable[..., HuggingFace]:
    """A function: a folder that is to hold a `Golden`, `golden` if none is given."""
    return lambda what=golden: HuggingFace(tmp_path / "checkpoint", what)
