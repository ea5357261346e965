"""Where the adder array's saving is lost in memory traffic: for what memory, what reuse of a weight, and what size of model.

Of one weight, in a token of which R share a fetch (rows of a batch or a prompt), with arithmetic of ``a`` pJ, b bits a weight and a memory of
``e`` pJ a bit::

    E = a + b e / R                                    pJ a weight and token

**Shares.** Memory is half of it at ``R = b e / a``.

**Lost.** The adders save ``a_x - a_t`` a weight: what the same weights would cost through the multipliers of format x, less what they cost here.
They come in b_t bits either way, so the traffic ``b_t e / R`` is as large as that saving at ``R = b_t e / (a_x - a_t)``, or where a bit costs
``e* = R (a_x - a_t) / b_t``. Below that many rows, or above that energy, the array's saving is the smaller part, and ::

    (a_x + b_t e / R) / (a_t + b_t e / R)              the gain by the adders alone, less than 2 there for a_t << a_x

goes to 1. What stays are the bits: ``(a_x + b_x e / R) / (a_t + b_t e / R)`` goes to ``b_x / b_t``, which is 8 for fp16 and 4 for int8.

**Sizes.** A chip has S bits of SRAM at e_s, and fetches through it what does not fit, from outside at e_d. Of a model of N weights,
``f = max(0, 1 - S / (b N))`` lies outside, and a bit costs ``e = e_s + f e_d``. The saving is lost from the size on at which that reaches e*:
``f* = (e* - e_s) / e_d``, ``N* = S / (b (1 - f*))``; for every size if e_s is above e* already, and for none if f* is 1 or more.

Activations, link and host are left out here: they grow with the model's width, and weights with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tritloom.sim.energy.costs import FORMATS, Costs
from tritloom.sim.energy.figure import Figure, Level
from tritloom.sim.energy.published import Entry

__all__ = ["Crossover", "crossovers", "curves"]

_TERNARY = FORMATS["ternary"]

#: Rows of a batch in curves.
_ROWS = (1, 64)


@dataclass(frozen=True)
class Crossover:
    """One source, one format to compare with, one memory outside.

    Parameters
    ----------
    costs : Costs
    against : str
        "int8" or "fp16".
    chip : Entry
        The SRAM on the chip; its `bytes` are the capacity.
    capacity : int
        Bits of it.
    outside : Entry
        Where the rest comes from.
    rows : int
        Rows that share a fetch.
    """

    costs: Costs
    against: str
    chip: Entry
    capacity: int
    outside: Entry
    rows: int = 1

    @property
    def saving_pj(self) -> float:
        """What the adders save of one multiply-accumulate."""
        return self.costs.pj[self.against].value - self.costs.pj["ternary"].value

    @property
    def limit_pj_per_bit(self) -> float:
        """e*: where traffic eats the saving."""
        return self.rows * self.saving_pj / _TERNARY

    @property
    def rows_lost(self) -> float:
        """Rows that must share a fetch from outside, so that its energy is no more than the saving."""
        return _TERNARY * self.outside.pj_per_bit / self.saving_pj

    @property
    def rows_half(self) -> float:
        """Rows at which memory is half of the ternary token."""
        return _TERNARY * self.outside.pj_per_bit / self.costs.pj["ternary"].value

    @property
    def size_lost(self) -> float | None:
        """N*: weights from which on the saving is lost; 0 for every size, None for none."""
        outside = (self.limit_pj_per_bit - self.chip.pj_per_bit) / self.outside.pj_per_bit
        if outside < 0:
            return 0.0
        return None if outside >= 1 else self.capacity / (_TERNARY * (1 - outside))

    def at(self, weights: float) -> dict[str, float]:
        """A model of so many weights: share of memory in the ternary token, and the two gains over the other format."""
        ternary, other = self.costs.pj["ternary"].value, self.costs.pj[self.against].value

        def traffic(bits: int) -> float:
            outside = max(0.0, 1 - self.capacity / (bits * weights))
            return bits * (self.chip.pj_per_bit + outside * self.outside.pj_per_bit) / self.rows

        here = traffic(_TERNARY)
        return {
            "weights": weights, "memory_share": here / (ternary + here), "gain": (other + traffic(FORMATS[self.against])) / (ternary + here),
            "gain_by_adders": (other + here) / (ternary + here),
        }

    def as_json(self) -> dict[str, Any]:
        """The numbers; `size_lost` is 0 if the saving is lost at every size, and null if at none."""
        return {
            "source": self.costs.name, "against": self.against, "memory": self.outside.name, "title": self.outside.title, "rows": self.rows,
            "confidence": self.outside.confidence.value, "pj_per_bit": self.outside.pj_per_bit, "chip_pj_per_bit": self.chip.pj_per_bit,
            "chip_bits": self.capacity, "saving_pj": self.saving_pj, "limit_pj_per_bit": self.limit_pj_per_bit, "rows_lost": self.rows_lost,
            "rows_half": self.rows_half, "size_lost": self.size_lost,
        }

    @property
    def figure(self) -> Figure:
        """To quote: the rows."""
        return Figure(
            Level.MODEL, f"rows that must share a weight from {self.outside.title}, or its fetch costs more than the adders save against {self.against}",
            self.rows_lost, "rows", conditions=f"arithmetic: {self.costs.name}, {self.costs.conditions}; 2 bits a weight",
            source=f"{self.costs.source}; {self.outside.source}", confidence=self.outside.confidence, excludes=("activations", "link", "host"))


def crossovers(several: Sequence[Costs], chip: Entry, capacity: int, outside: Sequence[Entry]) -> list[Crossover]:
    """Of every source that knows another format than ternary and can be taken apart, with every memory, for one row."""
    return [
        Crossover(costs, against, chip, capacity, memory)
        for costs in several if not costs.whole for against in ("int8", "fp16") if against in costs.pj
        and costs.pj[against].value > costs.pj["ternary"].value for memory in outside
    ]


def curves(several: Sequence[Costs], chip: Entry, capacity: int, outside: Sequence[Entry]) -> list[dict[str, Any]]:
    """Shares and gains over the size of a model, from 10^5 to 10^11 weights, for plots.

    Returns
    -------
    list of dict
        ``{"source", "against", "memory", "title", "rows", "points": [{"weights", "memory_share", "gain", "gain_by_adders"}, ...]}``
    """
    sizes = [10 ** (exponent / 4) for exponent in range(20, 45)]
    found = []
    for one in crossovers(several, chip, capacity, outside):
        for rows in _ROWS:
            crossed = Crossover(one.costs, one.against, chip, capacity, one.outside, rows)
            found.append({
                "source": one.costs.name, "against": one.against, "memory": one.outside.name, "title": one.outside.title, "rows": rows,
                "points": [crossed.at(size) for size in sizes],
            })
    return found
