"""The deframer: correct frames come through, bad ones are named and leave nothing, and whatever came before, the next frame is read."""

import random
import zlib

import pytest
from cobs import cobs

from tritloom.rtl.deframer import Deframer
from tritloom.rtl.wire import FRAME_BYTES, RX_BYTES

LONGEST = FRAME_BYTES - 4


def encoded(content):
    return cobs.encode(content + zlib.crc32(content).to_bytes(4, "little")) + b"\0"


def judge(chunk):
    """What a decoder written from the definition makes of the bytes before a delimiter: the content, or None."""
    try:
        frame = cobs.decode(chunk)
    except cobs.DecodeError:
        return None
    if not 6 <= len(frame) <= FRAME_BYTES or zlib.crc32(frame[:-4]).to_bytes(4, "little") != frame[-4:]:
        return None
    return frame[:-4]


def play(bench, data, seed=0, gap=0.0, content_gap=0.0):
    """Send bytes and check all that comes out against `judge`. Returns the number of bad frames."""
    expected = [judge(chunk) for chunk in data.split(b"\0")[:-1] if chunk]
    content = b"".join(b"\0" if frame is None else bytes([len(frame)]) + frame for frame in expected)
    test = bench(Deframer(), seed=seed)
    dut = test.dut
    test.send(dut.link, data, gap=gap)
    test.watch(dut.content, "content")
    got = test.receive(dut.content, gap=content_gap, count=len(content))
    good, bad = test.pulses(dut.good), test.pulses(dut.bad)

    async def rest(ctx):
        while len(got) < len(content):
            await ctx.tick()
        for _ in range(300):
            await ctx.tick()
            assert not ctx.get(dut.content.valid), f"more than was sent, seed {seed}"
    test.add(rest)
    test.run(40 * len(data) + 2000)
    assert bytes(got) == content, f"seed {seed}"
    assert (len(good), len(bad)) == (sum(frame is not None for frame in expected), sum(frame is None for frame in expected)), f"seed {seed}"
    return len(bad)


def random_content(rng):
    size = rng.choice([2, 3, 8, 60, rng.randint(2, LONGEST)])
    return bytes(rng.choice([0, 255, rng.randrange(256), rng.randrange(256)]) for _ in range(size))


@pytest.mark.parametrize(("gap", "content_gap"), [(0, 0), (0.5, 0), (0, 0.6), (0.2, 0.3)])
def test_good_frames(bench, gap, content_gap):
    rng = random.Random(1)
    contents = [bytes(2), bytes(LONGEST), bytes([255]) * LONGEST, bytes([1]) * 2, bytes([0]) + bytes([9]) * (LONGEST - 1)]
    contents += [random_content(rng) for _ in range(15)]
    assert play(bench, b"".join(map(encoded, contents)), 1, gap, content_gap) == 0


def test_bad_frames_between_good_ones(bench):
    """Every kind of damage, each followed by a good frame that must come through untouched."""
    rng = random.Random(2)
    good = bytes(range(200, 240))
    frame = encoded(good)
    damaged = [
        frame[:5] + bytes([frame[5] ^ 1]) + frame[6:],                          # a flipped bit
        encoded(b"ab")[:-2] + bytes([encoded(b"ab")[-2] ^ 0x80]) + b"\0",       # one in the CRC
        frame[:-2] + b"\0",                                                     # truncated: the last group is short
        frame[:1] + b"\0", b"\x01\0", b"\x01\x01\0", b"\xff\0",                 # hardly begun
        frame[10:],                                                             # its beginning lost
        encoded(b""), encoded(b"x"),                                            # too short, though the CRC is right
        encoded(bytes(LONGEST + 1)), encoded(bytes([7]) * (LONGEST + 1)),       # too long, though the CRC is right
        encoded(bytes([7]) * 700), bytes([1]) * 600 + b"\0", bytes([255]) * 3000 + b"\0",    # far too long
        frame[:-1] + frame,                                                     # a lost delimiter
        frame[:9] + b"\0" + frame[10:],                                         # a byte turned into a delimiter
        bytes(rng.randrange(1, 256) for _ in range(100)) + b"\0",               # noise
    ]
    follows = [encoded(random_content(rng)) for _ in damaged]
    data = b"".join(bad + after for bad, after in zip(damaged, follows, strict=True))
    assert play(bench, data, 2) >= len(damaged)


def test_empty_frames_are_nothing(bench):
    assert play(bench, bytes(20) + encoded(b"abc") + bytes(5) + encoded(b"de") + b"\0") == 0


@pytest.mark.parametrize("seed", range(4))
def test_noise(bench, seed):
    """Random bytes, good frames and damaged ones, with pauses everywhere: the definition and the gateware agree on every one."""
    rng = random.Random(seed)
    data = bytearray()
    for _ in range(30):
        kind = rng.randrange(4)
        if kind == 0:
            data += bytes(rng.choice([0, 1, 2, 255, rng.randrange(256)]) for _ in range(rng.randint(1, 40)))
        else:
            frame = bytearray(encoded(random_content(rng)))
            if kind == 1:
                frame[rng.randrange(len(frame))] = rng.randrange(256)
            elif kind == 2 and rng.random() < 0.5:
                del frame[rng.randrange(len(frame))]
            data += frame
    play(bench, bytes(data) + b"\0" + encoded(b"the end"), seed, 0.1, 0.4)


def test_a_full_ring_holds_the_link(bench):
    """Nobody reads: the link waits once `RX_BYTES` bytes came in, nothing is lost, and all of it comes when it is read."""
    frames = [bytes([i + 1]) * LONGEST for i in range(7)]
    data = b"".join(map(encoded, frames))
    test = bench(Deframer())
    dut = test.dut
    sent = []
    test.send(dut.link, data, at=sent)
    got = []

    async def process(ctx):
        await ctx.tick().repeat(3000)
        assert RX_BYTES <= len(sent) <= RX_BYTES + 40
        assert not ctx.get(dut.link.ready)
        ctx.set(dut.content.ready, 1)
        for _ in range(7 * (LONGEST + 1)):
            [byte] = await ctx.tick().sample(dut.content.payload).until(dut.content.valid)
            got.append(byte)
    test.add(process)
    test.run(10000)
    assert bytes(got) == b"".join(bytes([LONGEST]) + frame for frame in frames)


def test_many_short_frames(bench):
    """More than the ring holds, good and bad, to a slow reader: the link waits, and none is lost."""
    contents = [bytes([i % 255 + 1, i % 255 + 1]) for i in range(300)]
    data = b"".join(map(encoded, contents)) + b"\x01\0" * 1200
    assert play(bench, data, 3, 0, 0.8) == 1200


def test_the_ring_holds_what_the_identity_says(bench):
    """A host without flow control may have `RX_BYTES` unanswered, whatever they are: none of them waits, though nobody reads."""
    for unit in (encoded(b"ab"), b"\x01\0", encoded(bytes(LONGEST)), bytes([255]) * 600):
        data = (unit * RX_BYTES)[:RX_BYTES]
        test = bench(Deframer())
        sent = []
        test.send(test.dut.link, data, at=sent)
        test.add(_wait(len(data) + 5))
        test.run(len(data) + 20)
        assert sent == list(range(1, len(data) + 1)), unit[:8]    # the first cycle is one to find out that there is room


def _wait(cycles):
    async def process(ctx):
        await ctx.tick().repeat(cycles)
    return process
