"""The driver: matrices into a device's memories, vectors through its array, exact int32 out, whatever the shapes.

A device multiplies one matrix of bounded depth with a few vectors at a time. This module splits, places, queues and reassembles, so
that its caller sees matrices and numbers only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from tritloom.host.command import Command, write_commands
from tritloom.host.counters import Counters
from tritloom.host.errors import DisconnectedError, IncompatibleDeviceError, MemoryFaultError, UsageError
from tritloom.host.faults import Faults, FaultyTransport
from tritloom.host.link import Link
from tritloom.host.memory import VECTORS, check_sums, check_vectors
from tritloom.host.packing import pack_acts, pack_weights, result_bytes, unpack_results
from tritloom.host.records import job_payload
from tritloom.host.schedule import Product, queues
from tritloom.host.space import Space
from tritloom.host.transport import open_transport
from tritloom.host.words import ArrayMatrix, ArrayOrder, Words
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, MOST_OUTPUTS, PAYLOAD_BYTES, WRITE, Memory, Op

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
    stream: Sequence[bytes]    # payloads of the STREAM frames


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
    verifiable : bool
        Note what `verify` compares with, whenever a matrix is loaded. It takes longer to load than without.

    Members
    -------
    geometry : Geometry
        The device's.
    link : Link
        With its `bytes_sent` and `bytes_received`.
    """

    def __init__(self, link: Link, *, verifiable: bool = False) -> None:
        self.link = link
        self._verifiable = verifiable
        self.geometry = link.geometry
        self._space = Space(self.geometry.resident_words)
        self._loaded: dict[int, tuple[_Part, np.ndarray | None]] = {}    # by its place: a part in the weight store, and its `check_sums`
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

        It stays in the weight store where it fits; what does not is packed here, kept so, and streamed with each multiplication. A matrix
        deeper than the geometry's `depth` is split along K, and the parts' results are added on the host.

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
        n, depth = w.shape

        def cut(first: int, k: int) -> tuple[int, int, Words]:
            words = pack_weights(self.geometry, w[:, first:first + k])
            return first, k, Words(np.frombuffer(words, np.uint8), len(words))

        return Matrix(self, (n, depth), self._load_parts(n, (cut(first, k) for first, k in self.geometry.cuts(depth))))

    def load_words(self, matrix: ArrayMatrix) -> Matrix:
        """Put a matrix into the device that lies in the words which its array reads, as a model file made for it holds them.

        As `load`, but nothing is packed: what fits goes to the weight store, and what does not is read, from where it lies, with each
        multiplication, a block at a time. Its memory (a mapped file) must stay as it is until the matrix is unloaded.

        Parameters
        ----------
        matrix : ArrayMatrix
            (N, K). Its words are not looked at: a code that is no weight counts as 0.

        Raises
        ------
        ValueError
            If it is in another array's words, or has more rows than a job tells.
        DeviceError
            If the device, or the way to it, fails.
        """
        self._check_open()
        n, depth = matrix.shape
        if not matrix.fits(self.geometry):
            raise UsageError(f"the matrix must be in the words of this device's array ({ArrayOrder.of(self.geometry)}), not in those of "
                             f"{matrix.order}: load its trits instead")
        _check_size(n, depth)
        return Matrix(self, (n, depth), self._load_parts(n, matrix.parts))

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
        outs = [np.empty((len(x), matrix.shape[0]), np.int32) for matrix, x in products]
        for queue in queues(self.geometry, self.link.held_jobs, [Product(len(x), id(x), matrix._parts) for matrix, x in products]):
            writes = [(slot.acts_at, products[slot.product][1][slot.vector:slot.vector + slot.rows, slot.part.first:slot.part.first + slot.part.k])
                      for slot in queue.writes]
            self._run([_Job(slot.part, slot.rows, slot.acts_at, outs[slot.product][slot.vector:slot.vector + slot.rows], slot.part.first > 0)
                       for slot in queue.jobs], writes)
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

    @property
    def resident_parts(self) -> int:
        """Matrices, or parts of deep ones, that lie in the weight store."""
        return len(self._loaded)

    def verify(self) -> int:
        """Check that the weight store holds what was loaded into it: the array multiplies all of it by vectors whose sums were noted.

        Any one weight that changed is noticed, several in one output with a probability above ``1 - 255**-4`` (see
        `tritloom.host.memory`). Streamed matrices are sent with each multiplication, under a CRC, and so not part of this.

        Returns
        -------
        int
            Outputs that were checked.

        Raises
        ------
        UsageError
            If the accelerator is not `verifiable`.
        MemoryFaultError
            If a matrix is not what was loaded.
        DeviceError
            If the device, or the way to it, fails.
        """
        self._check_open()
        if not self._verifiable:
            raise UsageError("there is nothing to verify the matrices with, as nothing was noted when they were loaded: connect with `verifiable=True`")
        rows = self.geometry.rows
        checked = 0
        for part, expected in self._loaded.values():
            got, x = np.empty((VECTORS, part.n), np.int32), check_vectors(part.k)
            for vector in range(0, VECTORS, rows):
                out = got[vector:vector + rows]
                self._run([_Job(part, len(out), 0, out, False)], [(0, x[vector:vector + rows])])
            wrong = np.flatnonzero((got != expected).any(axis=0))
            if len(wrong):
                raise MemoryFaultError(
                    f"{self.link.name}: the weight store changed: {len(wrong):,} of {part.n:,} outputs of a loaded {part.n} x {part.k} matrix are "
                    f"wrong, the first is output {wrong[0]}: connect again to load the weights anew, and test the store with "
                    "`tritloom selftest --memory`")
            checked += part.n
        return checked

    def _run(self, jobs: list[_Job], writes: list[tuple[int, np.ndarray]]) -> None:
        """Write vectors, run jobs as one queue, and put their results where they belong."""
        geometry = self.geometry
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.lanes
        commands: list[Command] = []
        what = _describe(self._jobs + 1, jobs[0])
        for at, vectors in writes:
            for row, data in enumerate(pack_acts(geometry, vectors)):
                commands += write_commands(Memory.ACTS, row, at, data, geometry.lanes, per_frame, what)
        queued = []
        for job in jobs:
            self._jobs += 1
            part = job.part
            queued.append(Command(
                Op.JOB,
                job_payload(part.at, part.k, part.n, job.rows, job.acts_at, part.result_bytes, len(queued) < len(jobs) - 1),
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

    def _load_parts(self, n: int, cuts: Iterable[tuple[int, int, Words]]) -> list[_Part]:
        """Parts of a matrix, each given as first column, columns and words."""
        parts: list[_Part] = []
        try:
            for first, k, words in cuts:
                parts.append(self._load_part(n, k, first, words))
        except BaseException:
            self._free(parts)
            raise
        return parts

    def _load_part(self, n: int, k: int, first: int, data: Words) -> _Part:
        geometry = self.geometry
        words = geometry.words(n, k)
        part = _Part(n, k, first, result_bytes(k), words, self._space.take(words), ())
        if part.at is None:
            part.stream = data.frames(PAYLOAD_BYTES // geometry.word_bytes * geometry.word_bytes)
            return part
        per_frame = (PAYLOAD_BYTES - WRITE.size) // geometry.word_bytes
        whole = data.read(0, len(data)).tobytes()
        try:
            self.link.execute(write_commands(Memory.WEIGHTS, 0, part.at, whole, geometry.word_bytes, per_frame, f"loading a matrix (N={n}, K={k})"))
        except BaseException:
            self._free([part])
            raise
        self._loaded[part.at] = part, check_sums(geometry, whole, n, k) if self._verifiable else None
        return part

    def _free(self, parts: Sequence[_Part]) -> None:
        for part in parts:
            if part.at is not None:
                self._space.give(part.at, part.words)
                self._loaded.pop(part.at, None)

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
    faults: Faults | str | None = None,
    verifiable: bool = False,
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
        How often silence is waited out once more. What comes damaged is asked for again up to 32 times as often in a row.
    faults : Faults or str, optional
        Damage the line on purpose (see `tritloom.host.faults`), such as ``"7:0.01"``: seed 7, one byte in a hundred.
    verifiable : bool
        Whether `Accelerator.verify` will be asked for.
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
    if isinstance(faults, str):
        faults = Faults.parse(faults)
    transport = open_transport(device, geometry=geometry, **options)
    if faults is not None:
        transport = FaultyTransport(transport, faults)
    link = Link(transport, timeout_s=timeout_s, retries=retries)
    if faults is not None:
        transport.link = link
    if geometry is not None:
        try:
            link.identity.require(device, geometry)
        except IncompatibleDeviceError:
            link.close()
            raise
    return Accelerator(link, verifiable=verifiable)


def _checked_matrix(w: np.ndarray) -> np.ndarray:
    """The matrix as int8, once it is one."""
    if not isinstance(w, np.ndarray):
        raise UsageError(f"the matrix must be a numpy array, not {type(w).__name__}")
    if not np.issubdtype(w.dtype, np.integer):
        raise UsageError(f"the matrix must have an integer dtype, not {w.dtype} (shape {w.shape})")
    if w.ndim != 2 or w.size == 0:
        raise UsageError(f"the matrix must be 2-D (N, K) and not empty, not of shape {w.shape}")
    _check_size(*w.shape)
    if w.min() < -1 or w.max() > 1:
        row, col = np.argwhere((w < -1) | (w > 1))[0]
        raise UsageError(f"the matrix must hold -1, 0 and 1 only, not {w[row, col]} (at row {row}, column {col} of shape {w.shape})")
    return w.astype(np.int8, copy=False)


def _check_size(n: int, k: int) -> None:
    if n > MOST_OUTPUTS:
        raise UsageError(f"the matrix must have at most {MOST_OUTPUTS} rows, as a job tells no more, not {n}: load it in parts")
    if k > _DEEPEST:
        raise UsageError(f"the matrix must have at most {_DEEPEST} columns, so that int32 holds every result, not {k}")


def _describe(number: int, job: _Job) -> str:
    return f"job {number} (N={job.part.n}, K={job.part.k}, rows={job.rows})"
