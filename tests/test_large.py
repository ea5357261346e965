"""The measurements of large models, on one that is small: a layer on the compiled RTL, bit for bit, and a token by parts."""

import time
from pathlib import Path

import numpy as np
import pytest

from tritloom.host import Model, connect
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, open_model, write_model
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.rtl.geometry import Geometry
from tritloom.sim import large
from tritloom.sim.breakdown import PARTS, REST, watched
from tritloom.sim.golden import NumpyAccelerator

#: The shape of BitNet b1.58 2B-4T, an eighth as wide. A layer takes 36,000 words of the default geometry, which has 16,384.
CONFIG = ModelConfig(hidden_size=320, intermediate_size=864, num_hidden_layers=2, num_attention_heads=20, num_key_value_heads=5, head_dim=16,
                     vocab_size=60, max_position_embeddings=64)


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    random = np.random.default_rng(7)
    tensors: dict[str, np.ndarray | Ternary] = {
        name: (random.standard_normal(shape) / 5 + (len(shape) == 1)).astype(np.float32) for name, shape in CONFIG.float_tensors()}
    tensors |= {name: Ternary(random.integers(-1, 2, (n, k), np.int8), float(random.uniform(0.5, 1.5) / np.sqrt(k))) for name, n, k in CONFIG.matrices()}
    path = tmp_path_factory.mktemp("large") / "eighth.trit"
    tokenizer = CharTokenizer("".join(map(chr, range(64, 124))), None)
    write_model(path, config=CONFIG, tokenizer=tokenizer.to_dict(), tensors=tensors, training={})
    return path


def test_a_layer_is_exact_on_the_rtl(file):
    run = large.run_layer(open_model(file))
    geometry = Geometry()
    assert run.exact and run.weights == CONFIG.ternary_weights // 2
    shapes = [(480, 320), (320, 320), (1728, 320), (320, 864)]
    assert run.busy == sum(geometry.tiles(n) * geometry.beats(k) for n, k in shapes)
    # Two of four are streamed: a word is 8 bytes, of which the link brings one a cycle, and a cycle to store it.
    assert 9 * (geometry.words(1728, 320) + geometry.words(320, 864)) < run.cycles


def test_a_layer_that_is_not_exact_is_said(file, monkeypatch):
    class Wrong(NumpyAccelerator):
        def matmul(self, w, x):
            sums = super().matmul(w, x)
            sums[0, -1] += 1
            return sums

    monkeypatch.setattr(large, "NumpyAccelerator", Wrong)
    assert not large.run_layer(open_model(file)).exact


def test_a_step_s_parts_are_its_time(file):
    run = large.run_step(file)
    assert set(run.parts) == {*PARTS, REST} - {"sampling"}
    assert sum(run.parts.values()) == pytest.approx(run.step_cpu_s, rel=0.2)
    assert run.file_bytes == file.stat().st_size and run.peak_bytes > run.file_bytes
    assert min(run.open_s, run.load_s, run.load_cpu_s, run.step_s, *run.parts.values()) > 0


def test_watching_changes_no_text_and_ends(file):
    model = Model.load(file)
    with connect("model") as acc:
        expected = "".join(model.generate("A", acc, max_tokens=20))
        begun = time.process_time()
        with watched() as parts:
            assert "".join(model.generate("A", acc, max_tokens=20)) == expected
        spent = time.process_time() - begun
        assert set(parts) == {*PARTS, REST} and sum(parts.values()) == pytest.approx(spent, rel=0.2)
        before = dict(parts)
        "".join(model.generate("A", acc, max_tokens=20))
        assert parts == before


def resident_file_bytes() -> int:
    """Of mapped files, in this process's memory."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssFile"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells how much of a mapped file is in memory")
def test_a_file_that_was_checked_or_loaded_takes_no_memory(tmp_path):
    config = ModelConfig(hidden_size=320, intermediate_size=24_000, num_hidden_layers=1, num_attention_heads=20, num_key_value_heads=5, head_dim=16,
                         vocab_size=10_000, max_position_embeddings=64)
    tensors: dict[str, np.ndarray | Ternary] = {name: np.full(shape, 0.5, np.float32) for name, shape in config.float_tensors()}
    tensors |= {name: Ternary(np.ones((n, k), np.int8), 0.1) for name, n, k in config.matrices()}
    path = tmp_path / "wide.trit"
    write_model(path, config=config, tokenizer=CharTokenizer("".join(map(chr, range(0x10000, 0x10000 + 10_000)))).to_dict(), tensors=tensors, training={})
    matrices, embedding = config.ternary_weights // 4, 10_000 * 320 * 4

    Model.load(path).session(NumpyAccelerator()).step(1)    # so that the code is in memory
    before = resident_file_bytes()
    model = Model.load(path)
    assert resident_file_bytes() - before < matrices / 4, "checking"
    session = model.session(NumpyAccelerator())
    assert resident_file_bytes() - before < matrices / 4, "loading"
    logits = session.step(1)
    assert embedding / 2 < resident_file_bytes() - before < embedding + matrices / 4 and np.isfinite(logits).all()
