"""The framer and the switch: whole, correct frames and nothing else, even when work is dropped in any cycle."""

import zlib

import pytest
from cobs import cobs

from tritloom.rtl.framer import Framer, Switch


def encoded(frame):
    return cobs.encode(frame + zlib.crc32(frame).to_bytes(4, "little")) + b"\0"


def as_bytes(frames):
    return [item for frame in frames for item in (*({"data": byte, "end": 0} for byte in frame), {"data": 0, "end": 1})]


def random_frames(rng, count):
    frames = [bytes(size) for size in (1, 2, 246, 250)]
    frames += [bytes(rng.randrange(1, 256) for _ in range(size)) for size in (1, 249, 250)]
    frames += [bytes([0]) + bytes([255]) * 249, bytes([255]) * 249 + bytes([0]), bytes([1, 0] * 125)]
    while len(frames) < count:
        frames.append(bytes(rng.choice([0, 0, rng.randrange(256)]) for _ in range(rng.choice([2, 3, 6, 40, rng.randint(1, 250)]))))
    rng.shuffle(frames)
    return frames


@pytest.mark.parametrize(("feed_gap", "read_gap"), [(0, 0), (0.5, 0), (0, 0.5), (0.3, 0.3)])
def test_frames(bench, feed_gap, read_gap):
    test = bench(Framer(), seed=int(20 * feed_gap + 2 * read_gap))
    frames = random_frames(test.rng, 26)
    expected = b"".join(encoded(frame) for frame in frames)
    test.send(test.dut.frames, as_bytes(frames), gap=feed_gap)
    test.watch(test.dut.encoded, "encoded")
    got = test.receive(test.dut.encoded, gap=read_gap, count=len(expected))
    test.run(20 * len(expected))
    assert bytes(got) == expected, f"seed {test.seed}"


def test_every_crc(bench):
    """CRCs with zero bytes, which lie where frames end: short frames until each of the four CRC bytes was zero."""
    frames, zeros = [], set()
    for number in range(3000):
        frame = number.to_bytes(2, "little")
        found = {i for i, byte in enumerate(zlib.crc32(frame).to_bytes(4, "little")) if byte == 0}
        if found - zeros:
            frames.append(frame)
            zeros |= found
    assert zeros == {0, 1, 2, 3}
    expected = b"".join(encoded(frame) for frame in frames)
    test = bench(Framer())
    test.send(test.dut.frames, as_bytes(frames))
    got = test.receive(test.dut.encoded, count=len(expected))
    test.run(10 * len(expected))
    assert bytes(got) == expected


def test_time(bench):
    """A frame of n bytes takes ``n + 8`` cycles to build and ``n + 6`` to send; the next is built meanwhile."""
    test = bench(Framer())
    sizes = (20, 20, 20, 3, 250, 250)
    fed = []
    test.send(test.dut.frames, as_bytes([bytes([7]) * size for size in sizes]), at=fed)
    left = test.pulses(test.dut.encoded.valid)
    test.receive(test.dut.encoded)

    async def wait(ctx):
        await ctx.tick().repeat(sum(sizes) + 400)
    test.add(wait)
    test.run(2000)
    assert len(left) == sum(size + 6 for size in sizes)
    assert left[0] == fed[sizes[0]] + 8, "the register in front, 4 bytes of CRC, the last code byte, and the fetch of the first byte"
    frames = [left[i:i + 26] for i in range(0, 78, 26)]
    assert all(frame == list(range(frame[0], frame[0] + 26)) for frame in frames)
    assert frames[1][0] == frames[0][-1] + 3 and frames[2][0] == frames[1][-1] + 3, "one of the same length is built in two cycles more than it is sent"
    assert fed[21] == fed[20] + 8


DISCARDED = [bytes([1, 2, 0, 3, 4, 5]), bytes([9, 0, 8]), bytes([0, 0, 6, 7])]
AFTER = [bytes([0x11, 0x22, 0x33]), bytes([0, 0x44]), bytes([0x55] * 7)]


@pytest.mark.parametrize("read_gap", [0.0, 0.6])
@pytest.mark.parametrize("start", range(0, 64, 8))
def test_discard_in_any_cycle(bench, start, read_gap):
    """Whatever is dropped, and when: what comes out is whole frames from before, at most what was begun, then all that came later."""
    for discard_at in range(start, start + 8):
        discard_once(bench, discard_at, read_gap)


def discard_once(bench, discard_at, read_gap):
    test = bench(Framer(), seed=discard_at)
    dut = test.dut
    raw = bytearray()
    in_send = {}

    async def process(ctx):
        before = as_bytes(DISCARDED * 2)
        for cycle in range(discard_at + 1):
            ctx.set(dut.frames.valid, bool(before))
            if before:
                ctx.set(dut.frames.payload, before[0])
            ctx.set(dut.discard, cycle == discard_at)
            *_, ready = await ctx.tick().sample(dut.frames.ready)
            if ready and before:
                before.pop(0)
        ctx.set(dut.discard, 0)
        ctx.set(dut.frames.valid, 0)
        in_send["bytes"] = len(raw)
        for item in as_bytes(AFTER):
            ctx.set(dut.frames.payload, item)
            ctx.set(dut.frames.valid, 1)
            await ctx.tick().until(dut.frames.ready)
        ctx.set(dut.frames.valid, 0)
        await ctx.tick().repeat(300)

    async def reader(ctx):
        while True:
            ctx.set(dut.encoded.ready, test.rng.random() >= read_gap)
            *_, valid, ready, payload = await ctx.tick().sample(dut.encoded.valid, dut.encoded.ready, dut.encoded.payload)
            if valid and ready:
                raw.append(payload)
    test.background(reader)
    test.watch(dut.encoded, "encoded")
    test.add(process)
    test.run(2000)
    note = f"discard in cycle {discard_at}, seed {test.seed}"
    frames = bytes(raw).split(b"\0")
    assert frames.pop() == b"", note
    decoded = []
    for frame in frames:
        content = cobs.decode(frame)
        assert zlib.crc32(content[:-4]).to_bytes(4, "little") == content[-4:], note
        decoded.append(content[:-4])
    assert decoded[-len(AFTER):] == AFTER, note
    kept = decoded[:-len(AFTER)]
    assert kept == (DISCARDED * 2)[:len(kept)], note
    # Of the frames from before, at most the one being sent at the time of the discard ended after it.
    assert sum(len(encoded(frame)) for frame in kept[:-1]) <= in_send["bytes"] + 1, note


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_switch(bench, gap):
    """Whole frames of either port, in each port's order, never mixed; what waits does not change."""
    test = bench(Switch(), seed=8)
    dut, rng = test.dut, test.rng
    frames = [[bytes([16 * port + 1] + [rng.randrange(1, 256) for _ in range(rng.randrange(9))]) for _ in range(25)] for port in range(2)]
    for port in range(2):
        test.send(dut.inputs[port], as_bytes(frames[port]), gap=(0.6, 0.3)[port])
        test.watch(dut.inputs[port], f"input {port}")
    got = test.receive(dut.output, gap=gap, count=sum(len(frame) + 1 for port in frames for frame in port))
    test.run(20000)
    received = split(got)
    assert sorted(received) == sorted(frames[0] + frames[1])
    for port in range(2):
        assert [frame for frame in received if frame[0] == 16 * port + 1] == frames[port], f"port {port}, seed {test.seed}"


def split(items):
    """Frames of what was put into a framer."""
    frames, frame = [], bytearray()
    for item in items:
        if item["end"]:
            frames.append(bytes(frame))
            frame.clear()
        else:
            frame.append(item["data"])
    assert not frame
    return frames


def test_switch_prefers_the_first_port(bench):
    """And says that it waits, for as long as the second one has not ended its frame."""
    test = bench(Switch())
    dut = test.dut

    async def process(ctx):
        ctx.set(dut.output.ready, 1)
        ctx.set(dut.inputs[1].valid, 1)
        await ctx.tick()
        assert not ctx.get(dut.waiting)
        ctx.set(dut.inputs[0].valid, 1)
        for _ in range(3):
            assert ctx.get(dut.waiting) and not ctx.get(dut.inputs[0].ready) and ctx.get(dut.inputs[1].ready)
            await ctx.tick()
        ctx.set(dut.inputs[1].payload.end, 1)
        await ctx.tick()
        assert ctx.get(dut.inputs[0].ready) and not ctx.get(dut.inputs[1].ready)
        await ctx.tick()
        ctx.set(dut.inputs[0].valid, 0)
        await ctx.tick()
        assert not ctx.get(dut.inputs[1].ready), "the first port's frame has not ended"
        ctx.set(dut.abort, 1)
        await ctx.tick()
        ctx.set(dut.abort, 0)
        assert ctx.get(dut.inputs[1].ready)
    test.add(process)
    test.run(100)
