"""The queue: order, its depth, and two cycles through."""

import pytest

from tritloom.rtl.fifo import Queue


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8])
@pytest.mark.parametrize(("gap", "read_gap"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.6), (0.4, 0.4)])
def test_queue(bench, depth, gap, read_gap):
    test = bench(Queue(8, depth), seed=depth)
    dut, rng = test.dut, test.rng
    items = [rng.randrange(256) for _ in range(200)]
    got = test.receive(dut.reads, gap=read_gap, count=len(items))
    test.watch(dut.reads, "reads")
    most = []

    async def write(ctx):
        for at, item in enumerate(items):
            while at - len(got) >= depth or rng.random() < gap:
                await ctx.tick()
            ctx.set(dut.writes.payload, item)
            ctx.set(dut.writes.valid, 1)
            await ctx.tick()
            ctx.set(dut.writes.valid, 0)
            most.append(at + 1 - len(got))
    test.add(write)
    test.run(5000)
    assert got == items, f"seed {test.seed}"
    assert read_gap == 0 or max(most) >= depth


def test_two_cycles(bench):
    test = bench(Queue(8, 4))
    dut = test.dut

    async def process(ctx):
        for item in (5, 6):
            ctx.set(dut.writes.payload, item)
            ctx.set(dut.writes.valid, 1)
            await ctx.tick()
            ctx.set(dut.writes.valid, 0)
            assert not ctx.get(dut.reads.valid)
            await ctx.tick()
            assert ctx.get(dut.reads.valid) and ctx.get(dut.reads.payload) == item
            ctx.set(dut.reads.ready, 1)
            await ctx.tick()
            ctx.set(dut.reads.ready, 0)
            assert not ctx.get(dut.reads.valid)
    test.add(process)
    test.run(50)
