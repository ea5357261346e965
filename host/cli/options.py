"""Options that several commands share, so that they are named, explained and checked in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tritloom.host.cli.output import note
from tritloom.host.errors import TritloomError, UsageError
from tritloom.host.faults import Faults
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.host.model.model import Model

__all__ = ["GEOMETRY", "device_option", "faults_option", "geometry_option", "json_option", "model_option", "read_text", "simulated_geometry"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


class _GeometryType(click.ParamType):
    """``R,C,L`` as a `Geometry`."""

    name = "R,C,L"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Geometry:
        if isinstance(value, Geometry):
            return value
        try:
            return Geometry.parse(value)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)


GEOMETRY = _GeometryType()
"""Parameter type of ``--geometry``."""

geometry_option = click.option(
    "--geometry", type=GEOMETRY, metavar="R,C,L",
    help=f"Rows, columns and lanes of a simulated device ({Geometry()} if not given); any other device must have it already.")


class _FaultsType(click.ParamType):
    """``SEED:RATE`` as `Faults`."""

    name = "SEED:RATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Faults:
        try:
            return value if isinstance(value, Faults) else Faults.parse(value)
        except UsageError as error:
            self.fail(f"{error}.", param, ctx)


def _tell_at_the_end(ctx: click.Context, param: click.Parameter, faults: Faults | None) -> Faults | None:
    """Whatever ends the command: what was injected is said."""
    if faults is not None:
        ctx.call_on_close(lambda: [note(line.summary()) for line in faults.lines])
    return faults


faults_option = click.option(
    "--faults", type=_FaultsType(), callback=_tell_at_the_end, metavar="SEED:RATE",
    help="Damage what crosses the link on purpose: RATE of the bytes, such as 0.01, with random numbers from SEED; "
         "SEED:RATE:CUT also cuts it after CUT bytes. What was done and repeated is said at the end.")

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, and nothing else there.")

model_option = click.option("--model", default="nano", show_default=True, metavar="NAME|FILE", help="A shipped model or a *.trit file.")


def device_option(default: str) -> Callable[[_Command], _Command]:
    """``--device``."""
    return click.option("--device", default=default, show_default=True, metavar="NAME",
                        help="sim, model, board:NAME, serial:PORT[:BAUD] or tcp:HOST:PORT; `tritloom devices` lists them.")


def simulated_geometry(device: str, model: Model) -> Geometry | None:
    """What to build a simulated device with where no geometry was given; None for its default.

    Only `model` is worth building otherwise: with a store for all of a large model's weights, since it computes no cycle of its array, and for the words
    that a file made for one array holds, which are then not packed anew.
    """
    if device != "model" or (geometry := model.fitting_geometry()) == Geometry():
        return None
    why = "the default geometry's weight store does not hold this model"
    if model.order is not None:
        why = f"the file is in the words of arrays of {model.order.cols} columns and {model.order.lanes} lanes"
    note(f"Note: {why}: `model` is built as {geometry} with {geometry.weight_words:,} words; --geometry builds another")
    return geometry


def read_text(path: Path) -> str:
    """A UTF-8 file's text, its line ends as they are: a model was trained on exactly those characters.

    Raises
    ------
    TritloomError
        If it cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise TritloomError(f"the text {str(path)!r} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise TritloomError(f"the text {str(path)!r} is not UTF-8 at byte {error.start}: convert it to UTF-8 first") from error
