"""The command line. `main` is the entry point; every command is a module of its own, and loads what it needs when it runs."""

from tritloom.host.cli.program import main, program

__all__ = ["main", "program"]
