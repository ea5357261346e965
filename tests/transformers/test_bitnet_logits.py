"""Logits of BitNet checkpoints: folders that transformers wrote, converted to a model file and run on an accelerator, against transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tritloom.host.driver import connect
from tritloom.sim.golden import NumpyAccelerator

from .cases import DIVIDING, MULTIPLYING, ONLINE, Case, compare_case, sizes
from .comparison import Comparison, Flip
from .reference import MASTERS, PACKED, TERNARY, Reference

#: Sequences and tokens in each, 2,304 positions: enough that their share with the same likeliest token hangs on no one flip. The shorter the sequences, the fewer
#: positions come after a flip.
_SEQUENCES, _TOKENS = 192, 12

# transformers' own packed layers hold four rows a byte and no rest, so an odd number of rows is there in floats only.
CASES = {
    # As BitNet b1.58 2B-4T: four query heads to a key head, tied, packed, and what is not ternary in bfloat16.
    "as 2B-4T": Case(seed=1, sizes=sizes(192, 516, 3, 8, 2), quantization=MULTIPLYING, stored=PACKED, dtype=torch.bfloat16, old_spelling=True),
    "packed, dividing scale, untied, a key head a query head": Case(
        seed=2, sizes=sizes(96, 260, 3, 6, 6, tie_word_embeddings=False), quantization=DIVIDING, stored=PACKED),
    "masters, one key head, odd FFN": Case(seed=3, sizes=sizes(64, 171, 4, 4, 1), quantization=ONLINE, stored=MASTERS),
    "masters in bfloat16, untied, three query heads to a key head, odd FFN": Case(
        seed=4, sizes=sizes(192, 259, 2, 6, 2, tie_word_embeddings=False), quantization=ONLINE, stored=MASTERS, dtype=torch.bfloat16),
    "ternary floats, wide, odd FFN": Case(seed=5, sizes=sizes(256, 683, 2, 4, 2), quantization=MULTIPLYING, stored=TERNARY),
}


@pytest.mark.parametrize("calls", [[_TOKENS], [1] * _TOKENS], ids=["prefill", "step by step"])
@pytest.mark.parametrize("name", CASES)
def test_logits_are_transformers(name: str, calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compare_case(CASES[name], tmp_path, _SEQUENCES, calls, monkeypatch).check()


@pytest.mark.parametrize("calls", [[300], [150, 1, 1, 140, 8]], ids=["prefill", "in parts"])
def test_long_sequences_differ_by_flips_only(calls: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More tokens than our runtime takes at once. Almost every long sequence has a flip, and every position after it differs: only forced to agree can they be compared."""
    compare_case(CASES["as 2B-4T"], tmp_path, 3, calls, monkeypatch).check_explained()


def test_transformers_differs_as_much_from_itself(tmp_path: Path) -> None:
    """Flips are no matter of ours: the same model on the same tokens, all at once and one by one, differs where we differ from it."""
    case = CASES["as 2B-4T"]
    case.write(tmp_path)
    reference = Reference(tmp_path)
    ids = np.random.default_rng(case.seed).integers(0, 300, (_SEQUENCES, _TOKENS))
    (whole, seen), (steps, seen_by_step) = reference.prefill(ids), reference.steps(ids, [1] * _TOKENS)
    flips = sum(int((seen[name].whole()[1] != seen_by_step[name].whole()[1]).sum()) for name in seen)
    difference = np.abs(whole - steps).max(-1)
    print(f"seed {case.seed}: {flips} flips, {(difference > 1e-3).mean():.1%} of positions above 0.001, max {difference.max():.1e}")
    assert flips
    assert difference.max() > 1e-3


def test_check_finds_what_is_no_flip() -> None:
    """`Comparison` on differences that float error does not explain."""
    logits = np.random.default_rng(0).standard_normal((2, 4, 5)).astype(np.float32)

    def made(**changes: object) -> Comparison:
        return Comparison(**{"logits": logits, "expected": logits, "forced": logits, "flips": [], "forced_flips": [], "error": 0.0, "bound": 1e-3, "activations": 0} | changes)

    def moved(by: float, sequence: int, position: int) -> np.ndarray:
        other = logits.copy()
        other[sequence, position] += by
        return other

    flip = Flip(site=1, sequence=1, position=2, column=0, ours=4.4999, theirs=4.5001)
    made().check()
    made(logits=moved(0.01, 1, 3), flips=[flip], forced_flips=[flip]).check()
    with pytest.raises(AssertionError, match="without a flip"):
        made(logits=moved(0.01, 1, 1), flips=[flip], forced_flips=[flip]).check()
    with pytest.raises(AssertionError, match="without a flip"):
        made(logits=moved(0.01, 0, 3), flips=[flip], forced_flips=[flip]).check()
    far = flip._replace(ours=4.49)
    with pytest.raises(AssertionError, match="from a border of rounding"):
        made(logits=moved(0.01, 1, 3), flips=[far], forced_flips=[far]).check()
    with pytest.raises(AssertionError, match="max 2.0e-04"):
        made(forced=moved(2e-4, 0, 0)).check()
    with pytest.raises(AssertionError, match="before rounding 2.0e-03"):
        made(error=2e-3).check()
    with pytest.raises(AssertionError, match="same argmax 0.00%"):
        made(logits=-logits).check()

    # A later flip at the same position or an earlier site at a later one: only what depends on no other is first.
    later = [flip._replace(site=2), flip._replace(site=2, position=3), flip._replace(site=0, position=3), flip._replace(site=2, sequence=0, position=0)]
    assert made(flips=[flip, *later]).first_flips == [flip, *later[2:]]


def test_the_device_gives_the_golden_models_logits(tmp_path: Path) -> None:
    """What is compared here on the golden model holds on a device: through the driver its logits are the same, bit by bit."""
    case = CASES["as 2B-4T"]
    model = case.write(tmp_path)
    ids = np.random.default_rng(case.seed).integers(0, 300, 20)
    with connect("model") as acc:
        assert np.array_equal(model.logits(ids, acc), model.logits(ids, NumpyAccelerator()))
