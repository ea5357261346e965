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


def __getattr__(name: str) -> object:
    """`Model` is imported when it is first used: who only multiplies matrices does without the model's code."""
    if name == "Model":
        from tritloom.host.model.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
