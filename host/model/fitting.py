"""A geometry whose weight store holds all of a model: for the device `model`, which is built as large as one asks.

There a streamed weight costs as much time as it took to send it, for every vector; a resident one is sent once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tritloom.host.model.placement import resident_weights, store_words
from tritloom.host.words import ArrayOrder
from tritloom.rtl.geometry import MOST_WEIGHT_WORDS, Geometry

__all__ = ["fitting_geometry"]

#: Vectors at once of the arrays that are made for a large model: widening its packed weights takes as long as multiplying so many by them.
_ROWS = 16

#: Columns and lanes for a large model. Three words of the first fill a frame but for 4 bytes, and its sizes divide BitNet 2B-4T's; words of the second,
#: the longest that a frame holds, are for more than five billion weights.
_SHAPES = ((16, 20), (16, 60))


def fitting_geometry(matrices: Sequence[tuple[int, int, int | None]], order: ArrayOrder | None = None) -> Geometry:
    """The default geometry if all of the matrices fit it, else a larger one.

    Parameters
    ----------
    matrices : sequence of (N, K, group)
        As `ModelShape.matrices` gives them.
    order : ArrayOrder, optional
        In which words the model file has them: those numbers are then kept, so that nothing is packed anew.

    Returns
    -------
    Geometry
        With as many words in the weight store as are needed, or as there can be.
    """
    weights = sum(n * k for n, k, _ in matrices)
    usual = Geometry()
    if order is not None:
        usual = replace(usual, cols=order.cols, lanes=order.lanes, col_pitch=order.col_pitch, depth=order.depth)
    if resident_weights(matrices, usual) == weights:
        return usual
    shapes = _SHAPES if order is None else ((order.cols, order.lanes),)
    for cols, lanes in shapes:
        large = replace(usual, rows=_ROWS, cols=cols, lanes=lanes)
        words = store_words(matrices, large)
        if words <= MOST_WEIGHT_WORDS:
            return replace(large, weight_words=words)
    return replace(large, weight_words=MOST_WEIGHT_WORDS)
