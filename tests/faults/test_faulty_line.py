"""The compiled gateware at the end of a bad line: exact results or a typed error, in bounded time, and nothing executed twice."""

import json
import time
from dataclasses import asdict

import numpy as np
import pytest

from tritloom.host import connect
from tritloom.host.command import Command
from tritloom.host.driver import Accelerator
from tritloom.host.errors import DeviceError, DisconnectedError, LinkError, UsageError
from tritloom.host.faults import Faults, FaultyTransport
from tritloom.host.framing import Decoder, encode
from tritloom.host.line_quality import LineQuality
from tritloom.host.link import Link
from tritloom.host.transport import Transport, open_transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import RESULT, Op
from tritloom.sim import stress
from tritloom.sim.witness import Witness

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)


def check(acc, n, k, m, seed):
    rng = np.random.default_rng(seed)
    w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
    assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T), f"seed {seed}: N={n}, K={k}, M={m}"


class Loop(Transport):
    """What is written comes back."""

    name, flow_controlled = "loop", True

    def __init__(self):
        self.waiting = b""

    def write(self, data):
        self.waiting += data

    def read(self, timeout_s):
        data, self.waiting = self.waiting, b""
        return data

    def close(self):
        pass


# The faults themselves

def through(faults, pieces):
    line = FaultyTransport(Loop(), Faults.parse(faults))
    out = []
    for piece in pieces:
        line.write(piece)
        out.append(line.read(0.1))
    while line.busy:
        out.append(line.read(0.1))
    return b"".join(out), line


def test_without_faults_everything_comes_through():
    pieces = [bytes([i]) * 100 for i in range(256)]
    assert through("1:0", pieces)[0] == b"".join(pieces)


def test_a_seed_gives_the_same_faults():
    pieces = [bytes([i]) * 50 for i in range(200)]
    runs = [through(faults, pieces) for faults in ("5:0.02", "5:0.02", "6:0.02")]
    assert runs[0][0] == runs[1][0] != runs[2][0]
    assert runs[0][1].injected == runs[1][1].injected


def test_the_rates_are_the_stated_ones():
    size, rate = 400_000, 0.01
    line = through(f"3:{rate}", [bytes(500)] * (size // 500))[1]
    crossings = line.bytes    # of either direction; what was lost on the way down did not come up
    for fault, share in (("bytes flipped", 1.0), ("bytes dropped", 0.1), ("bytes doubled", 0.1), ("bytes inserted", 0.1)):
        assert line.injected[fault] == pytest.approx(rate * share * crossings, rel=0.2), fault
    for fault in ("lost", "repeated", "swapped", "late"):
        assert line.injected[f"pieces {fault}"] == pytest.approx(rate * crossings / 500, rel=0.6), fault


def test_late_bytes_keep_their_order(monkeypatch):
    pieces = [bytes([i]) for i in range(100)]
    monkeypatch.setattr("tritloom.host.faults._Direction._happens", lambda self, fault: fault == "late" and self._random.random() < 0.3)
    line = FaultyTransport(Loop(), Faults(1, 0.0))
    for piece in pieces:
        line.write(piece)
    begin, out = time.monotonic(), b""
    assert len(line.read(0.0)) < 100
    while len(out) < 100 and time.monotonic() < begin + 10 and (data := line.read(0.1)):
        out += data
    assert out == b"".join(pieces)[-len(out):] and len(out) > 50


@pytest.mark.parametrize("text, message", [
    ("7", "faults must be SEED:RATE, such as 7:0.01 .* not '7'"),
    ("7:x", "faults must be SEED:RATE"),
    ("1:2:3:4", "faults must be SEED:RATE"),
    ("-1:0.1", "the seed of faults must be at least 0, not -1"),
    ("1:0.5", "the rate of faults must be from 0 to below 0.5 a byte, not 0.5"),
    ("1:nan", "the rate of faults must be from 0 to below 0.5 a byte, not nan"),
    ("1:0:-1", "a line can be cut after 0 bytes or more, not -1"),
])
def test_faults_that_are_none(text, message):
    with pytest.raises(UsageError, match=message):
        connect("model", faults=text)


# Jobs

@pytest.mark.parametrize("seed", range(10))
def test_jobs_over_a_bad_line(seed):
    """The short form of `python -m tritloom.sim.stress`."""
    report = stress.jobs("sim", 100 + seed, 25, 0.01)
    assert report.good, asdict(report)
    assert report.injected > 50 and report.slowest_s < 12, asdict(report)


def test_text_over_a_bad_line():
    """The short form of the long run."""
    report = stress.text("sim", 3, 0.0005, 0.0, tokens=4)
    assert report.different == 0 and report.tokens == 4 and report.injected > 100, asdict(report)


@pytest.mark.parametrize("device", ["sim", "model"])
def test_every_kind_of_job_over_a_bad_line(device):
    """Deeper than the array, larger than the store, more vectors than rows; several frames of results a job."""
    with connect(device, geometry=GEOMETRY, faults="11:0.004") as acc:
        for seed, shape in enumerate([(5, 7, 1), (130, 60, 3), (17, 150, 2), (300, 64, 2), (4, 64, 5)]):
            check(acc, *shape, seed)
        assert acc.link.transport.injected.total() > 50
        assert acc.counters().jobs > 0


@pytest.mark.parametrize("rate", [0.0003, 0.001])
def test_a_large_streamed_matrix_over_a_bad_line(rate):
    """Its words are sent far ahead of the trouble, and what is sent in vain must not pass for a good line."""
    with connect("model", geometry=Geometry(weight_words=512), faults=Faults(1, rate)) as acc:
        check(acc, 1600, 128, 1, 5)
        assert acc.link.repeats > 10


class _Drops(Transport):
    """A line that loses one frame: the first STREAM that has the number of the JOB before it."""

    def __init__(self, device):
        self.device, self.name, self.flow_controlled = device, device.name, device.flow_controlled
        self.decoder, self.job, self.dropped = Decoder(), None, 0

    def write(self, data):
        for op, seq, payload in self.decoder.feed(data):
            if op == Op.JOB:
                self.job = seq
            if op == Op.STREAM and seq == self.job and not self.dropped:
                self.dropped += 1
            else:
                self.device.write(encode(op, seq, payload))

    def read(self, timeout_s):
        return self.device.read(timeout_s)

    def close(self):
        self.device.close()


def test_more_words_than_numbers_follow_a_job_on_a_bad_line(monkeypatch):
    """A JOB that was executed must not be sent again when its number has come round."""
    geometry = Geometry(rows=1, cols=4, lanes=8, depth=128, weight_words=64, stream_words=2)    # no tile fits the window, so jobs are not cut
    line = _Drops(Witness(open_transport("model", geometry=geometry)))
    acc = Accelerator(Link(line))
    monkeypatch.setattr(LineQuality, "bad", True)
    check(acc, 2400, 128, 1, 5)
    assert (line.dropped, line.device.accepted, line.device.twice, acc.link.synchronisations) == (1, 1, 0, 0)


def test_a_good_line_is_not_slower_for_it():
    """Nothing is cut, nothing is repeated."""
    witness = Witness(open_transport("sim", geometry=GEOMETRY))
    with Accelerator(Link(witness)) as acc:
        matrix = acc.load(np.ones((40, 60), np.int8))
        sent = acc.link.bytes_sent
        for _ in range(5):
            acc.matmul(matrix, np.ones((2, 60), np.int8))
        assert acc.link.bytes_sent - sent == 5 * (2 * (8 + 6 + 60) + 8 + 19)
        assert (acc.link.synchronisations, acc.link.repeats, witness.accepted, witness.jobs, witness.twice) == (0, 0, 5, 5, 0)
        assert acc.counters().jobs == 5


def test_a_line_that_recovers_is_used_well_again():
    line = FaultyTransport(open_transport("sim", geometry=GEOMETRY), Faults(2, 0.02))
    with Accelerator(Link(line)) as acc:
        for seed in range(3):
            check(acc, 12, 20, 2, seed)
        bad = acc.link._quality.grain
        for direction in (line._down, line._up):
            direction._rate = direction._byte_rate = 0.0
            direction._gap = 1 << 62
        check(acc, 300, 64, 2, 9)
        check(acc, 300, 64, 2, 10)
        assert bad < 64 and not acc.link._quality.bad


@pytest.mark.parametrize("retries", [0, 2])
def test_a_hopeless_line_is_given_up_in_time(retries):
    timeout_s = 0.25
    line = FaultyTransport(open_transport("sim", geometry=GEOMETRY), Faults(1, 0.0))
    with Accelerator(Link(line, timeout_s=timeout_s, retries=retries)) as acc:
        matrix = acc.load(np.ones((8, 8), np.int8))
        for direction in (line._down, line._up):
            direction._byte_rate, direction._gap = 0.49, 0
        begin = time.monotonic()
        with pytest.raises(LinkError, match=r"sim: the device .* at job 1 \(N=8, K=8, rows=1\), after \d+ attempt"):
            acc.matmul(matrix, np.ones((1, 8), np.int8))
        # What is waited for at most, and as much again for a machine that is busy.
        assert time.monotonic() - begin < 2 * (2 * (retries + 1) + 1) * timeout_s + 2
        for direction in (line._down, line._up):
            direction._byte_rate, direction._gap = 0.0, 1 << 62
        assert acc.matmul(matrix, np.ones((1, 8), np.int8)).tolist() == [[8] * 8]    # as loaded: no reset was needed


def test_a_line_that_is_cut():
    device = open_transport("sim", geometry=GEOMETRY)
    line = FaultyTransport(device, Faults(4, 0.001, cut_after=3000))
    device_close, device.close = device.close, lambda: None    # the device stays when the cable goes
    acc = Accelerator(Link(line))
    with pytest.raises(DisconnectedError, match=r"sim: the line was cut after 3,000 bytes, as its faults 4:0.001:3000 ask, at (job \d+|loading a matrix) "):
        for seed in range(1000):
            check(acc, 8, 8, 1, seed)
    with pytest.raises(DisconnectedError):
        check(acc, 8, 8, 1, 0)
    acc.close()
    with Accelerator(Link(device)) as other:
        check(other, 30, 40, 3, 1)
    device_close()


# Once, and no more

def test_a_repeated_write_is_not_executed():
    """Each of the 128 commands before the expected one, sent again byte for byte, is acknowledged and changes nothing."""
    sent = []

    class Recorder(Witness):
        def write(self, data):
            sent.append(data)
            super().write(data)

    device = Recorder(open_transport("sim", geometry=GEOMETRY))
    with Accelerator(Link(device)) as acc:
        matrix = acc.load(np.ones((4, 4), np.int8))
        del sent[:]
        for value in range(60):
            expected = [[4 * value] * 4]
            assert acc.matmul(matrix, np.full((1, 4), value, np.int8)).tolist() == expected
        frames = b"".join(sent)
        assert frames.count(0) == 120
        Witness.write(device, frames)
        acks = 0
        while data := device.read(0.1):
            acks += data.count(b"\0")
        assert acks == 120
        before = acc.counters()
        assert before.jobs == 60 == device.jobs and device.twice == 0
        # The activations still are those of the last write, so a job without one multiplies them.
        (_, _, job), = Decoder().feed(frames.rstrip(b"\0").split(b"\0")[-1] + b"\0")
        command = Command(Op.JOB, job, "the last job once more", 4 * 2)
        acc.link.execute([command])
        assert np.frombuffer(command.reply, "<i2").tolist() == [4 * 59] * 4


def test_the_witness_sees_what_runs_twice():
    """A device that runs each job twice."""
    class Twice(Transport):
        name, flow_controlled = "twice", True

        def __init__(self):
            self.device = open_transport("model", geometry=GEOMETRY)

        def write(self, data):
            self.device.write(data)

        def read(self, timeout_s):
            data = self.device.read(timeout_s)
            results = [piece + b"\0" for piece in data.split(b"\0") if piece[1:2] == bytes([Op.RESULT])]
            return data + b"".join(results)

        def close(self):
            self.device.close()

    witness = Witness(Twice())
    with Accelerator(Link(witness)) as acc:
        try:
            check(acc, 4, 4, 1, 1)
            check(acc, 4, 4, 1, 2)
        except DeviceError as error:
            assert "RESULT" in str(error)
    assert witness.twice > 0


def test_results_that_nobody_asked_for_are_seen_too():
    class Babbling(Loop):
        def read(self, timeout_s):
            return encode(Op.RESULT, 5, RESULT.pack(index=0) + b"ab")

    witness = Witness(Babbling())
    witness.read(0.0)
    assert witness.twice == 1


def test_the_report_of_the_stress_test(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["stress", "--device", "model", "--jobs", "40", "--seeds", "2", "--json"])
    with pytest.raises(SystemExit) as ended:
        stress.main()
    report = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and [seed["jobs"] for seed in report["seeds"]] == [20, 20]
    monkeypatch.setattr("sys.argv", ["stress", "--device", "model", "--jobs", "40", "--seeds", "2", "--rate", "0.001"])
    with pytest.raises(SystemExit):
        stress.main()
    assert "40 jobs on model, 0.001 faults a byte" in capsys.readouterr().out
