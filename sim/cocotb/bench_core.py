"""The core's Verilog, spoken to through its two byte streams only: results exact, errors named, aborts clean, counters as the cycle model says."""

import zlib
from functools import partial

import cocotb
from agents import Host
from cobs import cobs
from cocotb.triggers import RisingEdge

from tritloom.host.timing import JobShape, batch
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import MOST_OUTPUTS, PAYLOAD_BYTES, RATE, RX_BYTES, SYNC, VERSION, WRITE, Error, Memory, Op

#: A core that hangs fails its case, within a simulated millisecond (100,000 cycles).
case = partial(cocotb.test, timeout_time=1, timeout_unit="ms")

MALFORMED = 0    # the number in the reply to a frame whose own cannot be trusted


def size_for(k):
    """Bytes that hold ``128 * k``."""
    return next(size for size in (1, 2, 3, 4) if 128 * k < 1 << 8 * size - 1)


def shapes(host, count):
    """Odd and even sizes: one output, a tile and one more, one activation, the full depth."""
    g, rng = host.g, host.rng
    depth = min(g.depth, (g.resident_words - g.ramp) * g.lanes)
    fixed = [(1, 1, 1), (g.cols + 1, depth, g.rows), (g.cols, min(depth, g.lanes * g.cols + 1), g.rows), (2 * g.cols - 1, 1, 1)]
    drawn = [(rng.randint(1, 3 * g.cols), rng.randint(1, depth), rng.randint(1, g.rows)) for _ in range(count - len(fixed))]
    return [(n, k, rows) for n, k, rows in fixed + drawn if g.words(n, k) <= g.resident_words]


async def resident(host, n, k, rows, extreme=False, size=None):
    """Load, run and check one job whose weights lie anywhere in the store and whose vectors lie anywhere in their buffer."""
    g = host.g
    weights, acts = host.matrix(n, k, extreme), host.batch(rows, k, extreme)
    at = host.rng.randint(0, g.resident_words - g.words(n, k))
    acts_at = host.rng.randint(0, g.act_words - g.beats(k))
    await host.load(weights, at)
    await host.vectors(acts, acts_at)
    size = size or size_for(k)
    job = host.job(n=n, k=k, rows=rows, result_bytes=size, weights_at=at, acts_at=acts_at)
    assert await host.results(job, n, rows, size) == host.model.matmul(weights, acts), f"N={n} K={k} rows={rows} bytes={size}"


async def streamed(host, n, k, rows, each=None):
    """The same with streamed weights, all frames sent at once."""
    weights, acts = host.matrix(n, k), host.batch(rows, k)
    await host.vectors(acts)
    job = host.job(n=n, k=k, rows=rows, result_bytes=4, weights=1)
    acks = host.stream(host.pack(weights), each)
    assert await host.results(job, n, rows, 4, acks) == host.model.matmul(weights, acts), f"N={n} K={k} rows={rows}"
    for seq in acks:
        await host.ack(seq)


@case()
async def identity(dut):
    """And nothing but SYNC is executed before the first one."""
    host = await Host.start(dut, 1, sync=False)
    g = host.g
    for seq in (0, 1, 255):
        for op, payload in ((Op.COUNTERS, b""), (Op.WRITE, WRITE.pack(memory=1, row=0, at=0) + bytes(g.lanes)), (Op.JOB, bytes(19))):
            host.link.send(host.encode(op, seq, payload))
            await host.refused(Error.SEQUENCE, seq, 0)
    for seq in (0, 255, 77):
        owner = host.nonce
        found = await host.sync(seq)
        assert found["owner"] == owner
        assert found["version"] == VERSION and found["digest"] == g.digest and found["rx_bytes"] == RX_BYTES
        assert {name: found[name] for name in Geometry.names()} == {name: getattr(g, name) for name in Geometry.names()}
        counters = await host.counters()
        assert set(counters.values()) == {0}


@case()
async def exact(dut):
    host = await Host.start(dut, 2)
    for n, k, rows in shapes(host, 8):
        await resident(host, n, k, rows)
    n, k, rows = shapes(host, 4)[1 if host.g.words(host.g.cols + 1, host.g.depth) <= host.g.resident_words else 0]
    await resident(host, n, k, rows, extreme=True)
    for size in (1, 2, 3, 4):    # a result that does not fit is cut; one that does is not
        weights, acts = host.matrix(host.g.cols, 1), host.batch(host.g.rows, 1)
        await host.load(weights, 0)
        await host.vectors(acts)
        job = host.job(n=host.g.cols, k=1, rows=host.g.rows, result_bytes=size)
        expected = [[(value + (1 << 8 * size - 1)) % (1 << 8 * size) - (1 << 8 * size - 1) for value in output]
                    for output in host.model.matmul(weights, acts)]
        assert await host.results(job, host.g.cols, host.g.rows, size) == expected


@case()
async def exact_over_a_stalling_link(dut):
    host = await Host.start(dut, 3, rx_gap=0.3, tx_gap=0.6)
    for n, k, rows in shapes(host, 5):
        await resident(host, n, k, rows)
    await streamed(host, host.g.cols + 1, host.g.lanes + 1, host.g.rows)


@case()
async def a_reader_that_pauses(dut):
    """Nobody takes the results of many tiles: they wait, the array stops, and all of them come later, exact and counted as stalls."""
    host = await Host.start(dut, 4)
    g = host.g
    # Two frames wait in the framer, some tiles in the result queues: what is more has to stop the array.
    n, rows = 1200 // g.rows, g.rows
    weights, acts = host.matrix(n, 1), host.batch(rows, 1)
    if g.words(n, 1) > g.resident_words:
        n = g.cols * ((g.resident_words - g.ramp) // g.beats(1))
        weights = weights[:n]
    await host.load(weights, 0)
    await host.vectors(acts)
    before = await host.counters()
    host.link.pause_tx = True
    job = host.job(n=n, k=1, rows=rows, result_bytes=4)
    for _ in range(1500 + 2 * n * rows):
        await RisingEdge(dut.clk)
    host.link.pause_tx = False
    assert await host.results(job, n, rows) == host.model.matmul(weights, acts)
    after = await host.counters()
    assert (after["stall_results"] > before["stall_results"] + 1000) == (n * rows * 4 > 500 + 4 * g.tiles_in_flight * g.cols * rows)


@case()
async def queued_jobs(dut):
    """A queue of held jobs starts as one: back to back, in order, each with its own results, and counted as the cycle model says."""
    host = await Host.start(dut, 5)
    g = host.g
    for _ in range(2):
        jobs, at, before = [], 0, await host.counters()
        for _ in range(g.queue):
            n, k, rows = host.rng.randint(1, 2 * g.cols), host.rng.randint(1, min(g.depth, 2 * g.lanes)), host.rng.randint(1, g.rows)
            if at + g.words(n, k) > g.resident_words:
                n, k = 1, 1
            if at + g.words(n, k) > g.resident_words:
                at = 0
            jobs.append((n, k, rows, at, host.matrix(n, k)))
            await host.load(jobs[-1][4], at)
            at += g.words(n, k)
        if len({job[3] for job in jobs}) < len(jobs):    # a store too small for all: the last ones overwrote the first
            jobs = jobs[-1:]
        acts = host.batch(g.rows, min(g.depth, 2 * g.lanes))
        await host.vectors(acts)
        numbers = [host.job(n=n, k=k, rows=rows, result_bytes=2 + i % 3, weights_at=at, hold=int(i < len(jobs) - 1))
                   for i, (n, k, rows, at, _) in enumerate(jobs)]
        for i, (seq, (n, k, rows, _, weights)) in enumerate(zip(numbers, jobs, strict=True)):
            got = await host.results(seq, n, rows, 2 + i % 3)
            assert got == host.model.matmul(weights, [x[:k] for x in acts[:rows]]), f"job {i}"
        check_counters(before, await host.counters(), g, [JobShape(n, k, rows, 2 + i % 3) for i, (n, k, rows, _, _) in enumerate(jobs)])


def check_counters(before, after, g, jobs):
    expected = batch(g, tuple(jobs))
    difference = {name: (after[name] - before[name]) & 0xFFFFFFFF for name in after}
    assert difference == {name: getattr(expected, name) for name in after}, f"{difference} instead of {expected} for {jobs}"


@case()
async def held_jobs_wait(dut):
    host = await Host.start(dut, 6)
    g = host.g
    if g.queue == 1:    # one held job fills the queue: nothing can follow, and SYNC is the way out
        job = host.job(hold=1)
        await host.link.silence(300)
        await host.refused(Error.QUEUE_FULL, host.job())
        await host.sync()
        assert (await host.counters())["jobs"] == 0
        await resident(host, 1, 1, 1)
        return
    weights, acts = host.matrix(g.cols, 1), host.batch(1, 1)
    await host.load(weights, 0)
    await host.vectors(acts)
    first = host.job(n=g.cols, hold=1)
    await host.link.silence(400)
    assert (await host.counters())["cycles"] == 0
    await host.refused(Error.BUSY, host.command(Op.WRITE, WRITE.pack(memory=1, row=0, at=0) + bytes(g.lanes)))
    second = host.job(n=g.cols)
    for job in (first, second):
        assert await host.results(job, g.cols, 1) == host.model.matmul(weights, acts)


@case()
async def streamed_weights(dut):
    """Matrices far larger than the window, in frames of one word and as many as fit; counted as the cycle model says."""
    host = await Host.start(dut, 7)
    g = host.g
    for n, k, rows, each in ((1, 1, 1, None), (2 * g.cols + 1, min(g.depth, 3 * g.lanes + 1), g.rows, None), (g.cols + 1, 1, 1, 1), (3 * g.cols, 1, 1, 2)):
        before = await host.counters()
        await streamed(host, n, k, rows, each)
        words, full = g.words(n, k), each or PAYLOAD_BYTES // g.word_bytes
        frames = tuple(min(full, words - at) for at in range(0, words, full))
        after = await host.counters()
        if each is None:
            check_counters(before, after, g, [JobShape(n, k, rows, 4, frames)])
        else:
            assert after["busy"] - before["busy"] == g.tiles(n) * g.beats(k)
            assert after["results"] - before["results"] == n * rows
    await resident(host, g.cols, 1, 1)


@case()
async def a_window_that_fills(dut):
    """Nobody takes the results, so the array stops, the window fills, and the words behind it wait: none is lost or overwritten."""
    host = await Host.start(dut, 17)
    g = host.g
    n = 200 // g.rows + 6 * g.cols
    weights, acts = host.matrix(n, 1), host.batch(g.rows, 1)
    await host.vectors(acts)
    host.link.pause_tx = True
    job = host.job(n=n, rows=g.rows, weights=1)
    acks = host.stream(host.pack(weights))
    for _ in range(3000):
        await RisingEdge(dut.clk)
    host.link.pause_tx = False
    assert await host.results(job, n, g.rows, 4, acks) == host.model.matmul(weights, acts)
    for seq in acks:
        await host.ack(seq)


@case()
async def streamed_and_resident_jobs_in_one_queue(dut):
    """Streamed jobs behind a stored one, and behind each other: their words wait, and each job takes its own."""
    host = await Host.start(dut, 8)
    g = host.g
    acts = host.batch(g.rows, 1)
    stored = host.matrix(4 * g.cols, 1)
    await host.load(stored, 0)
    await host.vectors(acts)
    plan = [0, 1, 1][:g.queue + 1]
    matrices = [host.matrix(3 * g.cols, 1) if is_streamed else stored for is_streamed in plan]
    jobs = [host.job(n=len(matrix), rows=g.rows, weights=is_streamed) for is_streamed, matrix in zip(plan, matrices, strict=True)]
    acks = [seq for is_streamed, matrix in zip(plan, matrices, strict=True) if is_streamed for seq in host.stream(host.pack(matrix))]
    for job, matrix in zip(jobs, matrices, strict=True):
        assert await host.results(job, len(matrix), g.rows, 4, acks) == host.model.matmul(matrix, acts)
    for seq in acks:
        await host.ack(seq)


@case()
async def counters(dut):
    host = await Host.start(dut, 9)
    g = host.g
    for n, k, rows in shapes(host, 7):
        before = await host.counters()
        await resident(host, n, k, rows)
        check_counters(before, await host.counters(), g, [JobShape(n, k, rows, size_for(k))])
    # One tile: nothing but its beats, the ramp, and the stated latency down to the last row.
    before = await host.counters()
    await resident(host, 1, 1, 1)
    after = await host.counters()
    assert after["cycles"] - before["cycles"] == g.beats(1) + g.ramp + 1 + g.latency + g.rows


@case()
async def damaged_frames(dut):
    """Each gets one error reply with the number the core expects, is counted, changes nothing; the next frame is executed."""
    host = await Host.start(dut, 10)
    g, link = host.g, host.link
    good = host.encode(Op.COUNTERS, host.seq)
    word = bytes([1]) * g.word_bytes
    write = WRITE.pack(memory=Memory.WEIGHTS, row=0, at=0) + word
    longest = bytes([Op.COUNTERS, host.seq]) + bytes(PAYLOAD_BYTES + 1)
    flipped = bytearray(host.encode(Op.WRITE, host.seq, write))
    flipped[-6] ^= 0x10    # in the word, which has no zeros: the frame stays well formed, and only its CRC tells
    damaged = [
        bytes(flipped), good[:3] + b"\0", good[3:], b"\x01\0", bytes([255]) * 700 + b"\0",
        cobs.encode(longest + zlib.crc32(longest).to_bytes(4, "little")) + b"\0",
        cobs.encode(zlib.crc32(b"").to_bytes(4, "little")) + b"\0",
        host.rng.randbytes(60).replace(b"\0", b"x") + b"\0",
    ]
    for i, frame in enumerate(damaged):
        link.send(frame)
        await host.refused(Error.CRC, MALFORMED, host.seq)
        assert (await host.counters())["bad_frames"] == i + 1
    link.send(bytes(30))
    await link.silence(200)
    link.send(b"".join(damaged))    # all at once
    for _ in damaged:
        await host.refused(Error.CRC, MALFORMED, host.seq)
    await resident(host, g.cols, 1, 1)
    # What is begun and never ended takes the next frame with it, and only that.
    link.send(good[:4])
    await link.silence(100)
    link.send(good)
    await host.refused(Error.CRC, MALFORMED, host.seq)
    await resident(host, 1, 1, g.rows)


@case()
async def commands_that_are_wrong(dut):
    host = await Host.start(dut, 11)
    g = host.g
    weights, acts = host.matrix(g.cols, 1), host.batch(g.rows, 1)
    await host.load(weights, 0)
    await host.vectors(acts)
    word, chunk = bytes([0x55]) * g.word_bytes, bytes([0x55]) * g.lanes

    for op in (0x00, 0x07, 0x7F, Op.ACK, Op.ERROR, 0xFF):
        await host.refused(Error.UNKNOWN, host.command(op, b"abc"))

    whole = {Memory.WEIGHTS: word, Memory.ACTS: chunk}
    for payload in (b"", b"\0" * (WRITE.size - 1), WRITE.pack(memory=0, row=0, at=0), WRITE.pack(memory=1, row=0, at=0),
                    WRITE.pack(memory=0, row=0, at=0) + word + b"\0" * (g.word_bytes > 1) if g.word_bytes > 1 else b"",
                    WRITE.pack(memory=1, row=0, at=0) + chunk + b"\0" if g.lanes > 1 else b""):
        await host.refused(Error.LENGTH, host.command(Op.WRITE, payload))
    await host.refused(Error.BAD_RATE, host.command(Op.RATE, RATE.pack(divisor=100)))    # this core's link has none
    for op, payload in ((Op.COUNTERS, b"\0"), (Op.RATE, b"\0"), (Op.JOB, b""), (Op.JOB, b"\0" * 20), (Op.STREAM, b"")):
        await host.refused(Error.LENGTH, host.command(op, payload))
    if g.word_bytes > 1:
        await host.refused(Error.LENGTH, host.command(Op.STREAM, word + b"\0"))
    host.link.send(host.encode(Op.SYNC, host.seq, SYNC.pack(nonce=5, claim=1) + b"\0"))
    await host.refused(Error.LENGTH, host.seq)

    for memory, row, at in ((0, 0, g.weight_words), (0, 1, 0), (1, g.rows, 0), (1, 0, g.act_words), (1, 255, 0), (0, 0, 1 << 31), (1, 0, 1 << 31)):
        await host.refused(Error.BAD_ADDRESS, host.command(Op.WRITE, WRITE.pack(memory=memory, row=row, at=at) + whole[Memory(memory)]))
    await host.refused(Error.BAD_ADDRESS, host.command(Op.WRITE, WRITE.pack(memory=2, row=0, at=0) + word))

    for wrong in ({"engine": 1}, {"source": 1}, {"destination": 1}, {"weights": 2}, {"hold": 2}, {"hold": 1, "weights": 1}, {"rows": 0}, {"rows": g.rows + 1}, {"result_bytes": 0},
                  {"result_bytes": 5}, {"k": 0}, {"k": g.depth + 1}, {"n": 0}, {"n": MOST_OUTPUTS + 1}, {"acts_at": g.act_words}, {"weights_at": g.weight_words},
                  {"weights_at": 1 << 31}, {"rows": 255} if g.rows < 255 else {"rows": 0}):
        await host.refused(Error.BAD_JOB, host.job(**wrong))

    await host.refused(Error.NO_JOB, host.command(Op.STREAM, word))

    # None of it was executed.
    job = host.job(n=g.cols, rows=g.rows)
    assert await host.results(job, g.cols, g.rows) == host.model.matmul(weights, acts)
    counters = await host.counters()
    assert (counters["jobs"], counters["results"], counters["bad_frames"]) == (1, g.cols * g.rows, 0)


@case()
async def sequence_numbers(dut):
    """Nothing is executed twice, nothing out of order; a repeat is acknowledged."""
    host = await Host.start(dut, 12)
    g = host.g
    weights, acts = host.matrix(g.cols, 1), [[17]]
    await host.load(weights, 0)
    await host.vectors(acts)
    start = host.seq
    for ahead in (1, 2, 60, 127):
        host.link.send(host.encode(Op.COUNTERS, (start + ahead) & 255))
        await host.refused(Error.SEQUENCE, (start + ahead) & 255, start)
    for behind in (1, 2, 60, 128):
        for op, payload in ((Op.JOB, bytes(19)), (Op.COUNTERS, b""), (Op.WRITE, WRITE.pack(memory=1, row=0, at=0) + bytes([99]) * g.lanes)):
            host.link.send(host.encode(op, (start - behind) & 255, payload))
            await host.ack((start - behind) & 255)
    job = host.job(n=g.cols)
    assert await host.results(job, g.cols, 1) == host.model.matmul(weights, acts), "a repeated WRITE was executed"
    for _ in range(2):    # the repeated job brings no second set of results
        host.link.send(host.encode(Op.JOB, job, b"\0" * 19))
        await host.ack(job)
    assert (await host.counters())["jobs"] == 1
    for _ in range(300):    # once around
        host.command(Op.COUNTERS)
        host.link.frames.clear() if host.seq % 50 else None
        await host.link.frame()
    await resident(host, 1, 1, 1)


@case()
async def busy_and_full(dut):
    """While a job waits for words its memories cannot be written, and the queue takes as many jobs as it says."""
    host = await Host.start(dut, 13)
    g = host.g
    weights, acts = host.matrix(g.cols, 1), host.batch(1, 1)
    await host.vectors(acts)
    words = host.pack(weights)
    running = host.job(n=g.cols, weights=1)
    await host.link.silence(60)
    waiting = [host.job(n=g.cols, weights=1) for _ in range(g.queue)]
    await host.refused(Error.QUEUE_FULL, host.job(n=1))
    await host.refused(Error.BUSY, host.command(Op.WRITE, WRITE.pack(memory=1, row=0, at=0) + bytes(g.lanes)))
    await host.refused(Error.BUSY, host.command(Op.WRITE, WRITE.pack(memory=0, row=0, at=0) + bytes(g.word_bytes)))
    assert (await host.counters())["cycles"] == 0
    for job in [running, *waiting]:
        acks = host.stream(words)
        assert await host.results(job, g.cols, 1, 4, acks) == host.model.matmul(weights, acts)
        for seq in acks:
            await host.ack(seq)
    await host.refused(Error.NO_JOB, host.command(Op.STREAM, words[0]))
    await resident(host, g.cols + 1 if g.words(g.cols + 1, 1) <= g.resident_words else 1, 1, 1)


@case()
async def too_many_words(dut):
    """Words beyond a streamed job's end are dropped, whatever the core says of them, and are not given to the next job."""
    host = await Host.start(dut, 14)
    g = host.g
    weights, acts = host.matrix(1, 1), host.batch(1, 1)
    await host.vectors(acts)
    extra = [bytes([0x55]) * g.word_bytes] * (2 * g.stream_words + 3)
    job = host.job(weights=1)
    sent = host.stream(host.pack(weights) + extra, 1)
    replies, results = {}, b""
    while len(replies) < len(sent) or len(results) < 4:
        reply = await host.link.frame()
        if reply[0] == Op.RESULT:
            assert reply[1] == job
            results += reply[4:]    # in more than one frame, if an acknowledgement came between
        else:
            assert reply[0] in (Op.ACK, Op.ERROR), reply
            replies[reply[1]] = reply
            if reply[0] == Op.ERROR:
                assert reply[2] in (Error.NO_JOB, Error.SEQUENCE), reply
    assert results == host.model.matmul(weights, acts)[0][0].to_bytes(4, "little", signed=True)
    await host.sync()
    for _ in range(2):
        await streamed(host, g.cols, 1, 1)


@case()
async def abort(dut):
    """SYNC in the middle of everything: jobs, results and words of before are gone, and the next job is exact."""
    host = await Host.start(dut, 15, tx_gap=0.2)
    g = host.g
    for wait in (0, 1, 2, 3, 5, 9, 14, 20, 33, 47, 60, 90, 140, 200):
        n = max(1, min(g.cols * 4, g.cols * ((g.resident_words - g.ramp) // g.beats(1))))
        await host.load(host.matrix(n, 1), 0)
        await host.vectors(host.batch(g.rows, 1))
        kind = host.rng.randrange(3)
        for _ in range(min(2, g.queue)):
            host.job(n=n, rows=g.rows, weights=int(kind == 1), hold=int(kind == 2), result_bytes=4)
        if kind == 1:
            host.stream([bytes(g.word_bytes)] * min(5, g.stream_words), 1)
        while host.link.to_core:
            await RisingEdge(dut.clk)
        for _ in range(wait):
            await RisingEdge(dut.clk)
        await host.sync()
        await host.link.silence(30)
        before = await host.counters()
        await (streamed if wait % 2 else resident)(host, g.cols, min(g.depth, g.lanes), g.rows)
        after = await host.counters()
        assert after["jobs"] - before["jobs"] == 1 and after["busy"] - before["busy"] == g.beats(min(g.depth, g.lanes)), f"wait {wait}"


@case()
async def abort_in_a_result_frame(dut):
    """The frame on its way is finished, whole and correct; nothing of the old job follows the identity."""
    host = await Host.start(dut, 16)
    g = host.g
    n = g.cols * max(1, min(8, (g.resident_words - g.ramp) // g.beats(1)))
    for taken in (1, 2, 5, 11):
        await host.load(host.matrix(n, 1), 0)
        await host.vectors(host.batch(g.rows, 1))
        host.job(n=n, rows=g.rows)
        while len(host.link._partial) < taken:
            await RisingEdge(dut.clk)
        host.link.pause_tx = True
        host.link.send(host.encode(Op.SYNC, 9, SYNC.pack(nonce=taken, claim=1)))
        for _ in range(100):
            await RisingEdge(dut.clk)
        host.link.pause_tx = False
        host.seq = 10
        assert (await host.link.frame())[0] == Op.RESULT
        assert (await host.link.frame())[:6] == bytes([Op.IDENTITY, 9]) + taken.to_bytes(4, "little")
        await host.link.silence(300)
        await resident(host, min(n, g.cols + 1), 1, g.rows)
