"""The link: commands to one device, each executed exactly once, over streams that may lose or damage bytes.

Frames carry sequence numbers and every command has a reply. On any trouble (a bad frame, an unexpected reply, silence) the link does
not try to find out what went wrong: it synchronises anew, which aborts whatever the device was doing, and redoes what was not
acknowledged. Memories keep their contents over that, so an acknowledged write need not be repeated.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tritloom.host.errors import DeviceResetError, IncompatibleDeviceError, LinkError, RefusedError, TransportError, UsageError
from tritloom.host.framing import DELIMITER, Decoder, Frame, encode, encoded_bytes
from tritloom.host.identity import Identity
from tritloom.host.negotiation import GREETING_S, PREAMBLE_BYTES, Negotiation
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import START_BAUD
from tritloom.rtl.wire import ERROR, JOB, PAYLOAD_BYTES, RATE, RESULT, RESULT_BYTES, SYNC, Error, Op

__all__ = ["Command", "Link"]

#: Commands under way at once. A device takes up to 128 numbers before the expected one for repeats: with more under way, the ones after
#: a lost command would pass for repeats of it.
_MOST_COMMANDS = 128

#: Clock of the slowest device, in hertz: the compiled core on a busy machine. A job is silent until its first frame of results is full.
_SLOWEST_HZ = 100_000

#: Ends whatever partial frame is in the device.
_PREAMBLE = DELIMITER * 4

#: The same on a line with a rate, where it also shows the receiver where bytes begin, and brings a device back that listens at another rate.
_LONG_PREAMBLE = DELIMITER * PREAMBLE_BYTES

#: What a device without flow control must buffer: one frame being executed, one arriving.
_LEAST_BUFFER = 2 * encoded_bytes(PAYLOAD_BYTES)

#: Errors that are not the line's fault: the same command would be refused again.
_REFUSALS = {Error.LENGTH, Error.UNKNOWN, Error.BAD_JOB, Error.BAD_ADDRESS, Error.BAD_RATE}

_SILENCE = "stopped answering"


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


class _Trouble(Exception):
    """Something that a new synchronisation may cure; the text completes "the device ..."."""


class Link:
    """A synchronised device.

    Parameters
    ----------
    transport : Transport
        Closed by `close`, and if the link cannot be opened.
    timeout_s : float
        How long the device may be silent while a reply is due, in seconds.
    retries : int
        How often an attempt that got nowhere is repeated.

    Members
    -------
    identity : Identity
        What the device says it is.
    geometry : Geometry
        The device's.
    bytes_sent, bytes_received : int
        All bytes so far, framing and repeats included.

    Raises
    ------
    LinkError
        If the device does not answer.
    IncompatibleDeviceError
        If it speaks another version of the protocol, or its geometry is not what its digest says.
    TransportError
        If the way to it fails.
    """

    def __init__(self, transport: Transport, *, timeout_s: float = 2.0, retries: int = 2) -> None:
        if not timeout_s > 0:
            raise UsageError(f"`timeout_s` must be a positive number of seconds, not {timeout_s}")
        if retries < 0:
            raise UsageError(f"`retries` must be at least 0, not {retries}")
        self._transport = transport
        self._timeout_s = timeout_s
        self._attempts = retries + 1
        self._decoder = Decoder()
        self._owner = 0    # nonce with which this link claimed the device
        self._seq = 0
        self._opened = self._synced = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self._negotiation = Negotiation(transport, self._greet, self._change_rate) if transport.baud is not None else None
        try:
            self._open()
        except BaseException:
            transport.close()
            raise

    @property
    def name(self) -> str:
        """The device as its user names it."""
        return self._transport.name

    @property
    def geometry(self) -> Geometry:
        return self.identity.geometry

    @property
    def baud(self) -> int | None:
        """Symbols a second on the way to the device, None if it has no rate."""
        return self._transport.baud

    @property
    def held_jobs(self) -> int:
        """Jobs that can be queued before the first of them replies: the queue's depth, and what the device surely buffers."""
        room = self.geometry.queue if self._transport.flow_controlled else self.identity.rx_bytes // encoded_bytes(JOB.size)
        return min(self.geometry.queue, room)

    def execute(self, commands: Sequence[Command]) -> None:
        """Execute commands in order, each once, and fill in their replies.

        Held jobs must end with one that is not held, at most `held_jobs` together.

        Raises
        ------
        LinkError
            If the device stops answering, or the line stays too bad.
        RefusedError
            If the device refuses a command.
        TransportError
            If the way to the device fails.
        """
        todo = list(commands)
        attempt = 0
        try:
            while True:
                try:
                    if not self._synced:
                        self._resynchronise()
                    self._synced = False    # an exception on the way leaves replies under way
                    self._exchange(todo)
                    self._synced = True
                    return
                except _Trouble as trouble:
                    left = [command for command in todo if command.reply is None]
                    if not left:
                        return    # only acknowledgements of streamed words are missing: their job's results prove that they arrived
                    attempt = attempt + 1 if len(left) == len(todo) else 1
                    todo = left
                    if attempt >= self._attempts:
                        raise LinkError(f"{self.name}: the device {trouble} at {todo[0].what}, after {_times(attempt)}") from trouble
        except TransportError as error:
            unfinished = next((command for command in todo if command.reply is None), todo[-1])
            error.args = (f"{error}, at {unfinished.what}",)    # not a new one: subclasses may take what they like
            raise

    def close(self) -> None:
        """Release the device."""
        self._transport.close()

    def _open(self) -> None:
        if self._negotiation is not None:
            identity, tried = self._negotiation.find(), f"{START_BAUD} baud and others"
        else:
            identity, tried = None, _times(self._attempts)
            for _ in range(self._attempts):
                if identity := self._greet(self._timeout_s):
                    break
        if identity is None:
            why = (f"sends bytes ({self.bytes_received}), but no reply: is it a tritloom device, and is the speed right?" if self.bytes_received else
                   "does not answer: is it powered, configured, and connected there?")
            raise LinkError(f"{self.name}: the device {why} (tried {tried})")
        if not self._transport.flow_controlled and identity.rx_bytes < _LEAST_BUFFER:
            raise IncompatibleDeviceError(f"{self.name}: the device buffers {identity.rx_bytes} bytes of commands, and needs at least "
                                          f"{_LEAST_BUFFER} on a link without flow control")
        self.identity = identity
        if self._negotiation is not None:
            self.identity = self._negotiation.speed_up(identity)
        self._opened = self._synced = True

    def _resynchronise(self) -> None:
        identity = self._greet(self._timeout_s if self._negotiation is None else min(self._timeout_s, GREETING_S))
        lost = identity is None
        if lost and self._negotiation is not None:
            identity = self._negotiation.start_again()
        if identity is None:
            raise _Trouble(_SILENCE)
        if identity.geometry != self.geometry:
            raise IncompatibleDeviceError(
                f"{self.name}: the device became another one (geometry {identity.geometry} instead of {self.geometry}): connect again")
        if identity.owner != self._owner:
            raise DeviceResetError(
                f"{self.name}: the device was reset, or used by another program, so the weights loaded into it are lost: connect again")
        if lost:
            self._negotiation.speed_up(identity)

    def _greet(self, timeout_s: float) -> Identity | None:
        """Synchronise. Everything the device sent before its identity is dropped.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the identity, in seconds; None comes back if there was none.
        """
        number = secrets.randbelow((1 << 32) - 1) + 1
        if not self._opened:
            self._owner = number
        self._seq = secrets.randbelow(256)
        nonce = number.to_bytes(4, "little")
        preamble = _PREAMBLE
        if self._negotiation is not None:
            preamble = _LONG_PREAMBLE
            self._decoder = Decoder()    # what was half received at another rate
        self._write(preamble + encode(Op.SYNC, self._seq, SYNC.pack(nonce=number, claim=int(not self._opened))))
        self._seq = (self._seq + 1) & 0xFF
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                for frame in self._receive(deadline):
                    if frame is not None and frame[0] == Op.IDENTITY and frame[2].startswith(nonce):
                        return Identity.parse(self.name, frame[2])
        except _Trouble:
            return None

    def _change_rate(self, divisor: int) -> bool:
        """Whether the device took another rate."""
        try:
            self._exchange([Command(Op.RATE, RATE.pack(divisor=divisor), "changing the rate")])
        except (_Trouble, RefusedError):
            return False
        return True

    def _frames(self, commands: Sequence[Command]) -> Iterator[tuple[int, Command, bool, bytes]]:
        """Each frame to send: its sequence number, whose it is, whether results answer it, and its bytes."""
        for command in commands:
            seq = self._next_seq()
            yield seq, command, command.op == Op.JOB, encode(command.op, seq, command.payload)
            for words in command.stream:
                seq = self._next_seq()
                yield seq, command, False, encode(Op.STREAM, seq, words)

    def _next_seq(self) -> int:
        seq = self._seq
        self._seq = (seq + 1) & 0xFF
        return seq

    def _exchange(self, commands: Sequence[Command]) -> None:
        """Send commands and take their replies, until all have come."""
        window = float("inf") if self._transport.flow_controlled else self.identity.rx_bytes
        frames = self._frames(commands)
        upcoming = next(frames, None)
        acks: deque[tuple[int, int, Command]] = deque()    # (seq, bytes sent when it was, command), in order of sending
        jobs: deque[tuple[int, int, Command]] = deque()
        sent = answered = 0
        results: list[bytes] = []    # of jobs[0]
        received = 0

        while True:
            batch = []
            while upcoming is not None and len(acks) + len(jobs) < _MOST_COMMANDS:
                seq, command, is_job, data = upcoming
                if sent > answered and sent - answered + len(data) > window:
                    break
                sent += len(data)
                batch.append(data)
                (jobs if is_job else acks).append((seq, sent, command))
                upcoming = next(frames, None)
            if batch:
                self._write(b"".join(batch))
            if not acks and not jobs:
                return

            working_s = jobs[0][2].cycles / _SLOWEST_HZ if jobs else 0.0
            for frame in self._receive(time.monotonic() + self._timeout_s + working_s):
                if frame is None:
                    raise _Trouble("sent a damaged frame")
                op, seq, payload = frame
                if op == Op.RESULT and jobs and seq == jobs[0][0]:
                    _, position, command = jobs[0]
                    size = len(payload) - RESULT.size
                    if not 0 < size <= min(RESULT_BYTES, command.size - received) or RESULT.unpack(payload)["index"] != len(results) & 0xFFFF:
                        raise _Trouble("sent results with a gap")
                    results.append(payload[RESULT.size:])
                    received += size
                    if received == command.size:
                        command.reply = b"".join(results)
                        results, received = [], 0
                        jobs.popleft()
                elif acks and seq == acks[0][0] and op == (Op.COUNTS if acks[0][2].op == Op.COUNTERS else Op.ACK):
                    _, position, command = acks.popleft()
                    if command.op != Op.JOB:    # else the acknowledgement is that of its streamed words
                        command.reply = payload
                else:
                    raise self._unexpected(frame, [*acks, *jobs])
                answered = max(answered, position)

    def _unexpected(self, frame: Frame, pending: Sequence[tuple[int, int, Command]]) -> _Trouble | RefusedError:
        """What a frame that answers nothing means: an error reply to a pending command may be final, all else can be tried again."""
        op, seq, payload = frame
        if op != Op.ERROR or len(payload) != ERROR.size:
            return _Trouble(f"sent an unexpected {_name(Op, op)} frame")
        code = ERROR.unpack(payload)["code"]
        refused = next((command for its_seq, _, command in pending if its_seq == seq), None)
        if refused is not None and code in _REFUSALS:
            return RefusedError(f"{self.name}: the device refused {refused.what}: {_name(Error, code)}", code)
        return _Trouble(f"reported {_name(Error, code)}")

    def _receive(self, deadline: float) -> list[Frame | None]:
        """The next frames, at least one, bad ones as None."""
        while True:
            data = self._transport.read(max(0.0, deadline - time.monotonic()))
            if not data:
                raise _Trouble(_SILENCE)
            self.bytes_received += len(data)
            if frames := self._decoder.feed(data):
                return frames
            if time.monotonic() > deadline:
                raise _Trouble(_SILENCE)

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self.bytes_sent += len(data)


def _times(attempts: int) -> str:
    return f"{attempts} attempt{'s' if attempts != 1 else ''}"


def _name(names: type[Op] | type[Error], value: int) -> str:
    return names(value).name if value in set(names) else f"{value:#04x}"
