"""The numbers of an accelerator: what is refused, with which words, and what follows from them."""

from dataclasses import replace

import pytest

from tritloom.rtl.geometry import Geometry


@pytest.mark.parametrize(("name", "low", "high"), [
    ("rows", 1, 255), ("cols", 1, 255), ("lanes", 1, 240), ("col_pitch", 1, 255), ("tree_pitch", 1, 8),
    ("depth", 1, 65535), ("weight_words", 2, 16777216), ("stream_words", 2, 32768), ("queue", 1, 255),
])
def test_ranges(name, low, high):
    for value in (low - 1, high + 1, 2.0, True, "2", None):
        with pytest.raises(ValueError) as caught:
            Geometry(**{name: value})
        assert str(caught.value) == f"`{name}` must be an integer from {low} to {high}, not {value!r}"


def test_limits_are_possible():
    Geometry(rows=255, cols=1, lanes=240, col_pitch=255, tree_pitch=8, depth=65535, weight_words=1 << 24, stream_words=1 << 15, queue=255)
    Geometry(rows=1, cols=240, lanes=4)
    Geometry(rows=1, cols=1, lanes=1, col_pitch=1, tree_pitch=1, depth=1, weight_words=2, stream_words=2, queue=1)


@pytest.mark.parametrize(("numbers", "message"), [
    ({"stream_words": 96}, "`stream_words` must be a power of two, not 96"),
    ({"weight_words": 1000}, "`weight_words` must be a multiple of `stream_words` (256), not 1000"),
    ({"cols": 31, "lanes": 31}, "`cols * lanes` must be at most 960 trits (one word must fit a frame), not 961"),
])
def test_numbers_that_do_not_go_together(numbers, message):
    with pytest.raises(ValueError) as caught:
        Geometry(**numbers)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["", "2", "2,8", "2,8,4,1", "2,8,x", "2;8;4", "2,8,4.0"])
def test_parse_refuses(text):
    with pytest.raises(ValueError) as caught:
        Geometry.parse(text)
    assert str(caught.value) == f"a geometry must be three integers R,C,L such as 2,8,4, not {text!r}"


def test_parse():
    geometry = Geometry.parse("3, 5,7", depth=9)
    assert (geometry.rows, geometry.cols, geometry.lanes, geometry.depth, str(geometry)) == (3, 5, 7, 9, "3,5,7")
    assert Geometry.parse(str(Geometry())) == Geometry()


@pytest.mark.parametrize("depth", [1, 2, 3, 127, 128, 6912, 65535])
def test_accumulator_holds_the_deepest_sum_and_no_bit_more(depth):
    bits = Geometry(depth=depth).acc_bits
    assert depth * 128 <= (1 << bits - 1) - 1
    assert depth * 128 > (1 << bits - 2) - 1


@pytest.mark.parametrize(("lanes", "pitch", "levels", "stages"), [
    (1, 1, 0, 0), (1, 3, 0, 0), (2, 1, 1, 1), (3, 1, 2, 2), (4, 2, 2, 1), (5, 2, 3, 1), (8, 3, 3, 1), (16, 2, 4, 2), (16, 3, 4, 1), (16, 5, 4, 0), (240, 8, 8, 1),
])
def test_adder_tree(lanes, pitch, levels, stages):
    geometry = Geometry(cols=1, lanes=lanes, tree_pitch=pitch)
    assert (geometry.tree_levels, geometry.tree_stages, geometry.latency) == (levels, stages, 3 + stages)


def test_derived_numbers():
    geometry = Geometry()
    assert geometry.acc_bits == 21
    assert (geometry.lanes_total, geometry.ramp, geometry.word_bytes, geometry.act_words) == (64, 7, 8, 1728)
    assert (geometry.resident_words, geometry.tiles_in_flight) == (16128, 16)
    assert [Geometry(cols=cols).tiles_in_flight for cols in (1, 3, 32, 33)] == [128, 42, 4, 4]
    assert [geometry.beats(k) for k in (1, 32, 33, 36, 37)] == [8, 8, 9, 9, 10]
    assert [geometry.tiles(n) for n in (1, 8, 9)] == [1, 1, 2]
    assert geometry.words(9, 37) == 2 * 10 + 7
    odd = Geometry(rows=1, cols=3, lanes=3, depth=4)
    assert (odd.word_bytes, odd.act_words, odd.ramp) == (3, 3, 2)


def test_digest_tells_every_number_apart():
    others = {"rows": 3, "cols": 7, "lanes": 3, "col_pitch": 3, "tree_pitch": 3, "depth": 6911, "weight_words": 16640, "stream_words": 128,
              "queue": 7}
    assert tuple(others) == Geometry.names()
    digests = {replace(Geometry(), **{name: value}).digest for name, value in others.items()} | {Geometry().digest}
    assert len(digests) == len(others) + 1
    assert all(0 <= digest < 1 << 64 for digest in digests)
    assert Geometry().digest == Geometry.parse("2,8,4").digest == 0x33B6629D0AAA227
