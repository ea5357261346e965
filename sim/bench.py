"""Measurements of the simulated devices: ``make bench``. Speeds depend on the machine; what must not is checked as well.

``--large FILE`` adds those of a large model; ``python tests/formats/make_large.py FOLDER`` and ``tritloom convert FOLDER FILE`` make one.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tritloom.host import Accelerator, Model, connect
from tritloom.host.model.file import open_model
from tritloom.sim.breakdown import watched
from tritloom.sim.golden import NumpyAccelerator
from tritloom.sim.large import run_layer, run_step

_PROMPT = "ROMEO:"
_TOKENS = 200
_TRITLOOM = [sys.executable, "-c", "from tritloom.host.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tritloom.sim.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--cases", type=int, default=500, help="random matrices (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random matrices (default 1)")
    parser.add_argument("--large", type=Path, metavar="FILE", help="measure this model file as well")
    options = parser.parse_args()
    if options.large and not options.large.is_file():
        parser.error(f"there is no model file {options.large}")    # now, not after minutes
    console = Console(stderr=True)

    rows: list[tuple[str, str, object, str]] = []    # name, what it must reach, value, unit
    with console.status("compiling, if need be"), connect("sim"):
        pass
    with console.status("starting `tritloom run`"):
        rows.append(("`tritloom run`, start to first character", "<= 3", round(_first_character(), 2), "s"))
    texts, nano = {}, Model.load("nano")
    with console.status("decoding"):
        for name, wanted in (("sim", ">= 30"), ("model", ">= 300")):
            with connect(name) as acc:
                texts[name], speed = _decode(nano, acc)
            rows.append((f"decode of nano on `{name}`", wanted, round(speed, 1), "tokens/s"))
        texts["numpy"], _ = _decode(nano, NumpyAccelerator())
        with connect("model") as acc:
            rows += _parts(nano, acc)
    rows.append((f"greedy text, {_TOKENS} tokens, sim = model = numpy", "byte-exact", len(set(texts.values())) == 1, ""))
    with console.status("utilisation"):
        for name in ("sim", "model"):
            with connect(name) as acc:
                jobs, queue = _utilisation(acc)
            worst = min(jobs, key=jobs.get)
            rows.append((f"array utilisation of a job on `{name}`, the worst ({worst})", ">= 0.9", round(jobs[worst], 4), ""))
            rows.append((f"array utilisation over a queue of jobs on `{name}`", ">= 0.95", round(queue, 4), ""))
    with console.status(f"{options.cases} random matrices"):
        rows.append((f"mismatches in {options.cases} extreme and random matrices, K, N, M from 1 to 300, seed {options.seed}", "0",
                     _mismatches(options.cases, options.seed), ""))

    if options.large:
        with console.status(f"{options.large} on `model`"):
            rows += _large_step(options.large)
        with console.status(f"a layer of {options.large} on `sim`"):
            rows += _large_layer(options.large)

    if options.json:
        print(json.dumps({"machine": _machine(), "figures": [dict(zip(("name", "wanted", "value", "unit"), row, strict=True)) for row in rows]}))
        return
    table = Table("figure", "wanted", "measured", caption=_machine(), box=None, header_style="bold")
    for name, wanted, value, unit in rows:
        table.add_row(name, wanted, f"{value} {unit}")
    Console().print(table)


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}, numpy {np.__version__}"


def _first_character() -> float:
    """Seconds from the start of the command to the first character after the prompt; the median of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        with subprocess.Popen([*_TRITLOOM, "run", _PROMPT, "--tokens", "1"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as run:
            run.stdout.read(len(_PROMPT) + 1)
            times.append(time.perf_counter() - start)
            run.stdout.read()
        if run.returncode:
            raise RuntimeError(f"`tritloom run` ended with exit code {run.returncode}")
    return sorted(times)[1]


def _decode(model: Model, acc: Accelerator | NumpyAccelerator) -> tuple[str, float]:
    """Greedy text, and tokens a second after the prompt."""
    pieces = model.generate(_PROMPT, acc, max_tokens=_TOKENS, temperature=0.0)
    pieces.start()
    start = time.perf_counter()
    text = "".join(pieces)
    return text, (_TOKENS - 1) / (time.perf_counter() - start)


def _parts(model: Model, acc: Accelerator) -> list[tuple[str, str, object, str]]:
    """Where the processor time of a token of nano goes."""
    _decode(model, acc)    # the device sees the shapes for the first time
    with watched() as parts:
        _decode(model, acc)
    return [(f"of a token of nano on `model`: {part}", "", round(seconds / (_TOKENS - 1) * 1e6, 1), "us")
            for part, seconds in sorted(parts.items(), key=lambda item: -item[1])]


def _large_step(path: Path) -> list[tuple[str, str, object, str]]:
    """Opening and loading a large model, and a token of it on `model`."""
    run = run_step(path)
    name = path.stem
    rows: list[tuple[str, str, object, str]] = [
        (f"{name}, {run.file_bytes:,} bytes: opening, checked in full", "<= 2", round(run.open_s, 2), "s"),
        (f"{name}: loading into `model`, {run.geometry} ({run.load_cpu_s:.1f} s of processor time)", "", round(run.load_s, 1), "s"),
        (f"{name}: a decode step on `model` ({run.step_cpu_s:.2f} s of processor time)", "<= 10", round(run.step_s, 2), "s"),
    ]
    rows += [(f"of a token of {name} on `model`: {part}", "", round(seconds * 1e3, 1), "ms")
             for part, seconds in sorted(run.parts.items(), key=lambda item: -item[1])]
    return [*rows, (f"{name}: most memory until here, of the file's size", "< 1.3", round(run.peak_bytes / run.file_bytes, 2), "")]


def _large_layer(path: Path) -> list[tuple[str, str, object, str]]:
    """A layer of a large model on `sim`."""
    run = run_layer(open_model(path))
    return [
        (f"{path.stem}: a token through a layer of {run.weights:,} weights on `sim`, equal bit for bit", "True", run.exact, ""),
        (f"{path.stem}: that, {run.cycles:,} cycles of the array, {run.busy / run.cycles:.0%} of them busy", "", round(run.seconds, 1), "s"),
    ]


def _utilisation(acc: Accelerator) -> tuple[dict[str, float], float]:
    """Busy beats over cycles of each BitLinear of nano with one vector, alone, and of all of a layer in one queue."""
    rng = np.random.default_rng(0)
    config = Model.load("nano").config
    shapes = {name.split(".")[-2]: (n, k) for name, n, k in config.matrices()}
    alone, queue = {}, []
    for name, (n, k) in shapes.items():
        matrix = acc.load(rng.integers(-1, 2, (n, k), np.int8))
        x = rng.integers(-128, 128, (1, k), np.int8)
        before = acc.counters()
        acc.matmul(matrix, x)
        if acc.geometry.tiles(n) >= 8:
            alone[f"{name}, {n} x {k}"] = (acc.counters() - before).utilization
        queue.append((matrix, x))
    before = acc.counters()
    acc.matmuls(queue)
    return alone, (acc.counters() - before).utilization


def _mismatches(cases: int, seed: int) -> int:
    """Wrong products of `tritloom selftest` on `sim`."""
    run = subprocess.run([*_TRITLOOM, "selftest", "--device", "sim", "--cases", str(cases), "--seed", str(seed), "--json"],
                         capture_output=True, text=True, check=False)
    return json.loads(run.stdout)["mismatches"]


if __name__ == "__main__":
    main()
