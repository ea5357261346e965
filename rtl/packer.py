"""Sums into bytes: the result queues behind the array, and the packer that makes RESULT frames of them."""

from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from .fifo import Queue
from .framer import Byte
from .geometry import Geometry
from .layouts import outputs_layout
from .wire import RESULT, RESULT_BYTES, Op

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Queues the sums of each row and sends them output by output, row by row within one, one byte a cycle.

    A frame begins when there is a result for it. It ends when it is full, when the job ends, or early where somebody else wants to speak:
    so nobody waits for results that have not come.

    The sequencer lets no more tiles into the array than the queues hold, so `sums` need no handshake, and nor do `outputs`.

    Members
    -------
    sums : In(stream.Signature(signed(acc_bits), always_ready=True)).array(rows)
        From the array.
    outputs : In(stream.Signature(outputs_layout, always_ready=True))
        The jobs whose sums come, in order.
    frames : Out(stream.Signature(Byte))
        RESULT frames without CRC.
    cut : In(1)
        Ends the frame, once it has a byte of results.
    tile_freed : Out(1)
        The last sum of a tile was taken from the queues.
    working : Out(1)
        A job's results are being sent, or will be.
    sent, job_done : Out(1)
        A result was handed on whole; all of a job were.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "sums":       In(stream.Signature(signed(geometry.acc_bits), always_ready=True)).array(geometry.rows),
            "outputs":    In(stream.Signature(outputs_layout(geometry), always_ready=True)),
            "frames":     Out(stream.Signature(Byte)),
            "cut":        In(1),
            "tile_freed": Out(1),
            "working":    Out(1),
            "sent":       Out(1),
            "job_done":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        rows, cols = geometry.rows, geometry.cols

        # Each has a tile on its way, but for one that has just begun, and one whose last result was just sent.
        m.submodules.jobs = jobs = Queue(outputs_layout(geometry), geometry.tiles_in_flight + 2)
        m.d.comb += [jobs.writes.valid.eq(self.outputs.valid), jobs.writes.payload.eq(self.outputs.payload)]
        job = jobs.reads.payload    # stays until its last result was sent

        queues = []
        for row in range(rows):
            queue = m.submodules[f"queue{row}"] = Queue(signed(geometry.acc_bits), geometry.tiles_in_flight * cols)
            m.d.comb += [queue.writes.valid.eq(self.sums[row].valid), queue.writes.payload.eq(self.sums[row].payload)]
            queues.append(queue)

        n_left = Signal(job.n.shape())                            # outputs whose sums are still to be taken
        row = Signal(range(rows))
        col = Signal(range(cols))
        byte, head = Signal(2), Signal(2)                         # of a result, which may lie across two frames, and of the header
        index = Signal(16)
        room = Signal(range(RESULT_BYTES + 1), init=RESULT_BYTES)

        # The next sum waits in a register, as block RAMs are slow: ECP5's take 5.6 ns, half of a cycle.
        # Unsigned: of a signed value that is shifted by a variable, Yosys 0.70's `wreduce` drops copies of the sign, and zeros come in their place.
        result = Signal(geometry.acc_bits, reset_less=True)
        held, ends_job = Signal(), Signal()                       # there is one, and it is the job's last
        wants, drops, take = Signal(), Signal(), Signal()
        moves, present, last_row = Signal(), Signal(), Signal()
        m.d.comb += [
            present.eq(Array(queue.reads.valid for queue in queues)[row]),
            last_row.eq(row == job.last_row),
            moves.eq(wants & (~held | take)),
        ]
        for i, queue in enumerate(queues):
            m.d.comb += queue.reads.ready.eq(moves & (row == i))
        with m.If(take):
            m.d.sync += held.eq(0)
        with m.If(moves & present):
            m.d.sync += [
                result.eq(Array(queue.reads.payload for queue in queues)[row]),
                held.eq(~drops),
                ends_job.eq(last_row & (n_left == 1)),
                row.eq(row + 1),
            ]
            with m.If(last_row):
                m.d.sync += [row.eq(0), n_left.eq(n_left - 1), col.eq(col + 1)]
                with m.If(n_left == 1):
                    m.d.sync += wants.eq(0)
                with m.If(col == cols - 1):
                    m.d.sync += col.eq(0)
                    m.d.comb += self.tile_freed.eq(1)
                    with m.If(drops):
                        m.d.sync += wants.eq(0)

        moved = Signal()
        m.d.comb += moved.eq(self.frames.valid & self.frames.ready)
        with m.FSM() as fsm:
            m.d.comb += self.working.eq(jobs.reads.valid | ~fsm.ongoing("Idle"))
            with m.State("Idle"):
                m.d.sync += [n_left.eq(job.n), index.eq(0)]
                with m.If(jobs.reads.valid):
                    m.d.sync += wants.eq(1)
                    m.next = "Head"

            with m.State("Head"):
                header = Array([Const(Op.RESULT, 8), job.seq, index[:8], index[8:]])
                assert len(header) == 2 + RESULT.size
                m.d.comb += [
                    self.frames.payload.data.eq(header[head]),
                    self.frames.valid.eq(held),
                ]
                with m.If(moved):
                    m.d.sync += head.eq(head + 1)
                    with m.If(head == len(header) - 1):
                        m.next = "Body"

            with m.State("Body"):
                ends_result = byte == job.last_byte
                wide = Signal(32)
                m.d.comb += [
                    wide.eq(result.as_signed()),
                    self.frames.payload.data.eq(wide.word_select(byte, 8)),
                    self.frames.valid.eq(held),
                ]
                with m.If(moved):
                    m.d.sync += [byte.eq(byte + 1), room.eq(room - 1)]
                    with m.If(ends_result):
                        m.d.sync += byte.eq(0)
                        m.d.comb += [take.eq(1), self.sent.eq(1)]
                    with m.If((ends_result & ends_job) | (room == 1) | self.cut):
                        m.next = "End"
                with m.Elif(self.cut & ~held & (room != RESULT_BYTES)):
                    m.next = "End"

            with m.State("End"):
                m.d.comb += [self.frames.payload.end.eq(1), self.frames.valid.eq(1)]
                m.d.sync += room.eq(RESULT_BYTES)
                with m.If(moved):
                    m.d.sync += index.eq(index + 1)
                    m.next = "Head"
                    with m.If(~wants & ~held):
                        m.d.sync += wants.eq(col != 0)
                        m.next = "Drop"

            with m.State("Drop"):    # the sums of the last tile that are no outputs of the matrix
                m.d.comb += drops.eq(1)
                with m.If(~wants):
                    m.d.comb += [self.job_done.eq(1), jobs.reads.ready.eq(1)]
                    m.next = "Idle"
        return m
