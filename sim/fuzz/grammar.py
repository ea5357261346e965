"""What a campaign sends: frames that are right, nearly right and wrong, and bytes that are none, in pieces called bursts.

A frame is kept as what it means, with its sequence number relative to the one that is due, so that a burst that once led somewhere can be
changed a little and sent again.
"""

from __future__ import annotations

import random
import zlib
from copy import copy
from dataclasses import dataclass, field

from cobs import cobs

from tritloom.host.framing import DELIMITER
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import CRC_BYTES, JOB, MOST_OUTPUTS, PAYLOAD_BYTES, RATE, SYNC, WRITE, Memory, Op, Weights
from tritloom.sim.model_device import ModelDevice

__all__ = ["Burst", "Grammar", "Piece"]

#: The commands that are executed only with the number that is due.
_NUMBERED = (Op.WRITE, Op.JOB, Op.STREAM, Op.COUNTERS, Op.RATE)

#: Pieces of a long burst.
_LONGEST = 40


@dataclass(frozen=True)
class Piece:
    """One frame, or (`op` None) bytes that need not be one.

    Parameters
    ----------
    op
        The operation, 0 to 255.
    ahead
        Its sequence number less the one that is due.
    payload
        Of the frame, or the bytes.
    spoilt
        Bytes of the encoded frame that are changed: (place, what is xored to it), or cut off: (place, 0).
    """

    op: int | None
    ahead: int
    payload: bytes
    spoilt: tuple[tuple[int, int], ...] = ()

    def encoded(self, due: int) -> bytes:
        """The bytes on the wire, if `due` is the number that is due."""
        if self.op is None:
            return self.payload
        frame = bytes((self.op, (due + self.ahead) & 0xFF)) + self.payload    # which may be longer than `framing.encode` allows
        data = bytearray(cobs.encode(frame + zlib.crc32(frame).to_bytes(CRC_BYTES, "little")) + DELIMITER)
        for at, change in self.spoilt:
            at %= len(data)
            if not change:
                return bytes(data[:at])
            data[at] ^= change
        return bytes(data)


@dataclass(frozen=True)
class Burst:
    """Pieces that are sent without waiting for a reply.

    Parameters
    ----------
    pieces
    stall
        Share of cycles in which the core's output is not taken.
    pauses
        Cycles that run before each piece, over and over.
    """

    pieces: tuple[Piece, ...]
    stall: float = 0.0
    pauses: tuple[int, ...] = field(default=(0,))

    def encoded(self, model: ModelDevice) -> list[bytes]:
        """The pieces' bytes, numbered as a device will take them that is as `model` is now, if it is as fast."""
        device, encoded = ModelDevice(model.geometry), []    # what its memories hold does not matter
        device._expected, device._claimed = model._expected, model._claimed
        for job in model._queue:
            job = copy(job)
            job.taken = list(job.taken)
            device._queue.append(job)
        for piece in self.pieces:
            encoded.append(piece.encoded(device._expected))
            device.write(encoded[-1])
        return encoded


class Grammar:
    """Makes pieces and bursts from one source of randomness.

    Parameters
    ----------
    geometry
        Of the device: fields are drawn around its limits.
    rng
        The source.
    """

    def __init__(self, geometry: Geometry, rng: random.Random) -> None:
        self.geometry = geometry
        self.rng = rng

    def burst(self) -> Burst:
        """A new one: mostly one frame, sometimes a few, seldom many."""
        rng = self.rng
        size = rng.choices((1, rng.randint(2, 8), rng.randint(9, _LONGEST)), (10, 5, 1))[0]
        return Burst(tuple(self.piece() for _ in range(size)), self._stall(), self._pauses())

    def changed(self, burst: Burst) -> Burst:
        """A burst that differs from `burst` a little: a piece replaced, spoilt, repeated, left out, or moved."""
        rng = self.rng
        first = rng.choice((0, rng.randrange(len(burst.pieces))))
        pieces = list(burst.pieces[first:first + _LONGEST])
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(pieces))
            how = rng.randrange(6)
            if how == 0:
                pieces[at] = self.piece()
            elif how == 1:
                pieces.insert(at, self.piece())
            elif how == 2:
                pieces.insert(rng.randrange(len(pieces)), pieces[at])
            elif how == 3 and len(pieces) > 1:
                del pieces[at]
            elif how == 4 and pieces[at].op is not None:
                pieces[at] = self._reworded(pieces[at])
            else:
                pieces[at] = self._spoilt(pieces[at])
        return Burst(tuple(pieces), self._stall(), self._pauses())

    def piece(self) -> Piece:
        rng = self.rng
        make = rng.choices(
            (self._sync, self._write, self._job, self._stream, self._counters, self._rate, self._unknown, self._garbage),
            (4, 22, 26, 18, 8, 3, 2, 3))[0]
        piece = make()
        if piece.op is not None and rng.random() < 0.06:
            piece = Piece(piece.op, rng.choice((-1, -2, -127, -128, -129, 1, 2, 127, rng.randrange(256))), piece.payload)
        if piece.op is not None and rng.random() < 0.05:
            piece = self._wrong_length(piece)
        return self._spoilt(piece) if rng.random() < 0.05 else piece

    def _stall(self) -> float:
        return self.rng.choice((0.0, 0.0, 0.0, 0.1, 0.5, 0.75))

    def _pauses(self) -> tuple[int, ...]:
        rng = self.rng
        return tuple(rng.choice((0, 0, 0, rng.randrange(40), rng.randrange(700))) for _ in range(rng.randint(1, 4)))

    def _sync(self) -> Piece:
        rng = self.rng
        nonce = rng.choice((rng.getrandbits(32), rng.getrandbits(32), 0))
        return Piece(Op.SYNC, rng.randrange(256), SYNC.pack(nonce=nonce, claim=rng.choice((1, 1, 0, rng.randrange(256)))))

    def _write(self) -> Piece:
        rng, geometry = self.rng, self.geometry
        memory = rng.choices((Memory.WEIGHTS, Memory.ACTS, rng.randrange(256)), (10, 10, 1))[0]
        acts = memory == Memory.ACTS
        size, words = (geometry.lanes, geometry.act_words) if acts else (geometry.word_bytes, geometry.weight_words)
        row = rng.choices((rng.randrange(geometry.rows) if acts else 0, rng.randrange(256)), (20, 1))[0]
        at = self._around(words)
        count = rng.choice((1, 2, words - min(at, words - 1), rng.randint(1, words)))
        data = rng.randbytes(max(1, min(count, (PAYLOAD_BYTES - WRITE.size) // size)) * size)
        return Piece(Op.WRITE, 0, WRITE.pack(memory=memory, row=row, at=at) + data)

    def _job(self) -> Piece:
        rng, geometry = self.rng, self.geometry
        streamed = rng.random() < 0.4
        fields = {
            "engine": 0, "source": 0, "destination": 0, "weights": Weights.STREAM if streamed else Weights.STORE,
            "hold": int(not streamed and rng.random() < 0.4), "rows": rng.randint(1, geometry.rows), "result_bytes": rng.randint(1, 4),
            "k": rng.choice((1, geometry.depth, rng.randint(1, geometry.depth))), "n": rng.choice((1, rng.randint(1, 12), rng.randint(1, 40))),
            "acts_at": 0, "weights_at": 0,
        }
        if rng.random() < 0.5:
            fields["acts_at"] = rng.randrange(max(1, geometry.act_words - geometry.beats(fields["k"]) + 1))
            fields["weights_at"] = rng.randrange(max(1, geometry.resident_words - geometry.words(fields["n"], fields["k"]) + 1))
        if rng.random() < 0.12:
            name = rng.choice(list(fields))
            bits = next(field.bits for field in JOB.fields if field.name == name)
            limits = {"k": geometry.depth + 1, "rows": geometry.rows + 1, "acts_at": geometry.act_words, "weights_at": geometry.weight_words,
                      "n": 2000, "result_bytes": 5}
            fields[name] = rng.choice((0, 1, 2, 1 << bits - 1, rng.randrange(1 << bits), self._around(limits.get(name, 2)), -1)) % (1 << bits)
            if name == "n" and 2000 < fields["n"] <= MOST_OUTPUTS:
                fields["n"] = 2000 if rng.random() < 0.9 else 40_000    # a million outputs take as long as all the rest
        return Piece(Op.JOB, 0, JOB.pack(**fields))

    def _stream(self) -> Piece:
        size = self.geometry.word_bytes
        most = PAYLOAD_BYTES // size
        return Piece(Op.STREAM, 0, self.rng.randbytes(self.rng.choice((1, most, most, self.rng.randint(1, most))) * size))

    def _counters(self) -> Piece:
        return Piece(Op.COUNTERS, 0, b"")

    def _rate(self) -> Piece:
        return Piece(Op.RATE, 0, RATE.pack(divisor=self.rng.choice((0, 1, 3, 4, 100, 65535))))

    def _unknown(self) -> Piece:
        return Piece(self.rng.randrange(256), 0, self.rng.randbytes(self.rng.choice((0, 1, 5, PAYLOAD_BYTES))))

    def _garbage(self) -> Piece:
        """Bytes; with or without zeros, long or short."""
        rng = self.rng
        data = rng.randbytes(rng.choice((1, 3, rng.randint(1, 40), rng.randint(1, 40), rng.randint(1, 600))))
        how = rng.randrange(4)
        if how == 0:
            data = data.replace(b"\0", b"\xff") + bytes(rng.randrange(3))
        elif how == 1:
            data = bytes(rng.choice((0, 0, 1, 2, 5, 255)) for _ in data)
        return Piece(None, 0, data)

    def _around(self, limit: int) -> int:
        """A number from 0 on, mostly below a limit, often next to it, sometimes far beyond."""
        rng = self.rng
        return rng.choices((0, rng.randrange(limit), limit - 1, limit, limit + 1, rng.getrandbits(16)), (4, 10, 3, 1, 1, 1))[0]

    def _wrong_length(self, piece: Piece) -> Piece:
        payload = piece.payload
        cut = self.rng.choice((b"", payload[:-1], payload[:self.rng.randint(0, len(payload))], payload + b"\0", payload + self.rng.randbytes(200),
                               payload + bytes(PAYLOAD_BYTES + 1 - len(payload)), payload + self.rng.randbytes(self.rng.randint(200, 700))))
        return Piece(piece.op, piece.ahead, cut)

    def _reworded(self, piece: Piece) -> Piece:
        """Another payload, sequence number or operation in a frame that is otherwise whole."""
        rng = self.rng
        payload = bytearray(piece.payload)
        how = rng.randrange(4)
        if how == 0 or not payload:
            return Piece(rng.choice((*_NUMBERED, Op.SYNC, rng.randrange(256))), piece.ahead, piece.payload)
        if how == 1:
            return Piece(piece.op, rng.choice((0, 0, -1, 1, rng.randrange(256))), piece.payload)
        payload[rng.randrange(min(len(payload), JOB.size))] = rng.choice((0, 1, 255, rng.randrange(256)))
        if piece.op == Op.JOB and len(payload) == JOB.size and 2000 < JOB.unpack(bytes(payload))["n"] <= MOST_OUTPUTS:
            return piece
        return Piece(piece.op, piece.ahead, bytes(payload))

    def _spoilt(self, piece: Piece) -> Piece:
        """Damaged on the wire: bytes changed, or the end cut off, delimiter and all."""
        rng = self.rng
        if piece.op is None:
            return self._garbage()
        changes = tuple((rng.randrange(1 << 16), rng.choice((0, 1 << rng.randrange(8), rng.randrange(1, 256)))) for _ in range(rng.randint(1, 3)))
        return Piece(piece.op, piece.ahead, piece.payload, piece.spoilt + changes)
