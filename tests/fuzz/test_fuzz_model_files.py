"""Damaged model files into every loader: the short form of ``python -m tests.fuzz.model_files``."""

from __future__ import annotations

import numpy as np
import pytest

from tritloom.host.formats.safetensors_dir import SafetensorsDir
from tritloom.host.trits import Ternary

from .model_files import FORMATS, Format, campaign

BY_NAME = {form.name: form for form in FORMATS}


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_a_damaged_file_is_refused_or_read_as_what_it_says(form: Format) -> None:
    outcome = campaign(form, 150, seed=7)
    assert not outcome.wrong, outcome.wrong[0]
    assert outcome.refused.total() > 75, f"{outcome}: damage that is not noticed tests little"


@pytest.mark.parametrize("name", ["safetensors", "gguf TQ2_0"])
def test_reading_something_else_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second reading objects when the loader is wrong: here, one trit of a matrix in a hundred."""
    from tritloom.host.formats.gguf_file import GgufFile

    random_ = np.random.default_rng(1)

    def spoilt(read):
        def tensor(self, name):
            found = read(self, name)
            if isinstance(found, Ternary):
                found.trits[random_.random(found.trits.shape) < 0.01] = 1
            return found
        return tensor

    for kind in (SafetensorsDir, GgufFile):
        monkeypatch.setattr(kind, "tensor", spoilt(kind.tensor))
    outcome = campaign(BY_NAME[name], 60, seed=1)
    assert outcome.wrong and not outcome.accepted and "is not what the checkpoint says" in outcome.wrong[0]
