"""The device `model`: the core's protocol at numpy speed, for whoever wants its results and counters without its beats.

It reads and writes the same frames as the gateware, keeps the same two memories, and refuses what the gateware refuses. It shares no
code with the driver's packing: it unpacks words the way the array reads them, so that each checks the other.

A job takes no time here. So two things differ from the gateware: a job that is not held and not streamed is finished before the next
frame is looked at, and results come before the acknowledgement of what follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache

import numpy as np

from tritloom.host.errors import DisconnectedError, UsageError
from tritloom.host.framing import Decoder, Frame, encode
from tritloom.host.timing import JobShape, batch
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
from tritloom.sim.packed_product import KNOWN_CODES, multiply, unpack

__all__ = ["ModelDevice", "open_model"]

#: For `tritloom.host.transport`.
SIMULATED = True

#: Bytes of matrices kept as float32 from job to job. A small model's all fit, and its multiplications take a third of the time for it; of a large one
#: it is the first few, and the others are multiplied as they are packed.
_DENSE_BYTES = 1 << 26

#: The reply to most commands, by sequence number.
_ACKS = [encode(Op.ACK, seq) for seq in range(256)]

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
        self.taken: list[bytes] = []
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
        self._window: deque[bytes] = deque()    # streamed words that no job has taken
        self._store = np.zeros((geometry.weight_words, geometry.word_bytes), np.uint8)
        self._acts = np.zeros((geometry.rows, geometry.act_words, geometry.lanes), np.int8)
        self._store_bytes, act_bytes = (memory.view(np.uint8).reshape(-1).data for memory in (self._store, self._acts))
        # Bytes, rows, words in a row, bytes in a word. What is written to no memory is taken for words of the weight store, as far as its length goes.
        self._no_memory = self._store_bytes, 0, geometry.weight_words, geometry.word_bytes
        self._memories = {
            int(Memory.WEIGHTS): (self._store_bytes, 1, geometry.weight_words, geometry.word_bytes),
            int(Memory.ACTS): (act_bytes, geometry.rows, geometry.act_words, geometry.lanes),
        }
        self._dense: dict[tuple[int, int, int], np.ndarray] = {}    # what `unpack` made of the store, until the store changes
        self._dense_bytes = 0
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
                self._out.append(_ACKS[seq])    # executed before: its reply was lost
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
        memory, rows, words, size = self._memories.get(record["memory"], self._no_memory)
        data = payload[WRITE.size:]
        _check_words(data, size)
        if row >= rows or at >= words:
            raise _Refused(Error.BAD_ADDRESS)
        if self._queue:
            raise _Refused(Error.BUSY)
        if memory is self._store_bytes:
            data = data.translate(KNOWN_CODES)
            if self._dense:
                self._dense.clear()
                self._dense_bytes = 0
        start, room = (row * words + at) * size, (words - at) * size
        memory[start:start + min(len(data), room)] = data[:room]
        if len(data) > room:
            raise _Refused(Error.BAD_ADDRESS)
        self._out.append(_ACKS[seq])

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
        words = payload.translate(KNOWN_CODES)
        _check_words(words, self.geometry.word_bytes)
        if not any(job.streamed for job in self._queue):
            raise _Refused(Error.NO_JOB)
        self._window.append(words)
        self._out.append(_ACKS[seq])
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
        size = self.geometry.word_bytes
        while self._running():
            job = self._queue[0]
            while job.due and self._window:
                words = self._window.popleft()
                taken = words[:job.due * size]
                if len(words) > len(taken):
                    self._window.appendleft(words[len(taken):])
                job.taken.append(taken)
                job.due -= len(taken) // size
            if job.due:
                break
            self._queue.popleft()
            self._send(job, self._multiply(job))
            done.append(job)
        if not any(job.streamed for job in self._queue):
            self._window.clear()    # words that were left over are nobody's
        if done:
            self._count(done)

    def _multiply(self, job: _Job) -> np.ndarray:
        """Sums of a job: (n, rows) int32."""
        record, geometry = job.record, self.geometry
        n, k, at, rows = record["n"], record["k"], record["acts_at"], record["rows"]
        beats = geometry.beats(k)
        if at + beats <= geometry.act_words:
            acts = self._acts[:rows, at:at + beats]
        else:
            acts = self._acts[:rows, (at + np.arange(beats)) % geometry.act_words]
        if job.streamed:
            return multiply(geometry, np.frombuffer(b"".join(job.taken), np.uint8).reshape(-1, geometry.word_bytes), n, acts)
        place = record["weights_at"], n, k
        matrix = self._dense.get(place)
        if matrix is None:
            words = self._read(place[0], job.words)
            if self._dense_bytes + 4 * n * beats * geometry.lanes > _DENSE_BYTES:
                return multiply(geometry, words, n, acts)
            matrix = self._dense[place] = unpack(geometry, words, n, k)
            self._dense_bytes += matrix.nbytes
        return (matrix @ acts.reshape(rows, -1).T.astype(np.float32)).astype(np.int32)

    def _read(self, at: int, count: int) -> np.ndarray:
        """Words of the weight store, which begins again behind its end."""
        if at + count <= len(self._store):
            return self._store[at:at + count]
        return self._store[(at + np.arange(count)) % len(self._store)]

    def _send(self, job: _Job, sums: np.ndarray) -> None:
        data = sums.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :job.record["result_bytes"]].tobytes()
        for index, at in enumerate(range(0, len(data), RESULT_BYTES)):
            self._reply(Op.RESULT, job.seq, RESULT.pack(index=index & 0xFFFF) + data[at:at + RESULT_BYTES])

    def _count(self, jobs: Sequence[_Job]) -> None:
        """Count what the array does for jobs that run one behind the other."""
        size = self.geometry.word_bytes
        shapes = tuple(
            (job.record["n"], job.record["k"], job.record["rows"], job.record["result_bytes"], tuple([len(words) // size for words in job.taken]))
            for job in jobs)
        for name, count in _span(self.geometry, shapes):
            self._counters[name] += count


@lru_cache(maxsize=4096)
def _span(geometry: Geometry, shapes: tuple[tuple[int, int, int, int, tuple[int, ...]], ...]) -> tuple[tuple[str, int], ...]:
    """What `batch` counts for jobs of these shapes, by the counters' names. The same few come again for every token."""
    return tuple(asdict(batch(geometry, tuple(JobShape(*shape) for shape in shapes))).items())


def _check_words(data: bytes, size: int) -> None:
    """Whole words, at least one."""
    if not data or len(data) % size:
        raise _Refused(Error.LENGTH)


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
