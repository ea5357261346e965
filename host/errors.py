"""The exceptions that tritloom raises for a person to read: one sentence each, saying what was wrong, what was given and what to do.

They live in one module, and under one base class, so that the command line can turn every one of them into a line and an exit code,
and a program can catch exactly the failures it can do something about.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CheckpointError",
    "ContextError",
    "DeviceError",
    "DeviceResetError",
    "DisconnectedError",
    "IncompatibleDeviceError",
    "LinkError",
    "MemoryFaultError",
    "ModelFileError",
    "NumericError",
    "PromptError",
    "RefusedError",
    "TransportError",
    "TritloomError",
    "UnknownNameError",
    "UnsupportedCheckpointError",
    "UsageError",
]


#: Characters of a message that are shown: more than any sentence of ours has, and less than a hostile file can put into one.
_MOST_SHOWN = 1000


class TritloomError(Exception):
    """Base of every error that tritloom raises on purpose.

    Its text is one line and not long, whatever a file, a library or a tool that it quotes had to say: the middle is left out.
    """

    def __str__(self) -> str:
        text = " ".join(super().__str__().splitlines())
        return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN - 300]} ... {text[-290:]}"


class UsageError(TritloomError, ValueError):
    """A value the caller gave is outside what is allowed."""


class UnknownNameError(UsageError):
    """A model, device or option of that name does not exist.

    Parameters
    ----------
    kind
        What was looked for, singular: ``"model"``.
    name
        What was given.
    known
        The valid names; the nearest are offered first, then all of them are listed.
    hint
        One more sentence, such as how to name a file instead.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        nearest = f" Did you mean {' or '.join(near)}?" if near else ""
        valid = f" Known: {', '.join(names)}." if names else f" There is no {kind} here."
        super().__init__(f"there is no {kind} named {name!r}.{nearest}{valid}{' ' + hint if hint else ''}")
        self.kind = kind
        self.name = name
        self.nearest = near


class ModelFileError(TritloomError):
    """A model file cannot be read or written: missing, damaged, of another version, or not what its header says."""


class CheckpointError(TritloomError):
    """A checkpoint of another program cannot be read: a part is missing, damaged, or not what the rest of it says."""


class UnsupportedCheckpointError(CheckpointError):
    """A checkpoint is in good order, but of an architecture, option or type that tritloom does not know; the sentence names it."""


class PromptError(UsageError):
    """A prompt or text holds nothing that the model's vocabulary can express."""


class ContextError(UsageError):
    """More tokens were asked for than the model's context holds."""


class NumericError(TritloomError):
    """A model's float arithmetic overflowed, so its logits mean nothing."""


class DeviceError(TritloomError):
    """Something is wrong with a device or the way to it."""


class TransportError(DeviceError):
    """The way to a device cannot be opened, or fails."""


class DisconnectedError(TransportError):
    """The way to a device is gone: unplugged, closed by the other side, or closed here."""


class LinkError(DeviceError):
    """A device does not answer, or not sensibly, although it was asked again."""


class RefusedError(LinkError):
    """A device took a command in good order and refused it.

    Parameters
    ----------
    message
        The sentence.
    code
        Why: a `tritloom.rtl.wire.Error`, or the bare number if it is none.
    """

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


class DeviceResetError(LinkError):
    """A device lost what was loaded into it: it was reset, or another program used it."""


class MemoryFaultError(DeviceError):
    """What lies in a device's weight store is not what was put there."""


class IncompatibleDeviceError(DeviceError):
    """A device answers, but speaks another version of the protocol or has another geometry than it must have."""
