"""The link: commands to one device, each executed exactly once, over streams that may lose or damage bytes.

Frames carry sequence numbers and every command has a reply. On any trouble (a bad frame, an unexpected reply, silence) the link does
not try to find out what went wrong: it synchronises anew, which aborts whatever the device was doing, and redoes what was not
acknowledged. Memories keep their contents over that, so an acknowledged write need not be repeated. Where trouble is frequent, commands
go in pieces that a bad line lets through, and answers are waited for no longer than they lately took.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterator, Sequence

from tritloom.host.bad_line import BadLine, Lost
from tritloom.host.command import Command
from tritloom.host.errors import DeviceResetError, IncompatibleDeviceError, LinkError, RefusedError, TransportError, UsageError
from tritloom.host.framing import DELIMITER, Decoder, Frame, encode, encoded_bytes
from tritloom.host.identity import Identity
from tritloom.host.line_quality import LineQuality
from tritloom.host.negotiation import GREETING_S, PREAMBLE_BYTES, Negotiation
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.site import START_BAUD
from tritloom.rtl.wire import COUNTERS, ERROR, JOB, PAYLOAD_BYTES, RATE, RESULT, RESULT_BYTES, SYNC, Error, Op

__all__ = ["Link"]

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

#: Tries on a line that damages what comes over it, for each one on a silent line. At one damaged byte in a hundred, a try (a synchronisation
#: and one short frame each way) succeeds one time in four, so 32 times three fail together once in 10**12.
_PERSISTENCE = 32

#: Repeats of a SYNC as soon as a damaged frame shows that it, or its answer, may have been damaged: all with one nonce, so the answer to
#: any of them will do, and those that come after it are known.
_GREETINGS_AT_ONCE = 3

#: Frames of the size that suits a bad line that are sent before the first of them is answered.
_FRAMES_AT_RISK = 4

#: (Sequence number, bytes sent when it was, command) of what is not answered yet, in order of sending.
_Pending = deque[tuple[int, int, Command]]

#: Greetings at a line's rate, while something comes back, before it is taken to be the wrong rate.
_MOST_GREETINGS = 12

#: A time-out of a day is none: what the operating system takes ends somewhere beyond it.
_LONGEST_S = 86400.0


class _Trouble(Exception):
    """Something that a new synchronisation may cure; the text completes "the device ..."."""

    silence = False


class _Silence(_Trouble):
    """Nothing came."""

    silence = True

    def __init__(self) -> None:
        super().__init__("stopped answering")


class _Effort:
    """How much was tried since something succeeded last.

    Silence is given up as soon as it was waited out `attempts` times; a line on which something comes, but damaged, is worth many more
    tries. Neither goes on for longer than it takes to wait for `attempts` commands, and as many synchronisations, in silence.
    """

    def __init__(self, attempts: int, timeout_s: float) -> None:
        self._most, self._most_s = attempts, 2 * attempts * timeout_s
        self.begin()

    def begin(self) -> None:
        """Something succeeded."""
        self._spent, self._began = 0.0, time.monotonic()
        self._damaged = False    # something came; an attempt that ends in silence then says little
        self.attempts = 0

    def failed(self, *, silence: bool, sticky: bool = True, working_s: float = 0.0) -> bool:
        """Whether an attempt that failed was the last one; the device may have worked so many seconds in it."""
        self.attempts += 1
        self._damaged |= not silence
        self._spent += 1.0 / _PERSISTENCE if self._damaged and sticky or not silence else 1.0
        return self._spent >= self._most - 1e-6 or time.monotonic() - self._began > self._most_s + self._most * working_s


class Link:
    """A synchronised device.

    Parameters
    ----------
    transport : Transport
        Closed by `close`, and if the link cannot be opened.
    timeout_s : float
        How long the device may be silent while a reply is due, in seconds.
    retries : int
        How often silence is waited out once more. What comes damaged is asked for again up to 32 times as often in a row.

    Members
    -------
    identity : Identity
        What the device says it is.
    geometry : Geometry
        The device's.
    bytes_sent, bytes_received : int
        All bytes so far, framing and repeats included.
    synchronisations, repeats : int
        What trouble cost so far: synchronisations after the first one, and commands (or pieces of them) that were sent again.

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
        if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < _LONGEST_S:
            raise UsageError(f"`timeout_s` must be a positive number of seconds, not {timeout_s!r}")
        if isinstance(retries, bool) or not isinstance(retries, int):
            raise UsageError(f"`retries` must be an integer, not {retries!r}")
        if retries < 0:
            raise UsageError(f"`retries` must be at least 0, not {retries}")
        self._transport = transport
        self._timeout_s = timeout_s
        self._attempts = retries + 1
        self._quality = LineQuality(timeout_s)
        self._effort = _Effort(retries + 1, timeout_s)
        self._decoder = Decoder()
        self._owner = 0    # nonce with which this link claimed the device
        self._seq = 0
        self._opened = self._synced = False
        self.bytes_sent = 0
        self.bytes_received = 0
        self.synchronisations = self.repeats = 0
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
    def transport(self) -> Transport:
        """What carries the bytes."""
        return self._transport

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
        effort = self._effort
        effort.begin()
        try:
            while True:
                try:
                    if not self._synced:
                        self._resynchronise()
                    self._synced = False    # an exception on the way leaves replies under way
                    if self._quality.bad:
                        todo = [piece for command in todo for piece in command.cut(self.geometry, self._quality.grain)]
                    self._exchange(todo)
                    self._synced = True
                    for command in todo:
                        command.settle()
                    return
                except _Trouble as trouble:
                    self._quality.trouble(silence=trouble.silence)
                    left = [command for command in todo if command.reply is None]
                    if len(left) < len(todo):
                        effort.begin()
                        for command in todo:
                            if command.reply is not None:
                                command.settle()
                    if not left:
                        return    # only acknowledgements of streamed words are missing: their job's results prove that they arrived
                    todo = left
                    if effort.failed(silence=trouble.silence, working_s=_working_s(todo[0])):
                        raise LinkError(f"{self.name}: the device {trouble} at {todo[0].what}, after {_times(effort.attempts)}") from trouble
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
            identity, tried = self._greet_often(), _times(self._effort.attempts + 1)
            while identity is None and not self._effort.failed(silence=not self._heard, sticky=False):
                identity, tried = self._greet_often(), _times(self._effort.attempts + 1)
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
        self.synchronisations += 1
        if self._negotiation is None:
            identity = self._greet_often()
        else:
            identity, greetings = self._greet(min(self._timeout_s, GREETING_S)), 1
            while identity is None and self._heard and greetings < _MOST_GREETINGS:
                identity, greetings = self._greet(min(self._timeout_s, GREETING_S)), greetings + 1
            lost = identity is None
            if lost:
                identity = self._negotiation.start_again()
        if identity is None:
            raise _Trouble("answered with damaged frames only") if self._heard else _Silence()
        if identity.geometry != self.geometry:
            raise IncompatibleDeviceError(
                f"{self.name}: the device became another one (geometry {identity.geometry} instead of {self.geometry}): connect again")
        if identity.owner != self._owner:
            raise DeviceResetError(
                f"{self.name}: the device was reset, or used by another program, so the weights loaded into it are lost: connect again")
        if self._negotiation is not None and lost:
            self._negotiation.speed_up(identity)

    def _greet_often(self) -> Identity | None:
        """Synchronise within the time-out; after a recent trouble by asking again and again, each time more patiently."""
        began, silences = time.monotonic(), 0
        while True:
            patience_s = self._quality.patience_s(silences)
            asked = time.monotonic()
            identity = self._greet(min(patience_s, began + self._timeout_s - asked))
            now = time.monotonic()
            # A device that says at once that it will say nothing is not asked again.
            if identity is not None or self._heard or now - asked < patience_s / 2 or now - began >= self._timeout_s:
                return identity
            silences += 1

    def _greet(self, timeout_s: float) -> Identity | None:
        """Synchronise. Everything the device sent before its identity is dropped.

        Parameters
        ----------
        timeout_s : float
            How long to wait for the identity, in seconds; None comes back if there was none. `_heard` then says whether frames came.
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
            self._quality.changed()
        sync = preamble + encode(Op.SYNC, self._seq, SYNC.pack(nonce=number, claim=int(not self._opened)))
        self._write(sync)
        self._seq = (self._seq + 1) & 0xFF
        self._heard, again = False, _GREETINGS_AT_ONCE if self._negotiation is None else 0
        latest = deadline = time.monotonic() + timeout_s
        try:
            while time.monotonic() <= latest:    # or it never stops talking
                for frame in self._receive(deadline):
                    if frame is not None and frame[0] == Op.IDENTITY and frame[2].startswith(nonce):
                        return Identity.parse(self.name, frame[2])
                    if again and (frame is None or frame[0] == Op.ERROR and frame[1] == 0):    # either the question or its answer was damaged
                        self._write(sync)
                        again -= 1
                self._heard = True
                if self._negotiation is None:    # it answers: either at once, or damaged
                    deadline = min(deadline, time.monotonic() + self._quality.settled_s)
        except _Trouble:
            pass
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
        sent, received = self.bytes_sent, self.bytes_received
        acks: _Pending = deque()
        jobs: _Pending = deque()
        try:
            if self._quality.bad and commands[0].op != Op.RATE:
                self._insist(commands, window)
            else:
                self._converse(commands, window, acks, jobs)
        except _Trouble:
            self.repeats += len(acks) + len(jobs)
            sent = self.bytes_sent if acks or jobs else sent    # what is sent far ahead of a trouble says nothing of the line
            raise
        finally:
            self._quality.passed(self.bytes_sent - sent + self.bytes_received - received)

    def _insist(self, commands: Sequence[Command], window: float) -> None:
        """The same on a bad line."""
        def receive(deadline: float) -> list[Frame | None]:
            try:
                return self._receive(deadline)
            except _Silence:
                return []

        # What follows a damaged frame is sent in vain, so few are under way.
        line = BadLine(
            commands, number=self._next_seq, write=self._write, receive=receive, quality=self._quality, working_s=_working_s,
            window=min(window, _FRAMES_AT_RISK * encoded_bytes(self._quality.grain)), refused=self._unexpected, timeout_s=self._timeout_s)
        try:
            line.run()
        except Lost as lost:
            raise (_Silence() if lost.silence else _Trouble("answered with damaged frames only")) from None
        finally:
            self.repeats += line.repeats

    def _converse(self, commands: Sequence[Command], window: float, acks: _Pending, jobs: _Pending) -> None:
        """The same, with at most `window` bytes of commands unanswered; `acks` and `jobs` are those, by what answers them."""
        frames = self._frames(commands)
        upcoming = next(frames, None)
        most_jobs = self.held_jobs
        sent = answered = 0
        results: list[bytes] = []    # of jobs[0]
        received = 0
        due: float | None = None    # until when an answer must have come, in what `time.monotonic` counts

        while True:
            batch = []
            while upcoming is not None and len(acks) + len(jobs) < _MOST_COMMANDS:
                seq, command, is_job, data = upcoming
                if sent > answered and sent - answered + len(data) > window:
                    break
                if jobs and (command.op == Op.WRITE or is_job and len(jobs) >= most_jobs):
                    break    # memories do not change under a job, and the queue has a depth
                sent += len(data)
                batch.append(data)
                (jobs if is_job else acks).append((seq, sent, command))
                upcoming = next(frames, None)
            if batch:
                self._write(b"".join(batch))
            if not acks and not jobs:
                return

            if due is None:
                due = time.monotonic() + self._quality.patience_s() + (_working_s(jobs[0][2]) if jobs else 0.0)
            for frame in self._receive(due):
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
                elif acks and seq == acks[0][0] and (op, len(payload)) == ((Op.COUNTS, COUNTERS.size) if acks[0][2].op == Op.COUNTERS else (Op.ACK, 0)):
                    _, position, command = acks.popleft()
                    if command.op != Op.JOB:    # else the acknowledgement is that of its streamed words
                        command.reply = payload
                elif self._is_stale(frame, acks):
                    if due is not None and time.monotonic() > due:    # it goes on and on
                        raise _Silence
                    continue
                else:
                    raise self._unexpected(frame, [*acks, *jobs])
                answered, due = max(answered, position), None

    def _is_stale(self, frame: Frame, acks: _Pending) -> bool:
        """A second reply to a command that came twice: an ACK of none that waits for one, or the identity of the synchronisation before."""
        op, seq, _ = frame
        return op == Op.IDENTITY or op == Op.ACK and all(seq != pending for pending, _, _ in acks)

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
        now = asked = time.monotonic()
        while True:
            data = self._transport.read(max(0.0, deadline - now))
            if not data:
                raise _Silence
            self.bytes_received += len(data)
            frames = self._decoder.feed(data)
            now = time.monotonic()
            if frames:
                self._quality.answered(now - asked)
                return frames
            if now > deadline:
                raise _Silence

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self.bytes_sent += len(data)


def _working_s(command: Command) -> float:
    """How long the array may work on a command, in seconds."""
    return command.cycles / _SLOWEST_HZ


def _times(attempts: int) -> str:
    return f"{attempts} attempt{'s' if attempts != 1 else ''}"


def _name(names: type[Op] | type[Error], value: int) -> str:
    return names(value).name if value in set(names) else f"{value:#04x}"
