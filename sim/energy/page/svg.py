"""Pieces of the page's plots: scales, marks and frames, as SVG that goes with the width of its place.

Horizontal positions are percentages and vertical ones pixels, so that a plot is as wide as the page and its letters stay as large as they are.
Colours are classes of the page's style sheet, which has them for light and dark.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape as _escape

__all__ = ["Linear", "Log", "circle", "escape", "figure", "label", "line", "mark", "path", "rect", "wrap"]

#: What XML does not allow, however it is written.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def escape(text: object) -> str:
    """Text for an element or, within double quotes, for an attribute."""
    return _escape(_FORBIDDEN.sub("\ufffd", str(text)), {'"': "&quot;"})


@dataclass(frozen=True)
class Log:
    """A logarithmic scale from a power of ten to another.

    Parameters
    ----------
    low, high : float
        What has to be on it; over 0.
    start, end : float
        Where the scale begins and ends, in whatever it is placed in.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float) -> Log:
        """A scale of whole decades that has all these values on it."""
        logs = [math.log10(value) for value in values if value > 0]
        low, high = math.floor(min(logs)), math.ceil(max(logs))
        return cls(10.0**low, 10.0 ** max(high, low + 1), start, end)

    def at(self, value: float) -> float:
        """The place of a value; the scale's nearest end for one that is outside, or not over 0."""
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.start + min(share, 1.0) * (self.end - self.start)

    def ticks(self, most: int = 9) -> list[float]:
        """Powers of ten, as few as `most`."""
        first, last = round(math.log10(self.low)), round(math.log10(self.high))
        step = math.ceil((last - first + 1) / most)
        return [10.0**exponent for exponent in range(first, last + 1, step)]


@dataclass(frozen=True)
class Linear:
    """A linear scale.

    Parameters
    ----------
    low, high : float
    start, end : float
        Where the scale begins and ends.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Iterable[float], start: float, end: float, *, zero: bool = True) -> Linear:
        """A scale between round numbers that has all these values on it, and 0 if `zero`."""
        known = [*values, *([0.0] if zero else [])]
        low, high = min(known), max(known)
        if low == high:
            high = low + (abs(low) or 1.0)
        step = _round_step((high - low) / 4)
        return cls(step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9), start, end)

    def at(self, value: float) -> float:
        """The place of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int = 6) -> list[float]:
        """Round numbers."""
        step = _round_step((self.high - self.low) / most)
        return [step * index for index in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)]


def _round_step(step: float) -> float:
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def figure(name: str, title: str, description: str, height: float, body: Iterable[str]) -> str:
    """A whole plot, with a title and a description for who cannot see it.

    Parameters
    ----------
    name : str
        Unique on the page, of letters and hyphens.
    title, description : str
    height : float
        Pixels.
    body : iterable of str
        SVG.
    """
    return "\n".join([
        f'<svg class="plot" xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{name}-title {name}-text" width="100%" height="{height:g}">',
        f'<title id="{name}-title">{escape(title)}</title>', f'<desc id="{name}-text">{escape(description)}</desc>', *body, "</svg>",
    ])


def label(x: float, y: float, text: object, *, kind: str = "", anchor: str = "start", dx: float = 0) -> str:
    """A line of text; `x` in percent, `y` and `dx` in pixels, `kind` a class."""
    shift = f' dx="{dx:g}"' if dx else ""
    return f'<text x="{x:.4g}%" y="{y:g}"{shift} text-anchor="{anchor}"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}>{escape(text)}</text>'


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """A straight line; `x1` and `x2` in percent."""
    return f'<line x1="{x1:.5g}%" y1="{y1:g}" x2="{x2:.5g}%" y2="{y2:g}" class="{kind}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """A bar; `x` and `width` in percent."""
    inside = f"><title>{escape(title)}</title></rect>" if title else "/>"
    return f'<rect x="{x:.5g}%" y="{y:g}" width="{width:.5g}%" height="{height:g}" class="{kind}"{inside}'


def circle(x: float, y: float, radius: float, kind: str) -> str:
    """A dot; `x` in percent."""
    return f'<circle cx="{x:.5g}%" cy="{y:g}" r="{radius:g}" class="{kind}"/>'


_SHAPES = {
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
    "square": "M-4.5-4.5h9v9h-9z",
    "diamond": "M0-6L6 0L0 6L-6 0z",
    "triangle": "M0-6L6 5H-6z",
}


def mark(x: float, y: float, shape: str, kind: str, title: str = "") -> str:
    """A mark of one of four shapes, which are told apart without colour; `x` in percent."""
    inside = f"<title>{escape(title)}</title>" if title else ""
    return f'<svg x="{x:.5g}%" y="{y:g}" overflow="visible"><path d="{_SHAPES[shape]}" class="{kind}">{inside}</path></svg>'


def path(points: Sequence[tuple[float, float]], height: float, kind: str) -> str:
    """A line through points; x in percent, y in pixels out of `height`."""
    steps = "L".join(f"{x:.2f} {y:.2f}" for x, y in points)
    return (f'<svg width="100%" height="{height:g}" viewBox="0 0 100 {height:g}" preserveAspectRatio="none" overflow="visible">'
            f'<path d="M{steps}" class="{kind}" vector-effect="non-scaling-stroke"/></svg>')


def wrap(text: str, width: int) -> list[str]:
    """Lines of no more than `width` characters where words allow, which no renderer of SVG does by itself."""
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines or [""]
