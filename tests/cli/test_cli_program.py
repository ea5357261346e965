"""The program around the commands: help, version, errors, what is imported, and what a terminal gets."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tritloom.host.cli.output import note, show_table
from tritloom.host.cli.program import _explain
from tritloom.host.cli.progress import progress, waiting
from tritloom.host.errors import DeviceError, ModelFileError, UnknownNameError, UsageError

COMMANDS = ["run", "eval", "selftest", "devices", "models", "inspect", "convert", "serve-device", "boards", "build", "flash", "plan", "explore", "energy", "rtl", "train"]


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=60)


def test_help_lists_every_command(succeed) -> None:
    lines = succeed("--help").stdout.split("Commands:\n")[1].splitlines()
    assert [line.split()[0] for line in lines] == COMMANDS
    assert not any("..." in line for line in lines)    # none is cut short


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(succeed, command: str) -> None:
    text = succeed(command, "--help").stdout
    assert text.startswith(f"Usage: tritloom {command}")
    assert max(map(len, text.splitlines())) <= 80


def test_version(command) -> None:
    from importlib.metadata import version

    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tritloom {version('tritloom')}\n", "")


def test_the_installed_command_works() -> None:
    command = Path(sys.executable).with_name("tritloom")
    done = subprocess.run([command, "devices", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_command_is_help(tritloom) -> None:
    result = tritloom()
    assert result.exit_code == 2
    assert "Commands:" in result.stdout


def test_unknown_commands_and_options(fail) -> None:
    assert fail(2, "rum").startswith("there is no command named 'rum'. Did you mean run? Known: boards, build, convert, ")
    assert fail(2, "--versio").startswith("there is no option named '--versio'. Did you mean --version?")
    assert fail(2, "rtl", "--prt", "pe").startswith("there is no option named '--prt'. Did you mean --part ")
    assert fail(2, "rtl", "-x") == "there is no option named '-x'. Known: --family, --geometry, --help, --output, --part, --tree-pitch."


def test_missing_options(fail) -> None:
    assert fail(2, "eval") == "Missing option '--text'."
    assert fail(2, "rtl") == "Missing option '-o' / '--output'."


@pytest.mark.parametrize("error, code, sentence", [
    (UsageError("no"), 2, "no"),
    (ModelFileError("no"), 1, "no"),
    (DeviceError("no"), 1, "no"),
    (click.UsageError("no"), 2, "no"),
    (PermissionError(13, "Permission denied", "/etc/shadow"), 1, "/etc/shadow: Permission denied"),
    (OSError(28, "No space left on device"), 1, "No space left on device"),
    (KeyError("x"), 1, "tritloom failed in a way it should not (KeyError: 'x'); set TRITLOOM_DEBUG=1 to see where, and report it"),
])
def test_errors_become_sentences(error: Exception, code: int, sentence: str) -> None:
    assert _explain(error) == (sentence, code)


def test_errors_stay_themselves_for_debugging(tritloom, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITLOOM_DEBUG", "1")
    assert isinstance(tritloom("run", "--device", "sims").exception, UnknownNameError)


def test_help_imports_little() -> None:
    done = python("import sys; from tritloom.host.cli import main\n"
                  "try: main()\n"
                  "except SystemExit: print(*(name for name in ('rich', 'torch', 'amaranth', 'tritloom.sim') if name in sys.modules))")
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == ""


def test_running_imports_neither_amaranth_nor_torch(tiny) -> None:
    args = ["tritloom", "run", "--model", tiny, "--device", "model", "--tokens", "2", "--json"]
    done = python(f"import sys; from tritloom.host.cli import main; sys.argv = {args!r}\n"
                  "try: main()\n"
                  "except SystemExit as end: print(end.code, *(name for name in ('torch', 'amaranth') if name in sys.modules))")
    assert done.stdout.splitlines()[-1] == "0", done.stderr


def test_log_messages_are_shown_while_waiting(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("tritloom.sim")
    with waiting("Opening", quiet=False):
        logger.info("Compiling %s", "[it]")
    logger.info("unheard")
    assert capsys.readouterr() == ("", "Compiling [it].\n")
    assert not logging.getLogger("tritloom").handlers


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("Working", quiet=False) as update:
        update(1, 2, "so far")
    assert capsys.readouterr() == ("", "")


def test_texts_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    note("[red]x[/red] :smile:")
    show_table(["a"], [["[b]"]], caption="[c]")
    out, err = capsys.readouterr()
    assert err == "[red]x[/red] :smile:.\n"
    assert "[b]" in out
    assert "[c]" in out


@pytest.mark.parametrize("options, shown", [([], True), (["--json"], False)])
def test_a_bar_on_a_terminal(process, options: list[str], shown: bool) -> None:
    """Standard error is a terminal, standard output is not; a terminal's line ends are CR LF."""
    ours, theirs = os.openpty()
    env = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with process("selftest", "--device", "model", "--cases", "30", *options, stderr=theirs, env=env) as running:
        os.close(theirs)
        out = running.stdout.read()
        assert running.wait(timeout=30) == 0
    seen = b""
    while True:
        try:
            piece = os.read(ours, 4096)
        except OSError:    # Linux's way to say that the other end is closed
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    assert (b"Testing model" in seen) == shown
    assert "\x1b" not in out
    assert "Testing" not in out
