"""Where everything goes: results to standard output; notes, progress and errors to standard error.

rich is imported when something is to be shown with it, so that `--help` and `--json` do without.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["complain", "console", "note", "print_json", "show_table", "write"]


@cache
def console(*, err: bool = False) -> Console:
    """A console that prints text as it is: a bracket in a file's name is no markup.

    There is one for each stream, so that a note printed while a bar is shown goes above the bar, and not through it.
    """
    from rich.console import Console

    return Console(stderr=err, markup=False, emoji=False, highlight=False)


def print_json(record: Mapping[str, Any]) -> None:
    """One object on one line. Numbers must be finite."""
    click.echo(json.dumps(record, allow_nan=False))


def write(text: str) -> None:
    """A piece of text to standard output, at once and unchanged."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note(text: str) -> None:
    """A remark to standard error, on a line of its own."""
    from rich.text import Text

    console(err=True).print(Text(_sentence(text), "dim"), soft_wrap=True)


def complain(text: str, label: str = "Error") -> None:
    """An error to standard error, on a line of its own."""
    from rich.text import Text

    console(err=True).print(Text.assemble((f"{label}: ", "bold red"), _sentence(text)), soft_wrap=True)


def show_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str = "", numbers: Sequence[str] = ()) -> None:
    """A table on standard output.

    Parameters
    ----------
    columns
        Headings.
    rows
        One text a column.
    caption
        A line below it.
    numbers
        The columns to align right.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    out = console()
    out.print(table)
    if caption:
        out.print(Text(f" {caption}", "dim"), soft_wrap=True)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
