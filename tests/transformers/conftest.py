"""Against Hugging Face's transformers: what its models on PyTorch make of a checkpoint in float32 is what the checkpoint means, and ours must say the same."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest.mock import patch

import pytest

_MISSING = [name for name in ("torch", "transformers", "accelerate") if find_spec(name) is None]

if not _MISSING:
    # transformers decorates its quantisers with torch.compile when they are imported. Compiling them takes a minute; as they are written they do the same.
    with patch.dict(os.environ, TORCHDYNAMO_DISABLE="1"):
        import_module("transformers.integrations.bitnet")
    from transformers.utils import logging

    logging.set_verbosity_error()    # it warns that a CPU is slow
    logging.disable_progress_bar()


class _Missing(pytest.Module):
    """A module of tests that cannot be imported here."""

    def collect(self) -> Iterator[pytest.Item]:
        if os.environ.get("CI"):
            pytest.fail(f"{_MISSING[0]} is missing, and CI must compare with transformers: pip install '.[compare]'", pytrace=False)
        pytest.skip(f"{_MISSING[0]} is not installed: pip install 'tritloom[compare]'")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """PyTorch's threads wait for one another by spinning: with products as small as these, and a busy machine, for minutes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    return _Missing.from_parent(parent, path=module_path) if _MISSING else None
