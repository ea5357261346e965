"""The queue and the sequencer: order, addresses, credit, the streaming window, and what each cycle is counted as."""

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.sequencer import JobQueue, Sequencer

GEOMETRIES = [
    Geometry(rows=2, cols=4, lanes=2, depth=40, weight_words=64, stream_words=4, queue=4),
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, depth=9, weight_words=4, stream_words=2, queue=1),
    Geometry(rows=3, cols=2, lanes=3, depth=20, weight_words=32, stream_words=2, queue=2),
    Geometry(rows=1, cols=5, lanes=2, depth=7, weight_words=24, stream_words=8, queue=3),
]


def a_job(seq, **others):
    """A job; `n` and `last_row` are the packer's too."""
    outputs = {"seq": seq, "n": 1, "last_row": 0, "last_byte": 0} | {name: others.pop(name) for name in ("n", "last_row", "last_byte") if name in others}
    return {"outputs": outputs, "streamed": 0, "acts_at": 0, "k": 1, "weights_at": 0} | others




# The queue

async def start_and_take(ctx, dut, cycles):
    """The first job runs so many cycles; its number."""
    seq = ctx.get(dut.jobs.payload)["outputs"]["seq"]
    ctx.set(dut.started, 1)
    await ctx.tick()
    ctx.set(dut.started, 0)
    for _ in range(cycles):
        assert ctx.get(dut.jobs.valid) and ctx.get(dut.jobs.payload)["outputs"]["seq"] == seq, "a job that runs stays"
        await ctx.tick()
    ctx.set(dut.jobs.ready, 1)
    await ctx.tick()
    ctx.set(dut.jobs.ready, 0)
    return seq


def test_queue_keeps_order(bench):
    g = Geometry(queue=3)
    test = bench(JobQueue(g), seed=2)
    dut = test.dut
    jobs = [a_job(seq, k=seq + 1, weights_at=3 * seq) for seq in range(40)]
    # Two cycles from push to push at least, as commands are longer than that.
    test.send(dut.pushes, [{"job": job, "hold": 0} for job in jobs], gap=0.3)
    test.watch(dut.jobs, "jobs")
    got = []

    async def pop(ctx):
        while len(got) < len(jobs):
            while not ctx.get(dut.jobs.valid):
                await ctx.tick()
            job = ctx.get(dut.jobs.payload)
            got.append((job["outputs"]["seq"], job["k"], job["weights_at"]))
            await start_and_take(ctx, dut, test.rng.randrange(4))
    test.add(pop)
    test.run(2000)
    assert got == [(job["outputs"]["seq"], job["k"], job["weights_at"]) for job in jobs]


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_queue_full(bench, depth):
    """It takes so many jobs that wait, and that one runs changes nothing."""
    test = bench(JobQueue(Geometry(queue=depth)))
    dut = test.dut

    async def push(ctx, seqs):
        for seq in seqs:
            ctx.set(dut.pushes.payload, {"job": a_job(seq), "hold": 0})
            ctx.set(dut.pushes.valid, 1)
            assert ctx.get(dut.pushes.ready), f"push {seq}"
            await ctx.tick()
            assert ctx.get(dut.waiting)
        assert not ctx.get(dut.pushes.ready)
        await ctx.tick().repeat(5)
        ctx.set(dut.pushes.valid, 0)

    async def process(ctx):
        assert not ctx.get(dut.waiting)
        await push(ctx, range(depth))
        ctx.set(dut.started, 1)
        await ctx.tick()
        ctx.set(dut.started, 0)
        await push(ctx, [depth])
        ctx.set(dut.jobs.ready, 1)
        await ctx.tick()
        ctx.set(dut.jobs.ready, 0)
        assert not ctx.get(dut.pushes.ready)
        for seq in range(1, depth + 1):
            await ctx.tick().repeat(2)
            assert ctx.get(dut.jobs.valid)
            assert await start_and_take(ctx, dut, 1) == seq
            assert ctx.get(dut.pushes.ready)
        assert not ctx.get(dut.waiting) and not ctx.get(dut.jobs.valid)
    test.add(process)
    test.run(200)


@pytest.mark.parametrize("seed", range(4))
def test_held_jobs_wait(bench, seed):
    """A job may leave once one that is not held has come, itself or a later one; never before."""
    test = bench(JobQueue(Geometry(queue=4)), seed=seed)
    dut, rng = test.dut, test.rng
    holds = [rng.random() < 0.6 for _ in range(30)]
    for i in range(3, 30, 4):    # a queue full of held jobs could never start
        holds[i] = False
    holds[-1] = False
    pushed = []

    async def push(ctx):
        for seq, hold in enumerate(holds):
            while rng.random() < 0.5 or not ctx.get(dut.pushes.ready):
                await ctx.tick()
            ctx.set(dut.pushes.payload, {"job": a_job(seq), "hold": hold})
            ctx.set(dut.pushes.valid, 1)
            await ctx.tick()
            pushed.append(seq)
            ctx.set(dut.pushes.valid, 0)
            await ctx.tick()

    async def pop(ctx):
        for seq in range(30):
            waited = 0
            while not ctx.get(dut.jobs.valid):
                free = any(not holds[later] for later in pushed if later >= seq)
                waited = waited + 1 if free else 0
                assert waited < 5, f"job {seq} is held back, seed {seed}"
                await ctx.tick()
            assert any(not holds[later] for later in pushed if later >= seq), f"job {seq} came too early, seed {seed}"
            while rng.random() < 0.3:
                await ctx.tick()
            assert await start_and_take(ctx, dut, rng.randrange(4)) == seq
    test.add(push)
    test.add(pop)
    test.run(2000)


# The sequencer

def random_jobs(rng, g, count, streams=True):
    jobs = []
    for seq in range(count):
        k = rng.choice([1, g.depth, rng.randint(1, g.depth)])
        beats = max(-(-k // g.lanes), g.cols)
        n = rng.randint(1, 3 * g.cols)
        jobs.append(a_job(seq, streamed=int(streams and rng.random() < 0.4), last_row=rng.randrange(g.rows), last_byte=rng.randrange(4),
                          acts_at=rng.randrange(max(1, g.act_words - beats + 1)), k=k, n=n, weights_at=rng.randrange(g.weight_words)))
    return jobs


def issues(g, job, stream_at):
    """Every beat of a job: its address in the weight store and the activation buffer, first, last, rows, ramp."""
    beats = max(-(-job["k"] // g.lanes), g.cols)
    total = -(-job["outputs"]["n"] // g.cols) * beats
    for t in range(total + g.cols - 1):
        ramp = t >= total
        at = g.weight_words - g.stream_words + (stream_at + t) % g.stream_words if job["streamed"] else (job["weights_at"] + t)
        width = (g.weight_words - 1).bit_length()
        yield (at & (1 << width) - 1, job["acts_at"] + t % beats, int(not ramp and t % beats == 0), int(not ramp and t % beats == beats - 1),
               (2 << job["outputs"]["last_row"]) - 1, int(ramp))


class Recorder:
    """What a sequencer issues, cycle by cycle, with the rules that hold in each."""

    def __init__(self, test, g):
        self.beats, self.when, self.kinds, self.kinds_of_beats, self.in_flight, self.most = [], [], [], [], 0, 0
        dut = test.dut

        async def watcher(ctx):
            issued, reads = [], []    # by cycle
            async for _, _, read, at, acts_read, acts_at, beat_valid, beat, now, running, freed in ctx.tick().sample(
                    dut.weights_read, dut.weights_at, dut.acts_read, dut.acts_at, dut.beats.valid, dut.beats.payload, dut.issued,
                    dut.running, dut.tile_freed):
                note = f"cycle {test.cycle}, seed {test.seed}"
                kinds = [name for name in ("busy", "ramp", "stall_weights", "stall_results") if now[name]]
                assert len(kinds) == running, f"{kinds}, {note}"
                assert not now["tile"] or kinds == ["busy"], note
                issued.append(kinds in (["busy"], ["ramp"]))
                if issued[-1]:
                    self.when.append(test.cycle)
                    self.kinds_of_beats.append(now["ramp"])
                # Addresses a cycle after the beat was issued, its flags another one later.
                assert read == (len(issued) > 1 and issued[-2]), f"a beat without its words, {note}"
                assert acts_read == 0 or read, note
                reads.append((at, acts_at, acts_read) if read else None)
                assert beat_valid == (len(reads) > 1 and reads[-2] is not None), f"the beat does not come with its words, {note}"
                if beat_valid:
                    at, acts_at, acts_read = reads[-2]
                    assert acts_read == beat["active"], note
                    self.beats.append((at, acts_at, beat["first"], beat["last"], beat["active"], self.kinds_of_beats[len(self.beats)]))
                self.kinds.append(kinds[0] if kinds else None)
                self.in_flight += now["tile"] - freed
                self.most = max(self.most, self.in_flight)
                assert 0 <= self.in_flight <= g.tiles_in_flight, note
        test.background(watcher)


def settle(test, cycles):
    async def process(ctx):
        await ctx.tick().repeat(cycles)
    return process


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
@pytest.mark.parametrize("seed", range(2))
def test_beats(bench, g, seed):
    """Beats, addresses and flags of random jobs, resident and streamed, with credit and words that come at random times."""
    test = bench(Sequencer(g), seed=seed)
    dut, rng = test.dut, test.rng
    jobs = random_jobs(rng, g, 8)
    recorder = Recorder(test, g)
    outputs = []

    async def receive(ctx):
        async for _, _, valid, payload in ctx.tick().sample(dut.outputs.valid, dut.outputs.payload):
            if valid:
                outputs.append({name: payload[name] for name in ("seq", "n", "last_row", "last_byte")})
    test.background(receive)
    test.send(dut.jobs, jobs, gap=0.2)
    expected, stream_at = [], 0
    for job in jobs:
        beats = list(issues(g, job, stream_at))
        stream_at += len(beats) * job["streamed"]
        expected += beats
    words = {"written": 0, "read": 0}

    async def stream(ctx):
        ctx.set(dut.streams, 1)
        while words["written"] < stream_at:
            ctx.set(dut.streamed_words, 0)
            while rng.random() < 0.4 or not ctx.get(dut.stream_ready) or ctx.get(dut.weights_read):    # the store has one port
                await ctx.tick()
            assert ctx.get(dut.stream_at) == words["written"] % g.stream_words, f"seed {seed}"
            ctx.set(dut.streamed_words, 1)
            await ctx.tick()
            words["written"] += 1
            ctx.set(dut.streamed_words, 0)    # no word follows another in the next cycle
            await ctx.tick()
        ctx.set(dut.streamed_words, 0)

    async def window(ctx):
        was_streaming = 0
        async for _, _, read, streaming in ctx.tick().sample(dut.weights_read, dut.streaming):
            words["read"] += read and was_streaming
            was_streaming = streaming
            assert words["read"] <= words["written"], f"a word was read before it came, seed {seed}"
            assert words["written"] - words["read"] <= g.stream_words, f"a word was overwritten, seed {seed}"

    async def free(ctx):
        while True:
            freed = recorder.in_flight > 0 and rng.random() < 0.2
            ctx.set(dut.tile_freed, freed)
            await ctx.tick()

    async def wait(ctx):
        while len(recorder.beats) < len(expected):
            await ctx.tick()
        await ctx.tick().repeat(20)
    test.add(stream)
    test.background(window)
    test.background(free)
    test.add(wait)
    test.run(20000)
    # One list: nothing lost, nothing twice, nothing else.
    assert recorder.beats == expected, f"seed {seed}"
    assert outputs == [job["outputs"] for job in jobs]


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_no_bubbles(bench, g):
    """With room and weights a beat is issued in every cycle, and two cycles lie between two jobs."""
    test = bench(Sequencer(g), seed=9)
    dut = test.dut
    jobs = random_jobs(test.rng, g, 4, streams=False)
    recorder = Recorder(test, g)
    test.send(dut.jobs, jobs)

    async def free(ctx):    # a tile's credit comes back a cycle after it was spent
        async for _, _, tile in ctx.tick().sample(dut.issued.tile):
            ctx.set(dut.tile_freed, tile)
    test.background(free)
    total = [len(list(issues(g, job, 0))) for job in jobs]
    test.add(settle(test, sum(total) + 30))
    test.run(5000)
    expected, cycle = [], recorder.when[0]
    for beats in total:
        expected += range(cycle, cycle + beats)
        cycle += beats + 2
    assert recorder.when == expected


@pytest.mark.parametrize("deep", [True, False])
@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
def test_credit(bench, g, deep):
    """Without results taken, exactly `tiles_in_flight` tiles are issued; the ramp and what was begun still finish; then one more for each freed."""
    test = bench(Sequencer(g))
    dut = test.dut
    recorder = Recorder(test, g)
    k = g.depth if deep else 1
    beats, most = g.beats(k), g.tiles_in_flight
    test.send(dut.jobs, [a_job(0, n=(most + 2) * g.cols, k=k)])

    async def process(ctx):
        await ctx.tick().repeat((most + 2) * beats + 20)
        assert recorder.kinds.count("busy") == most * beats
        assert recorder.kinds[-1] == "stall_results"
        for tiles in (most + 1, most + 2):
            ctx.set(dut.tile_freed, 1)
            await ctx.tick()
            ctx.set(dut.tile_freed, 0)
            await ctx.tick().repeat(beats + g.cols + 5)
            assert recorder.kinds.count("busy") == tiles * beats
        assert recorder.kinds.count("ramp") == g.cols - 1
        assert not ctx.get(dut.running)
    test.add(process)
    test.run(2 * (most + 2) * beats + 200)
    assert recorder.most == most


def test_window_is_emptied_without_a_streamed_job(bench):
    """Words that no job took are not given to the next one."""
    g = GEOMETRIES[0]
    test = bench(Sequencer(g))
    dut = test.dut

    async def process(ctx):
        for _ in range(2):
            ctx.set(dut.streams, 1)
            await ctx.tick()
            for word in range(g.stream_words):
                assert ctx.get(dut.stream_ready) and ctx.get(dut.stream_at) == word
                ctx.set(dut.streamed_words, 1)
                await ctx.tick()
                ctx.set(dut.streamed_words, 0)
                await ctx.tick()
            assert not ctx.get(dut.stream_ready)
            ctx.set(dut.streams, 0)
            await ctx.tick()
        ctx.set(dut.streams, 1)
        ctx.set(dut.jobs.payload, a_job(0, streamed=1))
        ctx.set(dut.jobs.valid, 1)
        await ctx.tick()
        ctx.set(dut.jobs.valid, 0)
        for _ in range(5):
            assert ctx.get(dut.issued.stall_weights) and not ctx.get(dut.weights_read)
            await ctx.tick()
    test.add(process)
    test.run(50)
