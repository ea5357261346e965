"""Which words of the weight store are free."""

from __future__ import annotations

__all__ = ["Space"]


class Space:
    """First-fit allocation of words.

    Parameters
    ----------
    size : int
        Words 0 to ``size - 1`` are free at first.
    """

    def __init__(self, size: int) -> None:
        self._gaps = [(0, size)] if size else []    # (start, end), in order, never touching

    def take(self, size: int) -> int | None:
        """Start of `size` words now taken, or None if no gap is that large."""
        for i, (start, end) in enumerate(self._gaps):
            if end - start >= size:
                self._gaps[i:i + 1] = [(start + size, end)] if end - start > size else []
                return start
        return None

    def give(self, start: int, size: int) -> None:
        """Give back what `take` gave."""
        merged: list[tuple[int, int]] = []
        for gap in sorted([*self._gaps, (start, start + size)]):
            if merged and merged[-1][1] == gap[0]:
                merged[-1] = (merged[-1][0], gap[1])
            else:
                merged.append(gap)
        self._gaps = merged
