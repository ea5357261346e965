"""The two memories: what was written is read, a cycle later, row by row with the skew the array asks for."""

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.memory import ActivationBuffer, WeightStore

SMALL = [
    Geometry(rows=3, cols=2, lanes=3, depth=20, weight_words=16, stream_words=4),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=1, weight_words=2, stream_words=2, queue=1),
    Geometry(rows=2, cols=5, lanes=2, depth=3, weight_words=6, stream_words=2),
]


@pytest.mark.parametrize("g", SMALL, ids=str)
def test_weight_store(bench, g):
    test = bench(WeightStore(g), seed=5)
    dut, rng = test.dut, test.rng
    words = {at: rng.getrandbits(2 * g.cols * g.lanes) for at in range(g.weight_words)}
    test.send(dut.writes, [{"address": at, "data": word} for at, word in words.items()], gap=0.3)

    async def reader(ctx):
        await ctx.tick().until(dut.writes.valid)
        await ctx.tick().repeat(4 * g.weight_words + 20)
        for _ in range(60):
            at, read = rng.randrange(g.weight_words), rng.randrange(2)
            ctx.set(dut.address, at)
            ctx.set(dut.read, read)
            await ctx.tick()
            if read:
                assert ctx.get(dut.word.as_value()) == words[at], f"seed {test.seed}"
    test.add(reader)
    test.run(1000)


@pytest.mark.parametrize("busy", [0.0, 0.5, 0.9])
def test_weight_store_has_one_port(bench, busy):
    """A write waits while the store is read, changes no word that is, and is done in the first cycle without a read."""
    g = Geometry(rows=1, cols=2, lanes=2, depth=8, weight_words=8, stream_words=4)
    test = bench(WeightStore(g), seed=int(10 * busy))
    dut, rng = test.dut, test.rng
    words = {}

    async def process(ctx):
        waiting = expected = None
        for _ in range(400):
            if waiting is None and (rng.random() < 0.5 or len(words) < 8):
                waiting = len(words) if len(words) < 8 else rng.randrange(8), rng.randrange(256)
            read = len(words) == 8 and rng.random() < busy
            at = rng.randrange(8)
            ctx.set(dut.writes.valid, waiting is not None)
            if waiting:
                ctx.set(dut.writes.payload, {"address": waiting[0], "data": waiting[1]})
            ctx.set(dut.read, read)
            ctx.set(dut.address, at)
            assert ctx.get(dut.writes.ready) == (not read)
            expected = words[at] if read else None
            await ctx.tick()
            if waiting and not read:
                words[waiting[0]] = waiting[1]
                waiting = None
            if expected is not None:
                assert ctx.get(dut.word.as_value()) == expected, f"seed {test.seed}"
    test.add(process)
    test.run(500)
    assert len(words) == 8


@pytest.mark.parametrize("g", SMALL, ids=str)
def test_activation_buffer(bench, g):
    """Row r shows the word ``1 + r`` cycles after the read, and keeps it until its next one."""
    test = bench(ActivationBuffer(g), seed=6)
    dut, rng = test.dut, test.rng
    words = {(row, at): rng.getrandbits(8 * g.lanes) for row in range(g.rows) for at in range(g.act_words)}
    writes = [{"row": row, "address": at, "data": word} for (row, at), word in words.items()]
    rng.shuffle(writes)

    async def process(ctx):
        for write in writes:
            ctx.set(dut.writes.payload, write)
            ctx.set(dut.writes.valid, 1)
            assert ctx.get(dut.writes.ready)
            await ctx.tick()
        ctx.set(dut.writes.valid, 0)
        expected = {}
        for cycle in range(80):
            at, read = rng.randrange(g.act_words), rng.getrandbits(g.rows)
            ctx.set(dut.address, at)
            ctx.set(dut.read, read)
            for row in range(g.rows):
                if read >> row & 1:
                    expected[cycle + row + 1, row] = words[row, at]
            await ctx.tick()
            for row in range(g.rows):
                known = [(when, word) for (when, its_row), word in expected.items() if its_row == row and when <= cycle + 1]
                if known:
                    assert ctx.get(dut.words[row].as_value()) == max(known)[1], f"row {row}, cycle {cycle}, seed {test.seed}"
    test.add(process)
    test.run(len(writes) + 100)
