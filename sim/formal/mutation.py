"""Mutations: the gateware, wrong in one place. A proof that does not notice has promised nothing."""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Mutation"]


@dataclass(frozen=True)
class Mutation:
    """One piece of text of the gateware, replaced.

    Parameters
    ----------
    where : str
        Module below `tritloom.rtl` and function in it: ``"crc:CRC32.elaborate"``.
    old, new : str
        The text, which must stand there once, and what comes in its place.
    """

    where: str
    old: str
    new: str

    def __str__(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.where}: `{old}` becomes `{new or 'nothing'}`"

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The gateware is wrong inside this context: what is elaborated here is.

        Raises
        ------
        LookupError
            If the text is not there once: then the mutation has to follow the gateware.
        """
        function = self._function()
        source = textwrap.dedent(inspect.getsource(function))
        if source.count(self.old) != 1:
            raise LookupError(f"{self.where} must contain {self.old!r} once, not {source.count(self.old)} times")
        made: dict[str, object] = {}
        exec(compile(source.replace(self.old, self.new), function.__code__.co_filename, "exec"), function.__globals__, made)
        changed = made[function.__name__]
        code = function.__code__
        # The code and not the function: whoever imported it by name has it wrong as well.
        function.__code__ = (changed.fget if isinstance(changed, property) else changed).__code__
        try:
            yield
        finally:
            function.__code__ = code

    def _function(self) -> Callable[..., object]:
        module, _, path = self.where.partition(":")
        found: object = importlib.import_module(f"tritloom.rtl.{module}")
        for name in path.split("."):
            found = inspect.getattr_static(found, name)
        return found.fget if isinstance(found, property) else found
