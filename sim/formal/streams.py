"""The rules of a stream, as assumptions about whoever sends into a block, and as promises of the block's own."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Value

from .bench import Bench

__all__ = ["keeps_its_word", "kept", "well_behaved"]


def kept(bench: Bench, stream: Any) -> Value:
    """What was offered and not taken a cycle ago is still offered, and is the same."""
    offered = bench.register(stream.valid & ~stream.ready)
    before = bench.register(Value.cast(stream.payload))
    return ~offered | (stream.valid & (Value.cast(stream.payload) == before))


def keeps_its_word(bench: Bench, stream: Any, name: str) -> None:
    """Promise that a stream out of the block stays valid, with the same payload, until it is taken; and that both that and waiting happen."""
    bench.always(kept(bench, stream), f"{name}: valid and payload stay until ready")
    bench.reaches(bench.register(stream.valid & ~stream.ready) & stream.valid & stream.ready, f"{name}: taken after it had to wait")


def well_behaved(bench: Bench, stream: Any) -> None:
    """Assume that a stream into the block stays valid, with the same payload, until it is taken."""
    bench.given(kept(bench, stream))
