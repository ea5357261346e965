"""Ctrl-C for all tests; and for the tests of boards and of the commands about them, stand-ins for the FPGA tools, small programs that do what the test is about, where the real ones would take minutes, or would not fail."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tritloom.boards import Board, find
from tritloom.rtl.geometry import Geometry

# Shells start background jobs, and nohup its program, with Ctrl-C ignored, which is inherited; some tests send it to programs that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_YOSYS = """\
import json, pathlib, sys
pathlib.Path("top.json").write_text("{}")
pathlib.Path("stat.json").write_text(json.dumps({"design": {"num_cells_by_type": %(cells)s}}))
"""

#: Its counts add up: 11 tables and 3 flip-flops an element, 100 and 50 for what every core has, 20 more for what a board has around it.
_ADDING_YOSYS = """\
import json, pathlib, re, sys
modules = re.findall(r"^module (\\S+)", pathlib.Path("top.il").read_text(), re.MULTILINE)
elements = sum(name.endswith("dot") for name in modules)
core, board = any(name.endswith("sequencer") for name in modules), any(name.endswith("front") for name in modules)
pathlib.Path("top.json").write_text("{}")
pathlib.Path("stat.json").write_text(json.dumps({"design": {"num_cells_by_type": {
    "SB_LUT4": 11 * elements + 100 * core + 20 * board, "SB_CARRY": 500, "SB_DFF": 3 * elements, "SB_DFFESR": 50 * core}}}))
"""

_NEXTPNR = """\
import json, pathlib, sys
arguments = dict(zip(sys.argv[1:], sys.argv[2:]))
report = json.loads(pathlib.Path(%(sample)r).read_text())
report["fmax"]["core_clk"]["achieved"] = %(mhz)s[int(arguments["--seed"]) - 1]
pathlib.Path(arguments["--report"]).write_text(json.dumps(report))
pathlib.Path(arguments["--write"]).write_text(json.dumps({"modules": {"top": {"cells": {
    "device.core.array.pe0_0.total_SB_LUT4_O_LC": {"type": "ICESTORM_LC", "attributes": {"NEXTPNR_BEL": "X3/Y4/lc2"}}}}}}))
pathlib.Path(arguments["--asc"]).write_text(f"seed {arguments['--seed']}")
"""

_ICEPACK = """\
import pathlib, sys
pathlib.Path(sys.argv[2]).write_text("bits of " + pathlib.Path(sys.argv[1]).read_text())
"""


class Tools:
    """The three tools of an iCE40, each a Python program that a test can replace."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        self._folder = folder
        self.runs = folder / "runs"
        for name in ("YOSYS", "NEXTPNR_ICE40", "ICEPACK"):
            # $YOSYS and its like are how Amaranth lets people name their tools.
            monkeypatch.setenv(name, f"{sys.executable} {folder / name}")
        self.works()

    def works(self, mhz: tuple[float, ...] = (50.0,), cells: dict[str, int] | None = None) -> None:
        """All succeed; seed n reaches ``mhz[n - 1]``."""
        sample = str(Path(__file__).parent / "boards" / "samples" / "nextpnr-ice40.json")
        self.replace("YOSYS", _YOSYS % {"cells": json.dumps(cells or {"SB_LUT4": 640})})
        self.replace("NEXTPNR_ICE40", _NEXTPNR % {"sample": sample, "mhz": repr(mhz)})
        self.replace("ICEPACK", _ICEPACK)

    def replace(self, name: str, program: str) -> None:
        """What a tool does; it also leaves a mark that it ran."""
        (self._folder / name).write_text(f"open({str(self.runs)!r}, 'a').write({name!r} + '\\n')\n{program}")

    @property
    def ran(self) -> list[str]:
        """The tools that ran, in order."""
        return self.runs.read_text().split() if self.runs.exists() else []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tritloom" / "boards"


@pytest.fixture
def tools(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    """Tools that work, and an empty cache."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return Tools(folder, monkeypatch)


@pytest.fixture
def icebreaker() -> Board:
    return find("icebreaker")


@pytest.fixture
def small() -> Geometry:
    """A geometry that is elaborated in half a second."""
    return Geometry(rows=1, cols=2, lanes=2, depth=64, weight_words=512)


@pytest.fixture
def folders(cache: Path) -> Callable[[], list[str]]:
    """A function: what is in the cache."""
    return lambda: sorted(path.name for path in cache.iterdir()) if cache.exists() else []


@pytest.fixture
def adding(tools: Tools) -> Tools:
    """The same, with a synthesis whose counts follow from the number of processing elements."""
    tools.replace("YOSYS", _ADDING_YOSYS)
    return tools
