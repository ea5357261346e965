"""Sums into bytes: the result FIFOs behind the array, and the packer that makes RESULT frames of them."""

from amaranth import *
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from .framer import Byte
from .geometry import Geometry
from .sequencer import Outputs
from .wire import RESULT, RESULT_BYTES, Op

__all__ = ["Packer"]


class Packer(wiring.Component):
    """Queues the sums of each row and sends them output by output, row by row within one, one byte a cycle.

    The sequencer lets no more tiles into the array than the FIFOs hold, so `sums` need no handshake.

    Members
    -------
    sums : In(stream.Signature(signed(acc_bits), always_ready=True)).array(rows)
        From the array.
    outputs : In(stream.Signature(Outputs))
        The jobs whose sums come, in order.
    frames : Out(stream.Signature(Byte))
        RESULT frames without CRC.
    tile_freed : Out(1)
        The last sum of a tile was taken from the FIFOs.
    sent, job_done : Out(1)
        A result was handed on whole; all of a job were.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "sums":       In(stream.Signature(signed(geometry.acc_bits), always_ready=True)).array(geometry.rows),
            "outputs":    In(stream.Signature(Outputs(geometry))),
            "frames":     Out(stream.Signature(Byte)),
            "tile_freed": Out(1),
            "sent":       Out(1),
            "job_done":   Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        rows, cols = geometry.rows, geometry.cols

        m.submodules.jobs = jobs = fifo.SyncFIFOBuffered(width=Outputs(geometry).size, depth=geometry.tiles_in_flight + 1)
        m.d.comb += [jobs.w_en.eq(self.outputs.valid), jobs.w_data.eq(self.outputs.payload), self.outputs.ready.eq(jobs.w_rdy)]

        queues = []
        for row in range(rows):
            queue = m.submodules[f"queue{row}"] = fifo.SyncFIFOBuffered(
                width=geometry.acc_bits, depth=geometry.tiles_in_flight * cols)
            m.d.comb += [queue.w_en.eq(self.sums[row].valid), queue.w_data.eq(self.sums[row].payload)]
            queues.append(queue)

        job = Signal(Outputs(geometry))
        n_left = Signal(32)
        row = Signal(range(rows))
        col = Signal(range(cols))
        byte = Signal(2)
        index = Signal(16)
        room = Signal(range(RESULT_BYTES + 1), init=RESULT_BYTES)

        heads = Array(queue.r_data.as_signed() for queue in queues)
        result = Signal(signed(32))
        present = Signal()
        take = Signal()
        m.d.comb += [result.eq(heads[row]), present.eq(Array(queue.r_rdy for queue in queues)[row])]
        for i, queue in enumerate(queues):
            m.d.comb += queue.r_en.eq(take & (row == i))

        last_row = Signal()
        m.d.comb += last_row.eq(row == job.rows - 1)
        with m.If(take):
            m.d.sync += row.eq(row + 1)
            with m.If(last_row):
                m.d.sync += [row.eq(0), col.eq(col + 1)]
                with m.If(col == cols - 1):
                    m.d.sync += col.eq(0)
                    m.d.comb += self.tile_freed.eq(1)

        with m.FSM():
            with m.State("Idle"):
                m.d.comb += jobs.r_en.eq(1)
                m.d.sync += [job.eq(jobs.r_data), index.eq(0), byte.eq(0)]
                with m.If(jobs.r_rdy):
                    m.d.sync += n_left.eq(job.shape()(jobs.r_data).n)
                    m.next = "Head0"

            header = [Const(Op.RESULT, 8), job.seq, index[:8], index[8:]]
            assert len(header) == 2 + RESULT.size
            for i, value in enumerate(header):
                with m.State(f"Head{i}"):
                    m.d.comb += [self.frames.payload.data.eq(value), self.frames.valid.eq(1)]
                    with m.If(self.frames.ready):
                        m.next = f"Head{i + 1}" if i < len(header) - 1 else "Body"

            with m.State("Body"):
                ends_result = byte == job.result_bytes - 1
                ends_job = ends_result & last_row & (n_left == 1)
                m.d.comb += [
                    self.frames.payload.data.eq(result.word_select(byte, 8)),
                    self.frames.payload.last.eq(ends_job | (room == 1)),
                    self.frames.valid.eq(present),
                ]
                with m.If(self.frames.valid & self.frames.ready):
                    m.d.sync += [byte.eq(byte + 1), room.eq(room - 1)]
                    with m.If(ends_result):
                        m.d.sync += byte.eq(0)
                        m.d.comb += [take.eq(1), self.sent.eq(1)]
                        with m.If(last_row):
                            m.d.sync += n_left.eq(n_left - 1)
                    with m.If(ends_job):
                        m.next = "Drop"
                    with m.Elif(room == 1):
                        m.d.sync += index.eq(index + 1)
                        m.next = "Head0"

            with m.State("Drop"):    # the sums of the last tile that are no outputs of the matrix
                with m.If(col == 0):
                    m.d.comb += self.job_done.eq(1)
                    m.next = "Idle"
                with m.Else():
                    m.d.comb += take.eq(present)

        with m.If(self.frames.valid & self.frames.ready & self.frames.payload.last):
            m.d.sync += room.eq(RESULT_BYTES)
        return m
