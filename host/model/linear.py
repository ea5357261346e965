"""BitLinears of one input, side by side as one matrix: what an accelerator is given, and the scales that the host keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tritloom.host.model.layout import common_group
from tritloom.host.trits import Ternary
from tritloom.host.words import ArrayMatrix

__all__ = ["FusedTernary"]


class FusedTernary:
    """Several ternary matrices of K columns as one, each with its own scale or scales.

    Parameters
    ----------
    columns
        K.
    parts
        Rows of each, and its scale as `Ternary` has it.
    trits
        Makes the ``(N, K)`` int8 matrix.
    words
        The same matrix in an array's words, one for each group of columns (for all of them, without groups); ``None`` when it does not lie so.

    Attributes
    ----------
    shape : tuple of int
        ``(N, K)`` of all together.
    group : int or None
        Columns that are multiplied together, the widest groups that divide every part's; ``None`` when no part has groups.
    words : list of ArrayMatrix or None
        As given.
    """

    def __init__(
        self,
        columns: int,
        parts: Sequence[tuple[int, float | np.ndarray]],
        trits: Callable[[], np.ndarray],
        words: list[ArrayMatrix] | None = None,
    ) -> None:
        self.shape = (sum(rows for rows, _ in parts), columns)
        self.group = common_group(columns, [columns // scale.shape[1] if isinstance(scale, np.ndarray) else None for _, scale in parts])
        self.words = words
        self._parts = list(parts)
        self._trits = trits

    @classmethod
    def of(cls, parts: Sequence[Ternary]) -> FusedTernary:
        """From matrices in memory."""
        def trits() -> np.ndarray:
            return parts[0].trits if len(parts) == 1 else np.concatenate([part.trits for part in parts])

        return cls(parts[0].trits.shape[1], [(len(part.trits), part.scale) for part in parts], trits)

    def trits(self) -> np.ndarray:
        """The matrix: ``(N, K)`` int8."""
        return self._trits()

    def scales(self, factors: Sequence[float]) -> np.ndarray:
        """What results are multiplied by.

        Parameters
        ----------
        factors
            What each part's scale is multiplied by besides, in float64, before it is rounded to float32.

        Returns
        -------
        np.ndarray
            float32: ``(N,)``, or ``(N, K / group)`` with groups.
        """
        found = []
        for (rows, scale), factor in zip(self._parts, factors, strict=True):
            if self.group is None:
                found.append(np.full(rows, scale * factor, np.float32))
            else:
                own = np.array(scale, np.float64, ndmin=2) * factor
                groups = self.shape[1] // self.group
                found.append(np.broadcast_to(np.repeat(own, groups // own.shape[1], axis=1), (rows, groups)).astype(np.float32))
        return np.concatenate(found)
