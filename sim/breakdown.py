"""What a token costs on the host, by part: functions are watched while it is made."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from tritloom.host.driver import Accelerator
from tritloom.host.link import Link
from tritloom.host.model import runtime
from tritloom.host.model.bound_linear import BoundLinear
from tritloom.host.model.cache import KeyValueCache
from tritloom.host.model.head import Head
from tritloom.host.model.ops import RopeTable
from tritloom.host.model.sampling import Sampler
from tritloom.sim.model_device import ModelDevice

__all__ = ["PARTS", "REST", "watched"]

REST = "gate, residuals and what is not watched"

#: Where a part's time goes, by the owner of a function and its name. What one of them calls of another counts for that other.
PARTS: dict[str, list[tuple[Any, str]]] = {
    "products in the device": [(ModelDevice, "_multiply")],
    "cycle counters in the device": [(ModelDevice, "_count")],
    "frames in the device": [(ModelDevice, "write"), (ModelDevice, "read")],
    "frames on the host": [(Link, "execute")],
    "driver": [(Accelerator, "matmuls")],
    "int8 and scales": [(BoundLinear, "__call__")],
    "norms": [(runtime, "rms_norm")],
    "attention": [(runtime, "attend"), (RopeTable, "rotate"), (KeyValueCache, "extend")],
    "head": [(Head, "__call__")],
    "sampling": [(Sampler, "pick")],
}


@contextmanager
def watched() -> Iterator[dict[str, float]]:
    """Watch what runs inside: seconds of processor time by the names of `PARTS` and `REST`, complete at the end."""
    spent: dict[str, float] = defaultdict(float)
    running = [REST]
    since = time.process_time()

    def turn(to: Callable[[], object]) -> None:
        nonlocal since
        now = time.process_time()
        spent[running[-1]] += now - since
        to()
        since = time.process_time()    # reading the clock is nobody's

    def watch(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            turn(lambda: running.append(part))
            try:
                return function(*args, **kwargs)
            finally:
                turn(running.pop)

        return call

    with ExitStack() as patched:
        for part, functions in PARTS.items():
            for owner, name in functions:
                patched.enter_context(patch.object(owner, name, watch(part, getattr(owner, name))))
        yield spent
        turn(lambda: None)
