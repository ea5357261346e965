"""Frames on a byte stream: how commands and replies survive a cable that drops, flips or invents bytes.

Every frame carries a CRC-32 and is COBS-encoded, so the zero byte that ends it occurs nowhere inside: whatever was damaged, reading
starts afresh at the next zero.
"""

from __future__ import annotations

import zlib

from cobs import cobs

from tritloom.rtl.wire import CRC_BYTES, FRAME_BYTES, HEADER, PAYLOAD_BYTES

__all__ = ["DELIMITER", "Decoder", "Frame", "encode", "encoded_bytes"]

#: Ends every frame, and occurs nowhere in one.
DELIMITER = b"\0"

#: ``(op, seq, payload)``. A plain tuple, because thousands are made for each token.
Frame = tuple[int, int, bytes]

_SHORTEST = HEADER.size + CRC_BYTES


def encoded_bytes(payload_bytes: int) -> int:
    """Bytes on the wire of a frame with that much payload: header, CRC, one byte of COBS and the delimiter come on top."""
    return _SHORTEST + payload_bytes + 2


def encode(op: int, seq: int, payload: bytes = b"") -> bytes:
    """Encode one frame, delimiter included.

    Parameters
    ----------
    op : int
        A `tritloom.rtl.wire.Op`.
    seq : int
        Sequence number, 0 to 255.
    payload : bytes
        At most `PAYLOAD_BYTES`.

    Raises
    ------
    ValueError
        If the payload is too long for a frame.
    """
    if len(payload) > PAYLOAD_BYTES:
        raise ValueError(f"`payload` must be at most {PAYLOAD_BYTES} bytes, not {len(payload)}")
    frame = bytes((op, seq)) + payload
    return cobs.encode(frame + zlib.crc32(frame).to_bytes(CRC_BYTES, "little")) + DELIMITER


class Decoder:
    """Finds the frames in a stream of bytes that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""
        #: Frames so far that were malformed, too short, too long, or failed their CRC.
        self.bad = 0

    def feed(self, data: bytes) -> list[Frame | None]:
        """Take the next bytes; return the frames that they complete, with None in the place of each bad one.

        Empty frames (a zero after a zero) are no frames.
        """
        *complete, rest = (self._rest + data).split(DELIMITER)
        # A frame already too long stays too long: its excess need not be kept, so garbage without a zero costs no memory.
        self._rest = rest[:FRAME_BYTES + 3]
        return [self._decode(piece) for piece in complete if piece]

    def _decode(self, piece: bytes) -> Frame | None:
        try:
            frame = cobs.decode(piece)
        except cobs.DecodeError:
            frame = b""
        if not _SHORTEST <= len(frame) <= FRAME_BYTES or zlib.crc32(frame) != _GOOD:
            self.bad += 1
            return None
        return frame[0], frame[1], frame[HEADER.size:-CRC_BYTES]


#: CRC-32 of anything followed by its own CRC-32, a property of the code: one pass, no slice, no comparison of bytes.
_GOOD = zlib.crc32(zlib.crc32(b"").to_bytes(CRC_BYTES, "little"))
