"""Level "table": published energies of operations, applied to what a model run really does.

It has what such tables have, additions, multiplications and memory accesses, and not what they lack: registers, the clock, the selection of
a ternary product, wires, control. So it is far below what any chip or board draws, and says nothing of one; what it is good for is to show
what a ratio such as the field's 71.4 counts. Its JSON, `Table.as_json`::

    {"node", "model", "geometry", "weights", "zero_weights", "streamed_share",
     "figures": [Figure, ...],                                   # the ratios and energies to quote
     "steps": [{"title", "ratio": {"fp16", "int8"}, "formula"}, ...],    # from 71.4 to what is left: of fp16, with its formula
     "arithmetic": [{"name", "title", "formula", "weight_bits", "pj_per_mac", "low", "high", "confidence", "source",
                     "nj_per_token", "ratio_to_array"}, ...],    # a token of the decode phase; ratio: over the array's own adds
     "adds": [{"bits", "count_per_token", "pj", "low", "high", "nj_per_token"}, ...],
     "fetch": [{"name", "title", "pj_per_bit", "low", "high", "confidence", "source", "pj_per_weight": {"ternary", "int8", "fp16"},
                "nj_per_token": {...}, "ratio": {"int8", "fp16"}}, ...],    # arithmetic and weights, fetched once a token
     "bitlinears": [{"layer", "name", "n", "k", "zero_weights", "macs_per_token", "adds_per_token", "nj_per_token"}, ...],
     "operations": Operations.as_json(),                         # everything that was counted, by phase and matrix
     "excludes": [str, ...], "published": {"operations": [...], "memories": [...]}}
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tritloom.sim.energy.counts import WEIGHT_BITS
from tritloom.sim.energy.figure import Confidence, Figure, Level
from tritloom.sim.energy.operations import Operations
from tritloom.sim.energy.published import Entry, Node, Published

__all__ = ["EXCLUDES", "Arithmetic", "Table", "arithmetic_of", "headline"]

#: What no such table has.
EXCLUDES = ("registers", "clock", "selection of the products", "control", "wires", "leakage", "host")


@dataclass(frozen=True)
class Arithmetic:
    """One way to count a multiply-accumulate.

    Parameters
    ----------
    name : str
        "fp16".
    title, formula : str
        For people: what it is, and what is added up.
    weight_bits : float
        Bits of a weight in memory.
    pj : float
        Picojoules of one multiply-accumulate of the model.
    low, high : float
        The range that comes from widths which are in no table.
    confidence : Confidence
    source : str
    """

    name: str
    title: str
    formula: str
    weight_bits: float
    pj: float
    low: float
    high: float
    confidence: Confidence
    source: str


def _sum(name: str, title: str, weight_bits: float, *parts: Entry) -> Arithmetic:
    return Arithmetic(
        name, title, " + ".join(f"{part.pj:g} ({part.name})" for part in parts), weight_bits, *(sum(getattr(part, end) or part.pj for part in parts)
                                                                                                for end in ("pj", "low", "high")),
        Confidence.weakest([part.confidence for part in parts]), "; ".join(dict.fromkeys(part.source for part in parts)))


def arithmetic_of(node: Node) -> list[Arithmetic]:
    """The ways to count that need no model: one addition for each weight, and the multiply-accumulates it is compared with."""
    return [
        _sum("ternary-int8", "ternary, one int8 add a weight", WEIGHT_BITS, node.operation("int8 add")),
        _sum("ternary-int32", "ternary, one int32 add a weight", WEIGHT_BITS, node.operation("int32 add")),
        _sum("int8", "int8 multiply, int32 accumulate", 8, node.operation("int8 mul"), node.operation("int32 add")),
        _sum("fp16", "fp16 multiply, fp16 add", 16, node.operation("fp16 mul"), node.operation("fp16 add")),
        _sum("fp16-fp32", "fp16 multiply, fp32 accumulate", 16, node.operation("fp16 mul"), node.operation("fp32 add")),
    ]


def headline(node: Node) -> list[Figure]:
    """What the field's ratio counts, and what becomes of it with a wide accumulator: 71.4 and 16.7 at 7 nm."""
    fp16 = next(way for way in arithmetic_of(node) if way.name == "fp16")
    found = []
    for add in (node.operation("int8 add"), node.operation("int32 add")):
        found.append(Figure(
            Level.TABLE, f"fp16 multiply and add over one {add.name}", fp16.pj / add.pj, "x",
            conditions=f"{node.title}: ({fp16.formula}) / {add.pj:g}", source=f"{fp16.source}; {add.source}" if add.source not in fp16.source else fp16.source,
            confidence=Confidence.weakest([fp16.confidence, add.confidence]), excludes=(*EXCLUDES, "memory")))
    return found


@dataclass(frozen=True)
class Table:
    """Published energies and a model run.

    Parameters
    ----------
    published : Published
    node : Node
        Whose arithmetic and SRAM.
    operations : Operations
        What the model run did. Energies are of a token of its decode phase.
    """

    published: Published
    node: Node
    operations: Operations

    @cached_property
    def adds(self) -> list[tuple[int, float, Entry]]:
        """Additions of the array in a token: width in bits, how many, and the energy of one."""
        decode = self.operations.decode
        return [(bits, number / decode.tokens, self.node.add(bits)) for bits, number in decode.counts.adds.items()]

    @cached_property
    def array(self) -> Arithmetic:
        """This array: a tree of narrow adders before each accumulator, padding included."""
        macs = self.operations.weights

        def per_mac(end: str) -> float:
            return sum(number * (getattr(entry, end) or entry.pj) for _, number, entry in self.adds) / macs

        counts = self.operations.decode.counts
        return Arithmetic(
            "array", "ternary, this array's adders",
            " + ".join(f"{number / macs:.3g} x {entry.pj:.3g} ({entry.name})" for _, number, entry in self.adds),
            counts.weight_bits_read / counts.macs, per_mac("pj"), per_mac("low"), per_mac("high"),
            Confidence.weakest([entry.confidence for _, _, entry in self.adds]),
            "; ".join(dict.fromkeys(entry.source for _, _, entry in self.adds)))

    @cached_property
    def arithmetic(self) -> list[Arithmetic]:
        """All ways to count, the array's own in its place."""
        ways = arithmetic_of(self.node)
        return [*ways[:2], self.array, *ways[2:]]

    @cached_property
    def memories(self) -> list[Entry]:
        """Where weights may come from: the node's SRAMs, then what lies beside the chip."""
        return [*self.node.sram, *self.published.external.values()]

    def nj_per_token(self, pj_per_mac: float) -> float:
        """Nanojoules of a token at so much a multiply-accumulate."""
        return pj_per_mac * self.operations.weights / 1000

    def fetch(self, memory: Entry) -> dict[str, Any]:
        """Arithmetic and weights when every weight is read once a token, as with one sequence it must be."""
        ways = {"ternary": self.array, **{way.name: way for way in self.arithmetic if way.name in ("int8", "fp16")}}
        per_weight = {name: way.pj + way.weight_bits * memory.pj_per_bit for name, way in ways.items()}
        scale = 1 / memory.bits
        return {
            "name": memory.name, "title": memory.title, "pj_per_bit": memory.pj_per_bit,
            "low": None if memory.low is None else memory.low * scale, "high": None if memory.high is None else memory.high * scale,
            "confidence": memory.confidence.value, "source": memory.source, "pj_per_weight": per_weight,
            "nj_per_token": {name: self.nj_per_token(pj) for name, pj in per_weight.items()},
            "ratio": {name: per_weight[name] / per_weight["ternary"] for name in ("int8", "fp16")},
        }

    def steps(self) -> list[dict[str, Any]]:
        """What fp16 and int8 multiply-accumulates are over ternary additions, from the fewest things counted to the most."""
        geometry = self.operations.geometry
        ways = {way.name: way for way in self.arithmetic}
        fp16, int8 = ways["fp16"], ways["int8"]
        found = [
            {"title": title, "ratio": {"fp16": fp16.pj / ways[name].pj, "int8": int8.pj / ways[name].pj}, "formula": f"{fp16.pj:g} / {ways[name].pj:.3g}"}
            for name, title in (("ternary-int8", "one int8 add"), ("ternary-int32", "one int32 add"), ("array", "this array's adders"))
        ]
        for memory in (self.node.memory(geometry.weight_words * geometry.word_bytes), self.published.memory("lpddr5")):
            pj = self.fetch(memory)["pj_per_weight"]
            found.append({
                "title": f"and weights from {memory.title}", "ratio": self.fetch(memory)["ratio"], "formula": f"{pj['fp16']:.3g} / {pj['ternary']:.3g}"})
        return found

    def figures(self) -> list[Figure]:
        """What to quote of it."""
        operations, array = self.operations, self.array
        where = f"{self.node.title}, {operations.model} on {operations.geometry}"
        found = headline(self.node)
        for way in self.arithmetic:
            if way.name in ("int8", "fp16"):
                found.append(Figure(
                    Level.TABLE, f"{way.title} over this array's additions", way.pj / array.pj, "x", way.low / array.high, way.high / array.low,
                    conditions=where, source=f"{way.source}; {array.source}", confidence=Confidence.weakest([way.confidence, array.confidence]),
                    excludes=(*EXCLUDES, "memory")))
        for way in self.arithmetic:
            ends = (None, None) if way.low == way.high else (self.nj_per_token(way.low), self.nj_per_token(way.high))
            found.append(Figure(
                Level.TABLE, f"arithmetic of a token: {way.title}", self.nj_per_token(way.pj), "nJ/token", *ends, conditions=where, source=way.source,
                confidence=way.confidence, excludes=(*EXCLUDES, "memory")))
        for memory in self.memories:
            ratio = self.fetch(memory)["ratio"]["fp16"]
            found.append(Figure(
                Level.TABLE, f"fp16 over this array with weights from {memory.title}", ratio, "x", conditions=f"{where}; every weight read once a token",
                source=f"{array.source}; {memory.source}", confidence=Confidence.weakest([array.confidence, memory.confidence]), excludes=EXCLUDES))
        return found

    def bitlinears(self) -> list[dict[str, Any]]:
        """The additions of every BitLinear in a token. Padding of a matrix that several share is theirs by their rows."""
        found = []
        for matrix in self.operations.matrices:
            tokens = self.operations.decode_tokens
            n, k = matrix.shape
            adds = sum(matrix.decode.adds.values()) / tokens
            pj = sum(number * self.node.add(bits).pj for bits, number in matrix.decode.adds.items()) / tokens
            found += [{
                "layer": matrix.layer, "name": name, "n": rows, "k": k, "zero_weights": zeros, "macs_per_token": rows * k,
                "adds_per_token": adds * rows / n, "nj_per_token": pj * rows / n / 1000,
            } for name, rows, zeros in matrix.linears]
        return found

    def as_json(self) -> dict[str, Any]:
        """All of it, as the module says."""
        operations = self.operations
        return {
            "node": self.node.name, "model": operations.model, "geometry": str(operations.geometry), "weights": operations.weights,
            "zero_weights": operations.zero_weights, "streamed_share": operations.streamed,
            "figures": [figure.as_json() for figure in self.figures()],
            "steps": self.steps(),
            "arithmetic": [{
                **way.__dict__, "confidence": way.confidence.value, "pj_per_mac": way.pj, "nj_per_token": self.nj_per_token(way.pj),
                "ratio_to_array": way.pj / self.array.pj,
            } for way in self.arithmetic],
            "adds": [{
                "bits": bits, "count_per_token": number, "pj": entry.pj, "low": entry.low, "high": entry.high, "nj_per_token": entry.pj * number / 1000,
            } for bits, number, entry in self.adds],
            "fetch": [self.fetch(memory) for memory in self.memories],
            "bitlinears": self.bitlinears(),
            "operations": operations.as_json(),
            "excludes": list(EXCLUDES),
            "published": {
                "operations": [entry.as_json() for entry in self.node.operations.values()], "memories": [entry.as_json() for entry in self.memories],
            },
        }
