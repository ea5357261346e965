"""A campaign: bursts into the core until enough bytes went in, each judged, and now and then the real driver on top."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tritloom.host.driver import Accelerator
from tritloom.host.framing import DELIMITER, encode
from tritloom.host.link import Link
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import PAYLOAD_BYTES, SYNC, WRITE, Memory, Op
from tritloom.sim.fuzz.device import FuzzedCore
from tritloom.sim.fuzz.grammar import Burst, Grammar
from tritloom.sim.fuzz.judge import Disagreement, Judge

__all__ = ["GEOMETRY", "Campaign", "Found", "replay"]

#: Small, so that a burst reaches every edge of it, and odd where it may be.
GEOMETRY = Geometry(rows=2, cols=4, lanes=3, col_pitch=2, depth=40, weight_words=128, stream_words=32, queue=3)

#: Bursts that led to something new and are changed and sent again.
_MOST_KEPT = 4000

#: Share of the bursts that are pure random bytes; and how often the driver has its say, in bursts.
_RANDOM = 0.01
_CHECK_EVERY = 500


class Found(AssertionError):
    """Input that the core does not treat as it should.

    Parameters
    ----------
    why
        What was wrong.
    sent
        All bytes since the core was last set up, burst by burst, and the share of cycles in which its output was stalled.
    """

    def __init__(self, why: str, sent: list[tuple[float, list[tuple[int, bytes]]]]) -> None:
        super().__init__(why)
        self.sent = sent


@dataclass
class Progress:
    """What was done so far."""

    sent: int = 0
    received: int = 0
    bursts: int = 0
    checks: int = 0
    kept: int = 0


class Campaign:
    """Bytes of one seed into one core, which is never reset.

    Parameters
    ----------
    seed
    geometry
    guided
        Bursts that reach a new state, or a new outcome of a command, are changed a little and sent again.
    """

    def __init__(self, seed: int, geometry: Geometry = GEOMETRY, guided: bool = True) -> None:
        self.seed = seed
        self.device = FuzzedCore(geometry)
        self.judge = Judge(geometry)
        self.progress = Progress()
        self._guided = guided
        self._rng = random.Random(seed)
        self._grammar = Grammar(geometry, self._rng)
        self._kept: list[Burst] = []
        self._known = 0
        self._trace: list[tuple[float, list[tuple[int, bytes]]]] = []

    def run(self, size: int, told: Callable[[Progress], None] = lambda progress: None) -> Progress:
        """Send at least `size` hostile bytes, and then a job.

        Raises
        ------
        Found
            When the core does what it must not.
        """
        target = self.progress.sent + size    # the first bursts meet a device that nobody claimed, with zeros in its memories
        while self.progress.sent < target:
            self._step()
            if self.progress.bursts % _CHECK_EVERY == 0:
                self.check()
                told(self.progress)
        self.check()
        told(self.progress)
        return self.progress

    def check(self) -> None:
        """The driver connects, loads matrices and multiplies, exactly; then the memories are written anew."""
        rng = np.random.default_rng(self._rng.getrandbits(32))
        geometry = self.device.geometry
        self.device.stall(0)
        tap = _Tap(self.device)
        acc = Accelerator(Link(tap, retries=0))
        for n, k, m in ((9, geometry.depth, 1), (30, 2 * geometry.depth + 5, 3), (1, 1, 2)):
            w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
            if not np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T.astype(np.int32)):
                self._fail(f"a product of shape {n, k, m} was wrong after {self.progress.sent} bytes")
        self._judge(tap.sent, tap.received, alone=False)
        self.progress.checks += 1
        self._align()

    def _step(self) -> None:
        rng = self._rng
        if rng.random() < _RANDOM:
            pieces, burst, stall, pauses = [rng.randbytes(rng.randint(1, 2000))], None, rng.choice((0.0, 0.5)), (0,)
        else:
            burst = self._grammar.changed(rng.choice(self._kept)) if self._kept and rng.random() < 0.4 else self._grammar.burst()
            pieces, stall, pauses = burst.encoded(self.judge.model), burst.stall, burst.pauses
        self.send([(pauses[i % len(pauses)], piece) for i, piece in enumerate(pieces)], stall)
        if self.judge.unaligned:
            self._align()
        known = self.device.reached()[0] + len(self.judge.outcomes)
        if self._guided and known > self._known and burst is not None:
            self._kept.append(burst)
            del self._kept[:-_MOST_KEPT]
            self.progress.kept += 1
        self._known = known

    def send(self, pieces: list[tuple[int, bytes]], stall: float) -> None:
        """Send one burst and judge what comes: for each piece, cycles that run before, and its bytes."""
        self._trace.append((stall, pieces))
        self.device.stall(stall)
        received = []
        for pause, piece in pieces:
            received.append(self.device.run(pause))
            self.device.write(piece)
        data, resting = self.device.settle()
        if not resting:
            self._fail(f"the core did not come to rest ({len(data)} bytes came out)")
        received.append(data)
        sent = b"".join(piece for _, piece in pieces)
        self._judge(sent, b"".join(received), alone=len(pieces) == 1 and not stall)
        self.progress.sent += len(sent)
        self.progress.bursts += 1

    def _judge(self, sent: bytes, received: bytes, alone: bool) -> None:
        self.progress.received += len(received)
        try:
            self.judge.judge(sent, received, alone)
        except Disagreement as error:
            self._fail(str(error))

    def _align(self) -> None:
        """SYNC, and every word of both memories anew."""
        geometry, rng = self.device.geometry, self._rng
        seq = rng.randrange(256)
        frames = [DELIMITER + encode(Op.SYNC, seq, SYNC.pack(nonce=rng.getrandbits(32), claim=1))]
        memories = [(Memory.WEIGHTS, 0, geometry.word_bytes, geometry.weight_words)]
        memories += [(Memory.ACTS, row, geometry.lanes, geometry.act_words) for row in range(geometry.rows)]
        for memory, row, size, words in memories:
            step = (PAYLOAD_BYTES - WRITE.size) // size
            for at in range(0, words, step):
                seq = (seq + 1) & 0xFF
                frames.append(encode(Op.WRITE, seq, WRITE.pack(memory=memory, row=row, at=at) + rng.randbytes(min(step, words - at) * size)))
        sent = self.progress.sent
        self.judge.aligned()
        self.send([(0, b"".join(frames))], 0.0)
        self.progress.sent = sent    # these are not hostile
        del self._trace[:-1]

    def _fail(self, why: str) -> None:
        raise Found(f"seed {self.seed}, after {self.progress.sent} bytes: {why}", list(self._trace))


def replay(sent: list[tuple[float, list[tuple[int, bytes]]]], geometry: Geometry = GEOMETRY) -> None:
    """Send the bursts of a `Found` to a fresh core.

    Raises
    ------
    Found
        When it is still treated wrongly.
    """
    campaign = Campaign(0, geometry)
    for stall, pieces in sent:
        campaign.send(pieces, stall)
    campaign.check()


class _Tap(Transport):
    """The core, and all that passes to and from it."""

    name, flow_controlled = "fuzz", True

    def __init__(self, device: FuzzedCore) -> None:
        self.device = device
        self.sent = self.received = b""

    def write(self, data: bytes) -> None:
        self.sent += data
        self.device.write(data)

    def read(self, timeout_s: float) -> bytes:
        data = self.device.read(timeout_s)
        self.received += data
        return data

    def close(self) -> None:
        """The core stays open."""
