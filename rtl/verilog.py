"""The gateware as Verilog, for other tools."""

from importlib.metadata import version

from amaranth.back import verilog

from .array import Array
from .core import Core
from .family import Family
from .geometry import Geometry
from .pe import PE
from .ports import ports

__all__ = ["PARTS", "convert"]

#: What can be converted, by name.
PARTS = {"pe": PE, "array": Array, "core": Core}


def convert(part: str, geometry: Geometry, family: Family = Family.GENERIC) -> str:
    """Verilog of one part. The same arguments give the same text.

    A family's cells are instantiated, not defined. Synthesis for ECP5 and iCE40 knows them (CCU2C, SB_SPRAM256KA); Gowin's TRITLOOM_ALU is an
    ALU whose table is set freely, which only this package's own build understands (docs/density.md).

    Raises
    ------
    amaranth.back.verilog.YosysError
        If Yosys does not convert it.
    """
    component = PARTS[part](geometry)
    text = verilog.convert(component, name=f"tritloom_{part}", platform=family, ports=ports(component), emit_src=False, strip_internal_attrs=True)
    return f"// tritloom {version('tritloom')}, {part}, geometry {geometry} (rows, columns, lanes), cells of {family}\n{text}"
