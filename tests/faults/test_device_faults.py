"""Devices that lose their power or their weights, hosts that vanish or stall: always a typed error, and a device that goes on."""

import time

import numpy as np
import pytest

from tritloom.host.command import Command
from tritloom.host.driver import Accelerator
from tritloom.host.errors import DeviceResetError, LinkError, MemoryFaultError, RefusedError, UsageError
from tritloom.host.framing import Decoder, encode
from tritloom.host.link import Link
from tritloom.host.memory import VECTORS, MemoryTest, check_vectors
from tritloom.host.transport import Transport, open_transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, ERROR, JOB, SYNC, WRITE, Error, Memory, Op

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)
OTHERS = [Geometry(rows=1, cols=5, lanes=3, col_pitch=2, depth=100, weight_words=512, stream_words=32),
          Geometry(rows=3, cols=2, lanes=8, col_pitch=1, depth=64, weight_words=512)]

#: What is compiled is compiled once: half a minute each.
STORES = [("sim", GEOMETRY), ("model", GEOMETRY), *(("model", geometry) for geometry in OTHERS)]


@pytest.fixture
def make():
    """A function that opens devices."""
    opened = []

    def make(name, geometry=GEOMETRY):
        opened.append(open_transport(name, geometry=geometry))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture(params=["sim", "model"])
def device(request, make):
    """A function that opens devices of one kind."""
    return lambda: make(request.param)


class Lasting(Transport):
    """A device that outlives its hosts; `inside` can be replaced, as a reset does, and frames pass through `down`."""

    flow_controlled = True

    def __init__(self, inside):
        self.inside, self.name = inside, inside.name
        self.decoder = Decoder()

    def write(self, data):
        self.inside.write(b"".join(map(self.down, self.split(data))))

    def split(self, data):
        *frames, rest = data.split(b"\0")
        assert not rest
        return [frame + b"\0" for frame in frames if frame]

    def down(self, frame):
        return frame

    def read(self, timeout_s):
        return self.inside.read(timeout_s)

    def close(self):
        pass


def trits(seed, n, k):
    return np.random.default_rng(seed).integers(-1, 2, (n, k), np.int8)


def vectors(seed, m, k):
    return np.random.default_rng(seed + 1000).integers(-128, 128, (m, k), np.int8)


def check(acc, seed=1, n=30, k=40, m=3):
    w, x = trits(seed, n, k), vectors(seed, m, k)
    assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T), f"seed {seed}"


# Power

class Resets(Lasting):
    """Loses its power after so many more commands of a kind, in the middle of the frame or behind it, and comes back at once."""

    left, op, whole = 1 << 30, Op.JOB, True

    def __init__(self, make):
        super().__init__(make())
        self.make = make

    def down(self, frame):
        decoded = Decoder().feed(frame)
        if decoded and decoded[0] and decoded[0][0] == self.op:
            self.left -= 1
            if not self.left:
                self.inside.write(frame if self.whole else frame[:len(frame) // 2])
                self.inside = self.make()
                return b"" if self.whole else frame[len(frame) // 2:]
        return frame


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("op, left", [(Op.JOB, 1), (Op.JOB, 2), (Op.WRITE, 1), (Op.WRITE, 3)])
def test_power_lost_in_the_middle_of_a_job(device, op, left, whole):
    line = Resets(device)
    with Accelerator(Link(line, timeout_s=0.3)) as acc:
        w, x = trits(1, 30, 40), vectors(1, 4, 40)
        matrix = acc.load(w)
        assert np.array_equal(acc.matmul(matrix, x), x.astype(np.int32) @ w.T)
        line.op, line.left, line.whole = op, left, whole
        with pytest.raises(DeviceResetError, match="was reset, or used by another program, so the weights loaded into it are lost: connect again"):
            acc.matmul(matrix, x)
        with pytest.raises(DeviceResetError):
            acc.matmul(matrix, x)
    with Accelerator(Link(line)) as acc:
        check(acc)


# Hosts

def test_a_host_that_never_reads_its_results(device):
    """Hundreds of jobs and no reading: the device waits, and is there for the next host."""
    line = Lasting(device())
    acc = Accelerator(Link(line))
    acc.load(trits(1, 200, 60))
    job = JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=2, result_bytes=2, acts_at=0, k=60, n=200, weights_at=0)
    seq = acc.link._seq
    for number in range(300):
        line.write(encode(Op.JOB, (seq + number) & 0xFF, job))
    time.sleep(0.05)
    with Accelerator(Link(line)) as other:
        check(other)
        check(other, 2)


def test_a_host_that_disappears_in_the_middle_of_a_frame(device):
    line = Lasting(device())
    with Accelerator(Link(line)) as acc:
        matrix = acc.load(trits(1, 30, 40))
        line.inside.write(encode(Op.WRITE, acc.link._seq, WRITE.pack(memory=0, row=0, at=0) + bytes(200))[:100])
        with Accelerator(Link(line)) as other:
            check(other)
        with pytest.raises(DeviceResetError, match="used by another program"):
            acc.matmul(matrix, vectors(1, 1, 40))


def test_a_host_that_disappears_with_jobs_queued(device):
    """Held jobs, and a streamed one whose words will never come: the next host's claim ends them."""
    for stream in (False, True):
        line = Lasting(device())
        acc = Accelerator(Link(line))
        job = {"engine": 0, "source": 0, "destination": 0, "weights": int(stream), "hold": int(not stream), "rows": 1, "result_bytes": 2,
               "acts_at": 0, "k": 16, "n": 8, "weights_at": 0}
        for number in range(3):
            line.write(encode(Op.JOB, (acc.link._seq + number) & 0xFF, JOB.pack(**job)))
        with Accelerator(Link(line)) as other:
            check(other)
            assert other.counters().jobs == 2


def test_a_queue_that_is_too_full(device):
    """Job after job without waiting: what does not fit is refused by name, and nothing else happens to it."""
    line = Lasting(device())
    with Accelerator(Link(line)) as acc:
        acc.load(trits(1, 8, 16))
        held = JOB.pack(engine=0, source=0, destination=0, weights=0, hold=1, rows=1, result_bytes=2, acts_at=0, k=16, n=8, weights_at=0)
        seq, count = acc.link._seq, GEOMETRY.queue + 4
        line.write(b"".join(encode(Op.JOB, (seq + number) & 0xFF, held) for number in range(count)))
        frames = []
        decoder = Decoder()
        while data := line.read(0.05):
            frames += decoder.feed(data)
        codes = [ERROR.unpack(payload)["code"] for op, _, payload in frames if op == Op.ERROR]
        assert codes[0] == Error.QUEUE_FULL and set(codes[1:]) <= {Error.SEQUENCE, Error.QUEUE_FULL} and len(codes) == count - GEOMETRY.queue
        acc.link._synced = False
        check(acc)
        # Through the link: as many as are asked for, a queue at a time.
        jobs = [Command(Op.JOB, held[:4] + b"\0" + held[5:], f"job {number}", 16) for number in range(5 * GEOMETRY.queue)]
        acc.link.execute(jobs)
        assert len({job.reply for job in jobs}) == 1 and acc.link.repeats == 0


def test_a_refused_job_leaves_the_device_as_it_was(device):
    with Accelerator(Link(Lasting(device()))) as acc:
        matrix = acc.load(trits(1, 8, 16))
        for _ in range(3):
            with pytest.raises(RefusedError, match="BAD_JOB"):
                acc.link.execute([Command(Op.JOB, bytes(JOB.size), "a job of nothing", 4)])
        assert acc.matmul(matrix, vectors(1, 1, 16)).shape == (1, 8)


def test_a_device_that_stops_for_good(device):
    class Stopped(Lasting):
        stopped = False

        def read(self, timeout_s):
            if self.stopped:
                time.sleep(timeout_s)
                return b""
            return super().read(timeout_s)

    line = Stopped(device())
    with Accelerator(Link(line, timeout_s=0.1)) as acc:
        matrix = acc.load(trits(1, 8, 16))
        line.stopped = True
        begin = time.monotonic()
        with pytest.raises(LinkError, match=r"the device stopped answering at job 1 \(N=8, K=16, rows=1\), after 3 attempts"):
            acc.matmul(matrix, vectors(1, 1, 16))
        assert 0.29 < time.monotonic() - begin < 3


# The weight store

class Spoilt(Lasting):
    """A store with stuck bits: what WRITE puts there is changed on its way in."""

    def __init__(self, inside, geometry, stuck):
        super().__init__(inside)
        self.geometry, self.stuck = geometry, stuck

    def down(self, frame):
        decoded = Decoder().feed(frame)
        if not decoded or decoded[0] is None or decoded[0][0] != Op.WRITE:
            return frame
        _, seq, payload = decoded[0]
        record, data = WRITE.unpack(payload), bytearray(payload[WRITE.size:])
        if record["memory"] != Memory.WEIGHTS:
            return frame
        size = self.geometry.word_bytes
        for word, bit, value in self.stuck:
            at = (word - record["at"]) * size + bit // 8
            if 0 <= at < len(data):
                data[at] = data[at] & ~(1 << bit % 8) | value << bit % 8
        return encode(Op.WRITE, seq, WRITE.pack(**record) + bytes(data))


class Blind(Lasting):
    """A store on which one address line does nothing: two words are one, and hold what was written to either last.

    What that makes of the store is written there behind the host's back, before the first job that follows.
    """

    def __init__(self, inside, geometry, line):
        super().__init__(inside)
        self.size, self.line = geometry.word_bytes, line
        self.words, self.dirty = {}, False

    def down(self, frame):
        op, _, payload = Decoder().feed(frame)[0]
        if op == Op.WRITE and WRITE.unpack(payload)["memory"] == Memory.WEIGHTS:
            at, data = WRITE.unpack(payload)["at"], payload[WRITE.size:]
            for i in range(len(data) // self.size):
                self.words[at + i] = self.words[at + i ^ self.line] = data[i * self.size:(i + 1) * self.size]
            self.dirty = True
        elif op == Op.JOB and self.dirty:
            self.dirty = False
            self.inside.write(encode(Op.SYNC, 0, SYNC.pack(nonce=1, claim=0)))
            for number, at in enumerate(sorted(self.words), 1):
                self.inside.write(encode(Op.WRITE, number & 0xFF, WRITE.pack(memory=0, row=0, at=at) + self.words[at]))
            while self.inside.read(0.05):
                pass
        return frame


def flip(acc, line, geometry, at, bit, words):
    """Change one bit of the store behind the host's back, as a particle would: `words` is what is there."""
    size = geometry.word_bytes
    word = bytearray(words[at * size:(at + 1) * size])
    word[bit // 8] ^= 1 << bit % 8
    line.inside.write(encode(Op.SYNC, 7, SYNC.pack(nonce=1, claim=0)))
    line.inside.write(encode(Op.WRITE, 8, WRITE.pack(memory=0, row=0, at=at) + bytes(word)))
    while line.inside.read(0.05):
        pass
    acc.link._synced = False


def is_weight_change(words, geometry, at, bit):
    code = words[at * geometry.word_bytes + bit // 8] >> (bit % 8 // 2 * 2) & 3
    return {0: 0, 1: 1, 2: 0, 3: -1}[code] != {0: 0, 1: 1, 2: 0, 3: -1}[code ^ (1 << bit % 2)]


@pytest.mark.parametrize("name, geometry", STORES)
def test_a_flipped_bit_is_noticed_on_request(make, name, geometry):
    """Every flip that changes a weight of a loaded matrix is noticed; the others change no result."""
    from tritloom.host.packing import pack_weights

    line = Lasting(make(name, geometry))
    rng = np.random.default_rng(3)
    noticed = harmless = 0
    for _ in range(12):
        with Accelerator(Link(line), verifiable=True) as acc:
            w, x = trits(5, 11, 50), vectors(5, 2, 50)
            acc.load(trits(4, 3, 5))
            matrix = acc.load(w)
            assert acc.verify() == 14
            at = matrix._parts[0].at
            words = bytes(geometry.word_bytes * at) + pack_weights(geometry, w)
            place = at + int(rng.integers(geometry.words(11, 50)))
            bit = int(rng.integers(2 * geometry.cols * geometry.lanes))
            flip(acc, line, geometry, place, bit, words)
            exact = np.array_equal(acc.matmul(matrix, x), x.astype(np.int32) @ w.T)
            try:
                acc.verify()
                assert exact
                harmless += 1
            except MemoryFaultError as error:
                assert "outputs of a loaded 11 x 50 matrix are wrong, the first is output" in str(error)
                assert is_weight_change(words, geometry, place, bit)
                noticed += 1
    assert noticed >= 3 and noticed + harmless == 12


def test_verify_knows_what_is_loaded(device):
    with Accelerator(Link(Lasting(device())), verifiable=True) as acc:
        assert acc.verify() == 0
        one, other = acc.load(trits(1, 10, 60)), acc.load(trits(2, 7, 130))    # the second in three parts
        assert acc.verify() == 10 + 3 * 7 and acc.resident_parts == 4
        one.unload()
        assert acc.verify() == 21
        streamed = acc.load(trits(3, 300, 64))
        assert not streamed.resident and acc.verify() == 21
        other.unload()
        assert acc.verify() == 0


def test_verify_is_to_be_asked_for_before(device):
    with Accelerator(Link(Lasting(device()))) as acc:
        acc.load(trits(1, 2, 3))
        with pytest.raises(UsageError, match="^there is nothing to verify the matrices with.*connect with `verifiable=True`$"):
            acc.verify()


def test_check_vectors_have_no_zeros():
    x = check_vectors(6912)
    assert x.shape == (VECTORS, 6912) and x.dtype == np.int8 and np.all(x != 0)
    assert set(np.unique(x)) == set(range(-128, 128)) - {0}
    assert np.array_equal(check_vectors(100), x[:, :100])


@pytest.mark.parametrize("name, geometry", STORES)
def test_a_good_store_passes(make, name, geometry):
    with Accelerator(Link(Lasting(make(name, geometry)))) as acc:
        test = MemoryTest(acc, 1)
        assert test.run() == []
        untested = geometry.weight_words * geometry.cols * geometry.lanes - test.trits
        assert untested == geometry.ramp * geometry.cols * geometry.lanes


@pytest.mark.parametrize("words", [16, 24, 28, 36, 44])
def test_a_store_hardly_larger_than_a_tile(words):
    """A tile shorter than the array has columns is none: the array takes more words for it."""
    geometry = Geometry(rows=1, cols=8, lanes=2, depth=16, weight_words=words, stream_words=2)
    with Accelerator(Link(open_transport("model", geometry=geometry))) as acc:
        test = MemoryTest(acc, 1)
        assert test.run() == []
        assert test.trits == (words - geometry.ramp) // 8 * 8 * geometry.cols * geometry.lanes


def test_a_store_too_small_for_a_test():
    geometry = Geometry(rows=1, cols=8, lanes=2, depth=16, weight_words=14, stream_words=2)
    with Accelerator(Link(open_transport("model", geometry=geometry))) as acc:
        with pytest.raises(UsageError, match="the memory test needs 15 words or more for 8 columns, not 14"):
            MemoryTest(acc, 1)


@pytest.mark.parametrize("name, geometry", STORES[:3])
def test_every_stuck_bit_is_found(make, name, geometry):
    """Each bit of some words, stuck at 0 and at 1; words of the window and where the pieces of the test meet among them."""
    rng = np.random.default_rng(9)
    bits = 2 * geometry.cols * geometry.lanes
    last = geometry.weight_words - geometry.ramp - 1
    cases = [(word, bit, value) for word in (geometry.ramp, geometry.resident_words, last) for bit in range(0, bits, 5) for value in (0, 1)]
    for _ in range(10):
        cases.append((int(rng.integers(geometry.ramp, last)), int(rng.integers(bits)), int(rng.integers(2))))
    inside = make(name, geometry)
    for stuck in cases[::3]:
        with Accelerator(Link(Spoilt(inside, geometry, [stuck]))) as acc:
            bad = MemoryTest(acc, 4).run()
        word, bit, _ = stuck
        column = bit // 2 // geometry.lanes
        assert bad, f"word, bit, value: {stuck}"
        assert {output.column for output in bad} == {column} and all(output.first <= word <= output.last for output in bad), stuck


@pytest.mark.parametrize("line", [1, 8, 512])
def test_an_address_line_that_does_nothing_is_found(device, line):
    with Accelerator(Link(Blind(device(), GEOMETRY, line))) as acc:
        bad = MemoryTest(acc, 4).run()
    assert {output.pattern for output in bad} == {0, 1, 2} and len(bad) > 3 * GEOMETRY.cols


def test_the_memory_test_is_not_run_over_weights(device):
    with Accelerator(Link(Lasting(device()))) as acc:
        acc.load(trits(1, 3, 4))
        with pytest.raises(UsageError, match="the memory test overwrites the weight store, and 1 matrices lie there"):
            MemoryTest(acc, 1)


def test_counters_go_on_over_synchronisations(device):
    with Accelerator(Link(Lasting(device()))) as acc:
        check(acc)
        before = acc.counters()
        acc.link._synced = False
        assert acc.counters() == before and len(COUNTERS.fields) == 8
