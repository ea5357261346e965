"""`tritloom train`: a model file from a text, resumed, and refused. What training makes of it is tested elsewhere."""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("torch") is None:
    if os.environ.get("CI"):
        pytest.fail("PyTorch is missing, and CI must run the training tests: pip install '.[train]'", pytrace=False)
    pytest.skip("PyTorch is not installed: pip install 'tritloom[train]'", allow_module_level=True)

KEYS = {"out", "checkpoint", "preset", "steps", "seed", "train_loss", "held_out_loss", "held_out_chars", "curve", "seconds"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = random.Random(17)
    path = tmp_path_factory.mktemp("text") / "weaving.txt"
    path.write_text(" ".join(rng.choice(["warp,", "weft,", "thread,", "beam.\n"]) for _ in range(800)), encoding="utf-8", newline="\n")
    return path


def test_train_and_use(succeed, record, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "weaver.trit"
    got = record("train", "--text", text, "--preset", "pico", "--out", out, "--steps", "6", "--seed", "9")
    assert set(got) == KEYS
    assert (got["out"], got["preset"], got["steps"], got["seed"]) == (str(out), "pico", 6, 9)
    score = record("eval", "--text", text, "--model", out, "--last", "0.1")
    assert score["nats_per_token"] == pytest.approx(got["held_out_loss"], abs=1e-3)
    assert score["tokens"] == got["held_out_chars"]
    assert record("run", "warp", "--model", out, "--device", "model", "--tokens", "4")["tokens"] == 4
    # A finished run has nothing left to do, and says the same.
    again = succeed("train", "--text", text, "--preset", "pico", "--out", out, "--steps", "6", "--seed", "9", "--resume")
    assert f"{got['held_out_loss']:.4f}" in again.stdout
    assert f"{out}, preset pico; losses in nats a character" in again.stdout


def test_progress_without_a_terminal(succeed, text: Path, tmp_path: Path) -> None:
    """One line an evaluation."""
    result = succeed("train", "--text", text, "--preset", "pico", "--out", tmp_path / "x.trit", "--steps", "3")
    assert result.stderr.startswith("step 3 of 3: held-out loss ")
    assert result.stderr.count("\n") == 1


def test_interrupted_and_resumed(process, succeed, text: Path, tmp_path: Path) -> None:
    out, args = tmp_path / "x.trit", ("train", "--text", text, "--preset", "pico", "--steps", "250")
    with process(*args, "--out", out) as running:
        assert running.stderr.readline().startswith("step 100 of 250: ")    # there is a checkpoint at that step, too
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=30)
    assert running.returncode == 130, err
    assert f"the last checkpoint is {out}.ckpt: go on with --resume.\n" in err
    assert err.endswith("Stopped: interrupted.\n")
    assert not out.exists()
    succeed(*args, "--out", out, "--resume")
    succeed(*args, "--out", tmp_path / "straight.trit")
    assert out.read_bytes() == (tmp_path / "straight.trit").read_bytes()


def test_bad_input(fail, text: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.trit"
    assert fail(2, "train", "--text", text, "--preset", "pica", "--out", out) == (
        "there is no training preset named 'pica'. Did you mean pico? Known: nano, pico.")
    assert "cannot be read" in fail(2, "train", "--text", tmp_path / "absent", "--out", out)
    assert "no training checkpoint" in fail(1, "train", "--text", text, "--preset", "pico", "--out", out, "--resume")
    assert "does not exist" in fail(2, "train", "--text", text, "--preset", "pico", "--out", tmp_path / "absent" / "x.trit")
    assert fail(2, "train", "--text", text, "--out", out, "--steps", "0") == "Invalid value for '--steps': 0 is not in the range x>=1."


def test_without_torch(text: Path, tmp_path: Path) -> None:
    args = ["tritloom", "train", "--text", str(text), "--out", str(tmp_path / "x.trit")]
    code = f"import sys; sys.modules['torch'] = None; from tritloom.host.cli import main; sys.argv = {args!r}; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (
        1, "Error: training needs PyTorch, which is not installed; run: pip install 'tritloom[train]'.\n")
