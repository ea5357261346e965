"""The records of the driver's commands: words for a memory, and a job for the array."""

from __future__ import annotations

from functools import lru_cache

from tritloom.host.link import Command
from tritloom.rtl.wire import JOB, WRITE, Destination, Engine, Memory, Op, Source, Weights

__all__ = ["job_payload", "write_commands"]


def write_commands(memory: Memory, row: int, at: int, data: bytes, word_bytes: int, per_frame: int, what: str) -> list[Command]:
    """WRITE commands for whole words.

    Parameters
    ----------
    memory, row, at
        Where the first word goes.
    data
        The words, `word_bytes` each.
    word_bytes
        Of the memory.
    per_frame
        Words that one command carries.
    what
        For messages.
    """
    step = per_frame * word_bytes
    return [
        Command(Op.WRITE, _write_record(memory, row, at + i * per_frame) + data[i * step:(i + 1) * step], what)
        for i in range(-(-len(data) // step))
    ]


@lru_cache(maxsize=1024)
def _write_record(memory: Memory, row: int, at: int) -> bytes:
    return WRITE.pack(memory=memory, row=row, at=at)


@lru_cache(maxsize=4096)
def job_payload(at: int | None, k: int, n: int, rows: int, acts_at: int, size: int, hold: bool) -> bytes:
    """A job on the array, for results over the link; kept, because the same few run again for every token.

    Parameters
    ----------
    at
        The matrix's address in the weight store; ``None`` when its words are streamed.
    k, n
        Its columns and rows.
    rows
        Vectors.
    acts_at
        Their address.
    size
        Bytes a result.
    hold
        Whether it waits for the job behind it.
    """
    return JOB.pack(
        engine=Engine.ARRAY,
        source=Source.ACTS,
        destination=Destination.LINK,
        weights=Weights.STORE if at is not None else Weights.STREAM,
        hold=int(hold),
        rows=rows,
        result_bytes=size,
        acts_at=acts_at,
        k=k,
        n=n,
        weights_at=at or 0,
    )
