"""What the page's plots share: axes, legends, and the levels' marks."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tritloom.sim.energy.figure import amount
from tritloom.sim.energy.page.svg import Linear, Log, escape, label, line

__all__ = ["SHAPES", "TOP", "axes", "legend", "short"]

#: Shapes of the levels' marks.
SHAPES = {"table": "circle", "gate": "square", "board": "diamond", "model": "triangle"}

#: Pixels above a plot with two axes, for the name of the upright one.
TOP = 28.0


def axes(across: Log | Linear, up: Log | Linear, height: float, left: float, below: str, beside: str) -> list[str]:
    """A grid with its numbers, and what the two axes are.

    Parameters
    ----------
    across, up : Log or Linear
        In percent, and in pixels.
    height, left : float
        Of the plot, and where its grid begins.
    below, beside : str
        Quantity and unit of each axis.
    """
    bottom, body = height - 44, []
    for tick in _ticks(across):
        body += [line(across.at(tick), TOP, across.at(tick), bottom, "grid"), label(across.at(tick), bottom + 16, short(tick), kind="tick", anchor="middle")]
    for tick in _ticks(up):
        body += [line(left, up.at(tick), 97, up.at(tick), "grid"), label(left, up.at(tick) + 4, short(tick), kind="tick", anchor="end", dx=-6)]
    return [*body, label(54, height - 8, below, kind="tick", anchor="middle"), label(0, 10, beside, kind="tick")]


def _ticks(scale: Log | Linear) -> list[float]:
    """Round numbers on a scale; on a short logarithmic one also 2 and 5 times a power of ten."""
    if isinstance(scale, Linear):
        return scale.ticks(5)
    first, last = (math.log10(end) for end in (scale.low, scale.high))
    if last - first > 2.5:
        step = math.ceil((last - first) / 5)
        return [10.0**exponent for exponent in range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1, step)]
    ticks = [factor * 10.0**exponent for exponent in range(math.floor(first), math.ceil(last) + 1) for factor in (1, 2, 5)]
    return [tick for tick in ticks if scale.low <= tick <= scale.high]


def short(number: float) -> str:
    """A number for an axis: "10", "0.01", "100 k", "10 G"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{amount(number / (1000 if letter == 'k' else size))} {letter}"
    return amount(number)


def legend(entries: Mapping[str, str]) -> str:
    """A list of names, each with a patch of its class."""
    keys = "".join(f'<li><svg width="14" height="14" aria-hidden="true"><rect width="14" height="14" class="{kind}"/></svg> {escape(name)}</li>' for name, kind in entries.items())
    return f'<ul class="legend">{keys}</ul>'
