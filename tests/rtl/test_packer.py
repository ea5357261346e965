"""The packer: each result in its place and on as many bytes as asked for, in frames filled to the limit, whatever stalls."""

import pytest

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.packer import Packer
from tritloom.rtl.wire import RESULT_BYTES, Op

GEOMETRIES = [
    Geometry(rows=2, cols=4, lanes=1, depth=300),
    Geometry(rows=1, cols=1, lanes=1, depth=1),
    Geometry(rows=3, cols=5, lanes=2, depth=65535),
    Geometry(rows=2, cols=1, lanes=1, depth=6912),
]


def data_of(job, sums):
    """Result bytes of one job: output by output, row by row."""
    return b"".join(value.to_bytes(5, "little", signed=True)[:job["last_byte"] + 1] for output in sums[:job["n"]] for value in output)


def frames_of(job, sums):
    """RESULT frames of one job: its results, cut every `RESULT_BYTES` bytes."""
    data = data_of(job, sums)
    return [bytes([Op.RESULT, job["seq"]]) + (i & 0xFFFF).to_bytes(2, "little") + data[at:at + RESULT_BYTES]
            for i, at in enumerate(range(0, len(data), RESULT_BYTES))]


def play(bench, g, jobs, seed, gap, pause, cut=0.0):
    """Feed jobs with random sums, as far as there is credit; returns the bench, the frames that came and those that should have."""
    test = bench(Packer(g), seed=seed)
    dut, rng = test.dut, test.rng
    low, high = -(1 << g.acc_bits - 1), (1 << g.acc_bits - 1) - 1
    plan = []
    for job in jobs:
        tiles = -(-job["n"] // g.cols)
        plan.append([[rng.choice([low, high, -1, 0, rng.randint(low, high)]) for _ in range(job["last_row"] + 1)] for _ in range(tiles * g.cols)])
    expected = [frame for job, sums in zip(jobs, plan, strict=True) for frame in frames_of(job, sums)]
    frames, credit = [], {"left": g.tiles_in_flight, "freed": 0}
    events = {"sent": test.pulses(dut.sent), "job_done": test.pulses(dut.job_done), "tile_freed": test.pulses(dut.tile_freed)}

    async def outputs(ctx):
        for at, job in enumerate(jobs):
            while test.rng.random() < 0.3 or at - len(events["job_done"]) > g.tiles_in_flight:
                await ctx.tick()
            ctx.set(dut.outputs.payload, job)
            ctx.set(dut.outputs.valid, 1)
            await ctx.tick()
            ctx.set(dut.outputs.valid, 0)
    test.add(outputs)

    async def cuts(ctx):
        while True:
            ctx.set(dut.cut, test.rng.random() < cut)
            await ctx.tick()
    test.background(cuts)
    test.watch(dut.frames, "frames")

    async def feed(ctx):
        """Column by column, row r a cycle after row r - 1, as the array does."""
        lines = [{} for _ in range(g.rows)]    # row -> cycle -> sum
        cycle = 0

        async def step():
            nonlocal cycle
            for row in range(g.rows):
                value = lines[row].pop(cycle, None)
                ctx.set(dut.sums[row].valid, value is not None)
                ctx.set(dut.sums[row].payload, 0 if value is None else value)
            *_, freed = await ctx.tick().sample(dut.tile_freed)
            credit["left"] += freed
            cycle += 1
        await step()
        for sums in plan:
            for at, output in enumerate(sums):
                while (at % g.cols == 0 and credit["left"] == 0) or rng.random() < pause:
                    await step()
                credit["left"] -= at % g.cols == 0
                for row, value in enumerate(output):
                    lines[row][cycle + row] = value
                await step()
        while any(lines) or credit["left"] < g.tiles_in_flight:
            await step()

    async def read(ctx):
        frame = bytearray()
        while len(events["job_done"]) < len(jobs) or frame:
            ctx.set(dut.frames.ready, rng.random() >= gap)
            *_, valid, ready, payload = await ctx.tick().sample(dut.frames.valid, dut.frames.ready, dut.frames.payload)
            if valid and ready:
                if payload["end"]:
                    frames.append(bytes(frame))
                    frame.clear()
                else:
                    frame.append(payload["data"])
        ctx.set(dut.frames.ready, 0)
        for _ in range(g.rows * g.cols + 10):
            await ctx.tick()
            assert not ctx.get(dut.frames.valid)
    test.add(feed)
    test.add(read)
    test.run(200_000)
    if not cut:
        assert frames == expected, f"seed {seed}"
    for job, sums in zip(jobs, plan, strict=True):    # whatever the frames' lengths
        data, index = b"", 0
        while len(data) < len(data_of(job, sums)):
            frame = frames.pop(0)
            assert frame[:4] == bytes([Op.RESULT, job["seq"]]) + (index & 0xFFFF).to_bytes(2, "little"), f"seed {seed}"
            assert 4 < len(frame) <= 4 + (RESULT_BYTES if cut < 1 else 1)
            data += frame[4:]
            index += 1
        assert data == data_of(job, sums), f"seed {seed}"
    assert not frames
    assert len(events["sent"]) == sum(job["n"] * (job["last_row"] + 1) for job in jobs)
    assert len(events["job_done"]) == len(jobs)
    assert len(events["tile_freed"]) == sum(-(-job["n"] // g.cols) for job in jobs)
    return events


def a_job(seq, n, rows, result_bytes):
    return {"seq": seq, "n": n, "last_row": rows - 1, "last_byte": result_bytes - 1}


@pytest.mark.parametrize("g", GEOMETRIES, ids=str)
@pytest.mark.parametrize(("gap", "pause"), [(0.0, 0.0), (0.5, 0.1), (0.1, 0.6)])
def test_results(bench, g, gap, pause):
    """All widths, all numbers of rows, partial last tiles (1 output and all but 1), one job after another."""
    jobs = []
    for result_bytes in (1, 2, 3, 4):
        for rows in range(1, g.rows + 1):
            for n in {1, max(1, g.cols - 1), g.cols, g.cols + 1, 3 * g.cols}:
                jobs.append(a_job(len(jobs) & 255, n, rows, result_bytes))
    play(bench, g, jobs, g.digest % 1000, gap, pause)


@pytest.mark.parametrize("cut", [0.02, 0.3, 1.0])
def test_frames_end_early_if_somebody_waits(bench, cut):
    """A result may lie across such an end too; no frame is empty, and the numbers go on."""
    g = GEOMETRIES[2]
    jobs = [a_job(10 + i, n, rows, result_bytes) for i, (n, rows, result_bytes) in enumerate([(1, 1, 1), (30, 3, 3), (7, 2, 4), (40, 1, 2)])]
    play(bench, g, jobs, int(100 * cut), 0.2, 0.4, cut)


def test_a_frame_ends_if_no_result_comes(bench):
    """Somebody waits, and there is nothing to send: the frame ends where it is. Without anybody it stays open."""
    g = GEOMETRIES[1]
    test = bench(Packer(g))
    dut = test.dut
    got = test.receive(dut.frames)

    async def process(ctx):
        ctx.set(dut.outputs.payload, a_job(3, 2, 1, 2))
        ctx.set(dut.outputs.valid, 1)
        ctx.set(dut.cut, 1)
        await ctx.tick()
        ctx.set(dut.outputs.valid, 0)
        await ctx.tick().repeat(20)
        assert not got, "a frame begins before there is a result"
        ctx.set(dut.cut, 0)
        ctx.set(dut.sums[0].payload, -2)
        ctx.set(dut.sums[0].valid, 1)
        await ctx.tick()
        ctx.set(dut.sums[0].valid, 0)
        await ctx.tick().repeat(20)
        assert len(got) == 6 and not got[-1]["end"]
        ctx.set(dut.cut, 1)
        await ctx.tick().repeat(20)
        assert len(got) == 7 and got[-1]["end"]
    test.add(process)
    test.run(200)


@pytest.mark.parametrize(("rows", "result_bytes"), [(2, 3), (1, 2), (2, 4), (1, 4)])
def test_frames_are_filled_to_the_limit(bench, rows, result_bytes):
    """A result may lie across two frames; one that ends a frame and the job at once opens no empty frame."""
    g = GEOMETRIES[0]
    jobs = [a_job(200 + i, n, rows, result_bytes) for i, n in enumerate((RESULT_BYTES // (rows * result_bytes), 2 * RESULT_BYTES // (rows * result_bytes) + 1, 3))]
    play(bench, g, jobs, 1, 0.0, 0.0)


def test_a_tile_is_freed_after_its_last_sum_was_taken(bench):
    """The dropped sums of a partial last tile are taken too, at one a cycle, before the job is done."""
    g = GEOMETRIES[0]
    events = play(bench, g, [a_job(1, 1, 2, 4), a_job(2, g.cols, 2, 4)], 4, 0.0, 0.0)
    assert events["job_done"][0] == events["tile_freed"][0] + 1
    assert events["tile_freed"][0] - events["sent"][1] == 2 * (g.cols - 1) + 1    # the frame's end lies between
    assert events["tile_freed"][1] == events["sent"][-2], "the last sum waits in the register while the one before it is sent"
    assert events["sent"][-1] == events["job_done"][1] - 2
