"""A ternary tensor as it lies in a model file: scales of groups, then packed weights, row by row or in an array's words."""

from __future__ import annotations

from typing import Any

import numpy as np

from tritloom.host.model.layout import Slot, common_group
from tritloom.host.model.linear import FusedTernary
from tritloom.host.trits import TWO_BIT, Packing, Ternary, are_scales
from tritloom.host.words import ArrayMatrix, ArrayOrder, Words

__all__ = ["StoredMatrix"]


class StoredMatrix:
    """One matrix of a file, of one BitLinear or of several side by side. A view: nothing is unpacked before it is asked for.

    Parameters
    ----------
    slot
        Name, shape and parts.
    parts
        What the file's table says of them: ``name``, ``rows`` and ``scale`` or ``group``.
    packing
        Of the weights.
    order
        In whose words they lie; ``None`` for row by row.
    raw
        All of its bytes, uint8.

    Attributes
    ----------
    parts : list of (str, int, float or np.ndarray)
        Each BitLinear's name, rows, and scale or ``(rows, K / group)`` scales.
    """

    def __init__(self, slot: Slot, parts: list[dict[str, Any]], packing: Packing, order: ArrayOrder | None, raw: np.ndarray) -> None:
        self._slot = slot
        self._packing = packing
        self._order = order
        columns = slot.shape[1]
        self.parts: list[tuple[str, int, float | np.ndarray]] = []
        at = 0
        for part in parts:
            scale: float | np.ndarray = part.get("scale", 0.0)
            if "group" in part:
                count = part["rows"] * (columns // part["group"])
                scale = raw[at : at + 4 * count].view("<f4").reshape(part["rows"], -1)
                at += 4 * count
            self.parts.append((part["name"], part["rows"], scale))
        self._group = common_group(columns, [part.get("group") for part in parts])
        self._packed = raw[at:]

    def problem(self) -> str | None:
        """What is wrong with it, or ``None``. Words of an array are looked at as codes; what lies in them outside the matrix is not."""
        for name, _, scale in self.parts:
            if isinstance(scale, np.ndarray) and not are_scales(scale):
                return f"tensor {name!r} holds a scale of a group that is no positive float32 number"
        rows, columns = self._slot.shape
        if self._order is None:
            invalid = self._packing.has_invalid_code(self._packed.reshape(rows, -1), columns)
        else:
            invalid = self._packing.has_invalid_code(self._packed[None], self._packing.per_byte * self._packed.size)
        return f"tensor {self._slot.name!r} holds {self._packing.invalid}, which is no ternary weight" if invalid else None

    def ternary(self, name: str) -> Ternary:
        """One of its parts, freshly unpacked."""
        start, rows = self._rows(name)
        return Ternary(self._unpack(start, start + rows), self.scale(name))

    def scale(self, name: str) -> float | np.ndarray:
        """Scale or scales of a part."""
        return next(scale for own, _, scale in self.parts if own == name)

    def shape_of(self, name: str) -> tuple[int, int]:
        """``(N, K)`` of a part."""
        return self._rows(name)[1], self._slot.shape[1]

    def nbytes_of(self, name: str) -> int:
        """Bytes of a part in the file, scales included; of words, its rows' share."""
        scale = self.scale(name)
        share = self._packed.size * self._rows(name)[1] // self._slot.shape[0]
        return share + (scale.nbytes if isinstance(scale, np.ndarray) else 0)

    def zeros(self, name: str) -> int:
        """How many of a part's weights are 0."""
        start, rows = self._rows(name)
        columns = self._slot.shape[1]
        if self._order is None:
            return self._packing.zeros(self._packed.reshape(self._slot.shape[0], -1)[start : start + rows], columns)
        return rows * columns - int(np.count_nonzero(self._unpack(start, start + rows)))

    def fused(self) -> FusedTernary:
        """All of it."""
        parts = [(rows, scale) for _, rows, scale in self.parts]
        return FusedTernary(self._slot.shape[1], parts, lambda: self._unpack(0, self._slot.shape[0]), None if self._order is None else self._words(self._order))

    def _rows(self, name: str) -> tuple[int, int]:
        """First row and rows of a part."""
        start = 0
        for own, rows, _ in self.parts:
            if own == name:
                return start, rows
            start += rows
        raise KeyError(name)

    def _unpack(self, start: int, stop: int) -> np.ndarray:
        """Rows as int8."""
        rows, columns = self._slot.shape
        if self._order is None:
            return self._packing.unpack(self._packed.reshape(rows, -1)[start:stop], columns)
        groups = self._words(self._order)
        trits = groups[0].trits() if len(groups) == 1 else np.concatenate([group.trits() for group in groups], axis=1)
        return trits if stop - start == rows else trits[start:stop].copy()

    def _words(self, order: ArrayOrder) -> list[ArrayMatrix]:
        """The matrix of each group of columns, in words."""
        rows, columns = self._slot.shape
        step = self._group or columns
        matrices, at = [], 0
        for _ in range(columns // step):
            parts = []
            for first, k in order.cuts(step, None):
                size = order.word_bytes(rows, k)
                stored = size if self._packing is TWO_BIT else self._packing.row_bytes(4 * size)
                parts.append((first, k, Words(self._packed[at : at + stored], size, self._packing.name)))
                at += stored
            matrices.append(ArrayMatrix((rows, step), order, parts))
        return matrices
