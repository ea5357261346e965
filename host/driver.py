"""The driver: matrices into a device's memories, vectors through its array, exact int32 out, whatever the shapes.

A device multiplies one matrix of bounded depth with a few vectors at a time. This module splits, places, queues and reassembles, so
that its caller sees matrices and numbers only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

import numpy as np

from tritloom.host.counters import Counters
from tritloom.host.errors import DisconnectedError, IncompatibleDeviceError, UsageError
from tritloom.host.link import Command, Link
from tritloom.host.packing import pack_acts, pack_weights, result_bytes, unpack_results
from tritloom.host.space import Space
from tritloom.host.transport import open_transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, JOB, MOST_OUTPUTS, PAYLOAD_BYTES, WRITE, Destination, Engine, Memory, Op, Source, Weights

__all__ = ["Accelerator", "Matrix", "connect"]

#: Largest K whose results surely fit int32: 128 * K must stay below 2**31.
_DEEPEST = ((1 << 31) - 1) // 128


@dataclass(eq=False)
class _Part:
    """Columns `first` to ``first + k`` of a matrix, as one job multiplies them."""

    n: int
    k: int
    first: int
    result_bytes: int
    words: int
    at: int | None          # in the weight store; None: streamed
    stream: list[bytes]     # payloads of the STREAM frames


class Matrix:
    """A matrix that a device knows; got from `Accelerator.load`.

    Members
    -------
    shape : tuple of int
        (N, K).
    resident : bool
        All of it lies in the device's weight store. Otherwise some or all is streamed to the device with every multiplication.
    parts : tuple of (int, bool)
        Columns that one job multiplies, and whether they lie in the weight store: more than one where the matrix is deeper than the geometry.
    """

    def __init__(self, owner: Accelerator, shape: tuple[int, int], parts: list[_Part]) -> None:
        self.shape = shape
        self._owner = owner
        self._parts = parts

    def __repr__(self) -> str:
        return f"<Matrix {self.shape[0]} x {self.shape[1]}{'' if self._parts else ', unloaded'}>"

    @property
    def resident(self) -> bool:
        return all(part.at is not None for part in self._parts)

    @property
    def parts(self) -> tuple[tuple[int, bool], ...]:
        return tuple((part.k, part.at is not None) for part in self._parts)

    def unload(self) -> None:
        """Free its place in the device. Doing so twice is allowed; multiplying with it afterwards is not."""
        self._owner._free(self._parts)
        self._parts = []


@dataclass(slots=True, eq=False)
class _Job:
    """One job of a queue, and where its results belong."""

    part: _Part
    rows: int
    acts_at: int
    out: np.ndarray         # (rows, N) of the product that it is part of
    adds: bool              # `out` holds the sums of earlier columns


class Accelerator:
    """A device, ready to multiply. Use as a context manager, or call `close`.

    Parameters
    ----------
    link : Link
        Closed with this object.

    Members
    -------
    geometry : Geometry
        The device's.
    link : Link
        With its `bytes_sent` and `bytes_received`.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.geometry = link.geometry
        self._space = Space(self.geometry.resident_words)
        self._jobs = 0
        self._closed = False

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Accelerator {self.link.name}, geometry {self.geometry}>"

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self._closed

    def close(self) -> None:
        """Release the device. Its matrices cannot be used any more."""
        self._closed = True
        self.link.close()

    def load(self, w: np.ndarray) -> Matrix:
        """Put a matrix into the device.

        It stays in the weight store where it fits; what does not is packed here and streamed with each multiplication. A matrix deeper
        than the geometry's `depth` is split along K, and the parts' results are added on the host.

        Parameters
        ----------
        w : np.ndarray
            (N, K), of an integer dtype, values in {-1, 0, 1}.

        Raises
        ------
        ValueError
            If it is not such a matrix, or K is over 16,777,215, where int32 would not hold the result.
        DeviceError
            If the device, or the way to it, fails.
        """
        self._check_open()
        w = _checked_matrix(w)
        n, depth = w.shape[0], w.shape[1]
        parts: list[_Part] = []
        try:
            for first in range(0, depth, self.geometry.depth):
                parts.append(self._load_part(w[:, first:first + self.geometry.depth], first))
        except BaseException:
            self._free(parts)
            raise
        return Matrix(self, (n, depth), parts)

    def matmul(self, w: Matrix | np.ndarray, x: np.ndarray) -> np.ndarray:
        """Multiply vectors by a matrix: ``x @ w.T``, exactly.

        Parameters
        ----------
        w : Matrix or np.ndarray
            (N, K): got from `load`, or an array as `load` takes it, which is then loaded for this once.
        x : np.ndarray
            (M, K) int8, M at least 1.

        Returns
        -------
        np.ndarray
            (M, N) int32.

        Raises
        ------
        ValueError
            If a shape, dtype or value is wrong.
        DeviceError
            If the device, or the way to it, fails.
        """
        if isinstance(w, Matrix):
            return self.matmuls([(w, x)])[0]
        matrix = self.load(w)
        try:
            return self.matmuls([(matrix, x)])[0]
        finally:
            matrix.unload()

    def matmuls(self, products: Sequence[tuple[Matrix, np.ndarray]]) -> list[np.ndarray]:
        """Multiply several times, as one queue of jobs that the device works through without waiting for the host in between.

        What fits together in the queue and in the activation buffer starts together; the rest follows. An `x` that occurs more than once
        (the same object) is sent once.

        Parameters
        ----------
        products : sequence of (Matrix, np.ndarray)
            As `matmul` takes them.

        Returns
        -------
        list of np.ndarray
            (M, N) int32 for each.

        Raises
        ------
        ValueError
            If a shape or dtype is wrong.
        DeviceError
            If the device, or the way to it, fails.
        """
        self._check_open()
        for matrix, x in products:
            self._check_product(matrix, x)
        geometry = self.geometry
        most_jobs = self.link.held_jobs
        outs: list[np.ndarray] = []
        jobs: list[_Job] = []
        writes: list[tuple[int, np.ndarray]] = []    # (address, vectors)
        places: dict[tuple[int, int, int], int] = {}    # where vectors already are: (id of x, first vector, first column) -> address
        used = 0

        def start() -> None:
            nonlocal used
            if jobs:
                self._run(jobs, writes)
            jobs.clear()
            writes.clear()
            places.clear()
            used = 0

        for matrix, x in products:
            count = len(x)
            out = np.empty((count, matrix.shape[0]), np.int32)
            outs.append(out)
            for vector in range(0, count, geometry.rows):
                rows = min(geometry.rows, count - vector)
                for part in matrix._parts:
                    place = id(x), vector, part.first
                    room = geometry.beats(part.k)
                    if len(jobs) == most_jobs or part.at is None or place not in places and used + room > geometry.act_words:
                        start()
                    if place not in places:
                        places[place] = used
                        writes.append((used, x[vector:vector + rows, part.first:part.first + part.k]))
                        used += room
                    jobs.append(_Job(part, rows, places[place], out[vector:vector + rows], part.first > 0))
                    if part.at is None:    # its words are sent behind it, so nothing can be queued behind it
                        start()
        start()
        return outs

    def counters(self) -> Counters:
        """Read the device's counters.

        Raises
        ------
        DeviceError
            If the device, or the way to it, fails.
        """
        self._check_open()
        command = Command(Op.COUNTERS, b"", "reading the counters")
        self.link.execute([command])
        return Counters(**COUNTERS.unpack(command.reply))

    def _run(self, jobs: list[_Job], writes: list[tuple[int, np.ndarray]]) -> None:
        """Write vectors, run jobs as one queue, and put their results where they belong."""
        geometry = self.geometry
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.lanes
        commands: list[Command] = []
        what = _describe(self._jobs + 1, jobs[0])
        for at, vectors in writes:
            for row, data in enumerate(pack_acts(geometry, vectors)):
                commands += _writes(Memory.ACTS, row, at, data, geometry.lanes, per_frame, what)
        queued = []
        for job in jobs:
            self._jobs += 1
            part = job.part
            queued.append(Command(
                Op.JOB,
                _job_payload(part.at, part.k, part.n, job.rows, job.acts_at, part.result_bytes, len(queued) < len(jobs) - 1),
                _describe(self._jobs, job),
                part.n * job.rows * part.result_bytes,
                part.stream,
                part.words if part.at is not None else part.words * (geometry.word_bytes + 2),
            ))
        self.link.execute(commands + queued)
        for job, command in zip(jobs, queued, strict=True):
            results = unpack_results(command.reply, job.rows, job.part.result_bytes)
            if job.adds:
                job.out += results
            else:
                job.out[:] = results

    def _load_part(self, w: np.ndarray, first: int) -> _Part:
        geometry = self.geometry
        n, k = w.shape
        words = geometry.words(n, k)
        part = _Part(n, k, first, result_bytes(k), words, self._space.take(words), [])
        data = pack_weights(geometry, w)
        if part.at is None:
            size = PAYLOAD_BYTES // geometry.word_bytes * geometry.word_bytes
            part.stream = [data[i:i + size] for i in range(0, len(data), size)]
            return part
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.word_bytes
        try:
            self.link.execute(_writes(Memory.WEIGHTS, 0, part.at, data, geometry.word_bytes, per_frame, f"loading a matrix (N={n}, K={k})"))
        except BaseException:
            self._free([part])
            raise
        return part

    def _free(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            if part.at is not None:
                self._space.give(part.at, part.words)

    def _check_open(self) -> None:
        if self._closed:
            raise DisconnectedError(f"{self.link.name} was closed here: connect again")

    def _check_product(self, matrix: Matrix, x: np.ndarray) -> None:
        if not isinstance(matrix, Matrix):
            raise UsageError(f"the matrix must be one that `load` returned, not {type(matrix).__name__}")
        if matrix._owner is not self:
            raise UsageError("the matrix was loaded into another device: load it into this one")
        if not matrix._parts:
            raise UsageError(f"the {matrix.shape[0]} x {matrix.shape[1]} matrix was unloaded: load it again")
        if not isinstance(x, np.ndarray):
            raise UsageError(f"`x` must be a numpy array of int8, not {type(x).__name__}")
        if x.dtype != np.int8:
            raise UsageError(f"`x` must have dtype int8, not {x.dtype} (shape {x.shape}): quantise it, or convert it with `x.astype(np.int8)`")
        if x.ndim == 1:
            raise UsageError(f"`x` must be 2-D (M, K), not of shape {x.shape}: one vector is `x.reshape(1, -1)`")
        if x.ndim != 2 or x.shape[0] < 1 or x.shape[1] != matrix.shape[1]:
            raise UsageError(f"`x` must have the shape (M, {matrix.shape[1]}) with M at least 1 for a matrix of shape {matrix.shape}, "
                             f"not {x.shape}")


def connect(
    device: str = "sim",
    *,
    geometry: Geometry | None = None,
    timeout_s: float = 2.0,
    retries: int = 2,
    **options: object,
) -> Accelerator:
    """Connect to a device.

    Parameters
    ----------
    device : str
        ``"sim"``, ``"model"``, ``"serial:PORT[:BAUD]"``, ``"tcp:HOST:PORT"``, or what another package added.
    geometry : Geometry, optional
        What a simulated device is built with; any other device must have it already.
    timeout_s : float
        How long the device may be silent while a reply is due, in seconds.
    retries : int
        How often an attempt that got nowhere is repeated.
    **options
        For the device's opener (see `tritloom.host.transport`).

    Raises
    ------
    UsageError
        If an argument is not what it must be.
    UnknownNameError
        If there is no such device.
    TransportError
        If the way to it does not open.
    LinkError
        If nothing answers there.
    IncompatibleDeviceError
        If what answers has another version of the protocol, or another geometry.
    """
    if geometry is not None and not isinstance(geometry, Geometry):
        raise UsageError(f"`geometry` must be a Geometry, such as Geometry.parse('2,8,4'), not {geometry!r}")
    link = Link(open_transport(device, geometry=geometry, **options), timeout_s=timeout_s, retries=retries)
    if geometry is not None:
        try:
            link.identity.require(device, geometry)
        except IncompatibleDeviceError:
            link.close()
            raise
    return Accelerator(link)


def _checked_matrix(w: np.ndarray) -> np.ndarray:
    """The matrix as int8, once it is one."""
    if not isinstance(w, np.ndarray):
        raise UsageError(f"the matrix must be a numpy array, not {type(w).__name__}")
    if not np.issubdtype(w.dtype, np.integer):
        raise UsageError(f"the matrix must have an integer dtype, not {w.dtype} (shape {w.shape})")
    if w.ndim != 2 or w.size == 0:
        raise UsageError(f"the matrix must be 2-D (N, K) and not empty, not of shape {w.shape}")
    if w.shape[0] > MOST_OUTPUTS:
        raise UsageError(f"the matrix must have at most {MOST_OUTPUTS} rows, as a job tells no more, not {w.shape[0]}: load it in parts")
    if w.shape[1] > _DEEPEST:
        raise UsageError(f"the matrix must have at most {_DEEPEST} columns, so that int32 holds every result, not {w.shape[1]}")
    if w.min() < -1 or w.max() > 1:
        row, col = np.argwhere((w < -1) | (w > 1))[0]
        raise UsageError(f"the matrix must hold -1, 0 and 1 only, not {w[row, col]} (at row {row}, column {col} of shape {w.shape})")
    return w.astype(np.int8, copy=False)


def _describe(number: int, job: _Job) -> str:
    return f"job {number} (N={job.part.n}, K={job.part.k}, rows={job.rows})"


def _writes(memory: Memory, row: int, at: int, data: bytes, word_bytes: int, per_frame: int, what: str) -> list[Command]:
    """WRITE commands for whole words."""
    step = per_frame * word_bytes
    return [
        Command(Op.WRITE, _write_record(memory, row, at + i * per_frame) + data[i * step:(i + 1) * step], what)
        for i in range(-(-len(data) // step))
    ]


@lru_cache(maxsize=1024)
def _write_record(memory: Memory, row: int, at: int) -> bytes:
    return WRITE.pack(memory=memory, row=row, at=at)


@lru_cache(maxsize=4096)
def _job_payload(at: int | None, k: int, n: int, rows: int, acts_at: int, size: int, hold: bool) -> bytes:
    """The same few jobs run again for every token, so they are packed once."""
    return JOB.pack(
        engine=Engine.ARRAY,
        source=Source.ACTS,
        destination=Destination.LINK,
        weights=Weights.STORE if at is not None else Weights.STREAM,
        hold=int(hold),
        rows=rows,
        result_bytes=size,
        acts_at=acts_at,
        k=k,
        n=n,
        weights_at=at or 0,
    )
