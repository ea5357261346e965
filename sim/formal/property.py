"""A property: what is promised of one block, and what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .bench import Bench
from .mutation import Mutation

__all__ = ["Property"]


@dataclass(frozen=True, kw_only=True)
class Property:
    """One promise and its proof, which is by induction, and so for ever.

    Parameters
    ----------
    name : str
        Block and promise: ``"crc.step"``.
    promise : str
        In words.
    geometry : str
        What the block is built with, where that has a choice; else empty.
    bench : callable
        Makes the bench, anew for every proof.
    steps : int
        Promises that hold for so many cycles hold in the next.
    cover : int
        Cycles within which all that the bench says can be reached is reached.
    mutations : tuple of Mutation
        Each breaks the promise.
    breaks : int
        Cycles from the reset on within which each does; 0 for `steps`.
    skips : int
        Of these, those in which it is not looked for: a command takes so long to come.
    """

    name: str
    promise: str
    bench: Callable[[], Bench]
    mutations: tuple[Mutation, ...]
    steps: int
    cover: int = 10
    breaks: int = 0
    skips: int = 0
    geometry: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def bound(self) -> str:
        """How far it is proved, in words."""
        return f"for ever (induction, {self.steps})"
