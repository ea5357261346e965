"""Where a library of standard cells comes from: two files that somebody names, or those of the Debian package that has one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from tritloom.host.errors import UsageError
from tritloom.sim.energy.gate.errors import LibraryError
from tritloom.sim.energy.gate.liberty import Library, read_library

__all__ = ["PACKAGE", "StandardCells", "find_cells"]

#: Debian's package of the default library, Oklahoma State University's cells for a 180 nm process at 1.8 V.
PACKAGE = "qflow-tech-osu018"

_FOLDER = Path("/usr/share/qflow/tech/osu018")


@dataclass(frozen=True)
class StandardCells:
    """A library and its cells' models.

    Parameters
    ----------
    library : Library
    models : Path
        Verilog of each cell, with delays.
    """

    library: Library
    models: Path

    @cached_property
    def digest(self) -> str:
        """Of both files."""
        return hashlib.sha256(self.library.digest.encode() + self.models.read_bytes()).hexdigest()


def find_cells(liberty: Path | None = None, models: Path | None = None) -> StandardCells:
    """A library of standard cells.

    Parameters
    ----------
    liberty, models : Path, optional
        Both, or neither for the default.

    Raises
    ------
    UsageError
        If one is given without the other.
    LibraryError
        If a file is missing, is not what it should be, or the default library is not installed.
    """
    if (liberty is None) != (models is None):
        raise UsageError("a cell library is two files: give both --liberty FILE (its tables) and --cells FILE (its cells in Verilog)")
    if liberty is None or models is None:
        liberty, models = _FOLDER / "osu018_stdcells.lib", _FOLDER / "osu018_stdcells.v"
        if not liberty.exists() or not models.exists():
            raise LibraryError(f"the gate level needs a library of standard cells, and the default one is not in {_FOLDER}: "
                               f"install it (Debian: apt install {PACKAGE}), or give --liberty FILE and --cells FILE")
    if not models.is_file():
        raise LibraryError(f"the cells' models {models} are not there: give the library's Verilog file")
    return StandardCells(_read(liberty), models)


@lru_cache(maxsize=4)
def _read(path: Path) -> Library:
    return read_library(path)
