"""The ports of a component, as Amaranth's back ends take them."""

from amaranth.hdl import Const, Value
from amaranth.lib import wiring

__all__ = ["ports"]


def ports(component: wiring.Component) -> dict[str, tuple[Value, None]]:
    """Every port by its name in the output. The `ready` of a stream that always is ready is a constant, and no port."""
    values = {"__".join(map(str, path)): Value.cast(value) for path, _, value in component.signature.flatten(component)}
    return {name: (value, None) for name, value in values.items() if not isinstance(value, Const)}
