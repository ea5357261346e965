"""Every property, block by block."""

from __future__ import annotations

from ..property import Property
from . import arithmetic, commands, crc, deframer, framer, jobs, packer, queue, replies, sequencer, uart, writes

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
    *packer.PROPERTIES,
    *uart.PROPERTIES,
)
