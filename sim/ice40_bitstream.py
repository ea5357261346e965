"""An iCE40 bitstream as Verilog: tables, routing, flip-flops and block RAMs, all as they are in the file that is flashed.

IceStorm's tools read it: `iceunpack`, which pip installs beside nextpnr, and `icebox_vlog`, which pip does not (Debian's package fpga-icestorm
has it). Block RAMs become instances of SB_RAM40_4K and its like; SPRAMs, PLLs and DSPs are not turned back.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

__all__ = ["find_icebox", "verilog"]


def find_icebox() -> tuple[str, ...] | None:
    """How to start `icebox_vlog`: as $ICEBOX_VLOG says, or what is on the PATH; None if it is not installed."""
    if named := os.environ.get("ICEBOX_VLOG", "").strip():
        return tuple(shlex.split(named))
    found = shutil.which("icebox_vlog")
    return (found,) if found else None


def verilog(folder: Path, bitstream: str, pins: str, package: str, name: str) -> str:
    """Turn a bitstream back.

    Parameters
    ----------
    folder : Path
        Where to work.
    bitstream : str
        The ``.bin`` file in it.
    pins : str
        The ``.pcf`` file in it, which names the pins.
    package : str
        Such as "sg48".
    name : str
        Of the module; its ports are the pins' names.

    Raises
    ------
    FileNotFoundError
        If a tool is not installed.
    subprocess.CalledProcessError
        If a tool fails.
    """
    icebox = find_icebox()
    # pip's is beside this Python, which need not be on the PATH.
    unpack = shutil.which("yowasp-iceunpack", path=sysconfig.get_path("scripts")) or shutil.which("iceunpack")
    if icebox is None or unpack is None:
        raise FileNotFoundError("turning an iCE40 bitstream back needs icebox_vlog (Debian's package fpga-icestorm) and iceunpack "
                                "(pip install 'tritloom[build]')")
    subprocess.run([unpack, bitstream, "unpacked.asc"], cwd=folder, check=True, capture_output=True)
    done = subprocess.run([*icebox, "-s", "-p", pins, "-d", package, "-n", name, "unpacked.asc"], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout
