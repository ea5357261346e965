"""The gateware as Verilog, for other tools."""

from importlib.metadata import version

from amaranth.back import verilog
from amaranth.hdl import Const, Value

from .array import Array
from .core import Core
from .geometry import Geometry
from .pe import PE

__all__ = ["PARTS", "convert"]

#: What can be converted, by name.
PARTS = {"pe": PE, "array": Array, "core": Core}


def convert(part: str, geometry: Geometry) -> str:
    """Verilog of one part. The same geometry gives the same text.

    Raises
    ------
    amaranth.back.verilog.YosysError
        If Yosys does not convert it.
    """
    component = PARTS[part](geometry)
    # The `ready` of a stream that always is ready is a constant, and no port.
    values = {"__".join(map(str, path)): Value.cast(value) for path, _, value in component.signature.flatten(component)}
    ports = {name: (value, None) for name, value in values.items() if not isinstance(value, Const)}
    text = verilog.convert(component, name=f"tritloom_{part}", ports=ports, emit_src=False, strip_internal_attrs=True)
    return f"// tritloom {version('tritloom')}, {part}, geometry {geometry} (rows, columns, lanes)\n{text}"
