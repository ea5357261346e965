"""What a person sees while something takes its time: a spinner or a bar on a terminal, plain lines for log messages elsewhere."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tritloom.host.cli.output import console, note

__all__ = ["progress", "waiting"]


class _Listener(logging.Handler):
    """Hands messages on as text."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        self._hear(record.getMessage())


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """Say what is being waited for, and what tritloom's loggers tell meanwhile (such as a compile of half a minute).

    Parameters
    ----------
    what
        "Opening sim".
    quiet
        No spinner, even on a terminal.

    Yields
    ------
    callable
        Call it with what is being waited for from then on.
    """
    err = console(err=True)
    if quiet or not err.is_interactive:
        with _heard(note):
            yield _say_nothing
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task(what, total=None)

        def say(text: str) -> None:
            shown.update(task, description=text)

        with _heard(say):
            yield say


@contextmanager
def progress(what: str, *, quiet: bool) -> Iterator[Callable[[int, int, str], None]]:
    """A bar, on a terminal and unless `quiet`.

    Yields
    ------
    callable
        To be called with the work done, all the work, and a remark such as a loss.
    """
    err = console(err=True)
    if quiet or not err.is_interactive:
        yield _show_nothing
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    text = TextColumn("{task.description}", markup=False), TextColumn("{task.fields[remark]}", markup=False)
    columns = text[0], BarColumn(), TaskProgressColumn(), TimeRemainingColumn(elapsed_when_finished=True), text[1]
    with Progress(*columns, console=err, transient=True) as shown:
        task = shown.add_task(what, total=None, remark="")

        def update(done: int, total: int, remark: str = "") -> None:
            shown.update(task, completed=done, total=total, remark=remark)

        yield update


@contextmanager
def _heard(hear: Callable[[str], None]) -> Iterator[None]:
    logger, listener = logging.getLogger("tritloom"), _Listener(hear)
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(listener)


def _say_nothing(text: str) -> None:
    """Nobody watches."""


def _show_nothing(done: int, total: int, remark: str = "") -> None:
    """Nobody watches."""
