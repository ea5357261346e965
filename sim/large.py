"""A large model file on the simulated devices: opened, loaded, a token made, one of its layers on the RTL."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tritloom.host.driver import connect
from tritloom.host.model.bound import BoundModel
from tritloom.host.model.file import ModelFile
from tritloom.host.model.model import Model
from tritloom.host.model.runtime import Session
from tritloom.sim.breakdown import watched
from tritloom.sim.golden import NumpyAccelerator

__all__ = ["FirstLayer", "LayerRun", "StepRun", "run_layer", "run_step"]

#: Tokens that are taken in before the one that is measured, and as many are measured.
_TOKENS = 3


@dataclass(frozen=True)
class StepRun:
    """A token on `model`.

    Parameters
    ----------
    open_s, load_s, step_s : float
        Seconds on the wall: opening the file (all of it is checked), loading the device, and a decode step.
    load_cpu_s, step_cpu_s : float
        The same in processor time.
    parts : dict
        Processor time of a step by part, in seconds (`tritloom.sim.breakdown`).
    file_bytes, peak_bytes : int
        The file, and the most memory that the process had until then, pages of the mapped file included.
    geometry : str
        The device's, and the words of its store.
    """

    open_s: float
    load_s: float
    load_cpu_s: float
    step_s: float
    step_cpu_s: float
    parts: dict[str, float]
    file_bytes: int
    peak_bytes: int
    geometry: str


def run_step(path: Path, kv_cache: str = "float32") -> StepRun:
    """Open a model file, load it on `model`, and make tokens.

    Parameters
    ----------
    path : Path
    kv_cache : str
        As `Model.session` takes it.
    """
    start = time.perf_counter()
    model = Model.load(path)
    opened = time.perf_counter()
    with connect("model", geometry=model.fitting_geometry()) as acc:
        cpu = time.process_time()
        session = model.session(acc, kv_cache=kv_cache)
        loaded, loaded_cpu = time.perf_counter(), time.process_time()
        logits = session.prefill([1] * _TOKENS)
        with watched() as parts:
            begun, begun_cpu = time.perf_counter(), time.process_time()
            for _ in range(_TOKENS):
                logits = session.step(int(logits.argmax()))
            step_s, step_cpu_s = (time.perf_counter() - begun) / _TOKENS, (time.process_time() - begun_cpu) / _TOKENS
        return StepRun(opened - start, loaded - opened, loaded_cpu - cpu, step_s, step_cpu_s,
                       {part: seconds / _TOKENS for part, seconds in parts.items()}, model.nbytes, _peak_bytes(), f"{acc.geometry}, {acc.geometry.weight_words:,} words")


@dataclass(frozen=True)
class LayerRun:
    """One layer on `sim`.

    Parameters
    ----------
    weights : int
        Of the layer.
    exact : bool
        The logits behind it are the golden model's, bit for bit.
    seconds : float
        On the wall, of the layer's jobs.
    cycles, busy : int
        The array's.
    """

    weights: int
    exact: bool
    seconds: float
    cycles: int
    busy: int


class FirstLayer:
    """A model file as if it had only its first layer.

    Parameters
    ----------
    file : ModelFile
    """

    def __init__(self, file: ModelFile) -> None:
        self._file = file
        self.config = replace(file.config, num_hidden_layers=1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def run_layer(file: ModelFile) -> LayerRun:
    """Take a token through a model's first layer and its head, on `sim` with its default geometry and on the golden model.

    Parameters
    ----------
    file : ModelFile
    """
    layer: Any = FirstLayer(file)
    expected = Session(BoundModel(layer, NumpyAccelerator())).step(1)
    with connect("sim") as acc:
        session = Session(BoundModel(layer, acc))
        before, start = acc.counters(), time.perf_counter()
        logits = session.step(1)
        seconds, spent = time.perf_counter() - start, acc.counters() - before
    return LayerRun(layer.config.ternary_weights, bool(np.array_equal(logits, expected)), seconds, spent.cycles, spent.busy)


def _peak_bytes() -> int:
    """The most memory this process had; 0 where that is not told."""
    if sys.platform == "win32":
        return 0
    import resource

    # Linux counts it in units of 1024 bytes, macOS in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
