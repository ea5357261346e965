"""The record of a job for the array."""

from __future__ import annotations

from functools import lru_cache

from tritloom.rtl.wire import JOB, Destination, Engine, Source, Weights

__all__ = ["job_payload"]


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
