"""The host's side of tritloom: devices, models, training, command line.

```python
from tritloom.host import Model, connect

with connect("sim") as acc:
    y = acc.matmul(w, x)      # w (N, K) in {-1, 0, 1}, x (M, K) int8 -> (M, N) int32, exact
    model = Model.load("nano")
    for piece in model.generate("ROMEO:", acc, max_tokens=200, temperature=0.0):
        print(piece, end="")
```
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tritloom.host.counters import Counters
    from tritloom.host.driver import Accelerator, Matrix, connect
    from tritloom.host.errors import (
        ContextError,
        DeviceError,
        DeviceResetError,
        DisconnectedError,
        IncompatibleDeviceError,
        LinkError,
        ModelFileError,
        NumericError,
        PromptError,
        RefusedError,
        TransportError,
        TritloomError,
        UnknownNameError,
        UsageError,
    )
    from tritloom.host.model.model import Model

__all__ = [
    "Accelerator",
    "ContextError",
    "Counters",
    "DeviceError",
    "DeviceResetError",
    "DisconnectedError",
    "IncompatibleDeviceError",
    "LinkError",
    "Matrix",
    "Model",
    "ModelFileError",
    "NumericError",
    "PromptError",
    "RefusedError",
    "TransportError",
    "TritloomError",
    "UnknownNameError",
    "UsageError",
    "connect",
]

_MODULES = {"Accelerator": "driver", "Counters": "counters", "Matrix": "driver", "Model": "model.model", "connect": "driver"}


def __getattr__(name: str) -> object:
    """What is exported is imported when it is first used: who asks for little, such as the command line's help, waits for little."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'errors')}"), name)
