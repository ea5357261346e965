"""Frames: what is encoded comes back, whatever the pieces; what is damaged does not."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritloom.host.framing import Decoder, encode, encoded_bytes
from tritloom.rtl.wire import FRAME_BYTES, PAYLOAD_BYTES, Op

FRAMES = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.binary(max_size=PAYLOAD_BYTES)), max_size=8)


def test_bytes_of_a_frame():
    frame = bytes([0x02, 0x07, 0x00, 0xAA])
    crc = zlib.crc32(frame).to_bytes(4, "little")
    assert 0 not in crc
    assert encode(Op.WRITE, 7, b"\x00\xAA") == b"\x03\x02\x07\x06\xAA" + crc + b"\x00"


@given(FRAMES, st.integers(1, 300))
def test_round_trip_in_pieces(frames, piece):
    data = b"".join(encode(*frame) for frame in frames)
    decoder, found = Decoder(), []
    for at in range(0, len(data), piece):
        found += decoder.feed(data[at:at + piece])
    assert found == frames
    assert decoder.bad == 0


@pytest.mark.parametrize("byte", [0x00, 0x01, 0xFF])
@pytest.mark.parametrize("size", [0, 1, PAYLOAD_BYTES - 1, PAYLOAD_BYTES])
def test_length_on_the_wire_does_not_depend_on_the_data(byte, size):
    data = encode(Op.WRITE, byte, bytes([byte]) * size)
    assert len(data) == encoded_bytes(size) == size + 8
    assert data.index(0) == len(data) - 1


def test_longest_frame():
    assert encoded_bytes(PAYLOAD_BYTES) == FRAME_BYTES + 2
    with pytest.raises(ValueError, match="`payload` must be at most 248 bytes, not 249"):
        encode(Op.WRITE, 0, bytes(PAYLOAD_BYTES + 1))


def test_every_single_bit_flip_is_noticed():
    good = encode(Op.JOB, 3, bytes(range(40)))
    for bit in range(8 * (len(good) - 1)):
        damaged = bytearray(good)
        damaged[bit // 8] ^= 1 << bit % 8
        decoder = Decoder()
        frames = decoder.feed(bytes(damaged) + good)
        assert all(frame is None for frame in frames[:-1]) and len(frames) > 1, f"bit {bit}"
        assert frames[-1] == (Op.JOB, 3, bytes(range(40)))
        assert decoder.bad == len(frames) - 1


def test_bad_frames_keep_their_place():
    good = encode(Op.ACK, 1)
    decoder = Decoder()
    assert decoder.feed(good + b"\x05abc\x00" + good + b"\x02\x05\x00") == [(Op.ACK, 1, b""), None, (Op.ACK, 1, b""), None]
    assert decoder.bad == 2


def test_empty_frames_are_none():
    decoder = Decoder()
    assert decoder.feed(bytes(5) + encode(Op.ACK, 1) + bytes(5)) == [(Op.ACK, 1, b"")]
    assert decoder.bad == 0


def test_too_long_frame_is_bad_whole_or_in_pieces():
    from cobs import cobs

    frame = bytes([Op.WRITE, 0]) + bytes(PAYLOAD_BYTES + 1)
    long = cobs.encode(frame + zlib.crc32(frame).to_bytes(4, "little")) + b"\0"
    for piece in (1, 100, len(long)):
        decoder = Decoder()
        frames = [frame for at in range(0, len(long), piece) for frame in decoder.feed(long[at:at + piece])]
        assert frames == [None]


def test_garbage_without_a_delimiter_costs_no_memory_and_is_one_bad_frame():
    seed = 5
    noise = bytes(random.Random(seed).choices(range(1, 256), k=1000))
    decoder = Decoder()
    for _ in range(1000):
        assert decoder.feed(noise) == []
    assert len(decoder._rest) < 1000
    assert decoder.feed(b"\0" + encode(Op.ACK, 9)) == [None, (Op.ACK, 9, b"")], f"seed {seed}"
