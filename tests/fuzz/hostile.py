"""A device that answers with malice: real replies, changed, repeated, delayed or left out, and frames and bytes that nobody asked for."""

from __future__ import annotations

import random

from tritloom.host.framing import Decoder, Frame, encode
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import IDENTITY, PAYLOAD_BYTES, Op
from tritloom.sim.model_device import ModelDevice

__all__ = ["Babbler", "HostileDevice"]


class HostileDevice(Transport):
    """The device `model` behind somebody who wants the host to stumble. What he sends are whole frames with good checksums, most of the time.

    Parameters
    ----------
    geometry
    seed
        Of the malice.
    malice
        Share of the replies that are not what they should be.
    """

    name, flow_controlled = "hostile", True

    def __init__(self, geometry: Geometry, seed: int, malice: float, flow_controlled: bool = True) -> None:
        self.rng = random.Random(seed)
        self.malice = malice
        self.flow_controlled = flow_controlled
        self._device = ModelDevice(geometry)
        self._decoder = Decoder()
        self._kept: list[Frame] = []

    def write(self, data: bytes) -> None:
        self._device.write(data)

    def read(self, timeout_s: float) -> bytes:
        frames = self._decoder.feed(self._device.read(timeout_s))
        sent = b"".join(self._spoilt(frame) if self.rng.random() < self.malice else encode(*frame) for frame in frames)
        self._kept = [*self._kept, *frames][-20:]
        return sent

    def close(self) -> None:
        self._device.close()

    def _spoilt(self, frame: Frame) -> bytes:
        rng = self.rng
        op, seq, payload = frame
        other = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        return rng.choice((
            lambda: b"",
            lambda: encode(*frame) * rng.randint(2, 5),
            lambda: encode(op, seq + 1 & 0xFF, payload),
            lambda: encode(op, other, payload),
            lambda: encode(rng.choice((*Op, other)), seq, payload),
            lambda: encode(op, seq, payload[:rng.randint(0, len(payload))]),
            lambda: encode(op, seq, (payload + rng.randbytes(rng.randint(1, 250)))[:PAYLOAD_BYTES]),
            lambda: encode(op, seq, self._changed(payload)),
            lambda: encode(op, seq, self._changed(payload)),
            lambda: encode(*rng.choice(self._kept or [frame])) + encode(*frame),
            lambda: encode(*frame) + encode(rng.choice(list(Op)), other, rng.randbytes(rng.choice((0, 2, 32, PAYLOAD_BYTES)))),
            lambda: encode(Op.ERROR, seq, bytes((rng.choice((*range(12), other)), other))),
            lambda: rng.randbytes(rng.choice((1, 100, 3000))) + encode(*frame),
            lambda: encode(*frame)[:-1],
        ))()

    def _changed(self, payload: bytes) -> bytes:
        if not payload:
            return b"\0"
        data = bytearray(payload)
        for _ in range(self.rng.randint(1, 3)):
            data[self.rng.randrange(len(data))] = self.rng.choice((0, 1, 255, self.rng.randrange(256)))
        if len(data) == IDENTITY.size and self.rng.random() < 0.5:    # with the nonce that it must have, or nobody looks at it
            data[:4] = payload[:4]
        return bytes(data)


class Babbler(Transport):
    """Never stops talking: each read has something, and it is never what is waited for."""

    name, flow_controlled = "babbler", True

    def __init__(self, words: bytes, until: Transport | None = None, greetings: int = 1) -> None:
        self.words = words
        self._device = until
        self._greetings = greetings

    def write(self, data: bytes) -> None:
        if self._device is not None:
            self._device.write(data)

    def read(self, timeout_s: float) -> bytes:
        if self._greetings and self._device is not None:
            self._greetings -= 1
            return self._device.read(timeout_s)
        return self.words

    def close(self) -> None:
        """There is nothing to close."""
