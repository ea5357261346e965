"""Proofs of the gateware, and for each proof gateware that is wrong in one place, in which it must find a counterexample."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from tritloom.host.trits import BASE3
from tritloom.rtl.geometry import Geometry
from tritloom.sim.formal.mutation import Mutation
from tritloom.sim.formal.properties import ALL
from tritloom.sim.formal.property import Property
from tritloom.sim.formal.prove import break_with, missing, prove, reach

#: The least that issue 6 asks for.
LEAST = 25

BREAKS = [(about, mutation) for about in ALL for mutation in about.mutations]


needs_tools = pytest.mark.skipif("CI" not in os.environ and missing() is not None, reason=str(missing()))


def test_there_are_enough_properties_and_each_can_be_broken() -> None:
    assert len(ALL) >= LEAST
    assert len({about.name for about in ALL}) == len(ALL)
    assert all(about.mutations for about in ALL)


@needs_tools
@pytest.mark.parametrize("about", ALL, ids=str)
def test_proved(about: Property, tmp_path: Path) -> None:
    outcome = prove(about, tmp_path)
    assert outcome.holds, f"{about.promise}: {outcome.broken} does not hold in cycle {outcome.step}, see {outcome.trace}"
    reached = reach(about, tmp_path)
    assert reached.holds, f"what is assumed rules out: {reached.broken}"


@needs_tools
@pytest.mark.parametrize(("about", "mutation"), BREAKS, ids=[f"{about.name}-{i}" for about in ALL for i in range(len(about.mutations))])
def test_broken_gateware_is_noticed(about: Property, mutation: Mutation, tmp_path: Path) -> None:
    outcome = break_with(mutation, about, tmp_path)
    assert not outcome.holds, f"{about.name} still holds with {mutation}"
    assert outcome.broken


def test_the_accumulator_is_wide_enough_for_every_depth_and_not_wider() -> None:
    """Every depth there can be: the largest sum is ``depth * 128`` (of -128 times -1), the smallest its negative."""
    for depth in range(1, 65536):
        bits = Geometry(depth=depth, rows=1, cols=1, lanes=1, weight_words=2, stream_words=2).acc_bits
        assert -(1 << bits - 1) <= -128 * depth and 128 * depth < 1 << bits - 1, depth
        assert not 128 * depth < 1 << bits - 2, depth


def test_base_3_byte_by_byte() -> None:
    """The unpacker is the host's: all 256 bytes against the definition, of which 243 are five trits and 13 are refused."""
    table = {sum((trit + 1) * 3**i for i, trit in enumerate(trits)): trits for trits in itertools.product((-1, 0, 1), repeat=5)}
    assert sorted(table) == list(range(243))
    for byte in range(256):
        packed = np.array([[byte]], np.uint8)
        assert BASE3.has_invalid_code(packed, 5) == (byte not in table), byte
        if byte in table:
            assert tuple(BASE3.unpack(packed, 5)[0]) == table[byte], byte
            assert BASE3.pack(np.array([table[byte]], np.int8)) == packed, byte
