"""Boolean functions as Liberty writes them: ``(A B)+!C``, ``A^B``, ``!R & D'``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product

__all__ = ["Function"]

_TOKEN = re.compile(r"\s*([A-Za-z_][\w\[\]]*|[01()!'&*|+^])")

_Node = Callable[[Mapping[str, int]], int]


class Function:
    """A Boolean expression over pins.

    Parameters
    ----------
    text : str
        Operators by priority: ``!`` before and ``'`` behind, ``^``, ``&`` or ``*`` or nothing, ``|`` or ``+``.

    Members
    -------
    text : str
    pins : tuple of str
        In the order of their first appearance.

    Raises
    ------
    ValueError
        If it is no such expression.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens: list[str] = []
        at = 0
        while at < len(text.rstrip()):
            match = _TOKEN.match(text, at)
            if match is None:
                raise ValueError(f"{text!r} is no Boolean function: {text[at:].strip()[0]!r} has no meaning in one")
            self._tokens.append(match[1])
            at = match.end()
        self._at = 0
        self._pins: dict[str, None] = {}
        self._value = self._or()
        if self._at != len(self._tokens):
            raise ValueError(f"{text!r} is no Boolean function: {self._tokens[self._at]!r} does not belong where it is")
        self.pins = tuple(self._pins)

    def __repr__(self) -> str:
        return f"Function({self.text!r})"

    def __call__(self, values: Mapping[str, int]) -> int:
        """0 or 1, for 0 or 1 at each of its pins."""
        return self._value(values)

    def table(self, pins: Sequence[str]) -> tuple[int, ...]:
        """Its values for all states of `pins`, counted up with the last pin fastest."""
        return tuple(self(dict(zip(pins, state, strict=True))) for state in product((0, 1), repeat=len(pins)))

    def chance(self, duty: Mapping[str, float]) -> float:
        """Share of the time in which it is 1, if each pin is 1 for its share independently of the others."""
        total = 0.0
        for state in product((0, 1), repeat=len(self.pins)):
            if self(dict(zip(self.pins, state, strict=True))):
                share = 1.0
                for pin, bit in zip(self.pins, state, strict=True):
                    share *= duty[pin] if bit else 1 - duty[pin]
                total += share
        return total

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        if not token:
            raise ValueError(f"{self.text!r} is no Boolean function: it ends too early")
        self._at += 1
        return token

    def _or(self) -> _Node:
        terms = [self._and()]
        while self._peek() in ("|", "+"):
            self._take()
            terms.append(self._and())
        return _joined(terms, lambda a, b: a | b)

    def _and(self) -> _Node:
        terms = [self._xor()]
        while self._peek() not in ("", "|", "+", ")"):
            if self._peek() in ("&", "*"):
                self._take()
            terms.append(self._xor())
        return _joined(terms, lambda a, b: a & b)

    def _xor(self) -> _Node:
        terms = [self._not()]
        while self._peek() == "^":
            self._take()
            terms.append(self._not())
        return _joined(terms, lambda a, b: a ^ b)

    def _not(self) -> _Node:
        token = self._take()
        if token == "!":
            return _inverse(self._not())
        if token == "(":
            node = self._or()
            if self._take() != ")":
                raise ValueError(f"{self.text!r} is no Boolean function: a bracket is open")
        elif token in "01":
            node = _constant(int(token))
        elif token[0].isalpha() or token[0] == "_":
            self._pins[token] = None
            node = _pin(token)
        else:
            raise ValueError(f"{self.text!r} is no Boolean function: {token!r} does not belong where it is")
        while self._peek() == "'":
            self._take()
            node = _inverse(node)
        return node


def _joined(terms: list[_Node], operator: Callable[[int, int], int]) -> _Node:
    if len(terms) == 1:
        return terms[0]

    def value(values: Mapping[str, int]) -> int:
        result = terms[0](values)
        for term in terms[1:]:
            result = operator(result, term(values))
        return result

    return value


def _inverse(node: _Node) -> _Node:
    return lambda values: 1 - node(values)


def _constant(bit: int) -> _Node:
    return lambda values: bit


def _pin(name: str) -> _Node:
    return lambda values: values[name]
