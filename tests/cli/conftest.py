"""The command line as its users meet it: in this process through click's runner, or as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from tritloom.host.cli.program import program
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import Ternary, write_model
from tritloom.host.model.tokenizer import CharTokenizer

ALPHABET = "\n abcdefghijklmnopqrstuvwxyz.,:!?'-ABCDEFGHIJKLMNOPQRSTUVWXYZ"

#: The console script, without relying on where it was installed.
TRITLOOM = (sys.executable, "-P", "-c", "from tritloom.host.cli import main; main()")


def write_random_model(path: Path, *, context: int, seed: int = 3) -> Path:
    """A model of random weights that babbles, small enough to make a thousand tokens a second."""
    config = ModelConfig(hidden_size=12, intermediate_size=18, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
                         head_dim=6, vocab_size=len(ALPHABET), max_position_embeddings=context)
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray | Ternary] = {
        name: (1 + 0.2 * random.standard_normal(shape) if len(shape) == 1 else 0.2 * random.standard_normal(shape)).astype(np.float32)
        for name, shape in config.float_tensors()
    }
    for name, n, k in config.matrices():
        tensors[name] = Ternary(random.integers(-1, 2, (n, k)).astype(np.int8), float(1 / np.sqrt(k)))
    training = {"seed": seed, "held_out_loss": 4.2}
    write_model(path, config=config, tokenizer=CharTokenizer(ALPHABET).to_dict(), tensors=tensors, training=training)
    return path


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a context of 40 tokens."""
    return str(write_random_model(tmp_path_factory.mktemp("models") / "tiny.trit", context=40))


@pytest.fixture(scope="session")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a context so long that a run can be interrupted."""
    return str(write_random_model(tmp_path_factory.mktemp("models") / "lasting.trit", context=1 << 16))


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wish of the machine's owner about colours or widths."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "TRITLOOM_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def tritloom() -> Callable[..., Result]:
    """A function that runs a command line here: `exit_code`, `stdout`, `stderr`."""

    def run(*args: str | Path) -> Result:
        return CliRunner().invoke(program, [str(arg) for arg in args])

    return run


@pytest.fixture
def succeed(tritloom: Callable[..., Result]) -> Callable[..., Result]:
    """The same, for command lines that must work."""

    def run(*args: str | Path) -> Result:
        result = tritloom(*args)
        assert result.exit_code == 0, result.output
        return result

    return run


@pytest.fixture
def record(succeed: Callable[..., Result]) -> Callable[..., dict[str, Any]]:
    """The same with ``--json``: what it printed, which must be one object on one line."""

    def run(*args: str | Path) -> dict[str, Any]:
        output = succeed(*args, "--json").stdout
        assert output.count("\n") == 1
        assert output.endswith("\n")
        return json.loads(output)

    return run


@pytest.fixture
def fail(tritloom: Callable[..., Result]) -> Callable[..., str]:
    """The same, for command lines that must not work: the one sentence on standard error, without its label."""

    def run(code: int, *args: str | Path) -> str:
        result = tritloom(*args)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        assert result.stdout == ""
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
        assert result.stderr.endswith((".\n", "?\n"))
        return result.stderr.removeprefix("Error: ").rstrip("\n")

    return run


@pytest.fixture
def command() -> tuple[str, ...]:
    """The console script, for `subprocess`."""
    return TRITLOOM


@pytest.fixture
def process() -> Callable[..., Any]:
    """A context manager that runs a command line as a process, its output piped unless said otherwise; it does not outlive the block."""

    @contextmanager
    def run(*args: str | Path, **options: Any) -> Iterator[subprocess.Popen[str]]:
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": env, **options}
        with subprocess.Popen([*TRITLOOM, *map(str, args)], **options) as started:
            try:
                yield started
            finally:
                started.kill()

    return run
