"""From toggles to energy: the library's tables for what cells take in, half C V² for what nets hold, and leakage over the time.

What belongs to which part:

=========  ==============================================================================================================================
internal   Each transition of an output pin, and each of an input pin that has a table of its own (a flip-flop's D), from `internal_power`.
switching  ½·C·V² for each transition of a net, C being the input pins on it, of the direction's own capacitance. Nets that the circuit's
           inputs drive are included: somebody has to. Outputs of the circuit have no load. There are no wires.
clock      Both of these for the clock's net and every other with a clock pin on it, as behind a gate in the clock's way, and for the pins on them.
leakage    Of every cell, over the measured time. It is the only part that depends on the clock period.
=========  ==============================================================================================================================

A transition of an output is charged to the input that causes it (`related_pin`). Which one that was is not looked for; the tables of an
output's related pins are weighed by how often each of these pins toggles, and those of different states (`when`) by how often the state
is, taking pins as independent. So does a power analyser that is not given state-dependent activity.

Assumed, and what it does to a figure (pe-16-pitch2 and int8-4, OSU 180 nm, both flows):

- Every transition takes 0.1 ns, clock and inputs included: about what the library's own tables say of a gate that drives two or three others
  (INVX1 on 0.025 pF, at inputs of 0.06 to 0.18 ns: 0.06 to 0.1 ns). 0.06 ns, the tables' first point, takes 1 % off; 0.2 ns adds 2 %, 0.3 ns 4 to 8 %.
- Tables are taken as they are. In OSU's, a full adder's carry and sum have the same numbers, mirrored: the energy of one event in which both
  move stands in both tables, and is counted twice when both do move. That is at most 4 % of the ternary element in the FA flow and 7 % of an int8
  one: figures of the FA flow err upwards, by up to so much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tritloom.sim.energy.gate.liberty import Power
from tritloom.sim.energy.gate.netlist import Instance, Netlist
from tritloom.sim.energy.gate.netlist_sim import Toggles

__all__ = ["TRANSITION_NS", "Energy", "energy", "internal_pj", "switching_pj"]

#: Transition time at every pin, ns.
TRANSITION_NS = 0.1


@dataclass(frozen=True)
class Energy:
    """Energy of the measured cycles by part, in pJ."""

    internal: float
    switching: float
    clock: float
    leakage: float

    @property
    def total(self) -> float:
        return self.internal + self.switching + self.clock + self.leakage


def energy(netlist: Netlist, toggles: Toggles, clock: str = "clk", transition_ns: float = TRANSITION_NS) -> Energy:
    """Sum it up.

    Parameters
    ----------
    netlist : Netlist
    toggles : Toggles
        Of its nets.
    clock : str
        Name of its clock port, whose net is the clock even if no flip-flop is on it directly.
    transition_ns : float
        At all pins.
    """
    clocks = _clock_nets(netlist) | set(netlist.inputs.get(clock, ()))
    internal = switching = on_clock = leakage = 0.0
    for instance in netlist.instances:
        leakage += _leakage_nw(netlist, instance, toggles)
        for name, net in instance.pins.items():
            if not isinstance(net, int):
                continue
            spent = internal_pj(netlist, instance, name, toggles, transition_ns)
            if net in clocks:
                on_clock += spent
            else:
                internal += spent
    for net in netlist.nets:
        spent = switching_pj(netlist, net, toggles)
        if net in clocks:
            on_clock += spent
        else:
            switching += spent
    # 1 nW for 1 ns is 1e-18 J.
    return Energy(internal, switching, on_clock, leakage * toggles.cycles * toggles.period_ns * 1e-6)


def switching_pj(netlist: Netlist, net: int, toggles: Toggles) -> float:
    """½·C·V² of each of its transitions. pF · V² is pJ."""
    rise_pf, fall_pf = netlist.loads_pf[net]
    return 0.5 * netlist.library.voltage_v**2 * (rise_pf * toggles.rises[net] + fall_pf * toggles.falls[net])


def _clock_nets(netlist: Netlist) -> set[int | str]:
    """Nets with a clock pin on them."""
    return {net for instance in netlist.instances for name, net in instance.pins.items() if netlist.library.cells[instance.cell].pins[name].clock}


def _leakage_nw(netlist: Netlist, instance: Instance, toggles: Toggles) -> float:
    cell = netlist.library.cells[instance.cell]
    if not cell.leakage_when:
        return cell.leakage_nw
    duty = _duty(instance, toggles)
    chances = [when.chance(duty) for when, _ in cell.leakage_when]
    return sum(chance * value for chance, (_, value) in zip(chances, cell.leakage_when, strict=True)) + max(1 - sum(chances), 0.0) * cell.leakage_nw


def internal_pj(netlist: Netlist, instance: Instance, name: str, toggles: Toggles, transition_ns: float = TRANSITION_NS) -> float:
    """What a cell takes in at all transitions of one of its pins, its load aside."""
    pin, net = netlist.library.cells[instance.cell].pins[name], instance.pins[name]
    if not pin.powers or not isinstance(net, int):
        return 0.0
    rise_pf, fall_pf = netlist.loads_pf[net] if pin.direction != "input" else (0.0, 0.0)
    spent = 0.0
    for rising, count, load in ((True, toggles.rises[net], rise_pf), (False, toggles.falls[net], fall_pf)):
        if count:
            tables = [(power, table) for power in pin.powers if (table := power.rise if rising else power.fall) is not None]
            shares = _shares(instance, [power for power, _ in tables], toggles)
            spent += count * sum(share * table(transition_ns, load) for share, (_, table) in zip(shares, tables, strict=True))
    return spent


def _shares(instance: Instance, powers: list[Power], toggles: Toggles) -> list[float]:
    """What part of a pin's transitions each of its tables stands for."""
    if len(powers) == 1:
        return [1.0]
    duty = _duty(instance, toggles)
    weights = []
    for power in powers:
        nets = [instance.pins.get(pin) for pin in power.related]
        moves = sum(toggles.rises[net] + toggles.falls[net] for net in nets if isinstance(net, int))
        # The state without a condition is what the conditions of the same inputs leave.
        others = [other.when.chance(duty) for other in powers if other.when is not None and other.related == power.related]
        weights.append((moves if power.related else 1.0) * (power.when.chance(duty) if power.when is not None else max(1 - sum(others), 0.0)))
    total = sum(weights)
    return [weight / total for weight in weights] if total else [1 / len(powers)] * len(powers)


def _duty(instance: Instance, toggles: Toggles) -> Mapping[str, float]:
    return {pin: toggles.duty[net] if isinstance(net, int) else float(net == "1") for pin, net in instance.pins.items()}
