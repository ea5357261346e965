"""`tritloom rtl`: Verilog that says what it is, the same every time."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest


@pytest.mark.parametrize("part, ports", [
    ("pe", {"clk", "rst", "acts", "weights", "clear", "total", "owed"}),
    ("array", {"clk", "rst", "beats__valid", "beats__payload", "weights", "acts__0", "sums__0__payload", "sums__0__valid", "tile_done"}),
    ("core", {"clk", "rst", "rx__payload", "rx__valid", "rx__ready", "tx__payload", "tx__valid", "tx__ready",
              "rates__payload", "rates__valid", "good_frame", "bad_frame", "working"}),
])
def test_parts(succeed, tmp_path: Path, part: str, ports: set[str]) -> None:
    path = tmp_path / "out.v"
    path.write_text("old")
    result = succeed("rtl", "--geometry", "1,3,2", "--part", part, "-o", path)
    text = path.read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"// tritloom {version('tritloom')}, {part}, geometry 1,3,2 (rows, columns, lanes), cells of generic"
    module = re.search(rf"^module tritloom_{part}\((.*)\);$", text, re.MULTILINE)
    assert module is not None
    assert set(module[1].split(", ")) == ports
    assert text.rstrip().endswith("endmodule")
    assert result.stdout == ""
    assert result.stderr == f"wrote {path}: tritloom_{part}, geometry 1,3,2, cells of generic, {len(text.splitlines()):,} lines.\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("family, part, cell", [("ecp5", "pe", "CCU2C"), ("gowin", "pe", "TRITLOOM_ALU"), ("ice40", "core", "SB_SPRAM256KA")])
def test_a_family_brings_its_cells(succeed, tmp_path: Path, family: str, part: str, cell: str) -> None:
    path = tmp_path / "out.v"
    succeed("rtl", "--geometry", "1,2,8", "--part", part, "-o", path)
    assert f"{cell} " not in path.read_text(encoding="utf-8")
    succeed("rtl", "--geometry", "1,2,8", "--part", part, "--family", family, "-o", path)
    assert f"  {cell} " in path.read_text(encoding="utf-8")


def test_registers_of_the_tree(succeed, tmp_path: Path) -> None:
    """Four levels: two registers behind them in the middle. Standard cells get none, unless it is asked for."""
    def registers(*options: object) -> int:
        path = tmp_path / "out.v"
        succeed("rtl", "--geometry", "1,1,16", "--part", "pe", *options, "-o", path)
        return len(re.findall(r"^  reg .*stage", path.read_text(encoding="utf-8"), re.MULTILINE))

    assert registers() > 0
    assert registers("--tree-pitch", 1) > registers()
    assert registers("--family", "asic") == registers("--tree-pitch", 8) == 0
    assert registers("--family", "asic", "--tree-pitch", 2) == registers()


def test_the_same_every_time(command) -> None:
    """In processes whose sets are ordered differently; and to standard output, with nothing else there. The core is the default part."""
    outputs = set()
    for seed in ("1", "2"):
        done = subprocess.run([*command, "rtl", "--geometry", "1,2,2", "-o", "-"], capture_output=True, text=True, check=False,
                              env={**os.environ, "PYTHONHASHSEED": seed})
        assert (done.returncode, done.stderr) == (0, "")
        outputs.add(done.stdout)
    [text] = outputs
    assert text.startswith("// tritloom ")
    assert "module tritloom_core(" in text
    assert "src =" not in text


def test_bad_input(fail, tmp_path: Path) -> None:
    assert fail(2, "rtl", "--part", "cor", "-o", "x.v").startswith("Invalid value for '--part': 'cor' is not one of ")
    assert fail(2, "rtl", "--tree-pitch", "9", "-o", "x.v").startswith("Invalid value for '--tree-pitch': 9 is not in the range 1<=x<=8")
    assert fail(2, "rtl", "--family", "xilinx", "-o", "x.v").startswith("Invalid value for '--family': 'xilinx' is not one of ")
    assert fail(2, "rtl", "--geometry", "1,2,999", "-o", "x.v") == (
        "Invalid value for '--geometry': `lanes` must be an integer from 1 to 240, not 999.")
    assert fail(2, "rtl", "-o", tmp_path).endswith("is a directory.")
    absent = tmp_path / "absent" / "x.v"
    assert fail(1, "rtl", "--part", "pe", "-o", absent) == f"'{absent}' cannot be written: No such file or directory."
