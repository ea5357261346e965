"""Commands over a line that damages many frames: what got lost is sent again under its number, without a synchronisation.

That is safe because the device executes a number once, and answers an ACK to a repeat; and it is cheap, because on such a line a
synchronisation, with its 65 bytes of identity, fails more often than not. Three things are inferred from what does come through:

- an ACK of a number, or results of one, say that every number before it was executed, with success;
- so does an error reply, which tells the number that the device takes next;
- an ACK of a JOB says that it was executed, so that its results are lost, or on their way: it is queued again under a new number.

Whatever else comes is trouble, and a matter for a synchronisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tritloom.host.command import Command
from tritloom.host.framing import Frame, encode, encoded_bytes
from tritloom.host.line_quality import LineQuality
from tritloom.rtl.wire import COUNTERS, ERROR, RESULT, RESULT_BYTES, Error, Op

__all__ = ["BadLine", "Lost"]

#: What is not answered is sent so often before a synchronisation is tried.
_MOST_REPEATS = 12

#: How long what comes behind a damaged frame is waited for, in seconds.
_BEHIND_S = 0.002

#: Numbers behind the expected one that a device takes for executed.
_EXECUTED = 128


class Lost(Exception):
    """No progress; `silence` says that not even damaged frames came."""

    def __init__(self, silence: bool) -> None:
        super().__init__()
        self.silence = silence


@dataclass(slots=True, eq=False)
class _Pending:
    """A frame that was sent and is not answered."""

    seq: int
    command: Command
    op: int
    data: bytes
    executed: bool = False    # a JOB, of which only the results are missing


class BadLine:
    """One exchange on a bad line.

    Parameters
    ----------
    commands : sequence of Command
        None with streamed weights or a hold: `Command.cut` leaves none where it can.
    number : callable
        Gives the next sequence number.
    write : callable
        Sends bytes.
    receive : callable
        Takes the time until which to wait, in seconds of `time.monotonic`; returns the next frames, damaged ones as None, and an empty list
        if nothing came.
    quality : LineQuality
    window : float
        Bytes of commands that may be unanswered.
    timeout_s : float
        No progress for so long is enough, in seconds.
    working_s : callable
        How long a command may keep the device on top of that, in seconds.
    refused : callable
        Raises what is to be raised for an error reply that is not the line's fault.

    Members
    -------
    repeats : int
        Frames that were sent again.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        *,
        number: Callable[[], int],
        write: Callable[[bytes], None],
        receive: Callable[[float], list[Frame | None]],
        quality: LineQuality,
        window: float,
        timeout_s: float,
        working_s: Callable[[Command], float],
        refused: Callable[[Frame, Sequence[tuple[int, int, Command]]], Exception],
    ) -> None:
        self._frames = _frames(commands)
        self._upcoming = next(self._frames, None)
        self._number, self._write, self._receive = number, write, receive
        self._quality, self._window, self._timeout_s, self._working_s, self._refused = quality, window, timeout_s, working_s, refused
        self._pending: list[_Pending] = []    # in order of their numbers
        self._results: list[bytes] = []       # of the JOB among them: there is one at most
        self._received = 0
        self._in_vain = 0                     # repeats since something was answered
        self._told: int | None = None         # what the device told to expect, when that was last acted on
        self._silences = 0                    # in a row
        self._heard = False
        self.repeats = 0

    def run(self) -> None:
        """Until every command has its reply.

        Raises
        ------
        Lost
            If repeating does not help.
        """
        progress = time.monotonic()
        while True:
            self._send()
            if not self._pending:
                return
            working_s = sum(self._working_s(sent.command) for sent in self._pending if sent.op == Op.JOB)
            deadline = time.monotonic() + self._quality.patience_s(self._silences) + working_s
            frames = self._receive(deadline)
            self._silences = 0 if frames else self._silences + 1
            lost = not frames
            while frames:
                self._heard = True
                before = len(self._pending), self._received
                for frame in frames:
                    lost |= self._take(frame)
                now = time.monotonic()
                if (len(self._pending), self._received) != before:
                    self._in_vain, self._told = 0, None
                    progress = now
                    if not lost:
                        break
                if now > deadline:
                    lost = True
                    break
                # Behind a damaged reply may come a good one, that tells what was executed.
                frames = self._receive(min(deadline, now + _BEHIND_S) if lost else deadline) if self._pending else []
                lost |= not frames
            if lost and self._pending:
                if self._in_vain == _MOST_REPEATS or time.monotonic() - progress > self._timeout_s + working_s:
                    raise Lost(silence=not self._heard)
                self._repeat()

    def _send(self) -> None:
        """What fits the window. A JOB has nothing but its own words behind it: memories do not change under one, and a new number must be next."""
        batch = []
        unanswered = sum(len(sent.data) for sent in self._pending)
        while self._upcoming is not None:
            command, op, payload = self._upcoming
            if op != Op.STREAM and any(sent.op == Op.JOB for sent in self._pending):
                break
            # The words of a JOB do not wait for it, but for each other.
            if any(sent.op != Op.JOB for sent in self._pending) and unanswered + encoded_bytes(len(payload)) > self._window:
                break
            seq = self._number()
            frame = _Pending(seq, command, op, encode(op, seq, payload))
            self._pending.append(frame)
            batch.append(frame.data)
            unanswered += len(frame.data)
            self._upcoming = next(self._frames, None)
        if batch:
            self._write(b"".join(batch))

    def _take(self, frame: Frame | None) -> bool:
        """Whether a frame shows that something got lost."""
        if frame is None:
            return True
        op, seq, payload = frame
        # More words than there are numbers may follow a JOB, so one of them may have the JOB's.
        at = next((i for i, sent in enumerate(self._pending) if sent.seq == seq and not (sent.executed and op == Op.ACK)), None)
        if op == Op.ERROR and len(payload) == ERROR.size:
            told = ERROR.unpack(payload)
            if told["code"] not in (Error.CRC, Error.SEQUENCE):
                raise self._refused(frame, [(sent.seq, 0, sent.command) for sent in self._pending])
            # Each frame behind a lost one is refused, with the same number: once is enough.
            news = told["code"] == Error.CRC or told["expected"] != self._told
            self._told = told["expected"]
            self._executed(sum(1 <= (told["expected"] - sent.seq) & 0xFF <= _EXECUTED for sent in self._pending))
            return news
        if at is None:
            return False    # a second reply to something that is settled
        sent = self._pending[at]
        if op == Op.RESULT and sent.op == Op.JOB:
            return not self._take_results(sent, payload, at)
        if op == Op.ACK and not payload and sent.op != Op.COUNTERS:
            self._executed(at + 1)
            return sent.op == Op.JOB and not sent.command.stream
        if op == Op.COUNTS and sent.op == Op.COUNTERS and len(payload) == COUNTERS.size:
            self._executed(at)
            self._pending.remove(sent)
            sent.command.reply = payload
            return False
        raise Lost(silence=False)

    def _take_results(self, sent: _Pending, payload: bytes, at: int) -> bool:
        """Whether these results are the next ones of their job."""
        size = len(payload) - RESULT.size
        expected = len(self._results) & 0xFFFF
        if not 0 < size <= min(RESULT_BYTES, sent.command.size - self._received) or RESULT.unpack(payload)["index"] != expected:
            if sent.command.stream:
                raise Lost(silence=False)    # all its words would have to come again
            return False
        self._executed(at)
        self._results.append(payload[RESULT.size:])
        self._received += size
        if self._received == sent.command.size:
            sent.command.reply = b"".join(self._results)
            # They prove that the words streamed for it have come.
            self._pending = [other for other in self._pending if other.command is not sent.command]
            self._forget_results()
        return True

    def _executed(self, count: int) -> None:
        """The first so many of what is pending were executed."""
        kept = []
        for sent in self._pending[:count]:
            if sent.op == Op.JOB:
                sent.executed = True
                kept.append(sent)
            elif sent.op == Op.COUNTERS:
                raise Lost(silence=False)    # its reply is lost, and would not come again
            elif sent.op != Op.STREAM:
                sent.command.reply = b""
        self._pending[:count] = kept

    def _repeat(self) -> None:
        """Send again what was not executed; or if all was, a JOB whose results did not come, under a new number."""
        self._quality.trouble()
        self._in_vain += 1
        again = [sent for sent in self._pending if not sent.executed]
        if not again:
            job = self._pending[0]
            if job.command.stream:
                if self._upcoming is None:
                    raise Lost(silence=False)    # all its words would have to come again
                return    # there are more of them to send
            self._forget_results()
            job.seq, job.executed = self._number(), False
            job.data = encode(job.op, job.seq, job.command.payload)
            self._told = None
            again = [job]
        self.repeats += len(again)
        self._write(b"".join(sent.data for sent in again))

    def _forget_results(self) -> None:
        self._results, self._received = [], 0


def _frames(commands: Sequence[Command]) -> Iterator[tuple[Command, int, bytes]]:
    """Each frame to send: whose it is, its operation and its payload."""
    for command in commands:
        yield command, command.op, command.payload
        for words in command.stream:
            yield command, Op.STREAM, words
