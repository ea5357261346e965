"""What a proof is about: a component, inputs that may be anything, and what is assumed and promised of it.

Everything is in the bench; the gateware is elaborated as it is. Its registers are reached by their place and name, so that an invariant
can speak of them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Const, Cover, Fragment, Module, Shape, ShapeLike, Signal, Value, ValueLike
from amaranth.hdl._ast import AnyConst, Initial  # Amaranth 0.5 names them nowhere else
from amaranth.hdl._dsl import FSM
from amaranth.hdl._mem import MemoryInstance
from amaranth.lib import wiring

from tritloom.rtl.family import Family

__all__ = ["Bench"]

_CELLS = Path(__file__).parent.parent / "cocotb" / "cells"

#: Models of the cells that a family's gateware instantiates.
_MODELS = {Family.ECP5: "ccu2c.v", Family.GOWIN: "alu.v"}


class Bench:
    """A component in an environment that may do anything but what is ruled out with `given`.

    Every input of the component is free: in each cycle it may have any value. There is no reset; a proof begins with the initial values.

    Parameters
    ----------
    dut : Component
    family : Family
        Whose cells it is made of.

    Attributes
    ----------
    m : Module
        For the specification's own logic, in the component's clock domain.
    dut : Component
    """

    def __init__(self, dut: wiring.Component, family: Family = Family.GENERIC):
        self.m = Module()
        self.dut = dut
        with _recorded() as self._locals:
            self._fragment = Fragment.get(dut, family)
        self._family = family
        self._registers = 0
        self._lemmas: list[tuple[ValueLike, str]] = []
        self.m.domains.sync = clock = ClockDomain(reset_less=True)
        self._ports: dict[str, tuple[Value, None]] = {"clk": (clock.clk, None)}
        self.m.submodules.dut = self._fragment
        self._legal_states(self._fragment)
        for path, member, value in dut.signature.flatten(dut):
            # The `ready` of a stream that always is ready is a constant.
            if member.flow is wiring.In and not isinstance(Value.cast(value), Const):
                self._ports["__".join(map(str, path))] = (Value.cast(value), None)

    @property
    def models(self) -> tuple[Path, ...]:
        """Verilog of the cells that the component instantiates."""
        return (_CELLS / _MODELS[self._family],) if self._family in _MODELS else ()

    def free(self, name: str, shape: ShapeLike) -> Signal:
        """Anything, in each cycle anew."""
        signal = Signal(shape, name=name)
        self._ports[name] = (signal, None)
        return signal

    def constant(self, name: str, shape: ShapeLike) -> Signal:
        """Anything, but the same for ever."""
        signal = Signal(shape, name=name)
        self.m.d.comb += Value.cast(signal).eq(AnyConst(Shape.cast(shape)))
        return signal

    def always(self, test: ValueLike, promise: str) -> None:
        """Promise that a condition holds in every cycle. The words are what a counterexample is reported with."""
        self.m.d.comb += Assert(test, promise, src_loc_at=1)

    def lemma(self, test: ValueLike) -> None:
        """State an invariant of the gateware's registers, without which induction does not close.

        It is proved with the promises. Where a promise is to be broken it is left out: then the promise itself has to break.
        """
        self._lemmas.append((test, f"lemma of line {sys._getframe(1).f_lineno}"))

    def given(self, test: ValueLike) -> None:
        """Assume that a condition holds in every cycle."""
        self.m.d.comb += Assume(test, src_loc_at=1)

    def reaches(self, test: ValueLike, what: str) -> None:
        """Promise that a condition can come true: nothing assumed rules it out."""
        self.m.d.comb += Cover(test, what, src_loc_at=1)

    def register(self, value: ValueLike, *, init: int = 0, enable: ValueLike = 1) -> Signal:
        """`value` a cycle ago; or in the last cycle with `enable`, if there was one, and else `init`."""
        value = Value.cast(value)
        signal = Signal(value.shape(), name=f"bench_register{self._registers}", init=init)
        self._registers += 1
        with self.m.If(enable):
            self.m.d.sync += signal.eq(value)
        return signal

    def _legal_states(self, fragment: Fragment) -> None:
        """Induction begins anywhere, but a state machine has no states without a name."""
        for fsm in fragment.generated.values():
            if isinstance(fsm, FSM):
                self.lemma(fsm.state < len(fsm.encoding))
        for part, _, _ in fragment.subfragments:
            self._legal_states(part)

    @property
    def first(self) -> Value:
        """This is the first cycle."""
        return Initial()

    def inside(self, path: str) -> Any:
        """A local variable of the component's `elaborate`: ``"level"``.

        A submodule's is ``"crc.following"``, and another method's ``"_receive.left"``.

        Raises
        ------
        LookupError
            If there is none.
        """
        *modules, name = path.split(".")
        method = modules.pop() if modules and modules[-1].startswith("_") else "elaborate"
        component = (self._part(modules).origins or [None])[0] if modules else self.dut
        found = self._locals.get((id(component), method), {})
        if name not in found:
            raise LookupError(f"there must be a variable {path} in {type(self.dut).__name__}")
        return found[name]

    def state(self, *names: str, path: str = "fsm") -> Value:
        """The component's state machine is in one of these states."""
        *modules, name = path.split(".")
        fsm = self._part(modules).generated[name]
        return fsm.state.matches(*(fsm.encoding[state] for state in names))

    def states(self, path: str = "fsm") -> dict[str, Value]:
        """All states of the component's state machine: for each, whether it is in it."""
        *modules, name = path.split(".")
        return {state: self.state(state, path=path) for state in self._part(modules).generated[name].encoding}

    def stored(self, path: str, address: Value) -> Signal:
        """What stands in a memory, read by the bench: the path leads to a `RAM`."""
        memory = self._part([*path.split("."), "words"])
        assert isinstance(memory, MemoryInstance)
        word = Signal(Shape.cast(memory._data.shape).width, name=f"bench_stored_{path.replace('.', '_')}")
        memory.read_port(domain="comb", addr=address, data=word, en=Const(1, 1), transparent_for=())
        return word

    def rtlil(self, *, lemmas: bool) -> str:
        """All of it, for Yosys; the module is called ``top``. To be called once."""
        if lemmas:
            self.m.d.comb += [Assert(test, name) for test, name in self._lemmas]
        return rtlil.convert(self.m, name="top", ports=self._ports)

    def _part(self, path: list[str]) -> Fragment:
        fragment = self._fragment
        for name in path:
            fragment = fragment.find_subfragment(name)
        return fragment


@contextmanager
def _recorded() -> Iterator[dict[tuple[int, str], dict[str, Any]]]:
    """The local variables of every method that is given a module, by component and method: most signals have no other name."""
    found: dict[tuple[int, str], dict[str, Any]] = {}

    def returns(frame: FrameType, event: str, _: object) -> None:
        if event == "return" and isinstance(frame.f_locals.get("m"), Module) and "self" in frame.f_locals:
            found[id(frame.f_locals["self"]), frame.f_code.co_name] = dict(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(returns)
    try:
        yield found
    finally:
        sys.setprofile(before)
