"""The checksum: zlib's, and handed out as it is sent."""

import zlib

import pytest

from tritloom.rtl.crc import CRC32


@pytest.mark.parametrize("seed", range(3))
def test_crc(bench, seed):
    test = bench(CRC32(), seed=seed)
    dut, rng = test.dut, test.rng

    async def put(ctx, data):
        for byte in data:
            while rng.random() < 0.3:
                await ctx.tick()
            ctx.set(dut.data, byte)
            ctx.set(dut.valid, 1)
            await ctx.tick()
            ctx.set(dut.valid, 0)

    async def process(ctx):
        for _ in range(20):
            data = rng.randbytes(rng.randint(1, 40))
            note = f"{data.hex()}, seed {seed}"
            checksum = zlib.crc32(data).to_bytes(4, "little")
            await put(ctx, data)
            assert not ctx.get(dut.match), note
            ctx.set(dut.shift, 1)
            ctx.set(dut.data, rng.randrange(256))
            got = []
            for _ in range(4):
                got.append(ctx.get(dut.byte))
                ctx.set(dut.valid, 1)
                await ctx.tick()
                ctx.set(dut.valid, 0)
            ctx.set(dut.shift, 0)
            assert bytes(got) == checksum, note
            ctx.set(dut.restart, 1)
            ctx.set(dut.valid, rng.randrange(2))    # restart wins
            await ctx.tick()
            ctx.set(dut.restart, 0)
            ctx.set(dut.valid, 0)
            await put(ctx, data + checksum)
            assert ctx.get(dut.match), note
            ctx.set(dut.restart, 1)
            await ctx.tick()
            ctx.set(dut.restart, 0)
    test.add(process)
    test.run(10_000)
