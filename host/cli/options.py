"""Options that several commands share, so that they are named, explained and checked in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from tritloom.host.errors import TritloomError
from tritloom.rtl.geometry import Geometry

__all__ = ["GEOMETRY", "device_option", "geometry_option", "json_option", "model_option", "read_text"]

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

json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, and nothing else there.")

model_option = click.option("--model", default="nano", show_default=True, metavar="NAME|FILE", help="A shipped model or a *.trit file.")


def device_option(default: str) -> Callable[[_Command], _Command]:
    """``--device``."""
    return click.option("--device", default=default, show_default=True, metavar="NAME",
                        help="sim, model, board:NAME, serial:PORT[:BAUD] or tcp:HOST:PORT; `tritloom devices` lists them.")


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
