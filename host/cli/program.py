"""The program `tritloom`: its commands, and how whatever goes wrong in them becomes one sentence and an exit code.

Exit codes: 0; 1 for trouble with a device, a file or a result; 2 for what was typed; 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from tritloom.host.cli.boards import boards
from tritloom.host.cli.build import build
from tritloom.host.cli.convert import convert
from tritloom.host.cli.energy import energy
from tritloom.host.cli.evaluation import eval_command
from tritloom.host.cli.explore import explore
from tritloom.host.cli.flash import flash
from tritloom.host.cli.inspect import inspect
from tritloom.host.cli.listing import devices, models
from tritloom.host.cli.output import complain
from tritloom.host.cli.plan import plan
from tritloom.host.cli.rtl import rtl
from tritloom.host.cli.run import run
from tritloom.host.cli.selftest import selftest
from tritloom.host.cli.serve import serve_device
from tritloom.host.cli.train import train
from tritloom.host.errors import TritloomError, UnknownNameError, UsageError

__all__ = ["Program", "main", "program"]

#: Set it to see where an error comes from: exceptions are then not turned into sentences.
DEBUG = "TRITLOOM_DEBUG"

_TROUBLE, _USAGE, _INTERRUPTED = 1, 2, 130


class Program(click.Group):
    """A group of commands that never ends in a traceback."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = "tritloom", *_: Any, **extra: Any) -> NoReturn:
        """Run a command line and exit. Parameters are click's; `standalone_mode` is ignored."""
        extra["standalone_mode"] = False
        try:
            code = super().main(args, prog_name, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            code = _USAGE
        except click.Abort:
            complain("interrupted", label="Stopped")
            code = _INTERRUPTED
        except Exception as error:
            if os.environ.get(DEBUG):
                raise
            sentence, code = _explain(error)
            complain(sentence)
        sys.exit(code or 0)    # a command returns None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they are added below: the one to begin with first."""
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant."""
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UnknownNameError("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def _explain(error: Exception) -> tuple[str, int]:
    """A sentence for a person, and the exit code."""
    if isinstance(error, click.NoSuchOption):
        known = [name for param in error.ctx.command.get_params(error.ctx) for name in (*param.opts, *param.secondary_opts)
                 if name.startswith("--")] if error.ctx else []
        return str(UnknownNameError("option", error.option_name, known)), _USAGE
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, UsageError):
        return str(error), _USAGE
    if isinstance(error, TritloomError):
        return str(error), _TROUBLE
    if isinstance(error, OSError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason, _TROUBLE
    return f"tritloom failed in a way it should not ({type(error).__name__}: {error}); set {DEBUG}=1 to see where, and report it", _TROUBLE


@click.group("tritloom", cls=Program, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tritloom", message="%(prog)s %(version)s")
def program() -> None:
    """An open accelerator for ternary (BitNet b1.58) language models."""


for _command in (run, eval_command, selftest, devices, models, inspect, convert, serve_device, boards, build, flash, plan, explore, energy, rtl, train):
    program.add_command(_command)


def main() -> NoReturn:
    """What the shell starts."""
    # A model may know characters that the terminal does not: they become question marks, not errors.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    program.main()
