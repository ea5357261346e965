"""Files that are there whole or not at all: written beside their place, and renamed into it."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["resolved", "written_beside"]


def resolved(path: Path) -> Path:
    """The path without links.

    Raises
    ------
    OSError
        If links lead in a circle, which Python before 3.13 says in another way.
    """
    try:
        return path.resolve()
    except RuntimeError as error:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from error


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Where to write what is to become `path`.

    When the block ends, the file takes its place; when it fails, nothing has changed. A symbolic link stays, and the file it leads to is
    replaced. What is there and is no regular file, such as a device or a pipe, is written itself.

    Parameters
    ----------
    path : Path
        The file to be.

    Yields
    ------
    Path
        To write to, in the same folder.

    Raises
    ------
    OSError
        If the file cannot be written there.
    """
    target = resolved(path)
    if target.exists() and not target.is_file():
        yield target
        return
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
