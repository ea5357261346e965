"""The link over transports that misbehave: exact results or a typed error, and never a hang."""

import random
import time

import numpy as np
import pytest

from tritloom.host.command import Command
from tritloom.host.driver import Accelerator
from tritloom.host.errors import DisconnectedError, IncompatibleDeviceError, LinkError, RefusedError, UsageError
from tritloom.host.framing import Decoder, encode
from tritloom.host.link import Link
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, IDENTITY, JOB, RX_BYTES, SYNC, VERSION, WRITE, Error, Op
from tritloom.sim.model_device import ModelDevice

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)


class Wrapped(Transport):
    """The model device behind a transport; subclasses get at the bytes."""

    name = "wrapped"

    def __init__(self, geometry=GEOMETRY, flow_controlled=True):
        self.device = ModelDevice(geometry)
        self.flow_controlled = flow_controlled
        self.closed = False

    def write(self, data):
        self.device.write(self.down(data))

    def read(self, timeout_s):
        data = self.device.read(timeout_s)
        return self.up(data) if data else b""

    def close(self):
        self.closed = True

    def down(self, data):
        return data

    up = down


class Noisy(Wrapped):
    """Drops, flips and duplicates single bytes, and drops or duplicates whole pieces, once `noise` is set."""

    def __init__(self, seed, noise, **options):
        super().__init__(**options)
        self.random = random.Random(seed)
        self.chance = noise
        self.noise = 0.0

    def down(self, data):
        return self.spoil(data)

    up = down

    def spoil(self, data):
        if self.noise in (0.0, 1.0):
            return self.random.randbytes(len(data)) if self.noise else data
        if self.random.random() < 10 * self.noise:
            return self.random.choice([b"", data * 2, data[:len(data) // 2]])
        out = bytearray()
        for byte in data:
            if self.random.random() >= self.noise:
                out.append(byte)
            else:
                out += self.random.choice([b"", bytes([byte ^ 1 << self.random.randrange(8)]), bytes([byte, byte]), b"\0"])
        return bytes(out)


class Scripted(Transport):
    """Answers each write with the next of the given answers: bytes, or a function of the frames written."""

    name, flow_controlled = "scripted", True
    owner = 0

    def __init__(self, *answers):
        self.answers, self.owned_by = list(answers), 0
        self.decoder = Decoder()
        self.waiting = b""
        self.writes = 0
        self.closed = False

    def write(self, data):
        self.writes += 1
        frames = self.decoder.feed(data)
        for sync in [SYNC.unpack(frame[2]) for frame in frames if frame[0] == Op.SYNC]:
            Scripted.owner, self.owned_by = self.owned_by, sync["nonce"] if sync["claim"] else self.owned_by
        if self.answers:
            answer = self.answers.pop(0)
            self.waiting += answer(frames) if callable(answer) else answer

    def read(self, timeout_s):
        data, self.waiting = self.waiting, b""
        return data

    def close(self):
        self.closed = True


def identity(nonce, seq, geometry=GEOMETRY, **changes):
    fields = {name: getattr(geometry, name) for name in Geometry.names()}
    fields |= {"clock_hz": 0, "max_baud": 0, "board": 0, "nonce": nonce, "owner": Scripted.owner, "version": VERSION, "rx_bytes": 1023, "digest": geometry.digest} | changes
    return encode(Op.IDENTITY, seq, IDENTITY.pack(**fields))


def welcome(**changes):
    """Answer to a SYNC."""
    return lambda frames: identity(**({"nonce": SYNC.unpack(frames[-1][2])["nonce"], "seq": frames[-1][1]} | changes))


def counters(seq):
    return encode(Op.COUNTS, seq, bytes(COUNTERS.size))


def reading():
    return Command(Op.COUNTERS, b"", "reading the counters")


def test_opening():
    transport = Wrapped()
    link = Link(transport)
    assert link.geometry == GEOMETRY and link.name == "wrapped"
    assert link.bytes_sent == 4 + 8 + SYNC.size and link.bytes_received == 8 + IDENTITY.size
    link.close()
    assert transport.closed


def test_everything_before_the_identity_is_dropped():
    noise = random.Random(3).randbytes(1000)
    old = identity(1, 2) + encode(Op.RESULT, 3, b"\0\0abc") + encode(Op.ACK, 4)
    link = Link(Scripted(lambda frames: noise + b"\0" + old + welcome()(frames)))
    assert link.geometry == GEOMETRY


def test_an_identity_for_an_earlier_sync_is_not_taken():
    transport = Scripted(lambda frames: identity(SYNC.unpack(frames[-1][2])["nonce"] ^ 1, 0), b"", b"")
    with pytest.raises(LinkError):
        Link(transport)


def test_a_silent_device():
    transport = Scripted()
    with pytest.raises(LinkError, match=r"scripted: the device does not answer: is it powered, .*\(tried 3 attempts\)"):
        Link(transport)
    assert transport.writes == 3 and transport.closed


def test_a_device_that_is_none():
    with pytest.raises(LinkError, match=r"sends bytes \(14\), but no reply: is it a tritloom device, and is the speed right\? \(tried 2 attempts\)"):
        Link(Scripted(b"login:\0hello\0\0"), retries=0)


def test_a_late_answer():
    assert Link(Scripted(b"", b"", welcome())).geometry == GEOMETRY


def test_another_version():
    with pytest.raises(IncompatibleDeviceError, match=f"speaks version 9 of the protocol, and this driver version {VERSION}: update"):
        Link(Scripted(welcome(version=9)))


def test_another_version_with_another_identity():
    def answer(frames):
        return encode(Op.IDENTITY, frames[-1][1], frames[-1][2][:4] + bytes([VERSION + 1, 1, 2, 3]))

    transport = Scripted(answer)
    with pytest.raises(IncompatibleDeviceError, match=f"speaks version {VERSION + 1}"):
        Link(transport)
    assert transport.closed


def test_a_short_identity():
    with pytest.raises(IncompatibleDeviceError, match="geometry is impossible: IDENTITY must have at least"):
        Link(Scripted(lambda frames: encode(Op.IDENTITY, frames[-1][1], frames[-1][2][:4] + bytes([VERSION, 1]))))


def test_an_impossible_geometry():
    with pytest.raises(IncompatibleDeviceError, match="geometry is impossible: `rows` must be an integer from 1 to 255, not 0"):
        Link(Scripted(welcome(rows=0)))


def test_a_wrong_digest():
    with pytest.raises(IncompatibleDeviceError, match=r"geometry \(2,4,4\) is not the one that its digest 0000000000000001 stands for"):
        Link(Scripted(welcome(digest=1)))


def test_a_buffer_too_small():
    answer = welcome(rx_bytes=511)
    assert Link(Scripted(answer)).geometry == GEOMETRY
    slow = Scripted(answer)
    slow.flow_controlled = False
    with pytest.raises(IncompatibleDeviceError, match="buffers 511 bytes of commands, and needs at least 512"):
        Link(slow)


@pytest.mark.parametrize("options, message", [
    ({"timeout_s": 0}, "`timeout_s` must be a positive number of seconds, not 0"),
    ({"retries": -1}, "`retries` must be at least 0, not -1"),
])
def test_bad_options(options, message):
    with pytest.raises(UsageError, match=message):
        Link(Scripted(), **options)


# Commands

def test_commands_go_out_in_one_write_and_are_numbered():
    transport = Scripted(welcome(), lambda frames: b"".join(counters(seq) for _, seq, _ in frames))
    link = Link(transport)
    commands = [reading() for _ in range(100)]
    link.execute(commands)
    assert transport.writes == 2
    assert all(len(command.reply) == COUNTERS.size for command in commands)


def test_never_more_than_128_commands_under_way():
    most = 0

    class Counting(Wrapped):
        def down(self, data):
            nonlocal most
            most = max(most, data.count(0))
            return data

    link = Link(Counting())
    link.execute([reading() for _ in range(500)])
    assert most == 128


@pytest.mark.parametrize("replies", [
    lambda seq: b"",
    lambda seq: counters(seq)[:-1] + b"\x01\0",
    lambda seq: counters(seq ^ 1),
    lambda seq: encode(Op.ACK, seq),
    lambda seq: encode(Op.RESULT, seq, b"\0\0ab"),
    lambda seq: encode(Op.ERROR, 0, bytes([Error.CRC, seq])),
    lambda seq: encode(Op.ERROR, seq, bytes([Error.SEQUENCE, seq ^ 1])),
    lambda seq: encode(Op.ERROR, seq, bytes([Error.BUSY, seq])),
    lambda seq: encode(Op.ERROR, seq, bytes([200, seq])),
    lambda seq: encode(Op.ERROR, seq, b""),
    lambda seq: encode(0x99, seq),
])
def test_trouble_is_cured_by_a_new_synchronisation(replies):
    transport = Scripted(welcome(), lambda frames: replies(frames[0][1]), welcome(), lambda frames: counters(frames[0][1]))
    command = reading()
    Link(transport).execute([command])
    assert len(command.reply) == COUNTERS.size
    assert transport.writes == 4


def test_a_reply_cut_short_may_take_the_identity_behind_it_along():
    answers = [welcome(), lambda frames: counters(frames[0][1])[:20], welcome(), welcome(), lambda frames: counters(frames[0][1])]
    command = reading()
    Link(Scripted(*answers)).execute([command])
    assert len(command.reply) == COUNTERS.size


def test_what_was_acknowledged_is_not_repeated():
    seen = []

    def first(frames):
        seen.append([frame[0] for frame in frames])
        return b"".join(encode(Op.ACK, frame[1]) for frame in frames[:2])

    def second(frames):
        seen.append([frame[0] for frame in frames])
        return encode(Op.ACK, frames[0][1]) + encode(Op.RESULT, frames[1][1], b"\0\0ok")

    write = WRITE.pack(memory=0, row=0, at=0) + b"1234"
    commands = [Command(Op.WRITE, write, "w") for _ in range(3)] + [Command(Op.JOB, bytes(JOB.size), "j", 2)]
    Link(Scripted(welcome(), first, welcome(), second)).execute(commands)
    assert seen == [[Op.WRITE] * 3 + [Op.JOB], [Op.WRITE, Op.JOB]]
    assert commands[-1].reply == b"ok"


def test_results_with_a_gap_are_asked_for_again():
    def results(frames, indices):
        return b"".join(encode(Op.RESULT, frames[0][1], index.to_bytes(2, "little") + bytes([index]) * size) for index, size in indices)

    def run(*attempts):
        command = Command(Op.JOB, bytes(JOB.size), "job 1", 500)
        answers = []
        for attempt in attempts:
            answers += [welcome(), lambda frames, attempt=attempt: results(frames, attempt)]
        Link(Scripted(*answers)).execute([command])
        return command.reply

    good = [(0, 246), (1, 246), (2, 8)]
    assert run(good) == b"\0" * 246 + b"\1" * 246 + b"\2" * 8
    for bad in ([(0, 246), (2, 8)], [(1, 246)], [(0, 246), (0, 246), (2, 8)], [(1, 246), (0, 246), (2, 8)], [(0, 245)], [(0, 246), (1, 246), (2, 9)], [(0, 246), (1, 246)]):
        assert run(bad, good) == run(good), bad


def test_results_of_another_job_are_not_taken():
    command = Command(Op.JOB, bytes(JOB.size), "job 1", 2)

    def results(offset, text):
        return lambda frames: encode(Op.RESULT, frames[0][1] + offset & 0xFF, b"\0\0" + text)

    Link(Scripted(welcome(), results(1, b"no"), welcome(), results(0, b"ok"))).execute([command])
    assert command.reply == b"ok"


def test_results_prove_that_the_streamed_words_arrived():
    """The acknowledgement of the words is lost: the job is not run again, and the next command comes after a synchronisation."""
    transport = Scripted(welcome(), lambda frames: encode(Op.RESULT, frames[0][1], b"\0\0ok"), welcome(), lambda frames: counters(frames[0][1]))
    link = Link(transport)
    job = Command(Op.JOB, bytes(JOB.size), "job 1", 2, [b"1234"])
    link.execute([job])
    assert job.reply == b"ok" and transport.writes == 2
    link.execute([reading()])
    assert transport.writes == 4


def test_a_device_that_stops_answering():
    for answers in ([welcome()] + [b"", welcome()] * 3, [welcome()]):
        transport = Scripted(*answers)
        with pytest.raises(LinkError, match="scripted: the device stopped answering at job 17 .N=3., after 3 attempts"):
            Link(transport).execute([Command(Op.JOB, bytes(JOB.size), "job 17 (N=3)", 4)])
        assert transport.writes == (6 if len(answers) > 1 else 4)


def test_silence_costs_the_time_out_and_no_more():
    class Slow(Scripted):
        def read(self, timeout_s):
            data = super().read(timeout_s)
            if not data:
                time.sleep(timeout_s)
            return data

    link = Link(Slow(welcome()), timeout_s=0.05, retries=1)
    begin = time.monotonic()
    with pytest.raises(LinkError):
        link.execute([reading()])
    assert 0.09 < time.monotonic() - begin < 1


def test_babble_is_no_reason_to_wait_for_ever():
    class Babbling(Scripted):
        def read(self, timeout_s):
            time.sleep(0.001)
            return super().read(timeout_s) or b"bla"

    link = Link(Babbling(welcome()), timeout_s=0.05, retries=1)
    with pytest.raises(LinkError, match="stopped answering"):
        link.execute([reading()])


def test_after_an_error_the_link_synchronises_first():
    transport = Scripted(welcome(), b"", welcome(), lambda frames: counters(frames[0][1]))
    link = Link(transport, retries=0)
    with pytest.raises(LinkError):
        link.execute([reading()])
    link.execute([reading()])
    assert transport.writes == 4


@pytest.mark.parametrize("code", [Error.LENGTH, Error.UNKNOWN, Error.BAD_JOB, Error.BAD_ADDRESS])
def test_a_refused_command(code):
    transport = Scripted(welcome(), lambda frames: encode(Op.ERROR, frames[0][1], bytes([code, frames[0][1]])))
    with pytest.raises(RefusedError, match=f"scripted: the device refused job 2: {code.name}") as caught:
        Link(transport).execute([Command(Op.JOB, bytes(JOB.size), "job 2", 4)])
    assert caught.value.code == code


def test_the_model_refuses_a_bad_job_and_goes_on():
    link = Link(Wrapped())
    with pytest.raises(RefusedError, match="refused job 1: BAD_JOB"):
        link.execute([Command(Op.JOB, bytes(JOB.size), "job 1", 4), reading()])
    link.execute([command := reading()])
    assert COUNTERS.unpack(command.reply)["jobs"] == 0


def test_a_device_that_became_another():
    other = Geometry(rows=1, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)
    with pytest.raises(IncompatibleDeviceError, match=r"became another one \(geometry 1,4,4 instead of 2,4,4\)"):
        Link(Scripted(welcome(), b"", welcome(geometry=other))).execute([reading()])


# Without flow control

class Metered(Wrapped):
    """Checks that the device never gets more than it can buffer, as if it took a byte only with the reply to its command."""

    def __init__(self, rx_bytes):
        super().__init__(flow_controlled=False)
        self.rx_bytes = rx_bytes
        self.unanswered = 0
        self.most = 0

    def write(self, data):
        self.unanswered += len(data)
        self.most = max(self.most, self.unanswered)
        super().write(data)

    def read(self, timeout_s):
        data = super().read(timeout_s)
        self.unanswered = 0
        return data


def test_the_window():
    transport = Metered(RX_BYTES)
    with Accelerator(Link(transport)) as acc:
        rng = np.random.default_rng(1)
        w, big = rng.integers(-1, 2, (40, 64), np.int8), rng.integers(-1, 2, (300, 200), np.int8)
        x = rng.integers(-128, 128, (9, 64), np.int8)
        assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T)
        x = rng.integers(-128, 128, (9, 200), np.int8)
        matrix = acc.load(big)
        assert not matrix.resident
        assert np.array_equal(acc.matmul(matrix, x), x.astype(np.int32) @ big.T)
    assert RX_BYTES - 256 < transport.most <= RX_BYTES


def test_held_jobs_fit_the_window():
    deep = Geometry(rows=1, cols=2, lanes=2, depth=8, weight_words=1024, stream_words=64, queue=200)
    link = Link(Wrapped(deep, flow_controlled=False))
    assert link.held_jobs == RX_BYTES // (8 + JOB.size)
    assert Link(Wrapped(deep)).held_jobs == 200


# Bad lines

@pytest.mark.parametrize("flow_controlled", [True, False])
@pytest.mark.parametrize("seed", range(12))
def test_a_noisy_line_costs_time_only(seed, flow_controlled):
    line = Noisy(seed, 0.0005, flow_controlled=flow_controlled)
    rng = np.random.default_rng(seed)
    with Accelerator(Link(line, retries=30)) as acc:
        line.noise = line.chance
        for _ in range(8):
            n, k, m = (int(value) for value in rng.integers(1, [80, 150, 8]))
            w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
            assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T), f"seed {seed}"
        line.noise = 0.0
        assert acc.counters().jobs >= 8


@pytest.mark.parametrize("seed", range(12))
def test_a_hopeless_line_ends_in_an_error_or_an_exact_result(seed):
    line = Noisy(seed, 0.01)
    rng = np.random.default_rng(seed)
    outcomes = set()
    with Accelerator(Link(line, retries=2)) as acc:
        for noise in (0.002, 0.005, 0.01, 1.0):
            line.noise = noise
            w, x = rng.integers(-1, 2, (60, 64), np.int8), rng.integers(-128, 128, (2, 64), np.int8)
            try:
                assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T), f"seed {seed}, noise {noise}"
                outcomes.add("exact")
            except LinkError as error:
                assert " attempts" in str(error)
                outcomes.add("error")
        line.noise = 0.0
        assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T)
    assert "error" in outcomes, f"seed {seed}"


def test_unplugged():
    class Unplugged(Wrapped):
        left = 3

        def up(self, data):
            self.left -= 1
            if self.left < 0:
                raise DisconnectedError("wrapped is gone")
            return data

    w, x = np.ones((5, 6), np.int8), np.ones((1, 6), np.int8)
    acc = Accelerator(Link(Unplugged()))
    matrix = acc.load(w)
    acc.matmul(matrix, x)
    for number in (2, 3):
        with pytest.raises(DisconnectedError, match=rf"wrapped is gone, at job {number} \(N=5, K=6, rows=1\)"):
            acc.matmul(matrix, x)


def test_unplugged_before_a_write():
    class Unplugged(Wrapped):
        left = 2

        def down(self, data):
            self.left -= 1
            if self.left < 0:
                raise DisconnectedError("wrapped is gone")
            return data

    acc = Accelerator(Link(Unplugged()))
    matrix = acc.load(np.ones((5, 6), np.int8))
    with pytest.raises(DisconnectedError, match=r"at job 1 \(N=5, K=6, rows=1\)"):
        acc.matmul(matrix, np.ones((1, 6), np.int8))
    with pytest.raises(DisconnectedError, match=r"at loading a matrix \(N=7, K=2\)"):
        acc.load(np.ones((7, 2), np.int8))
