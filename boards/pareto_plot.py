"""The picture of a search: logic against speed, as SVG. Needs matplotlib, which is the extra `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tritloom.boards.explore import Candidate, Exploration
from tritloom.host.beside import written_beside
from tritloom.host.errors import TritloomError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["check_plotting", "plot"]

#: Readable on white and on black.
_INK, _FRONT, _MISSED = "#808080", "#1f8fd0", "#d0601f"

#: Labels nearer than this to one another, in points, would overlap.
_NEAR = 12


def check_plotting(path: Path) -> None:
    """Find out before the search whether its picture can be drawn and written.

    Raises
    ------
    TritloomError
        If matplotlib is missing, or the file cannot be written.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise TritloomError("the plot needs matplotlib, which is not installed: pip install 'tritloom[plot]'") from error
    try:
        with written_beside(path) as beside:
            beside.write_bytes(path.read_bytes() if path.is_file() else b"")
    except OSError as error:
        raise TritloomError(f"the plot {str(path)!r} cannot be written: {error.strerror or error}") from error


def plot(result: Exploration, path: Path) -> None:
    """Draw a search.

    Parameters
    ----------
    result : Exploration
    path : Path
        The SVG file.

    Raises
    ------
    TritloomError
        If the file cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same search gives the same file.
    with rc_context({"svg.hashsalt": "tritloom", "svg.fonttype": "none", "font.size": 9,
                     **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK)}):
        figure = Figure(figsize=(9.6, 4.4), layout="constrained")
        decode, prefill = figure.subplots(1, 2)
        _panel(decode, result, lambda candidate: candidate.decode_tokens_per_s, f"decode: {result.model} tokens/s, core alone")
        _panel(prefill, result, lambda candidate: candidate.prefill_tokens_per_s, f"prefill of {_prompt(result)} tokens: tokens/s, core alone")
        figure.suptitle(f"{result.board.title} at {result.board.clock_hz / 1e6:g} MHz", fontsize=10)
        handles, labels = decode.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
        try:
            with written_beside(path) as beside:
                figure.savefig(beside, format="svg", transparent=True, metadata={"Date": None})
        except OSError as error:
            raise TritloomError(f"the plot {str(path)!r} cannot be written: {error.strerror or error}") from error


def _prompt(result: Exploration) -> int:
    return next(candidate.speed.prefill.tokens for candidate in (*result.front, *result.others))


def _panel(axes: Axes, result: Exploration, speed: Any, title: str) -> None:
    def dots(candidates: list[Candidate], label: str, **style: Any) -> None:
        if candidates:
            axes.plot([candidate.cost.lut4 for candidate in candidates], [speed(candidate) for candidate in candidates],
                      linestyle="", label=label, **style)

    everything = [*result.front, *result.others]
    missed = [candidate for candidate in everything if candidate.missed]
    dots([candidate for candidate in result.others if not candidate.missed], "beaten", marker="o", markersize=3.5, color=_INK, fillstyle="none")
    dots([candidate for candidate in result.front if not candidate.placed], "front, estimated", marker="o", markersize=5, color=_FRONT, fillstyle="none")
    dots([candidate for candidate in result.front if candidate.placed], "front, placed", marker="o", markersize=5, color=_FRONT)
    dots(missed, "misses the clock", marker="x", markersize=6, color=_MISSED)
    dots([candidate for candidate in everything if candidate.own], "the board's own", marker="o", markersize=12, color=_INK, fillstyle="none")
    axes.axvline(result.board.capacity.lut4, color=_INK, linewidth=0.8, linestyle=":")
    axes.annotate("all of the part", (result.board.capacity.lut4, 0), xycoords=("data", "axes fraction"), xytext=(-3, 6), textcoords="offset points",
                  rotation=90, ha="right", color=_INK, fontsize=7)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("LUT4")
    axes.set_title(title, fontsize=9)
    axes.grid(color=_INK, alpha=0.2, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _label(axes, result, speed)


def _label(axes: Axes, result: Exploration, speed: Any) -> None:
    """Name the shapes of the front and the board's own, as far as there is room, the best first."""
    own = [candidate for candidate in result.others if candidate.own]
    there: list[tuple[float, float]] = []
    named: set[tuple[int, int, int]] = set()
    for candidate in (*own, *result.front):
        point = candidate.cost.lut4, speed(candidate)
        x, y = axes.transData.transform(point)
        if candidate.shape in named or any(abs(x - other_x) < 4 * _NEAR and abs(y - other_y) < _NEAR for other_x, other_y in there):
            continue
        named.add(candidate.shape)
        there.append((x, y))
        axes.annotate(str(candidate.geometry), point, xytext=(-5, 5), textcoords="offset points", ha="right", color=_INK, fontsize=7)
