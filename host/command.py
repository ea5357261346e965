"""Commands to a device, whole and in pieces.

A frame of 256 bytes passes a line that damages one byte in a hundred 8 times in a hundred, one of 40 bytes 67 times. So on a bad line a
command becomes several: a WRITE with fewer words at a time, a JOB with fewer outputs at a time. Streamed weights, which every synchronisation
drops, are written into the streaming window instead, where they stay, and are multiplied from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import JOB, PAYLOAD_BYTES, WRITE, Memory, Op, Weights

__all__ = ["Command", "write_commands"]


@dataclass(slots=True, eq=False)
class Command:
    """One command, and its reply once it was executed.

    Parameters
    ----------
    op : Op
        WRITE, JOB, COUNTERS or RATE.
    payload : bytes
    what : str
        Names it in error messages, such as ``"job 17 (N=128, K=128, rows=1)"``.
    size : int
        JOB: bytes of results to come.
    stream : sequence of bytes
        JOB with streamed weights: payloads of the STREAM frames that follow it.
    cycles : int
        JOB: how long the array may work on it, in clock cycles.
    reply : bytes or None
        After execution: the results, or the payload of the reply.
    """

    op: int
    payload: bytes
    what: str
    size: int = 0
    stream: Sequence[bytes] = ()
    cycles: int = 0
    reply: bytes | None = None
    _whole: Command | None = None    # of a piece: what it is a piece of
    _missing: int = 0                # of what was cut: pieces without a reply
    _replies: bytes = b""            # and the replies of the others

    def cut(self, geometry: Geometry, grain: int) -> list[Command]:
        """Pieces that do the same, in this order, none of them held; only itself if it is small enough, or cannot be cut.

        When all of them were executed and `settle` was called on each, in this order, this command has its reply.

        Parameters
        ----------
        geometry : Geometry
            The device's.
        grain : int
            Payload bytes that a frame should have at most, in either direction; at least one word or one tile's results remain.
        """
        if self.op == Op.WRITE:
            pieces = self._cut_write(geometry, grain)
        elif self.op == Op.JOB:
            pieces = self._cut_job(geometry, grain)
        else:
            pieces = []
        if not pieces:
            return [self]
        whole = self._whole or self
        for piece in pieces:
            piece._whole = whole
        whole._missing += len(pieces) - (1 if self._whole else 0)
        return pieces

    def settle(self) -> None:
        """Hand the reply of a piece on to what it is a piece of."""
        whole = self._whole
        if whole is None:
            return
        if self.op == Op.JOB:
            whole._replies += self.reply
        whole._missing -= 1
        if not whole._missing:
            whole.reply, whole._replies = whole._replies, b""

    def _cut_write(self, geometry: Geometry, grain: int) -> list[Command]:
        record = WRITE.unpack(self.payload)
        word_bytes = geometry.lanes if record["memory"] == Memory.ACTS else geometry.word_bytes
        pieces = _writes(record["memory"], record["row"], record["at"], self.payload[WRITE.size:], word_bytes, grain, self.what)
        return pieces if len(pieces) > 1 else []

    def _cut_job(self, geometry: Geometry, grain: int) -> list[Command]:
        """Some tiles at a time: column c of a job that starts t tiles later begins c words later too, so it finds its words where it did."""
        record = JOB.unpack(self.payload)
        n, beats = record["n"], geometry.beats(record["k"])
        output_bytes = record["rows"] * record["result_bytes"]
        if not 0 < n * output_bytes == self.size:
            return []
        step = max(1, grain // (output_bytes * geometry.cols))    # tiles
        streamed = record["weights"] == Weights.STREAM
        if streamed:
            room = (geometry.stream_words - geometry.ramp) // beats
            if not room:
                return []
            step = min(step, room)
            words = b"".join(self.stream)
        elif n <= step * geometry.cols and not record["hold"]:
            return []
        pieces = []
        for tile in range(0, geometry.tiles(n), step):
            outputs = min(step * geometry.cols, n - tile * geometry.cols)
            at = record["weights_at"] + tile * beats
            if streamed:
                at, size = geometry.resident_words, geometry.word_bytes
                data = words[tile * beats * size:][:geometry.words(outputs, record["k"]) * size]
                pieces += _writes(Memory.WEIGHTS, 0, at, data, size, grain, self.what)
            pieces.append(Command(
                Op.JOB, JOB.pack(**record | {"n": outputs, "weights_at": at, "weights": Weights.STORE, "hold": 0}), self.what,
                outputs * output_bytes, cycles=geometry.words(outputs, record["k"])))
        return pieces


def write_commands(memory: int, row: int, at: int, data: bytes, word_bytes: int, per_frame: int, what: str) -> list[Command]:
    """WRITE commands for whole words.

    Parameters
    ----------
    memory, row, at
        Where the first word goes.
    data
        The words, `word_bytes` each.
    word_bytes
        Of the memory.
    per_frame
        Words that one command carries.
    what
        For messages.
    """
    step = per_frame * word_bytes
    return [
        Command(Op.WRITE, _write_record(memory, row, at + i * per_frame) + data[i * step:(i + 1) * step], what)
        for i in range(-(-len(data) // step))
    ]


@lru_cache(maxsize=1024)
def _write_record(memory: int, row: int, at: int) -> bytes:
    return WRITE.pack(memory=memory, row=row, at=at)


def _writes(memory: int, row: int, at: int, data: bytes, word_bytes: int, grain: int, what: str) -> list[Command]:
    """WRITE commands with about `grain` bytes of payload each, at least a word."""
    return write_commands(memory, row, at, data, word_bytes, max(1, min(grain, PAYLOAD_BYTES - WRITE.size) // word_bytes), what)
