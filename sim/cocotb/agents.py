"""What the cocotb benches share: the clock, the link, a host that speaks frames, and the model it compares with.

Written from the documents (the wire tables, the docstrings of the gateware) and not with the host's or the simulated device's code, so
that a mistake there is not made here again.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections import deque
from collections.abc import Mapping
from typing import Any

import cocotb
from cobs import cobs
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, JOB, PAYLOAD_BYTES, SYNC, WRITE, Memory, Op

__all__ = ["Host", "LinkDriver", "Model", "geometry", "logged_rng", "reset"]


def geometry() -> Geometry:
    """The geometry of the design under test, as the runner was given it."""
    return Geometry(**json.loads(os.environ["TRITLOOM_GEOMETRY"]))


def logged_rng(seed: int) -> random.Random:
    """Random numbers whose seed is in the log."""
    cocotb.log.info("seed %d", seed)
    return random.Random(seed)


async def reset(dut: Any) -> None:
    """Start the clock, and reset for two cycles. Inputs are to be at their idle values."""
    dut.rst.value = 1
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    for _ in range(2):
        await RisingEdge(dut.clk)
    dut.rst.value = 0


class Model:
    """The accelerator's arithmetic and packing by their definitions, as plain loops."""

    def __init__(self, g: Geometry):
        self.g = g

    def dot(self, weights: list[int], acts: list[int]) -> int:
        return sum(w * x for w, x in zip(weights, acts, strict=True))

    def matmul(self, weights: list[list[int]], acts: list[list[int]]) -> list[list[int]]:
        """``[output][row]``, the order of the results on the link."""
        return [[self.dot(w, x) for x in acts] for w in weights]

    def words(self, weights: list[list[int]], rng: random.Random) -> list[int]:
        """Words of the weight store. A zero is one of its two codes, by chance."""
        g = self.g
        n, k = len(weights), len(weights[0])
        beats, tiles = max(-(-k // g.lanes), g.cols), -(-n // g.cols)
        words = []
        for t in range(tiles * beats + g.cols - 1):
            word = 0
            for col in range(g.cols):
                tile, chunk = (t - col) // beats, (t - col // g.col_pitch) % beats
                for lane in range(g.lanes):
                    out, at = tile * g.cols + col, chunk * g.lanes + lane
                    trit = weights[out][at] if 0 <= tile < tiles and out < n and at < k else 0
                    word |= {1: 0b01, -1: 0b11, 0: rng.choice((0b00, 0b10))}[trit] << 2 * (col * g.lanes + lane)
            words.append(word)
        return words


class LinkDriver:
    """Drives `rx`, reads `tx`, watches the rules of the latter. One object for both, as both are looked at once a cycle.

    Parameters
    ----------
    dut : handle
    rng : random.Random
    rx_gap, tx_gap : float
        Probability of a cycle in which `rx` is not valid, or `tx` not ready.
    """

    def __init__(self, dut: Any, rng: random.Random, rx_gap: float = 0.0, tx_gap: float = 0.0):
        self.dut, self.rng, self.rx_gap, self.tx_gap = dut, rng, rx_gap, tx_gap
        self.to_core: deque[int] = deque()
        self.frames: deque[bytes] = deque()
        self.cycle = 0
        self.pause_rx = self.pause_tx = False
        self._partial = bytearray()
        dut.rx__valid.value = 0
        dut.tx__ready.value = 0
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        dut = self.dut
        valid = ready = False
        waiting: int | None = None
        while True:
            await RisingEdge(dut.clk)
            self.cycle += 1
            if valid and dut.rx__ready.value:
                self.to_core.popleft()
                valid = False
            offered = bool(dut.tx__valid.value)
            byte = int(dut.tx__payload.value) if offered else None
            assert waiting is None or byte == waiting, f"tx changed before it was taken, cycle {self.cycle}"
            waiting = byte if offered and not ready else None
            if offered and ready:
                if byte == 0:
                    self.frames.append(bytes(self._partial))
                    self._partial.clear()
                else:
                    self._partial.append(byte)
            if not valid:
                valid = bool(self.to_core) and not self.pause_rx and self.rng.random() >= self.rx_gap
                dut.rx__valid.value = valid
                if valid:
                    dut.rx__payload.value = self.to_core[0]
            now = not self.pause_tx and self.rng.random() >= self.tx_gap
            if now != ready:
                dut.tx__ready.value = now
            ready = now

    def send(self, data: bytes) -> None:
        self.to_core.extend(data)

    async def frame(self, cycles: int = 5_000) -> bytes:
        """The next frame from the core, decoded and checked. Fails if none comes in time: the core must answer."""
        for _ in range(cycles):
            if self.frames:
                raw = cobs.decode(self.frames.popleft())
                assert zlib.crc32(raw[:-4]).to_bytes(4, "little") == raw[-4:], "a frame with a wrong CRC"
                return raw[:-4]
            await RisingEdge(self.dut.clk)
            assert not self._task.done(), "the link's driver has failed"
        raise AssertionError(f"no frame for {cycles} cycles")

    async def silence(self, cycles: int) -> None:
        """Nothing comes for so many cycles."""
        for _ in range(cycles):
            await RisingEdge(self.dut.clk)
            assert not self.frames and not self._partial, "a frame that nobody asked for"


class Host:
    """A host that knows the protocol and nothing of repeats: every reply is the one expected, or the bench fails."""

    def __init__(self, link: LinkDriver, g: Geometry, rng: random.Random):
        self.link, self.g, self.rng, self.model = link, g, rng, Model(g)
        self.seq = self.nonce = 0

    @classmethod
    async def start(cls, dut: Any, seed: int, rx_gap: float = 0.0, tx_gap: float = 0.0, sync: bool = True) -> Host:
        """Reset the core, and SYNC unless told otherwise."""
        rng = logged_rng(seed)
        dut.rx__valid.value = 0
        dut.tx__ready.value = 0
        dut.rx__payload.value = 0
        await reset(dut)
        host = cls(LinkDriver(dut, rng, rx_gap, tx_gap), geometry(), rng)
        if sync:
            await host.sync()
        return host

    @staticmethod
    def encode(op: int, seq: int, payload: bytes = b"") -> bytes:
        frame = bytes([op, seq]) + payload
        return cobs.encode(frame + zlib.crc32(frame).to_bytes(4, "little")) + b"\0"

    def command(self, op: int, payload: bytes = b"") -> int:
        """Send with the next sequence number, and return that."""
        seq = self.seq
        self.link.send(self.encode(op, seq, payload))
        self.seq = (seq + 1) & 255
        return seq

    async def sync(self, seq: int | None = None) -> Mapping[str, int]:
        """SYNC, and drop what the core still had to say. The identity."""
        self.seq = self.rng.randrange(256) if seq is None else seq
        nonce = self.nonce = self.rng.getrandbits(32) | 1
        at = self.command(Op.SYNC, SYNC.pack(nonce=nonce, claim=1))
        while True:
            reply = await self.link.frame()
            if reply[0] == Op.IDENTITY and IDENTITY.unpack(reply[2:])["nonce"] == nonce:
                assert reply[1] == at and len(reply) == 2 + IDENTITY.size
                return IDENTITY.unpack(reply[2:])

    async def ack(self, seq: int) -> None:
        assert await self.link.frame() == bytes([Op.ACK, seq])

    async def refused(self, code: int, seq: int, expected: int | None = None) -> None:
        """An error reply; the next command takes the number that the core names."""
        expected = seq if expected is None else expected
        assert await self.link.frame() == bytes([Op.ERROR, seq]) + ERROR.pack(code=code, expected=expected)
        self.seq = expected

    async def write(self, memory: int, row: int, at: int, words: list[bytes]) -> None:
        """WRITE, as many words in a frame as fit."""
        each = (PAYLOAD_BYTES - WRITE.size) // len(words[0])
        for first in range(0, len(words), each):
            payload = WRITE.pack(memory=memory, row=row, at=at + first) + b"".join(words[first:first + each])
            await self.ack(self.command(Op.WRITE, payload))

    def pack(self, weights: list[list[int]]) -> list[bytes]:
        return [word.to_bytes(self.g.word_bytes, "little") for word in self.model.words(weights, self.rng)]

    async def load(self, weights: list[list[int]], at: int) -> None:
        await self.write(Memory.WEIGHTS, 0, at, self.pack(weights))

    async def vectors(self, acts: list[list[int]], at: int = 0) -> None:
        lanes = self.g.lanes
        for row, vector in enumerate(acts):
            data = bytes(x & 255 for x in vector) + self.rng.randbytes(-len(vector) % lanes)    # what is beyond K does not matter
            await self.write(Memory.ACTS, row, at, [data[i:i + lanes] for i in range(0, len(data), lanes)])

    def job(self, **fields: int) -> int:
        defaults = {"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": 4,
                    "acts_at": 0, "k": 1, "n": 1, "weights_at": 0}
        return self.command(Op.JOB, JOB.pack(**(defaults | fields)))

    def stream(self, words: list[bytes], each: int | None = None) -> list[int]:
        """STREAM frames; their numbers and sizes in words."""
        each = each or PAYLOAD_BYTES // self.g.word_bytes
        return [self.command(Op.STREAM, b"".join(words[i:i + each])) for i in range(0, len(words), each)]

    async def results(self, seq: int, n: int, rows: int, size: int = 4, acks: list[int] | None = None) -> list[list[int]]:
        """All results of one job: ``[output][row]``. Takes ACKs on the way, which must be those given, in order."""
        data, index = b"", 0
        while len(data) < n * rows * size:
            reply = await self.link.frame()
            if reply[0] == Op.ACK and acks:
                assert reply == bytes([Op.ACK, acks.pop(0)])
                continue
            assert reply[:4] == bytes([Op.RESULT, seq]) + index.to_bytes(2, "little"), f"{reply[:4].hex()} instead of result {index} of {seq}"
            index += 1
            data += reply[4:]
        assert len(data) == n * rows * size
        values = [int.from_bytes(data[i:i + size], "little", signed=True) for i in range(0, len(data), size)]
        return [values[i:i + rows] for i in range(0, len(values), rows)]

    async def counters(self) -> dict[str, int]:
        seq = self.command(Op.COUNTERS)
        reply = await self.link.frame()
        assert reply[:2] == bytes([Op.COUNTS, seq]) and len(reply) == 2 + COUNTERS.size
        return dict(COUNTERS.unpack(reply[2:]))

    def matrix(self, n: int, k: int, extreme: bool = False) -> list[list[int]]:
        return [[-1 if extreme else self.rng.choice((-1, 0, 1)) for _ in range(k)] for _ in range(n)]

    def batch(self, rows: int, k: int, extreme: bool = False) -> list[list[int]]:
        return [[-128 if extreme else self.rng.randint(-128, 127) for _ in range(k)] for _ in range(rows)]
