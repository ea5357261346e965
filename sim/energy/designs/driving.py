"""How a processing element is driven, and what it must answer: one for the ternary ones and for all their peers."""

from __future__ import annotations

import numpy as np

from tritloom.sim.energy.designs.half_element import rounded
from tritloom.sim.energy.gate.design import Trace, pack
from tritloom.sim.energy.gate.stimulus import Operands, Stimulus, Weights

__all__ = ["element_trace", "half_trace", "running_sums", "trit_codes"]

#: Cycles of zeros and `clear` at the beginning. The first clear sets an accumulator, but a simulator that knows less than logic does (unknown or
#: not unknown is unknown to it) needs inputs that leave no doubt, in whatever gates synthesis made of it.
_QUIET = 4


def trit_codes(weights: np.ndarray) -> np.ndarray:
    """Trits as the array's two bits: `nz` below `neg`."""
    return (weights != 0) | (weights < 0).astype(np.int64) << 1


def running_sums(terms: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The sum so far, at each cycle, of all terms since the last `first`.

    Parameters
    ----------
    terms : (cycles,) int64
    first : (cycles,) bool
        ``first[0]`` is taken to be true.
    """
    sums = np.cumsum(terms)
    before = np.maximum.accumulate(np.where(first, np.arange(len(terms)), 0))
    return sums - (sums - terms)[before]


def _begun(operands: Operands) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activations, weights and beginnings of sums, with a quiet beginning. Cycle 0 is the reset's."""
    acts, weights, first = operands.acts.copy(), operands.weights.copy(), operands.first.copy()
    acts[:_QUIET] = 0
    weights[:_QUIET] = 0
    first[1:_QUIET + 1] = True
    return acts, weights, first


def element_trace(stimulus: Stimulus, cycles: int, *, lanes: int, stages: int, acc_bits: int, weights: Weights, weight_bits: int,
                  uncounted: bool = False) -> Trace:
    """Inputs `acts`, `weights` and `clear` of an integer processing element, and its `total`.

    Parameters
    ----------
    stimulus : Stimulus
    cycles : int
        To be measured.
    lanes : int
    stages : int
        Registers between the inputs and the accumulator: `clear` comes that much later than the first products of a sum.
    acc_bits : int
    weights : Weights
        Any but `FP16`.
    weight_bits : int
        Of the element's port. Binary weights are given as 1 for -1, trits as `trit_codes`, and integers as they are.
    uncounted : bool
        `total` lacks 1 for each weight of -1 (`Correction.LATE` of `tritloom.sim.energy.designs.ternary_element`).
    """
    warm = stages + _QUIET + 4
    acts, values, first = _begun(stimulus.operands(lanes, cycles + warm, weights))
    acts, values = acts.astype(np.int64), values.astype(np.int64)
    terms = (acts * values).sum(1) - (uncounted * (values < 0)).sum(1)
    # What comes in at cycle t is in `total` at t + stages + 1; what was there before is not looked at.
    late = stages + 1
    total = np.concatenate([np.zeros(late, np.int64), running_sums(terms, first)[:-late]])
    clear = np.concatenate([np.zeros(stages, bool), first[:len(first) - stages]])
    match weights:
        case Weights.TERNARY:
            codes = trit_codes(values)
        case Weights.BINARY:
            codes = values < 0
        case _:
            codes = values
    # No sum that began before cycle 1 is looked at.
    checked = np.arange(len(total)) >= late + 1
    return Trace(
        inputs={"acts": pack(acts, 8), "weights": pack(codes, weight_bits), "clear": clear.astype(np.int64)},
        outputs={"total": total & (1 << acc_bits) - 1},
        checked={"total": checked},
        warm=warm,
        operations=cycles * lanes,
    )


def half_trace(stimulus: Stimulus, cycles: int, *, lanes: int, stages: int) -> Trace:
    """Inputs `acts`, `weights` and `clear` of a float16 element (`tritloom.sim.energy.designs.half_element`), and its `total`.

    The sums are made in the element's order, since in float16 the order matters.
    """
    warm = stages + _QUIET + 4
    acts, values, first = _begun(stimulus.operands(lanes, cycles + warm, Weights.FP16))
    terms = list(rounded(acts.astype(float) * values.astype(float)).T)
    while len(terms) > 1:
        pairs = list(zip(terms[0::2], terms[1::2], strict=False))
        terms = [rounded(a + b) for a, b in pairs] + terms[2 * len(pairs):]
    late, total, sums = stages + 1, 0.0, []
    for term, new in zip(terms[0], first, strict=True):
        total = float(rounded((0.0 if new else total) + term))
        sums.append(total)
    words = np.concatenate([np.zeros(late), sums[:-late]]).astype(np.float16).view(np.uint16).astype(np.int64)
    return Trace(
        inputs={
            "acts": pack(acts.view(np.uint16), 16),
            "weights": pack(values.view(np.uint16), 16),
            "clear": np.concatenate([np.zeros(stages, np.int64), first[:len(first) - stages]]).astype(np.int64),
        },
        # A zero has no sign here.
        outputs={"total": np.where(words == 0x8000, 0, words)},
        checked={"total": np.arange(len(words)) >= late + 1},
        warm=warm,
        operations=cycles * lanes,
    )
