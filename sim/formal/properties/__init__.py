"""Every property, block by block."""

from __future__ import annotations

from ..property import Property
from . import arithmetic, commands, crc, deframer, framer, jobs, queue, replies, sequencer, writes

__all__ = ["ALL"]

ALL: tuple[Property, ...] = (
    *arithmetic.PROPERTIES,
    *crc.PROPERTIES,
    *queue.PROPERTIES,
    *deframer.PROPERTIES,
    *framer.PROPERTIES,
    *replies.PROPERTIES,
    *commands.PROPERTIES,
    *writes.PROPERTIES,
    *jobs.PROPERTIES,
    *sequencer.PROPERTIES,
)
