"""Liberty's syntax: groups in groups, with attributes, and the line of each.

The parser is our own. PyPI has one that is kept, `liberty-parser`, but it is under the GPL, brings SymPy (6 MB, for Boolean functions alone), and does not
keep the line in which a group stands, so that a library that lacks something could only be complained of as a whole. And what is needed of the
format is small.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tritloom.sim.energy.gate.errors import LibraryError

__all__ = ["Group", "parse"]

_TOKEN = re.compile(r"""
    (?P<newline>\n)
  | (?P<space>[^\S\n]+|\\\r?(?=\n))
  | (?P<comment>/\*.*?\*/|//[^\n]*)
  | "(?P<text>(?:[^"\\]|\\.)*)"
  | (?P<mark>[(){}:;,])
  | (?P<word>[^\s(){}:;,"\\]+)
""", re.VERBOSE | re.DOTALL)


@dataclass
class Group:
    """``name (arguments) { ... }``

    Parameters
    ----------
    name : str
    arguments : list of str
    line : int
        From 1.
    attributes : dict of str to (list of str, int)
        Values, one for ``name : value;`` and any number for ``name (value, ...);``, and the line. Of several with one name the last.
    groups : list of Group
    """

    name: str
    arguments: list[str]
    line: int
    attributes: dict[str, tuple[list[str], int]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)

    def all(self, *names: str) -> Iterator[Group]:
        """The groups in it of any of these names."""
        return (group for group in self.groups if group.name in names)

    def text(self, name: str, default: str = "") -> str:
        """A simple attribute's value."""
        values, _ = self.attributes.get(name, ([default], 0))
        return values[0] if values else default

    def line_of(self, name: str) -> int:
        """Where an attribute stands; the group's own line if it is not there."""
        return self.attributes.get(name, ([], self.line))[1]


class _Tokens:
    """Tokens one after another: (text, line, whether it is a mark)."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._tokens = self._split(text)
        self.line = 1
        self._next: tuple[str, bool] | None = None

    def _split(self, text: str) -> Iterator[tuple[str, bool, int]]:
        at, line = 0, 1
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                self.line = line
                raise self.error(f"{text[at]!r} begins nothing that Liberty knows")
            kind = match.lastgroup
            if kind in ("text", "word"):
                yield match[kind].replace("\\\n", " "), False, line
            elif kind == "mark":
                yield match["mark"], True, line
            line += match[0].count("\n")
            at = match.end()

    def error(self, what: str) -> LibraryError:
        return LibraryError(f"{self._path}, line {self.line}: {what}: give a file in the Liberty format")

    def take(self) -> tuple[str, bool]:
        """The next token; an empty mark at the end."""
        if self._next is not None:
            token, self._next = self._next, None
            return token
        text, mark, self.line = next(self._tokens, ("", True, self.line))
        return text, mark

    def peek(self) -> tuple[str, bool]:
        if self._next is None:
            self._next = self.take()
        return self._next

    def expect(self, mark: str) -> None:
        found, is_mark = self.take()
        if not is_mark or found != mark:
            raise self.error(f"{mark!r} was expected, not {found!r}" if found else f"the file ends where {mark!r} was expected")


def parse(path: Path, text: str) -> Group:
    """The one group that a Liberty file is.

    Parameters
    ----------
    path : Path
        For messages.
    text : str

    Raises
    ------
    LibraryError
        If it is no Liberty, with file and line.
    """
    tokens = _Tokens(path, text)
    outer = Group("", [], 1)
    while tokens.peek() != ("", True):
        _statement(tokens, outer)
    libraries = list(outer.all("library"))
    if len(libraries) != 1:
        raise LibraryError(f"{path} has {len(libraries)} groups `library`, and one was expected: give a file in the Liberty format")
    return libraries[0]


def _statement(tokens: _Tokens, group: Group) -> None:
    """``name : value;``, ``name (values);`` or ``name (arguments) { statements }``"""
    name, mark = tokens.take()
    if mark:
        if name == ";":     # some libraries write one behind a group
            return
        raise tokens.error(f"a name was expected, not {name!r}" if name else "the file ends within a group")
    line = tokens.line
    following, _ = tokens.take()
    if following == ":":
        words = []
        # What ends a value should be a semicolon; the end of its line is known to do as well.
        while tokens.peek() not in ((";", True), ("}", True), ("", True)) and (not words or tokens.line == line):
            words.append(tokens.take()[0])
        if tokens.peek() == (";", True):
            tokens.take()
        group.attributes[name] = ([" ".join(words)], line)
    elif following == "(":
        values = []
        while tokens.peek() != (")", True):
            value, mark = tokens.take()
            if mark and value != ",":
                raise tokens.error(f"`{name} (` is not closed")
            if not mark:
                values.append(value)
        tokens.expect(")")
        if tokens.peek() == ("{", True):
            tokens.take()
            inner = Group(name, values, line)
            while tokens.peek() != ("}", True):
                _statement(tokens, inner)
            tokens.expect("}")
            group.groups.append(inner)
        else:
            if tokens.peek() == (";", True):
                tokens.take()
            group.attributes[name] = (values, line)
    else:
        raise tokens.error(f"':' or '(' was expected behind {name!r}, not {following!r}")
