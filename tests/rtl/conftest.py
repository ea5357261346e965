"""Drivers, monitors and a clock for component tests in Amaranth's simulator."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest
from amaranth import Value
from amaranth.sim import Simulator


class Bench:
    """One component under test.

    What it sends, and when, comes from one seed, which every failure message names. A bench that does not finish within its cycles
    fails: a component that hangs is not a component that passes.

    Parameters
    ----------
    dut : Component
    seed : int
    """

    def __init__(self, dut: Any, seed: int = 0):
        self.dut = dut
        self.seed = seed
        self.rng = random.Random(seed)
        self.cycle = 0
        self._simulator = Simulator(dut)
        self._simulator.add_clock(1e-6)
        self._running = 0
        self._simulator.add_testbench(self._count, background=True)

    async def _count(self, ctx: Any) -> None:
        async for _ in ctx.tick():
            self.cycle += 1

    def add(self, process: Callable[[Any], Awaitable[None]]) -> None:
        """A process that has to finish."""
        self._running += 1

        async def finishing(ctx: Any) -> None:
            await process(ctx)
            self._running -= 1

        self._simulator.add_testbench(finishing)

    def background(self, process: Callable[[Any], Awaitable[None]]) -> None:
        """A process that ends with the others."""
        self._simulator.add_testbench(process, background=True)

    def send(self, stream: Any, items: Iterable[Any], gap: float = 0.0, at: list[int] | None = None) -> None:
        """Drive items into a stream, before each with probability `gap` a cycle without; `at` gets the cycle of each transfer."""
        async def driver(ctx: Any) -> None:
            for item in items:
                while self.rng.random() < gap:
                    await ctx.tick()
                ctx.set(stream.payload, item)
                ctx.set(stream.valid, 1)
                while True:
                    cycle = self.cycle
                    *_, ready = await ctx.tick().sample(stream.ready)
                    if ready:
                        break
                if at is not None:
                    at.append(cycle)
                ctx.set(stream.valid, 0)
        self.add(driver)

    def receive(self, stream: Any, gap: float = 0.0, count: int | None = None, into: list[Any] | None = None) -> list[Any]:
        """Take what a stream sends, `ready` low with probability `gap`; without a count until the other processes end."""
        got: list[Any] = [] if into is None else into

        async def reader(ctx: Any) -> None:
            while count is None or len(got) < count:
                ctx.set(stream.ready, self.rng.random() >= gap)
                *_, valid, ready, payload = await ctx.tick().sample(stream.valid, stream.ready, stream.payload)
                if valid and ready:
                    got.append(payload)
            ctx.set(stream.ready, 0)
        (self.background if count is None else self.add)(reader)
        return got

    def watch(self, stream: Any, name: str) -> None:
        """Stream rules: once `valid`, it stays so, with the same payload, until `ready`."""
        async def watcher(ctx: Any) -> None:
            waiting = None
            payload = Value.cast(stream.payload)
            async for _, reset, valid, ready, now in ctx.tick().sample(stream.valid, stream.ready, payload):
                if waiting is not None and not reset:
                    assert valid, f"{name}: valid fell before ready (cycle {self.cycle}, seed {self.seed})"
                    assert now == waiting, f"{name}: payload changed before ready (cycle {self.cycle}, seed {self.seed})"
                waiting = now if valid and not ready else None
        self.background(watcher)

    def pulses(self, signal: Any) -> list[int]:
        """Cycles in which a signal is high."""
        cycles: list[int] = []

        async def watcher(ctx: Any) -> None:
            async for _, _, high in ctx.tick().sample(signal):
                if high:
                    cycles.append(self.cycle - 1)
        self.background(watcher)
        return cycles

    def run(self, cycles: int) -> None:
        """Run until all processes have finished, and fail if that takes more cycles than given."""
        async def limit(ctx: Any) -> None:
            for _ in range(cycles):
                if not self._running:
                    return
                await ctx.tick()
            assert not self._running, f"not finished after {cycles} cycles (seed {self.seed})"
        self._simulator.add_testbench(limit)
        self._simulator.run()


@pytest.fixture
def bench() -> type[Bench]:
    return Bench
