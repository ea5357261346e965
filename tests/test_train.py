"""Training: the quantisers, the straight-through gradient, resumption, and that the exported file is the model that was trained."""

from __future__ import annotations

import dataclasses
import importlib.util
import math
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    if os.environ.get("CI"):
        pytest.fail("PyTorch is missing, and CI must run the training tests: pip install '.[train]'", pytrace=False)
    pytest.skip("PyTorch is not installed: pip install 'tritloom[train]'", allow_module_level=True)

import torch
from torch.nn import functional as F

from tritloom.host.errors import UnknownNameError, UsageError
from tritloom.host.model import Model
from tritloom.host.model.file import Ternary, open_model
from tritloom.host.model.rope_scaling import RopeScaling
from tritloom.host.model.tokenizer import CharTokenizer
from tritloom.host.train import PRESETS, MissingTorchError, Progress, resume_path, train
from tritloom.host.train.checkpoint import Checkpoint, CheckpointError
from tritloom.host.train.data import CharText
from tritloom.host.train.export import export_model, model_tensors
from tritloom.host.train.loop import Run, held_out_loss, learning_rate, run_training
from tritloom.host.train.qat import BitLinear, BitNet, bit_linears, causal_attention, quantize_activations, quantize_weights
from tritloom.sim.golden import NumpyAccelerator

SEED = 20240607
PICO = PRESETS["pico"]
SHORT = dataclasses.replace(PICO, steps=24, evaluate_every=7, save_every=5)
"""Checkpoints and evaluations fall on different steps, and neither divides the other."""


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 6,000 characters with something to learn: few words, in an order drawn from a seed."""
    rng = random.Random(SEED)
    words = "the weaver pulls a thread over and under, then beats it home. Warp, weft;\n".split(" ")
    path = tmp_path_factory.mktemp("text") / "weaving.txt"
    path.write_text(" ".join(rng.choice(words) for _ in range(1200)), encoding="utf-8", newline="\n")
    return path


@pytest.fixture(scope="module")
def trained(text: Path) -> Run:
    """`pico` after 60 steps: every trit, scale and norm has moved from its start."""
    torch.set_num_threads(1)
    run = Run(PICO, CharText.read(text, held_out=PICO.held_out, block=64), steps=60, seed=SEED)
    for _ in range(60):
        run.step_once()
    run.evaluate()
    return run


def fake_quantized(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """BitLinear as published: float32, rounding hidden from autograd by ``x + (quantised - x).detach()``."""
    s = 127.0 / x.abs().max(dim=-1, keepdim=True).values.clamp(min=1e-5)
    x = x + ((x * s).round().clamp(-128, 127) / s - x).detach()
    s = 1.0 / weight.abs().mean().clamp(min=1e-5)
    weight = weight + ((weight * s).round().clamp(-1, 1) / s - weight).detach()
    return F.linear(x, weight)


# --- quantisers ---------------------------------------------------------------------------------------------------------------


def test_weights_round_half_to_even() -> None:
    trits, scale = quantize_weights(torch.tensor([[0.5, -0.5, 1.5, -1.5]]))  # mean |W| = 1, so s = 1
    assert trits.tolist() == [[0.0, 0.0, 1.0, -1.0]]
    assert scale.item() == 1.0


def test_activations_round_half_to_even() -> None:
    q, s = quantize_activations(torch.tensor([[127.0, 0.5, 1.5, 2.5, -0.5, -2.5, -127.0]]))  # |x|max = 127, so s = 1
    assert q.tolist() == [[127.0, 0.0, 2.0, 2.0, 0.0, -2.0, -127.0]]
    assert s.tolist() == [[1.0]]


def test_quantisers_equal_the_formulas_in_numpy() -> None:
    rng = np.random.default_rng(SEED)
    w = rng.normal(0, 0.04, (96, 130)).astype(np.float32)
    x = rng.normal(0, 3, (33, 130)).astype(np.float32)
    trits, scale = quantize_weights(torch.from_numpy(w))
    s = 1.0 / max(np.abs(w).mean(dtype=np.float64), 1e-5)
    np.testing.assert_array_equal(trits.numpy(), np.clip(np.rint(w * np.float32(s)), -1, 1), err_msg=f"seed {SEED}")
    assert scale.item() == pytest.approx(1.0 / s, rel=1e-6)
    q, s = quantize_activations(torch.from_numpy(x))
    expected = np.float32(127) / np.maximum(np.abs(x).max(-1, keepdims=True), np.float32(1e-5))
    np.testing.assert_allclose(s.numpy(), expected, rtol=2**-22, err_msg=f"seed {SEED}")
    np.testing.assert_array_equal(q.numpy(), np.clip(np.rint(x * s.numpy()), -128, 127), err_msg=f"seed {SEED}")


def test_zeros_have_a_finite_scale() -> None:
    q, s = quantize_activations(torch.zeros(1, 4))
    trits, scale = quantize_weights(torch.zeros(2, 4))
    assert q.abs().sum() == trits.abs().sum() == 0
    assert s.item() == pytest.approx(127 / 1e-5)
    assert scale.item() == pytest.approx(1e-5)


# --- gradients ----------------------------------------------------------------------------------------------------------------


def test_the_gradient_passes_straight_through() -> None:
    generator = torch.Generator().manual_seed(SEED)
    layers = [BitLinear(40, rows) for rows in (16, 8)]
    for layer in layers:
        torch.nn.init.normal_(layer.weight, std=0.3, generator=generator)
    x = torch.randn(12, 40, generator=generator, requires_grad=True)
    upstream = torch.randn(12, 24, generator=generator)
    leaves = [x, *(layer.weight for layer in layers)]
    y = bit_linears(x, layers, torch.float32)
    expected = torch.cat([fake_quantized(x, layer.weight) for layer in layers], dim=-1)
    torch.testing.assert_close(y, expected, msg=lambda m: f"seed {SEED}: {m}")
    for ours, theirs in zip(torch.autograd.grad(y, leaves, upstream), torch.autograd.grad(expected, leaves, upstream), strict=True):
        assert ours.abs().max() > 0.1
        torch.testing.assert_close(ours, theirs, msg=lambda m: f"seed {SEED}: {m}")


def test_bfloat16_rounds_only_the_sums() -> None:
    generator = torch.Generator().manual_seed(SEED)
    layer = BitLinear(128, 64)
    torch.nn.init.normal_(layer.weight, std=0.04, generator=generator)
    x = torch.randn(20, 128, generator=generator)
    torch.testing.assert_close(layer(x, torch.bfloat16), layer(x), rtol=2**-8, atol=1e-6, msg=lambda m: f"seed {SEED}: {m}")


def test_attention_equals_pytorchs() -> None:
    generator = torch.Generator().manual_seed(SEED)
    q = torch.randn(2, 6, 17, 8, generator=generator)
    k, v = (torch.randn(2, 3, 17, 8, generator=generator) for _ in range(2))
    expected = F.scaled_dot_product_attention(q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), is_causal=True)
    torch.testing.assert_close(causal_attention(q, k, v, torch.float32), expected, msg=lambda m: f"seed {SEED}: {m}")


# --- the recipe ---------------------------------------------------------------------------------------------------------------


def test_nano_fits_one_megabit() -> None:
    config = PRESETS["nano"].config(65)
    assert config.ternary_weights == 491_520
    assert config.ternary_weights * 2 <= 1 << 20


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_consistent(name: str) -> None:
    preset = PRESETS[name]
    assert preset.name == name
    assert sum(phase.share for phase in preset.phases) == pytest.approx(1.0)
    assert all(phase.block <= preset.max_position_embeddings for phase in preset.phases)
    order = [preset.phase_at(step, 1000) for step in range(1000)]
    assert [order.count(phase) for phase in preset.phases] == [round(1000 * phase.share) for phase in preset.phases]
    assert order == sorted(order, key=preset.phases.index)


@pytest.mark.parametrize(("name", "value"), [
    ("tie_word_embeddings", False), ("hidden_act", "silu"), ("sub_norms", False), ("linear_norms", True), ("attention_bias", True), ("mlp_bias", True),
    ("qk_norm", True), ("rope_scaling", RopeScaling(rope_type="linear", factor=2)),
])  # fmt: skip
def test_a_layer_that_training_does_not_make_is_refused(name: str, value: Any) -> None:
    config = dataclasses.replace(PRESETS["nano"].config(65), **{name: value})
    with pytest.raises(ValueError, match=f"`{name}` must be .* for training, not "):
        BitNet(config, weight_std=0.02, embedding_std=0.02, generator=torch.Generator())


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [learning_rate(PICO, step, 300) for step in range(300)]
    peak = PICO.learning_rate
    assert rates[0] == peak / PICO.warmup
    assert max(rates) == rates[PICO.warmup - 1] == peak
    assert rates[PICO.warmup :] == sorted(rates[PICO.warmup :], reverse=True)
    assert rates[-1] == pytest.approx(peak * PICO.final_share)


def test_the_loss_falls(text: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    result = train(text, "pico", tmp_path / "pico.trit", steps=150, seed=SEED, progress=seen.append)
    uniform = math.log(len(CharText.read(text, held_out=0.1, block=64).chars))
    assert [point.step for point in seen] == list(range(1, 151))
    assert seen[0].loss == pytest.approx(uniform, rel=0.15), f"seed {SEED}"
    assert result.held_out_loss < 0.6 * uniform, f"seed {SEED}: {result.curve}"
    assert result.train_loss < seen[0].loss
    assert result.held_out_loss == seen[-1].held_out_loss
    facts = open_model(result.out).training
    assert facts["preset"] == "pico" and facts["steps"] == 150 and facts["seed"] == SEED
    assert facts["held_out_loss"] == result.held_out_loss
    assert facts["train_chars"] + facts["held_out_chars"] == facts["text_chars"] == len(text.read_text(encoding="utf-8"))


def test_the_held_out_loss_counts_every_character_once(trained: Run) -> None:
    ids = trained.text.held_out[:150]
    loss, count = held_out_loss(trained.model, ids, window=64)
    expected = 0.0
    with torch.no_grad():
        for start, end in ((0, 64), (64, 128), (128, 149)):
            shares = trained.model(ids[None, start:end]).log_softmax(-1)[0]
            expected -= sum(shares[i, ids[start + i + 1]].item() for i in range(end - start))
    assert count == 149
    assert loss == pytest.approx(expected / 149, rel=1e-5), f"seed {SEED}"


# --- resumption ---------------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    """Stands for the power going off."""


def test_a_resumed_run_equals_an_uninterrupted_one(text: Path, tmp_path: Path) -> None:
    def pull_the_plug(point: Progress) -> None:
        if point.step == 18:
            raise Interrupted

    def run(out: Path, **options: object) -> object:
        return run_training(text, SHORT, out, **{"steps": None, "seed": SEED, "resume": None, "threads": 1, "progress": None, **options})

    whole, broken = tmp_path / "whole.trit", tmp_path / "broken.trit"
    result = run(whole)
    with pytest.raises(Interrupted):
        run(broken, progress=pull_the_plug)
    assert not broken.exists()
    assert Checkpoint.load(resume_path(broken)).step == 15
    seen: list[Progress] = []
    resumed = run(broken, resume=resume_path(broken), progress=seen.append)
    assert [point.step for point in seen] == list(range(16, 25))
    assert broken.read_bytes() == whole.read_bytes(), f"seed {SEED}"
    assert resumed.curve == result.curve
    assert not list(tmp_path.glob("*.part"))


def test_another_seed_gives_another_model(text: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        train(text, "pico", tmp_path / f"{seed}.trit", steps=3, seed=seed)
    assert (tmp_path / "1.trit").read_bytes() != (tmp_path / "2.trit").read_bytes()


# --- the exported file --------------------------------------------------------------------------------------------------------


def test_the_file_holds_the_trained_model(trained: Run, tmp_path: Path) -> None:
    path = tmp_path / "pico.trit"
    export_model(trained.model, path, chars=trained.text.chars, training=trained.facts())
    model = open_model(path)
    assert model.config == PICO.config(len(trained.text.chars))
    assert model.tokenizer == CharTokenizer(trained.text.chars).to_dict()
    assert model.training == trained.facts()
    tensors = model_tensors(trained.model)
    assert {name for name, tensor in tensors.items() if isinstance(tensor, Ternary)} == {name for name, _, _ in model.config.matrices()}
    for name, tensor in tensors.items():
        stored = model.tensor(name)
        if isinstance(tensor, Ternary):
            np.testing.assert_array_equal(stored.trits, tensor.trits)
            assert stored.scale == pytest.approx(tensor.scale, rel=1e-7)
        else:
            np.testing.assert_array_equal(stored, tensor)


def test_the_runtime_computes_what_was_trained(trained: Run, tmp_path: Path) -> None:
    path = tmp_path / "pico.trit"
    export_model(trained.model, path, chars=trained.text.chars, training=trained.facts())
    ids = trained.text.held_out[: PICO.max_position_embeddings]
    with torch.no_grad():
        expected = trained.model(ids[None])[0].numpy()
    logits = Model.load(path).logits(ids.tolist(), NumpyAccelerator())
    assert logits.shape == expected.shape
    difference = np.abs(logits - expected)
    # Sums of floats in another order can turn one int8 rounding over: rare, and small against logits that spread over several units.
    assert np.median(difference) < 1e-4, f"seed {SEED}"
    assert difference.max() < 0.1 < expected.std(), f"seed {SEED}"


# --- bad input ----------------------------------------------------------------------------------------------------------------


def test_missing_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'.*nothing\.txt' cannot be read \(No such file or directory\); give --text"):
        train(tmp_path / "nothing.txt", "pico", tmp_path / "out.trit")


def test_short_text(tmp_path: Path) -> None:
    short = tmp_path / "short.txt"
    short.write_text("ab" * 30, encoding="utf-8")
    with pytest.raises(UsageError, match="has 60 characters, which is shorter than one block of 64.* give a text of 75 characters or more"):
        train(short, "pico", tmp_path / "out.trit")
    short.write_text(("ab" * 40)[:75], encoding="utf-8")
    assert train(short, "pico", tmp_path / "out.trit", steps=1).steps == 1


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    other = tmp_path / "latin.txt"
    other.write_bytes(b"caf\xe9" * 100)
    with pytest.raises(UsageError, match="is not UTF-8 at byte 3; convert it"):
        train(other, "pico", tmp_path / "out.trit")


def test_unknown_preset(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no training preset named 'nanno'. Did you mean nano"):
        train(text, "nanno", tmp_path / "out.trit")


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("threads", 0)])
def test_numbers_out_of_range(text: Path, tmp_path: Path, option: str, value: int) -> None:
    with pytest.raises(UsageError, match=f"`{option}` must be 1 or more, not {value}"):
        train(text, "pico", tmp_path / "out.trit", **{option: value})


def test_missing_folder(text: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder '.*nowhere' of the model file does not exist"):
        train(text, "pico", tmp_path / "nowhere" / "out.trit")


def interrupted_run(text: Path, out: Path) -> Path:
    def stop(point: Progress) -> None:
        if point.step == 5:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_training(text, SHORT, out, steps=None, seed=SEED, resume=None, threads=1, progress=stop)
    return resume_path(out)


def test_an_unfinished_run_is_not_overwritten(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.trit"
    saved = interrupted_run(text, out).read_bytes()
    with pytest.raises(UsageError, match="holds a run of preset 'pico' at step 5 of 24; go on with --resume"):
        train(text, "pico", out)
    assert resume_path(out).read_bytes() == saved


@pytest.mark.parametrize(
    ("changed", "says"),
    [({"seed": 1}, f"seed {SEED}, not 1"), ({"steps": 30}, "steps 24, not 30"), ({"preset": "nano", "steps": 24}, "preset 'pico', not 'nano'")],
)
def test_another_runs_checkpoint_is_refused(text: Path, tmp_path: Path, changed: dict, says: str) -> None:
    out = tmp_path / "out.trit"
    checkpoint = interrupted_run(text, out)
    options = {"preset": "pico", "steps": 24, "seed": SEED, **changed}
    with pytest.raises(UsageError, match=f"was made with {says}"):
        train(text, options.pop("preset"), out, resume=checkpoint, **options)


def test_another_text_is_refused(text: Path, tmp_path: Path) -> None:
    checkpoint = interrupted_run(text, tmp_path / "out.trit")
    other = tmp_path / "other.txt"
    other.write_bytes(text.read_bytes() + b"!")
    with pytest.raises(UsageError, match="was made with text_sha256"):
        train(other, "pico", tmp_path / "out.trit", steps=24, seed=SEED, resume=checkpoint)


def test_nothing_to_resume(text: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.trit"
    with pytest.raises(CheckpointError, match="no training checkpoint '.*out.trit.ckpt' to resume; leave --resume out"):
        train(text, "pico", out, resume=resume_path(out))


@pytest.mark.parametrize("keep", [0, 10, 2000])
def test_a_damaged_checkpoint_is_refused(text: Path, tmp_path: Path, keep: int) -> None:
    checkpoint = interrupted_run(text, tmp_path / "out.trit")
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="is not a readable training checkpoint; delete it"):
        train(text, "pico", tmp_path / "out.trit", resume=checkpoint)


def test_a_foreign_checkpoint_is_refused(text: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"model": {}}, foreign)
    with pytest.raises(CheckpointError, match="is not a training checkpoint of format 1"):
        train(text, "pico", tmp_path / "out.trit", resume=foreign)


def test_missing_torch(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # what Python itself puts there for a module that must not be imported
    with pytest.raises(MissingTorchError, match=r"pip install 'tritloom\[train\]'"):
        train(text, "pico", tmp_path / "out.trit")


def test_presets_are_listed_without_torch() -> None:
    code = "import sys, tritloom.host.train as t; print(sorted(t.PRESETS), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['nano', 'pico'] False\n"
