"""The command line. `main` is the entry point; every command is a module of its own, and loads what it needs when it runs."""

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """What the shell starts."""
    try:
        from tritloom.host.cli.program import main

        main()
    except KeyboardInterrupt:    # while modules were imported; the program itself says more
        sys.exit(130)
