"""The packer: every sum leaves as its bytes, in order, in frames that begin and end where they should."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Mux, Signal, Value
from amaranth.lib import data

from tritloom.rtl.geometry import Geometry
from tritloom.rtl.packer import Packer
from tritloom.rtl.wire import MOST_OUTPUTS, RESULT, RESULT_BYTES, Op

from ..bench import Bench
from ..mutation import Mutation
from ..property import Property
from ..streams import keeps_its_word

__all__ = ["PROPERTIES"]

_WHERE = "packer:Packer.elaborate"
_SAID = "2,3,2, depth 600 (sums of 18 bits), result queues of 3 tiles"
_HEAD = 2 + RESULT.size


class _Few(Geometry):
    """Result queues of three tiles, which fill within a proof's reach."""

    tiles_in_flight = 3


_GEOMETRY = _Few(rows=2, cols=3, lanes=2, depth=600, weight_words=12, stream_words=4, queue=3)


def _count(bench: Bench, path: str, stream: tuple[Value, Value], depth: int) -> tuple[Signal, Signal]:
    """Items written to a queue of the packer and taken from it, modulo 32; its writer knows that there is room."""
    m, (valid, takes) = bench.m, stream
    written, taken = Signal(5, name=f"{path}_written"), Signal(5, name=f"{path}_taken")
    m.d.sync += [written.eq(written + valid), taken.eq(taken + takes)]
    level = (written - taken)[:5]
    bench.given((level < depth) | ~valid)
    shown = bench.inside(f"{path}.self").reads.valid
    inner = bench.inside(f"{path}.written")
    bench.lemma(level <= depth)
    bench.lemma(inner == written[:len(inner)])
    bench.lemma(bench.inside(f"{path}.read") == (taken + shown)[:len(inner)])
    bench.lemma(~shown | (level != 0))
    return written, taken


def _possible(job: data.View) -> Value:
    return (job.n >= 1) & (job.n <= MOST_OUTPUTS) & (job.last_row < _GEOMETRY.rows)


def _packer() -> Bench:
    """A packer, and the place of what it says: in a job (`output`, `row`, `byte`; `col` of the tile), and in a frame (`head`, `body`)."""
    bench = Bench(Packer(_GEOMETRY))
    dut, m = bench.dut, bench.m
    rows, cols, tiles = _GEOMETRY.rows, _GEOMETRY.cols, _Few.tiles_in_flight
    bench.given(~dut.outputs.valid | _possible(dut.outputs.payload))
    queues, jobs, job = bench.inside("queues"), bench.inside("jobs"), bench.inside("job")
    bench.jobs = _count(bench, "jobs", (dut.outputs.valid, dut.job_done), tiles + 2)
    bench.sums = [_count(bench, f"queue{i}", (dut.sums[i].valid, queue.reads.valid & queue.reads.ready), tiles * cols) for i, queue in enumerate(queues)]
    bench.lemma(_possible(job) | ~jobs.reads.valid)
    first, end = bench.inside("jobs.read"), bench.inside("jobs.written")
    for slot in range(1 << len(end)):
        entry = data.View(job.shape(), bench.stored("jobs.ram", Const(slot, len(end))))
        bench.lemma(_possible(entry) | ((slot - first)[:len(end)] >= (end - first)[:len(end)]))

    # Where it is.
    output, row, byte, col = Signal(job.n.shape()), Signal(range(rows)), Signal(2), Signal(range(cols))
    head, body, index, due = Signal(range(_HEAD + 1)), Signal(range(RESULT_BYTES + 1)), Signal(16), Signal()
    bench.output, bench.row, bench.byte, bench.col, bench.head, bench.body, bench.index, bench.due = output, row, byte, col, head, body, index, due
    bench.base = [Signal(5, name=f"base{i}") for i in range(rows)]    # the number of each row's first sum of this tile
    frames = dut.frames
    bench.leaves = leaves = frames.valid & frames.ready
    bench.says = in_body = (head == _HEAD) & ~due
    over, last_row = output == job.n, row == job.last_row
    bench.over = over
    ends_result = in_body & (byte == job.last_byte)
    ends_output = ends_result & last_row
    bench.ends_result = ends_result
    with m.If(leaves & (head != _HEAD)):
        m.d.sync += head.eq(head + 1)
    with m.If(leaves & in_body):
        m.d.sync += [body.eq(body + 1), byte.eq(byte + 1)]
        with m.If(ends_result):
            m.d.sync += [byte.eq(0), row.eq(row + 1)]
        with m.If(ends_output):
            m.d.sync += [row.eq(0), output.eq(output + 1), col.eq(Mux(col == cols - 1, 0, col + 1))]
        m.d.sync += due.eq((ends_output & (output + 1 == job.n)) | (body + 1 == RESULT_BYTES) | dut.cut)
    with m.If(~frames.valid & in_body & (body != 0) & dut.cut):
        m.d.sync += due.eq(1)
    with m.If(leaves & due):
        m.d.sync += [head.eq(0), body.eq(0), due.eq(0), index.eq(index + 1)]
    with m.If(dut.job_done):
        m.d.sync += [output.eq(0), col.eq(0), index.eq(0)]
    for i, base in enumerate(bench.base):
        with m.If((i <= job.last_row) & ((leaves & ends_output & (col == cols - 1)) | (dut.job_done & (col != 0)))):
            m.d.sync += base.eq(base + cols)

    # And where its registers are.
    states, held, wants = bench.states(), bench.inside("held"), bench.inside("wants")
    idle, drop = states["Idle"], states["Drop"]
    busy = ~idle & ~drop
    my_row, my_col, n_left = bench.inside("row"), bench.inside("col"), bench.inside("n_left")
    bench.lemma(idle | jobs.reads.valid)
    bench.lemma((head <= _HEAD) & (col < cols) & (row <= job.last_row) | idle)
    bench.lemma(~idle | ((output == 0) & (row == 0) & (byte == 0) & (col == 0) & (head == 0) & (index == 0)))
    bench.lemma(~idle | (~held & ~wants & (my_row == 0) & (my_col == 0)))
    bench.lemma(~states["Head"] | ((head < _HEAD) & (bench.inside("head") == head[:2]) & ~over))
    bench.lemma(states["Head"] | (bench.inside("head") == 0))
    bench.lemma(~states["Body"] | ((head == _HEAD) & ~due & ~over))
    bench.lemma(~states["End"] | ((head == _HEAD) & due & (body != 0)))
    bench.lemma(~drop | ((head == 0) & over & ~held))
    bench.lemma((head == _HEAD) | ((body == 0) & ~due))
    bench.lemma(states["End"] | ((body < RESULT_BYTES) & (bench.inside("room") == RESULT_BYTES - body)))
    bench.lemma(bench.inside("byte") == byte)
    bench.lemma(idle | (bench.inside("index") == index))
    bench.lemma(idle | (output <= job.n))
    bench.lemma(idle | ((byte <= job.last_byte) & ((byte == 0) | held)))
    bench.lemma(~over | idle | ((row == 0) & (byte == 0)))
    ends = last_row & (col == cols - 1)
    bench.lemma(~(busy & held) | (~over & (my_row == Mux(last_row, 0, row + 1)) & (my_col == Mux(ends, 0, col + last_row)) & (n_left == job.n - output - last_row)))
    bench.lemma(~(busy & held) | ((bench.inside("ends_job") == (last_row & (output + 1 == job.n))) & (wants == ~bench.inside("ends_job"))))
    bench.lemma(~(busy & ~held) | ((my_row == row) & (my_col == col) & (n_left == job.n - output) & (wants == ~over)))
    bench.lemma(~(drop & wants) | ((my_col >= col) & (col != 0) & (my_row <= job.last_row) & ((n_left + my_col - col)[:len(n_left)] == 0)))
    bench.lemma(~(drop & ~wants) | ((my_col == 0) & (my_row == 0)))
    bench.lemma(my_col < cols)
    for i, ((_, taken), base) in enumerate(zip(bench.sums, bench.base, strict=True)):
        used = i <= job.last_row
        bench.lemma(~idle | (taken == base))
        bench.lemma(~busy | (taken == (base + Mux(used, col + (row > i) + (held & (row == i)), 0))[:5]))
        bench.lemma(~drop | (taken == (base + Mux(used, Mux(wants, my_col + (my_row > i), Mux(col == 0, 0, cols)), 0))[:5]))
    return bench


def _watch(bench: Bench, name: str, written: Value, taken: Value, valid: Value, payload: Value, queue: str) -> tuple[Signal, Signal, Value]:
    """One item of a queue, any: its number, what it was when it was written, and whether it is in the queue."""
    m = bench.m
    number, item = bench.constant(f"{name}_number", 5), Signal(len(payload), name=f"{name}_item")
    with m.If(valid & (written == number)):
        m.d.sync += item.eq(payload)
    behind = (number - taken)[:5]
    inside = behind < (written - taken)[:5]
    reads = bench.inside(f"{queue}.self").reads
    shown = reads.valid & (behind == 0)
    slots = len(bench.inside(f"{queue}.written"))
    bench.lemma(~inside | Mux(shown, Value.cast(reads.payload).as_unsigned() == item, bench.stored(f"{queue}.ram", number[:slots]) == item))
    return number, item, inside


def _bytes() -> Bench:
    bench = _packer()
    dut = bench.dut
    speaks = dut.frames.valid & bench.says
    for i, (written, taken) in enumerate(bench.sums):
        number, item, _ = _watch(bench, f"sum{i}", written, taken, dut.sums[i].valid, Value.cast(dut.sums[i].payload), f"queue{i}")
        wide = Cat(item, item[-1].replicate(32 - len(item)))
        mine = (bench.row == i) & ((bench.base[i] + bench.col)[:5] == number)
        bench.lemma(~(mine & bench.inside("held")) | (bench.inside("result") == item))
        bench.always(~(speaks & mine) | (dut.frames.payload.data == wide.word_select(bench.byte, 8)), f"a result of row {i} is its sum, byte by byte, with copies of its sign behind")
    bench.reaches(speaks & (bench.row == 1) & (bench.byte == 3) & (dut.frames.payload.data == 0xFF), "a negative sum in four bytes")
    return bench


def _frames() -> Bench:
    bench = _packer()
    dut, frames = bench.dut, bench.dut.frames
    number, item, _ = _watch(bench, "job", *bench.jobs, dut.outputs.valid, Value.cast(dut.outputs.payload), "jobs")
    job = bench.inside("job")
    written, done = bench.jobs
    bench.always(~frames.valid | (written != done), "nothing is said without a job")
    bench.always(~(frames.valid & (done == number)) | (Value.cast(job) == item), "jobs are answered in order, each as it was given")
    header = Array([Const(Op.RESULT.value, 8), job.seq, bench.index[:8], bench.index[8:]])
    bench.always(~(frames.valid & (bench.head != _HEAD)) | (frames.payload.data == header[bench.head[:2]]), "a frame begins with its kind, the job's number and the frame's")
    bench.always(~frames.valid | (frames.payload.end == bench.due), "a frame ends behind its last byte: when it is full, the job is over or it is cut, and not else")
    bench.always(~frames.valid | bench.due | ~bench.over, "no more is said than the job's outputs of each of its rows")
    bench.always(~bench.due | (bench.body != 0), "no frame is empty")
    bench.always(dut.sent == (bench.leaves & bench.ends_result), "a result counts when its last byte leaves")
    bench.always(~dut.job_done | (bench.over & (bench.head == 0)), "a job is done when its last frame has ended")
    bench.reaches(dut.job_done & (bench.index == 2), "a job of two frames")
    return bench


def _stream() -> Bench:
    bench = _packer()
    keeps_its_word(bench, bench.dut.frames, "frames")
    return bench


PROPERTIES = (
    Property(name="packer.bytes", promise="each sum leaves as many bytes as asked, the lowest first, with its sign, output by output and row by row; none is lost, doubled or mixed", geometry=_SAID, bench=_bytes,
             steps=2, breaks=14, cover=22, mutations=(
                 Mutation(_WHERE, "wide.eq(result.as_signed())", "wide.eq(result)"),
                 Mutation(_WHERE, "wide.word_select(byte, 8)", "wide.word_select(byte ^ job.last_byte, 8)"),
                 Mutation(_WHERE, "moves.eq(wants & (~held | take))", "moves.eq(wants)"))),
    Property(name="packer.frames", promise="each job's results are whole frames with its header, which end when full, cut, or at the job's end, and nothing else is said", geometry=_SAID, bench=_frames,
             steps=2, breaks=16, cover=24, mutations=(
                 Mutation(_WHERE, "ends_job.eq(last_row & (n_left == 1))", "ends_job.eq(n_left == 1)"),
                 Mutation(_WHERE, "init=RESULT_BYTES)", "init=2)"),
                 Mutation(_WHERE, "(ends_result & ends_job) | (room == 1) | self.cut", "(ends_result & ends_job) | (room == 1)"))),
    Property(name="packer.stream", promise="the stream's rules, whenever `cut` comes", geometry=_SAID, bench=_stream, steps=2, breaks=14, cover=14, mutations=(
        Mutation(_WHERE, "with m.Elif(self.cut & ~held & (room != RESULT_BYTES)):", "with m.Elif(self.cut & (room != RESULT_BYTES)):"),)),
)
