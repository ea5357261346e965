"""Somebody beside a device who sees the bytes as the device does, and knows what it may do with them."""

from __future__ import annotations

from tritloom.host.framing import Decoder
from tritloom.host.transport import Transport
from tritloom.rtl.wire import JOB, RESULT, SYNC, Op

__all__ = ["Witness"]


class Witness(Transport):
    """A device that is watched: its jobs are counted by what goes in and what comes out.

    It follows the rule of the protocol: a JOB is executed when its number is the expected one, and its results come once, under that number.

    Parameters
    ----------
    transport : Transport
        The device itself, without a line in between: what it sends must not be damaged.

    Members
    -------
    accepted : int
        JOB commands with the expected number.
    jobs : int
        Jobs whose results all came out.
    twice : int
        Times that the results of one JOB began again, or of none.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.name = transport.name
        self.flow_controlled = transport.flow_controlled
        self._down, self._up = Decoder(), Decoder()
        self._claimed, self._expected = False, 0
        self._due: dict[int, int] = {}    # bytes of results that each accepted number still owes
        self._begun: set[int] = set()     # numbers of these whose results have begun
        self.accepted = self.jobs = self.twice = 0

    def write(self, data: bytes) -> None:
        for frame in self._down.feed(data):
            if frame is not None:
                self._command(*frame)
        self._transport.write(data)

    def read(self, timeout_s: float) -> bytes:
        data = self._transport.read(timeout_s)
        for frame in self._up.feed(data):
            if frame is not None and frame[0] == Op.RESULT:
                self._result(frame[1], frame[2])
        return data

    def close(self) -> None:
        self._transport.close()

    def _command(self, op: int, seq: int, payload: bytes) -> None:
        if op == Op.SYNC and len(payload) == SYNC.size:
            self._claimed |= bool(SYNC.unpack(payload)["claim"])
        elif not self._claimed or seq != self._expected:
            return
        elif op == Op.JOB:
            job = JOB.unpack(payload)
            self._due[seq] = job["n"] * job["rows"] * job["result_bytes"]
            self._begun.discard(seq)
            self.accepted += 1
        self._expected = (seq + 1) & 0xFF

    def _result(self, seq: int, payload: bytes) -> None:
        if RESULT.unpack(payload)["index"] == 0:
            self.twice += seq in self._begun or seq not in self._due
            self._begun.add(seq)
        if seq in self._due:
            self._due[seq] -= len(payload) - RESULT.size
            if not self._due[seq]:
                self.jobs += 1
