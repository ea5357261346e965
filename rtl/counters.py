"""Counters: what every cycle of a job was spent on."""

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from .geometry import Geometry
from .layouts import struct
from .wire import COUNTERS

__all__ = ["Counters", "Issued"]


class Issued(data.Struct):
    """What the sequencer did in a cycle: a beat of a tile (its first: `tile`), a beat of the ramp, or waiting, and for what."""

    busy: 1
    ramp: 1
    stall_weights: 1
    stall_results: 1
    tile: 1


class Counters(wiring.Component):
    """Counts from a job's first beat until its last sum has left the array; without a job nothing is counted.

    The last sum is taken to leave with the last row, whether or not that row is at work.

    Members
    -------
    issued : In(Issued)
        From the sequencer.
    running : In(1)
        A job's beats are being issued, or the next job may start.
    tile_done, sent, job_done, bad_frame : In(1)
        A tile's last sum leaves the array; a result was sent; a job's last result was; a bad frame was dropped.
    abort : In(1)
        Jobs are dropped.
    active : Out(1)
        A span is being counted.
    counters : Out(struct(COUNTERS))
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__({
            "issued":    In(Issued),
            "running":   In(1),
            "tile_done": In(1),
            "sent":      In(1),
            "job_done":  In(1),
            "bad_frame": In(1),
            "abort":     In(1),
            "active":    Out(1),
            "counters":  Out(struct(COUNTERS)),
        })

    def elaborate(self, platform):
        m = Module()
        # Tiles in the array. Not bounded by the sequencer's credit, which rows without work give back before the last row is through; but one
        # starts at most every `cols` cycles.
        tiles = Signal(range(self._geometry.latency + self._geometry.rows + 4))
        ends = Signal()
        counted = Signal()
        m.d.comb += [
            ends.eq(self.tile_done & (tiles == 1) & ~self.issued.tile & ~self.running),
            counted.eq(self.active | self.issued.tile),
        ]
        m.d.sync += tiles.eq(tiles + self.issued.tile - self.tile_done)
        with m.If(self.issued.tile):
            m.d.sync += self.active.eq(1)
        with m.Elif(ends):
            m.d.sync += self.active.eq(0)
        with m.If(self.abort):
            m.d.sync += [tiles.eq(0), self.active.eq(0)]

        for name, event in {
            "cycles":        counted,
            "busy":          self.issued.busy,
            "ramp":          self.issued.ramp,
            "stall_weights": self.issued.stall_weights & counted,
            "stall_results": self.issued.stall_results & counted,
            "jobs":          self.job_done,
            "results":       self.sent,
            "bad_frames":    self.bad_frame,
        }.items():
            counter = Signal(len(self.counters[name]), name=name)
            m.d.comb += self.counters[name].eq(counter)
            with m.If(event):
                m.d.sync += counter.eq(counter + 1)
        return m
