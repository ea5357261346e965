"""The host against hostile replies: a typed error or a result, in bounded time and memory."""

from __future__ import annotations

import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tritloom.host.driver import Accelerator
from tritloom.host.errors import DeviceError, LinkError
from tritloom.host.framing import Decoder, encode
from tritloom.host.link import Link
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, FRAME_BYTES, IDENTITY, RESULT, Op
from tritloom.sim.model_device import ModelDevice

from .hostile import Babbler, HostileDevice

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)

#: Bytes with many zeros, and frames that are whole: what a decoder tells apart.
FRAMES = st.builds(encode, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=248))
STREAMS = st.lists(st.one_of(st.binary(max_size=600), FRAMES, st.just(b"\0"), FRAMES.map(lambda frame: frame[:-1]),
                             FRAMES.map(lambda frame: frame[:-1] + b"\1")), max_size=8).map(b"".join)


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in zip(ends, ends[1:], strict=False)]


@given(STREAMS, st.lists(st.integers(0, 5000), max_size=12))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_what_is_decoded_does_not_depend_on_the_pieces_it_comes_in(data: bytes, places: list[int]) -> None:
    whole, pieces = Decoder(), Decoder()
    frames = whole.feed(data)
    assert [frame for piece in _cut(data, places) for frame in pieces.feed(piece)] == frames
    assert whole.bad == pieces.bad == frames.count(None)
    for frame in frames:
        assert frame is None or (0 <= frame[0] < 256 and 0 <= frame[1] < 256 and len(frame[2]) <= FRAME_BYTES - 6)


@pytest.mark.parametrize("seed", range(5))
def test_a_million_bytes_of_noise_hold_no_frame_and_little_memory(seed: int) -> None:
    rng, decoder = random.Random(seed), Decoder()
    tracemalloc.start()
    try:
        for _ in range(200):
            noise = rng.randbytes(1000)
            assert decoder.feed(noise if rng.random() < 0.5 else noise.replace(b"\0", b"\1")) == [None] * 0 or decoder.bad
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert decoder.bad > 100 and held < 20_000, f"seed {seed}: {held} bytes"


def _exercise(device: HostileDevice, rng: np.random.Generator) -> tuple[int, int]:
    """Multiply a few times; return how often that worked, and how often it ended in a typed error."""
    worked = failed = 0
    try:
        acc = Accelerator(Link(device, timeout_s=0.05, retries=1))
    except DeviceError:
        return 0, 1
    for n, k, m in ((9, 20, 1), (70, 64, 3), (300, 90, 2)):
        w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
        try:
            product = acc.matmul(w, x)
            assert product.shape == (m, n) and product.dtype == np.int32
            acc.counters()
            worked += 1
        except DeviceError:
            failed += 1
    return worked, failed


@pytest.mark.parametrize("flow_controlled", [True, False])
def test_hostile_replies_end_in_a_result_or_a_typed_error(flow_controlled: bool) -> None:
    worked = failed = 0
    for seed in range(250):
        begin = time.monotonic()
        try:
            outcome = _exercise(HostileDevice(GEOMETRY, seed, (0.02, 0.1, 0.5, 1.0)[seed % 4], flow_controlled), np.random.default_rng(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
        assert time.monotonic() - begin < 20, f"seed {seed}"
        worked, failed = worked + outcome[0], failed + outcome[1]
    assert worked > 50 and failed > 50, "malice that never or always succeeds tests little"


@pytest.mark.parametrize("words", [
    encode(Op.ACK, 77), encode(Op.RESULT, 3, b"\0\0abc") * 9, encode(Op.ERROR, 0, b"\1\1"), encode(Op.COUNTS, 9, bytes(COUNTERS.size)),
    encode(Op.IDENTITY, 1, bytes(IDENTITY.size)), encode(0x55, 1, bytes(248)), b"\1\2\0", b"x" * 4000, b"\0" * 4000, bytes(range(256)) * 16,
], ids=range(10))
@pytest.mark.parametrize("greetings", [0, 1])
def test_a_device_that_never_stops_talking_is_given_up(words: bytes, greetings: int) -> None:
    begin = time.monotonic()
    tracemalloc.start()
    try:
        with pytest.raises(LinkError):
            Accelerator(Link(Babbler(words, ModelDevice(GEOMETRY), greetings), timeout_s=0.1, retries=1)).counters()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.monotonic() - begin < 15
    assert most < 5_000_000, f"{most} bytes"


def test_results_that_never_end_are_not_kept() -> None:
    class Endless(HostileDevice):
        """Sends a job's first frame of results again and again, numbered as if there were more."""

        def read(self, timeout_s: float) -> bytes:
            frames = self._decoder.feed(self._device.read(timeout_s))
            first = next((frame for frame in frames if frame is not None and frame[0] == Op.RESULT), None)
            if first is None:
                return b"".join(encode(*frame) for frame in frames)
            return b"".join(encode(Op.RESULT, first[1], RESULT.pack(index=index) + bytes(246)) for index in range(20_000))

    acc = Accelerator(Link(Endless(GEOMETRY, 1, 0.0), timeout_s=0.1, retries=1))
    with pytest.raises(LinkError):
        acc.matmul(np.ones((9, 20), np.int8), np.ones((1, 20), np.int8))
