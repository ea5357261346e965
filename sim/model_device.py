"""The device `model`: the core's protocol at numpy speed, for whoever wants its results and counters without its beats.

It reads and writes the same frames as the gateware, keeps the same two memories, and refuses what the gateware refuses. It shares no
code with the driver's packing: it unpacks words the way the array reads them, so that each checks the other.

A job takes no time here. So two things differ from the gateware: a job that is not held and not streamed is finished before the next
frame is looked at, and results come before the acknowledgement of what follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np

from tritloom.host.errors import DisconnectedError, UsageError
from tritloom.host.framing import Decoder, Frame, encode
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import Site
from tritloom.rtl.wire import (
    COUNTERS,
    ERROR,
    IDENTITY,
    JOB,
    MOST_OUTPUTS,
    RATE,
    RESULT,
    RESULT_BYTES,
    RX_BYTES,
    SYNC,
    VERSION,
    WRITE,
    Destination,
    Engine,
    Error,
    Memory,
    Op,
    Source,
    Weights,
)
from tritloom.sim.timing import JobShape, batch

__all__ = ["ModelDevice", "open_model"]

#: For `tritloom.host.transport`.
SIMULATED = True

#: Two bits to a weight: 00 is 0, 01 is +1, 11 is -1, and 10 counts as 0.
_WEIGHT = np.array([0, 1, 0, -1], np.int8)


#: It is nowhere, and its link has no rate.
_SITE = Site()


class _Refused(Exception):
    """The command is not executed."""

    def __init__(self, code: Error) -> None:
        super().__init__(code.name)
        self.code = code


class _Job:
    """A queued job and, if its weights are streamed, the words that have come for it."""

    def __init__(self, seq: int, record: Mapping[str, int], words: int) -> None:
        self.seq = seq
        self.record = record
        self.held = record["hold"] == 1
        self.streamed = record["weights"] == Weights.STREAM
        self.words = words    # that it reads
        self.taken: list[np.ndarray] = []
        self.due = words if self.streamed else 0


class ModelDevice(Transport):
    """A device and the way to it in one.

    Parameters
    ----------
    geometry : Geometry
    """

    name = "model"
    flow_controlled = True

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._decoder = Decoder()
        self._out: list[bytes] = []
        self._expected = 0
        self._owner = 0    # nonce of the last SYNC that claimed the device
        self._claimed = False
        self._queue: deque[_Job] = deque()
        self._window: list[np.ndarray] = []    # streamed words that no job has taken
        self._store = np.zeros((geometry.weight_words, geometry.word_bytes), np.uint8)
        self._acts = np.zeros((geometry.rows, geometry.act_words, geometry.lanes), np.int8)
        self._matrices: dict[tuple[int, int, int], np.ndarray] = {}    # what `_matrix` made of the store, until the store changes
        self._counters = dict.fromkeys((field.name for field in COUNTERS.fields), 0)
        self._closed = False
        self._commands = {
            Op.SYNC: self._sync, Op.WRITE: self._write, Op.JOB: self._job, Op.STREAM: self._stream, Op.COUNTERS: self._read_counters,
            Op.RATE: self._rate,
        }

    def write(self, data: bytes) -> None:
        self._check_open()
        for frame in self._decoder.feed(data):
            self._execute(frame)

    def read(self, timeout_s: float) -> bytes:
        self._check_open()
        data = b"".join(self._out)
        self._out.clear()
        return data

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise DisconnectedError(f"{self.name} was closed here")

    def _execute(self, frame: Frame | None) -> None:
        """Execute or refuse one frame."""
        if frame is None:
            self._counters["bad_frames"] += 1
            self._refuse(0, Error.CRC)
            return
        op, seq, payload = frame
        if op not in self._commands:
            self._refuse(seq, Error.UNKNOWN)
            return
        behind = (self._expected - seq) & 0xFF
        if op != Op.SYNC and (behind or not self._claimed):
            if self._claimed and behind <= 128:
                self._reply(Op.ACK, seq)    # executed before: its reply was lost
            else:
                self._refuse(seq, Error.SEQUENCE)
            return
        try:
            self._commands[op](seq, payload)
        except _Refused as refused:
            self._refuse(seq, refused.code)
            return
        self._expected = (seq + 1) & 0xFF

    def _reply(self, op: Op, seq: int, payload: bytes = b"") -> None:
        self._out.append(encode(op, seq, payload))

    def _refuse(self, seq: int, code: Error) -> None:
        self._reply(Op.ERROR, seq, ERROR.pack(code=code, expected=self._expected))

    def _sync(self, seq: int, payload: bytes) -> None:
        if len(payload) != SYNC.size:
            raise _Refused(Error.LENGTH)
        self._queue.clear()
        self._window.clear()
        self._out.clear()
        sync = SYNC.unpack(payload)
        geometry = {name: getattr(self.geometry, name) for name in Geometry.names()}
        self._reply(Op.IDENTITY, seq, IDENTITY.pack(
            nonce=sync["nonce"], owner=self._owner, version=VERSION, rx_bytes=RX_BYTES, digest=self.geometry.digest,
            clock_hz=_SITE.clock_hz, max_baud=_SITE.max_baud, board=_SITE.board_number, **geometry))
        if sync["claim"]:
            self._owner = sync["nonce"]
            self._claimed = True

    def _write(self, seq: int, payload: bytes) -> None:
        if len(payload) < WRITE.size:
            raise _Refused(Error.LENGTH)
        record = WRITE.unpack(payload)
        row, at = record["row"], record["at"]
        to_acts = record["memory"] == Memory.ACTS
        memory = self._acts[row % self.geometry.rows] if to_acts else self._store
        words = _words(payload[WRITE.size:], memory)
        known = row < self.geometry.rows if to_acts else record["memory"] == Memory.WEIGHTS and row == 0
        if not known or at >= len(memory):
            raise _Refused(Error.BAD_ADDRESS)
        if self._queue:
            raise _Refused(Error.BUSY)
        room = len(memory) - at
        memory[at:at + len(words)] = words[:room]
        if memory is self._store:
            self._matrices.clear()
        if len(words) > room:
            raise _Refused(Error.BAD_ADDRESS)
        self._reply(Op.ACK, seq)

    def _job(self, seq: int, payload: bytes) -> None:
        if len(payload) != JOB.size:
            raise _Refused(Error.LENGTH)
        record, geometry = JOB.unpack(payload), self.geometry
        if not (
            record["engine"] == Engine.ARRAY and record["source"] == Source.ACTS and record["destination"] == Destination.LINK
            and record["weights"] in (Weights.STORE, Weights.STREAM) and record["hold"] <= (record["weights"] != Weights.STREAM)
            and 1 <= record["rows"] <= geometry.rows and 1 <= record["result_bytes"] <= 4
            and 1 <= record["k"] <= geometry.depth and 1 <= record["n"] <= MOST_OUTPUTS
            and record["acts_at"] < geometry.act_words
            and (record["weights"] == Weights.STREAM or record["weights_at"] < geometry.weight_words)
        ):
            raise _Refused(Error.BAD_JOB)
        if len(self._queue) - self._running() >= geometry.queue:
            raise _Refused(Error.QUEUE_FULL)
        self._queue.append(_Job(seq, record, geometry.words(record["n"], record["k"])))
        self._run()

    def _running(self) -> bool:
        """The queue's first job has started: it is streamed, and its words have not all come."""
        return bool(self._queue) and not all(job.held for job in self._queue)

    def _stream(self, seq: int, payload: bytes) -> None:
        words = _words(payload, self._store)
        if not any(job.streamed for job in self._queue):
            raise _Refused(Error.NO_JOB)
        self._window.append(words)
        self._reply(Op.ACK, seq)
        self._run()

    def _read_counters(self, seq: int, payload: bytes) -> None:
        if payload:
            raise _Refused(Error.LENGTH)
        self._reply(Op.COUNTS, seq, COUNTERS.pack(**{name: count & 0xFFFFFFFF for name, count in self._counters.items()}))

    def _rate(self, seq: int, payload: bytes) -> None:
        if len(payload) != RATE.size:
            raise _Refused(Error.LENGTH)
        raise _Refused(Error.BAD_RATE)    # there is no rate to set

    def _run(self) -> None:
        """Run what may run: all jobs up to the last one that is not held, as far as their streamed words have come."""
        done = []
        while self._running():
            job = self._queue[0]
            while job.due and self._window:
                words = self._window.pop(0)
                job.taken.append(words[:job.due])
                if len(words) > job.due:
                    self._window.insert(0, words[job.due:])
                job.due -= len(job.taken[-1])
            if job.due:
                break
            self._queue.popleft()
            self._send(job, self._multiply(job))
            done.append(job)
        if done:
            self._count(done)

    def _multiply(self, job: _Job) -> np.ndarray:
        """Sums of a job: (n, rows) int32.

        float32 is exact here: a sum of int8 times {-1, 0, 1} stays below ``2**24``, whatever the geometry's depth.
        """
        record, geometry = job.record, self.geometry
        n, k, at, rows = record["n"], record["k"], record["acts_at"], record["rows"]
        if job.streamed:
            matrix = self._matrix(np.concatenate(job.taken), n, k)
        else:
            place = record["weights_at"], n, k
            if place not in self._matrices:
                words = self._store[(place[0] + np.arange(job.words)) % len(self._store)]
                self._matrices[place] = self._matrix(words, n, k)
            matrix = self._matrices[place]
        beats = geometry.beats(k)
        if at + beats <= geometry.act_words:
            acts = self._acts[:rows, at:at + beats]
        else:
            acts = self._acts[:rows, (at + np.arange(beats)) % geometry.act_words]
        return (matrix @ acts.reshape(rows, -1).T.astype(np.float32)).astype(np.int32)

    def _matrix(self, words: np.ndarray, n: int, k: int) -> np.ndarray:
        """The matrix that the array sees in these words: (n, beats * lanes) float32.

        Column c of the array takes its part of a tile from as many words as the tile has beats, beginning c words late. The first of
        them meets the chunk of activations that has come that far: ``c - c // col_pitch`` chunks into the vector.
        """
        geometry = self.geometry
        cols, lanes, beats, tiles = geometry.cols, geometry.lanes, geometry.beats(k), geometry.tiles(n)
        codes = words[:, :, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
        trits = _WEIGHT[codes.reshape(len(words), -1)[:, :cols * lanes]].reshape(len(words), cols, lanes)
        matrix = np.empty((tiles, cols, beats, lanes), np.float32)
        for col in range(cols):
            passing = trits[col:col + tiles * beats, col].reshape(tiles, beats, lanes)
            matrix[:, col] = np.roll(passing, col - col // geometry.col_pitch, axis=1)
        return matrix.reshape(tiles * cols, beats * lanes)[:n]

    def _send(self, job: _Job, sums: np.ndarray) -> None:
        data = sums.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :job.record["result_bytes"]].tobytes()
        for index, at in enumerate(range(0, len(data), RESULT_BYTES)):
            self._reply(Op.RESULT, job.seq, RESULT.pack(index=index & 0xFFFF) + data[at:at + RESULT_BYTES])

    def _count(self, jobs: Sequence[_Job]) -> None:
        """Count what the array does for jobs that run one behind the other."""
        span = batch(self.geometry, tuple(
            JobShape(job.record["n"], job.record["k"], job.record["rows"], job.record["result_bytes"], tuple(map(len, job.taken)))
            for job in jobs
        ))
        for field in fields(span):
            self._counters[field.name] += getattr(span, field.name)


def _words(data: bytes, memory: np.ndarray) -> np.ndarray:
    """Whole words for a memory, at least one."""
    size = memory.shape[1]
    if not data or len(data) % size:
        raise _Refused(Error.LENGTH)
    return np.frombuffer(data, memory.dtype).reshape(-1, size)


def open_model(address: str = "", geometry: Geometry | None = None) -> ModelDevice:
    """A model of the device at numpy speed, with the gateware's cycle counts.

    Parameters
    ----------
    address : str
        Must be empty.
    geometry : Geometry, optional
        The default geometry if none is given.

    Raises
    ------
    UsageError
        If there is an address.
    """
    if address:
        raise UsageError(f"the device `model` has no address, so nothing may follow it, not {address!r}")
    return ModelDevice(geometry or Geometry())
