"""Draws transcript.svg, the README's picture, from a real run of `tritloom run` in a terminal of 80 columns."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COMMAND = ["tritloom", "run", "ROMEO:", "--tokens", "200"]


def terminal(command: list[str]) -> str:
    """What the command prints on a terminal."""
    outer, inner = pty.openpty()
    env = os.environ | {"COLUMNS": "80", "LINES": "40", "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdout=inner, stderr=subprocess.DEVNULL, stdin=inner, env=env) as process:
        os.close(inner)
        printed = b""
        while True:
            try:
                piece = os.read(outer, 4096)
            except OSError:    # how Linux says that the other end was closed
                break
            if not piece:
                break
            printed += piece
    os.close(outer)
    if process.returncode:
        sys.exit(f"`{' '.join(command)}` ended with exit code {process.returncode}")
    return printed.decode().replace("\r\n", "\n")


if __name__ == "__main__":
    console = Console(record=True, width=80, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("$ " + " ".join(COMMAND).replace("ROMEO:", "'ROMEO:'") + "\n" + terminal(COMMAND)))
    drawing = re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title="tritloom on sim"), flags=re.DOTALL)    # no fonts from elsewhere
    Path(__file__).with_name("transcript.svg").write_text(drawing)
