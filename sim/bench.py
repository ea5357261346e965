"""Measurements of the simulated devices: ``make bench``. Speeds depend on the machine; what must not is checked as well."""

import argparse
import json
import os
import platform
import subprocess
import sys
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from tritloom.host import Accelerator, Model, connect
from tritloom.sim.golden import NumpyAccelerator

_PROMPT = "ROMEO:"
_TOKENS = 200
_TRITLOOM = [sys.executable, "-c", "from tritloom.host.cli import main; main()"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tritloom.sim.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    parser.add_argument("--cases", type=int, default=500, help="random matrices (default 500)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random matrices (default 1)")
    options = parser.parse_args()
    console = Console(stderr=True)

    rows: list[tuple[str, str, object, str]] = []    # name, what it must reach, value, unit
    with console.status("compiling, if need be"), connect("sim"):
        pass
    with console.status("starting `tritloom run`"):
        rows.append(("`tritloom run`, start to first character", "<= 3", round(_first_character(), 2), "s"))
    texts = {}
    with console.status("decoding"):
        for name, wanted in (("sim", ">= 30"), ("model", ">= 150")):
            with connect(name) as acc:
                texts[name], speed = _decode(acc)
            rows.append((f"decode of nano on `{name}`", wanted, round(speed, 1), "tokens/s"))
        texts["numpy"], _ = _decode(NumpyAccelerator())
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


def _decode(acc: Accelerator | NumpyAccelerator) -> tuple[str, float]:
    """Greedy text, and tokens a second after the prompt."""
    pieces = Model.load("nano").generate(_PROMPT, acc, max_tokens=_TOKENS, temperature=0.0)
    pieces.start()
    start = time.perf_counter()
    text = "".join(pieces)
    return text, (_TOKENS - 1) / (time.perf_counter() - start)


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
