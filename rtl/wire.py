"""What crosses the link, as tables: frames, commands, replies and their fields.

Standard library only. The host packs and unpacks with these tables, the gateware turns the same tables into layouts
(`layouts.struct`), and the tables in the protocol's documentation are generated from them.

A frame is ``op, seq, payload, CRC-32``, at most `FRAME_BYTES` long, COBS-encoded and ended by a zero byte. At that length
COBS adds exactly one byte, so a frame's time on the wire does not depend on its data. All numbers are little-endian.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

__all__ = [
    "COUNTERS",
    "CRC_BYTES",
    "ERROR",
    "FRAME_BYTES",
    "HEADER",
    "IDENTITY",
    "JOB",
    "LEAST_DIVISOR",
    "MOST_OUTPUTS",
    "PAYLOAD_BYTES",
    "RATE",
    "RECORDS",
    "RESULT",
    "RESULT_BYTES",
    "RX_BYTES",
    "SYNC",
    "VERSION",
    "WRITE",
    "Destination",
    "Engine",
    "Error",
    "Field",
    "Memory",
    "Op",
    "Record",
    "Source",
    "Weights",
]

#: Version of the protocol. A driver refuses a device of another version.
VERSION = 2

#: Longest frame before COBS, CRC included: COBS then needs one code byte whatever the data.
FRAME_BYTES = 254

#: Bytes of commands that a device buffers: what a host without flow control may have unanswered.
RX_BYTES = 1023

#: Fewest clock cycles in one bit of a UART: the receiver samples in the middle and may be a cycle off.
LEAST_DIVISOR = 4

#: Most outputs of one job. The field is wider than the gateware's counters need to be: no model's matrix has a million rows.
MOST_OUTPUTS = (1 << 20) - 1

#: Bytes of the CRC-32 (ISO-HDLC, the one of Ethernet and zlib) at a frame's end, least significant first.
CRC_BYTES = 4


class Op(IntEnum):
    """First byte of a frame: commands below 0x80, replies above."""

    SYNC = 0x01
    WRITE = 0x02
    JOB = 0x03
    STREAM = 0x04
    COUNTERS = 0x05
    RATE = 0x06
    ACK = 0x81
    IDENTITY = 0x82
    COUNTS = 0x83
    RESULT = 0x84
    ERROR = 0x8F


class Error(IntEnum):
    """Why a frame was not executed. Such a frame does not advance the sequence number."""

    CRC = 1
    LENGTH = 2
    UNKNOWN = 3
    SEQUENCE = 4
    BUSY = 5
    QUEUE_FULL = 6
    BAD_JOB = 7
    BAD_ADDRESS = 8
    NO_JOB = 9
    BAD_RATE = 10


class Memory(IntEnum):
    """Memories that WRITE reaches."""

    WEIGHTS = 0
    ACTS = 1


class Engine(IntEnum):
    """Who works on a job."""

    ARRAY = 0


class Source(IntEnum):
    """Where a job's vectors come from."""

    ACTS = 0


class Destination(IntEnum):
    """Where a job's results go."""

    LINK = 0


class Weights(IntEnum):
    """Where a job's weights come from."""

    STORE = 0
    STREAM = 1


#: What `struct` calls an unsigned number of so many bits.
_STRUCT_CODES = {8: "B", 16: "H", 32: "I", 64: "Q"}


@dataclass(frozen=True)
class Field:
    """One unsigned number of a record: its name, width (a multiple of 8 bits) and meaning."""

    name: str
    bits: int
    doc: str


@dataclass(frozen=True)
class Record:
    """A sequence of fields, packed without gaps, least significant byte first."""

    name: str
    doc: str
    fields: tuple[Field, ...]

    @cached_property
    def size(self) -> int:
        """Bytes of the packed record."""
        return sum(field.bits for field in self.fields) // 8

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    @cached_property
    def _struct(self) -> struct.Struct | None:
        """All fields at once, several times as fast as one by one; None if a field is wider than `struct` knows."""
        codes = [_STRUCT_CODES.get(field.bits, "") for field in self.fields]
        return struct.Struct("<" + "".join(codes)) if all(codes) else None

    def pack(self, **values: int) -> bytes:
        """Pack one value for each field.

        Raises
        ------
        ValueError
            If a field is missing, unknown, or does not fit its width.
        """
        if self._struct is not None and len(values) == len(self._names):
            try:
                return self._struct.pack(*[values[name] for name in self._names])
            except (KeyError, struct.error):
                pass    # what is wrong is found out below
        if set(self._names) != values.keys():
            raise ValueError(f"{self.name} must have the fields {sorted(self._names)}, not {sorted(values)}")
        parts = []
        for field in self.fields:
            value = values[field.name]
            if not 0 <= value < 1 << field.bits:
                raise ValueError(f"`{field.name}` must fit {field.bits} bits unsigned, not {value}")
            parts.append(int(value).to_bytes(field.bits // 8, "little"))
        return b"".join(parts)

    def unpack(self, data: bytes) -> Mapping[str, int]:
        """Unpack the record at the start of `data`.

        Raises
        ------
        ValueError
            If `data` is shorter than the record.
        """
        if len(data) < self.size:
            raise ValueError(f"{self.name} must have at least {self.size} bytes, not {len(data)}")
        if self._struct is not None:
            return dict(zip(self._names, self._struct.unpack_from(data), strict=True))
        values, at = {}, 0
        for field in self.fields:
            end = at + field.bits // 8
            values[field.name] = int.from_bytes(data[at:end], "little")
            at = end
        return values


HEADER = Record("Header", "Start of every frame.", (
    Field("op", 8, "what the frame is: `Op`"),
    Field("seq", 8, "command: its sequence number; reply: that of the command it answers"),
))

SYNC = Record("SYNC", "Aborts all jobs, sets the sequence number, asks who is there. Accepted with any sequence number.", (
    Field("nonce", 32, "not 0; echoed in the identity, so that an old reply is not taken for the new one"),
    Field("claim", 8, "1: the sender takes the device over, whatever is in its memories; 0: it goes on with what it put there"),
))

WRITE = Record("WRITE", "Writes whole words, which follow, into a memory. Refused while a job waits or runs.", (
    Field("memory", 8, "`Memory`: the weight store or the activation buffer"),
    Field("row", 8, "row of the activation buffer; 0 for the weight store"),
    Field("at", 32, "address of the first word, in words"),
))

JOB = Record("JOB", "Queues a multiplication. Its results are the reply.", (
    Field("engine", 8, "`Engine`"),
    Field("source", 8, "`Source` of the vectors"),
    Field("destination", 8, "`Destination` of the results"),
    Field("weights", 8, "`Weights`: from the store, or streamed in the frames that follow"),
    Field("hold", 8, "1: wait until a job with 0 has come (so that a queue starts as one); not with streamed weights"),
    Field("rows", 8, "vectors, from 1 to the geometry's rows"),
    Field("result_bytes", 8, "bytes of each result, from 1 to 4, two's complement; the host picks what holds them"),
    Field("acts_at", 16, "address of the vectors in the activation buffer, in words"),
    Field("k", 16, "length of the vectors, from 1 to the geometry's depth"),
    Field("n", 32, "outputs, from 1 to `MOST_OUTPUTS` (1,048,575)"),
    Field("weights_at", 32, "address of the matrix in the weight store, in words; ignored when streamed"),
))

RATE = Record("RATE", "Sets how fast the link is from the end of the acknowledgement on. Refused while a job waits or runs, and by a link that has no rate.", (
    Field("divisor", 16, "clock cycles of the device in one bit on the line, at least `LEAST_DIVISOR`"),
))

RESULT = Record("RESULT", "Some of a job's results, which follow: output by output, and row by row within one.", (
    Field("index", 16, "number of this frame within its job, from 0, modulo 65536"),
))

ERROR = Record("ERROR", "The command was not executed.", (
    Field("code", 8, "`Error`"),
    Field("expected", 8, "sequence number the device takes next"),
))

IDENTITY = Record("IDENTITY", "Reply to SYNC: what the device is.", (
    Field("nonce", 32, "that of the SYNC"),
    Field("version", 8, "version of the protocol"),
    Field("rows", 8, "geometry"),
    Field("cols", 8, "geometry"),
    Field("lanes", 8, "geometry"),
    Field("col_pitch", 8, "geometry"),
    Field("tree_pitch", 8, "geometry"),
    Field("depth", 16, "geometry"),
    Field("weight_words", 32, "geometry"),
    Field("stream_words", 16, "geometry"),
    Field("queue", 8, "geometry"),
    Field("rx_bytes", 16, "bytes of commands the device buffers: what a host without flow control may have unanswered"),
    Field("digest", 64, "digest of the geometry"),
    Field("clock_hz", 32, "clock of the device, in hertz; 0 if it is simulated without one"),
    Field("max_baud", 32, "fastest rate that RATE can set and the link takes, in baud; 0 if the link has no rate"),
    Field("board", 128, "name of the board, ASCII, padded with zeros; all zeros if it is none"),
    Field("owner", 32, "nonce of the last SYNC before this one that claimed the device, 0 if none did since the reset"),
))

COUNTERS = Record("COUNTS", "Reply to COUNTERS. Every counter wraps at 2**32 and is never cleared; the host takes differences.", (
    Field("cycles", 32, "cycles from a job's first beat to its last result out of the array, overlapping jobs counted once"),
    Field("busy", 32, "of these: beats in which the array took a tile's weights"),
    Field("ramp", 32, "of these: beats that only finish the columns behind the first"),
    Field("stall_weights", 32, "of these: cycles in which a streamed weight had not come"),
    Field("stall_results", 32, "of these: cycles in which earlier results had not left"),
    Field("jobs", 32, "jobs whose results were all sent"),
    Field("results", 32, "results sent"),
    Field("bad_frames", 32, "frames that were malformed, truncated or failed the CRC"),
))

#: Every record, in the order of the documentation.
RECORDS = (HEADER, SYNC, WRITE, JOB, RATE, RESULT, IDENTITY, COUNTERS, ERROR)

#: Most payload bytes in a frame.
PAYLOAD_BYTES = FRAME_BYTES - HEADER.size - CRC_BYTES

#: Most bytes of results in a frame.
RESULT_BYTES = PAYLOAD_BYTES - RESULT.size
