"""Hostile arguments into the public API: the typed errors of `tritloom.host.errors`, and no other exception.

A `ValueError` of the standard library counts only where a docstring promises it (`Geometry`, the records): `UsageError` is one.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tritloom.host.cli.program import program
from tritloom.host.driver import Accelerator, connect
from tritloom.host.errors import TritloomError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import open_model
from tritloom.host.model.file_writer import write_model
from tritloom.host.model.model import Model
from tritloom.host.model.sampling import Sampler
from tritloom.host.model.tokenizer import CharTokenizer, tokenizer_from_dict
from tritloom.host.trits import Ternary
from tritloom.rtl.geometry import Geometry
from tritloom.sim.golden import NumpyAccelerator
from tritloom.sim.model_device import open_model as open_device

NANO = Path(__file__).parents[2] / "host" / "models" / "nano.trit"

#: Anything that a caller might hand over by mistake, or from a file.
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-3, 300), st.floats(), st.text(max_size=20), st.binary(max_size=10),
              st.sampled_from([np.int8(3), np.float32(0.5), np.nan, 10**30, object(), int, np.zeros(3), np.zeros((2, 2), np.int8), 1 + 2j, "2,8,4", "sim", "model"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3), st.tuples(inner, inner)), max_leaves=4)

ARRAYS = arrays.arrays(
    dtype=st.sampled_from([np.int8, np.int8, np.int8, np.int16, np.uint8, np.int64, np.float32, np.bool_, np.complex64, np.dtype("U2"), np.object_]),
    shape=st.one_of(st.tuples(st.integers(0, 5), st.integers(0, 12)), arrays.array_shapes(min_dims=0, max_dims=3, max_side=5)))

FUZZ = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@contextlib.contextmanager
def only(*promised: type[Exception]) -> Any:
    """Only typed errors come out of here, each of one line, and what a docstring promises besides."""
    try:
        yield
    except TritloomError as error:
        assert str(error) and "\n" not in str(error)
    except promised:
        pass


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.load(NANO)


@pytest.fixture(scope="module")
def acc() -> Accelerator:
    return connect("model", geometry=Geometry(rows=2, cols=4, lanes=3, depth=40, weight_words=128, stream_words=32))


@given(JUNK, JUNK, JUNK, JUNK)
@FUZZ
def test_connect(device: Any, geometry: Any, timeout_s: Any, retries: Any) -> None:
    with only():
        connect("model", geometry=geometry).close()
    with only():
        connect("model", timeout_s=timeout_s, retries=retries).close()
    if not isinstance(device, str) or device not in ("sim", "board"):    # those compile, and then work
        with only():
            connect(device).close()


@given(st.text(max_size=20))
@FUZZ
def test_device_names(text: str) -> None:
    for name in ("model:", "serial:", "tcp:", ""):
        with only():
            connect(f"{name}{text}", timeout_s=0.1, retries=0).close()


@given(st.one_of(ARRAYS, JUNK), st.one_of(ARRAYS, JUNK))
@settings(FUZZ, max_examples=400)
def test_load_and_matmul(acc: Accelerator, w: Any, x: Any) -> None:
    with only():
        matrix = acc.load(w)
        with only():
            product = acc.matmul(matrix, x)
            assert np.array_equal(product, x.astype(np.int32) @ np.asarray(w).astype(np.int32).T)
        matrix.unload()
    with only():
        acc.matmul(w, x)


@given(JUNK)
@FUZZ
def test_matmuls(acc: Accelerator, products: Any) -> None:
    with only():
        acc.matmuls([(products, np.zeros((1, 3), np.int8))])


@given(st.one_of(st.text(max_size=20), JUNK), st.dictionaries(st.sampled_from([*Geometry.names(), "other"]), JUNK, max_size=3))
@FUZZ
def test_geometry(text: Any, numbers: dict[str, Any]) -> None:
    with only(ValueError, TypeError if "other" in numbers else ValueError):
        Geometry.parse(str(text))
    with only(ValueError, TypeError if "other" in numbers else ValueError):
        Geometry(**numbers)


@given(JUNK, JUNK)
@FUZZ
def test_the_device_model(address: Any, geometry: Any) -> None:
    with only():
        open_device(address if isinstance(address, str) else "x")


@given(st.one_of(JUNK, st.text(max_size=40)), JUNK, JUNK, JUNK, JUNK)
@FUZZ
def test_generate(model: Model, prompt: Any, tokens: Any, temperature: Any, top: Any, seed: Any) -> None:
    with only():
        tokens = tokens if not isinstance(tokens, int) else min(tokens, 4)
        "".join(model.generate(prompt, NumpyAccelerator(), max_tokens=tokens))
    with only():
        Sampler(temperature, top, top, seed)
    with only():
        "".join(model.generate("the", NumpyAccelerator(), max_tokens=2, temperature=temperature, top_k=top, top_p=top, seed=seed))


@given(st.one_of(JUNK, st.lists(st.integers(-2, 100), max_size=5)))
@FUZZ
def test_logits(model: Model, ids: Any) -> None:
    with only():
        model.logits(ids, NumpyAccelerator())


@given(JUNK)
@FUZZ
def test_files(tmp_path: Path, name: Any) -> None:
    for opener in (open_model, Model.load):
        with only():
            opener(tmp_path / str(name).replace("/", "").replace("\0", "")[:40])
        with only():
            opener(name if not isinstance(name, int) else str(name))    # a number is a file descriptor


@given(st.dictionaries(st.sampled_from(["kind", "characters", "end", "definition", "vocab_size", "start", "chat_template", "x"]), JUNK, max_size=5),
       st.sampled_from(["characters", "huggingface", None]))
@FUZZ
def test_tokenizers(values: dict[str, Any], kind: str | None) -> None:
    with only():
        tokenizer_from_dict(values | ({"kind": kind} if kind else {}))


@given(JUNK, JUNK)
@FUZZ
def test_characters(characters: Any, end: Any) -> None:
    with only():
        CharTokenizer(characters, end)


@given(st.dictionaries(st.sampled_from(list(ModelConfig.__dataclass_fields__)), JUNK, max_size=4))
@FUZZ
def test_config(changes: dict[str, Any]) -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 9,
             "max_position_embeddings": 8}
    with only():
        ModelConfig(**sizes | changes)
    with only():
        ModelConfig.from_dict(sizes | changes)


@given(st.one_of(ARRAYS, JUNK), JUNK)
@FUZZ
def test_ternary(trits: Any, scale: Any) -> None:
    with only():
        Ternary(trits, scale)


@given(JUNK, JUNK, JUNK, JUNK)
@FUZZ
def test_writing(tmp_path: Path, tokenizer: Any, tensors: Any, training: Any, packing: Any) -> None:
    file = open_model(NANO)
    good: dict[str, Any] = {"config": file.config, "tokenizer": file.tokenizer, "tensors": {name: file.tensor(name) for name in file.names}, "training": {}}
    for change in ({"tokenizer": tokenizer}, {"training": training}, {"packing": packing}, {"tensors": {file.names[0]: tensors}},
                   {"tensors": good["tensors"] | {file.names[0]: tensors}}):
        with only():
            write_model(tmp_path / "m.trit", **good | change)


#: Words that mean something to the command line, and words that do not.
WORDS = st.one_of(
    st.sampled_from(["run", "eval", "inspect", "convert", "rtl", "devices", "models", "plan", "boards", "--model", "--device", "--geometry", "--json", "--max-tokens",
                     "--temperature", "--top-p", "--seed", "--help", "--packing", "--for", "-v", "--", "nano", "model", "model:x", "tcp:", "tcp:localhost", "serial:",
                     "2,8,4", "0,0,0", "1,1", "-1", "1e9", "nan", "/nowhere", "base3", "icebreaker", "Hi"]),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=12))
#: Commands that build, train, serve, flash or compile for minutes: what they do with arguments is tested where they are.
SLOW = {"build", "train", "serve-device", "flash", "explore", "energy", "meter", "selftest", "eval", "sim", "board", "rtl"}


@given(words=st.lists(WORDS, max_size=6).filter(lambda words: not SLOW & set(words)))
@settings(FUZZ, max_examples=250)
def test_the_command_line(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if "run" in words and "--device" not in words:
        words = [*words, "--device", "model", "--max-tokens", "3"]
    result = CliRunner().invoke(program, words)
    assert result.exception is None or isinstance(result.exception, SystemExit), f"{words}: {result.exception!r}"
    assert result.exit_code in (0, 1, 2) and "in a way it should not" not in " ".join(result.output.split()), f"{words}: {result.output}"
