"""Whether the core's replies are those that the protocol asks for, with the device `model` as the one that knows.

The model finishes a job at once, the core takes its time, so not all is equal. What may differ, and nothing else:

- Results are compared by themselves and replies by themselves: which of them comes first is a matter of time.
- While a job of the same burst may still run, a WRITE may be refused as BUSY and a JOB as QUEUE_FULL. The model is then told to refuse it too.
- A STREAM frame with more words than the streamed jobs need may be acknowledged or refused as NO_JOB. Nobody can say then what a further
  streamed job in the same burst would take, so such a burst is judged no further, and the device is set up anew.
- Results of a streamed job may come before all of its words did.
- SYNC drops replies and results that were not being sent: those before it must be the first of what was due.
- What a job computes from beyond a memory's end, or from the streaming window while or after words were streamed, is not defined; how much it sends is.
- Counters are compared between jobs. Those of time only where the core's jobs were alone, resident, and not held up.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tritloom.host.framing import Decoder, Frame
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, JOB, RESULT, RESULT_BYTES, SYNC, Error, Op, Weights
from tritloom.sim.model_device import ModelDevice

__all__ = ["Disagreement", "Judge"]

#: What a reply other than RESULT must be long, by operation.
_SIZES = {Op.ACK: 0, Op.IDENTITY: IDENTITY.size, Op.COUNTS: COUNTERS.size, Op.ERROR: ERROR.size}

#: Counters that do not depend on how long anything takes.
_TIMELESS = ("busy", "ramp", "jobs", "results")
_TIMES = ("cycles", "stall_weights", "stall_results")


class Disagreement(AssertionError):
    """The core did what the protocol does not allow."""


class _Open(Exception):
    """What the core does from here on is not defined by the protocol."""


class Judge:
    """Follows one device, from its reset on.

    Parameters
    ----------
    geometry
        The device's.

    Members
    -------
    model : ModelDevice
        In the state that the device is in.
    outcomes : dict
        How often each pair of a command and what came of it was seen.
    unaligned : bool
        What is in the device's memories is not known any more: SYNC, and write them anew.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self.outcomes: dict[tuple[str, str], int] = {}
        self.unaligned = False
        self.model = ModelDevice(geometry)
        self._sent, self._received = Decoder(), Decoder()
        self._window_used = False
        self._base: tuple[dict[str, int], dict[str, int]] | None = None    # counters at some moment: the core's, the model's
        self._lost = False    # the number that is due is not known, until the next SYNC
        self._alone = True
        self._timed = True
        self._fields: dict[int, Mapping[str, int]] = {}    # of the jobs taken last, by their sequence number
        self._jobs = False             # a job may run in this burst
        self._streamed_ended = False   # and a streamed one may have ended in it
        self._surplus = False          # streamed words were left over in it
        self._early: list[Frame] = []    # results of a streamed job that waits for more words
        self._due: list[_Due] = []

    def judge(self, sent: bytes, received: bytes, alone: bool) -> None:
        """Judge one burst, after which the core came to rest.

        Parameters
        ----------
        sent
            All bytes of the burst.
        received
            All that came out from its first byte until the core rested.
        alone
            It was one frame, and the output was not stalled.

        Raises
        ------
        Disagreement
            When anything differs that must not.
        """
        frames = self._sent.feed(sent)
        replies = self._received.feed(received)
        self._well_formed(replies)
        self._jobs = bool(self.model._queue)
        self._streamed_ended = self._surplus = False
        self._alone = alone
        self._timed &= alone
        segments = self._segments(frames, replies)
        for number, (part, answers) in enumerate(segments):
            self._follow(part, answers, number == len(segments) - 1)

    def aligned(self) -> None:
        """What comes next is SYNC, and all of both memories' contents, window and all."""
        self.unaligned = self._window_used = False

    def _well_formed(self, replies: Iterable[Frame | None]) -> None:
        for frame in replies:
            if frame is None:
                raise Disagreement("the core sent a damaged frame")
            op, seq, payload = frame
            size = _SIZES.get(op)
            good = 0 < len(payload) - RESULT.size <= RESULT_BYTES if op == Op.RESULT else size == len(payload)
            if not good or (op == Op.ERROR and payload[0] not in set(Error)):
                raise Disagreement(f"the core sent a frame that is no reply: operation {op:#04x}, number {seq}, payload {payload.hex()}")

    def _segments(self, frames: Sequence[Frame | None], replies: Sequence[Frame]) -> list[tuple[list[Frame | None], list[Frame]]]:
        """Frames from each SYNC on, and the replies to them: from its identity on, if that was not dropped."""
        starts = [i for i, frame in enumerate(frames) if frame is not None and frame[0] == Op.SYNC and len(frame[2]) == SYNC.size]
        found = []
        for start in reversed(starts):
            _, seq, payload = frames[start]
            at = next((i for i in range(len(replies) - 1, -1, -1)
                       if replies[i][:2] == (Op.IDENTITY, seq) and replies[i][2].startswith(payload[:4])), len(replies))
            found.append((list(frames[start:]), list(replies[at:])))
            frames, replies = frames[:start], replies[:at]
        return [(list(frames), list(replies)), *reversed(found)]

    def _follow(self, frames: Sequence[Frame | None], answers: Sequence[Frame], whole: bool) -> None:
        """Let the model do what the core did with these frames; not `whole`: a SYNC comes next, which drops what was not yet sent."""
        replies = deque(frame for frame in answers if frame[0] != Op.RESULT)
        results = deque([*self._early, *(frame for frame in answers if frame[0] == Op.RESULT)])
        lost = False
        for number, frame in enumerate(frames):
            if lost and frame is not None:
                self.unaligned |= frame[0] == Op.WRITE
                continue
            try:
                expected = self._execute(frame, replies)
            except _Open:
                for later in frames[number:]:
                    if later is None:
                        self._run(None)    # all the same, it is counted
                self._forget()
                self.unaligned = self._lost = True
                return
            if expected is None:
                self._note(frame, "queued")
                continue
            if not replies and not whole:
                lost = True
                self.unaligned |= frame is not None and frame[0] == Op.WRITE
                continue
            got = replies.popleft() if replies else None
            self._compare(frame, got, expected)
        if replies:
            raise Disagreement(f"the core sent a reply too many: {_told(replies[0])}")
        self._compare_results(results, whole)
        if not whole:
            self._forget()

    def _forget(self) -> None:
        self._due.clear()
        self._early.clear()
        self._base = None

    def _execute(self, frame: Frame | None, replies: deque[Frame]) -> Frame | None:
        """Have the model execute a frame as the core did; return the reply that is due, None if there is none but results."""
        model = self.model
        answer = replies[0] if replies else None
        if frame is None:
            return self._run(frame)
        op, seq, payload = frame
        refused = Error(answer[2][0]) if answer is not None and answer[0] == Op.ERROR and answer[1] == seq else None
        if op == Op.WRITE and refused == Error.BUSY and self._jobs and not model._queue:
            return self._run(frame, waiting=1)
        if op == Op.JOB and refused == Error.QUEUE_FULL and self._jobs:
            return self._run(frame, waiting=self.geometry.queue)
        if op == Op.SYNC and len(payload) == SYNC.size:
            self._base, self._timed, self._lost = None, True, False
        if op == Op.STREAM:
            return self._stream(frame, answer, refused)
        accepted = model._expected
        reply = self._run(frame)
        if op == Op.JOB and model._expected != accepted:
            self._jobs = True
            streamed = JOB.unpack(payload)["weights"] == Weights.STREAM
            self._timed &= not streamed
            if streamed and self._surplus:
                raise _Open
        return reply

    def _stream(self, frame: Frame, answer: Frame | None, refused: Error | None) -> Frame | None:
        model = self.model
        _, seq, payload = frame
        had = any(job.streamed for job in model._queue)
        taken = seq == model._expected and model._claimed and payload and len(payload) % self.geometry.word_bytes == 0
        if not taken or not (had or self._streamed_ended):
            return self._run(frame)
        surplus = len(payload) // self.geometry.word_bytes > sum(job.due for job in model._queue)
        self._window_used = True
        reply = self._run(frame)
        self._streamed_ended |= had and not any(job.streamed for job in model._queue)
        if surplus:
            self._surplus = True
            number = (seq + (answer is None or answer[0] == Op.ACK)) & 0xFF
            model._expected = number
            if refused == Error.NO_JOB:
                return Op.ERROR, seq, ERROR.pack(code=Error.NO_JOB, expected=number)
            return Op.ACK, seq, b""
        return reply

    def _run(self, frame: Frame | None, waiting: int = 0) -> Frame | None:
        """Execute a frame in the model, as if so many jobs waited. Its results become due; its reply is returned."""
        model = self.model
        queue = model._queue
        if waiting:
            model._queue = deque([_Waiting()] * waiting)
        before = model._expected
        model._execute(frame)
        if waiting:
            model._queue = queue
        if frame is not None and frame[0] == Op.JOB and model._expected != before:
            self._fields[frame[1]] = JOB.unpack(frame[2])
        replies = self._received_from_model()
        others = [reply for reply in replies if reply[0] != Op.RESULT]
        if frame is not None:
            self._note_results([reply for reply in replies if reply[0] == Op.RESULT])
        if len(others) > 1:
            raise Disagreement(f"the model sent more than one reply to a frame: {others}")
        return others[0] if others else None

    def _received_from_model(self) -> list[Frame]:
        frames = Decoder().feed(self.model.read(0))
        if None in frames:
            raise Disagreement("the model sent a damaged frame")
        return frames

    def _note_results(self, frames: Sequence[Frame]) -> None:
        for _, seq, payload in frames:
            if RESULT.unpack(payload)["index"] == 0:
                self._due.append(self._due_of(seq, self._fields[seq]))
            self._due[-1].data += payload[RESULT.size:]

    def _due_of(self, seq: int, job: Mapping[str, int]) -> _Due:
        geometry = self.geometry
        end = 0 if job["weights"] == Weights.STREAM else job["weights_at"] + geometry.words(job["n"], job["k"])
        within = end <= geometry.weight_words and job["acts_at"] + geometry.beats(job["k"]) <= geometry.act_words
        return _Due(seq, not self.unaligned and within, end > geometry.resident_words)

    def _compare(self, frame: Frame | None, got: Frame | None, expected: Frame) -> None:
        self._note(frame, Error(expected[2][0]).name if expected[0] == Op.ERROR else Op(expected[0]).name)
        if got is not None and got[0] == expected[0] == Op.COUNTS and got[1] == expected[1]:
            self._compare_counters(COUNTERS.unpack(got[2]), COUNTERS.unpack(expected[2]))
        elif got != expected and not (self._lost and frame is None and got is not None and got[:2] == expected[:2] and got[2][0] == Error.CRC):
            raise Disagreement(f"to {_told(frame)} the core sent {_told(got)}, and should have sent {_told(expected)}")

    def _compare_results(self, frames: deque[Frame], whole: bool) -> None:
        """Results are those due, all of them if `whole`."""
        for due in self._due:
            seq, size = due.seq, len(due.data)
            known = due.known and not (due.in_window and self._window_used)
            got, index = b"", 0
            while len(got) < size and frames:
                _, its, payload = frames[0]
                if its != seq or RESULT.unpack(payload)["index"] != index & 0xFFFF:
                    raise Disagreement(f"job {seq} has {len(got)} of {size} bytes of results, and what comes next is {_told(frames[0])}")
                got += payload[RESULT.size:]
                index += 1
                frames.popleft()
            if len(got) > size or (whole and len(got) < size) or (known and got != due.data[:len(got)]):
                raise Disagreement(f"job {seq} sent {len(got)} bytes of results: {got[:40].hex()}..., and should have sent {size}: "
                                   f"{due.data[:40].hex() if known else 'whatever they are'}...")
            if len(got) < size:
                break
        self._early = list(frames)
        running = self.model._queue[0] if self.model._queue else None
        if frames and not (running is not None and running.streamed and all(seq == running.seq for _, seq, _ in frames)):
            raise Disagreement(f"the core sent results of no job: {_told(frames[0])}")
        self._due.clear()

    def _compare_counters(self, core: dict[str, int], model: dict[str, int]) -> None:
        if core["bad_frames"] != model["bad_frames"]:
            raise Disagreement(f"the core counted {core['bad_frames']} bad frames, and there were {model['bad_frames']}")
        if self._jobs or self.model._queue:
            return
        if self._base is not None:
            for name in _TIMELESS + (_TIMES if self._timed else ()):
                found, expected = (new[name] - old[name] for new, old in zip((core, model), self._base, strict=True))
                if (found - expected) & 0xFFFFFFFF:
                    raise Disagreement(f"the core counted {found} {name}, and should have counted {expected}")
        self._base, self._timed = (core, model), self._alone

    def _note(self, frame: Frame | None, outcome: str) -> None:
        what = "damaged" if frame is None else Op(frame[0]).name if frame[0] in set(Op) and frame[0] < Op.ACK else "other"
        self.outcomes[what, outcome] = self.outcomes.get((what, outcome), 0) + 1


@dataclass
class _Due:
    """A job's results that the core owes.

    Parameters
    ----------
    seq
        The job's number.
    known
        What they are is defined, and the memories are as the model's.
    in_window
        Unless streamed words came before they were computed: the job's weights reach into the streaming window.
    data
        The model's.
    """

    seq: int
    known: bool
    in_window: bool
    data: bytes = b""


class _Waiting:
    """A job that waits in the model's queue while it is asked what it would do then."""

    held = True
    streamed = False
    due = 0


def _told(frame: Frame | None) -> str:
    if frame is None:
        return "nothing"
    op, seq, payload = frame
    name = Op(op).name if op in set(Op) else f"{op:#04x}"
    more = f" {Error(payload[0]).name} (takes {payload[1]} next)" if op == Op.ERROR and len(payload) == ERROR.size and payload[0] in set(Error) else ""
    return f"{name} {seq}{more}, {len(payload)} bytes {payload[:40].hex()}"
