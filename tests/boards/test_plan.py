"""The planner: parts of a token's time, what bounds it, memory, what would help; and a published machine as a check of sanity."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tritloom.boards import boards, find
from tritloom.boards.machine import Machine
from tritloom.boards.plan import plan
from tritloom.boards.remedy import cache_change, changes
from tritloom.host.errors import CheckpointError, ContextError, ModelFileError, UnknownNameError, UsageError
from tritloom.host.model.needs import Needs
from tritloom.host.model.published import PUBLISHED
from tritloom.host.model.shape import shape_of
from tritloom.rtl.geometry import Geometry

#: bitnet-kv260: four engines of 80 weights, four vectors each, 250 MHz, base 3.
KV260 = Machine(geometry=Geometry(rows=4, cols=4, lanes=80), clock_hz=250e6, bandwidth=12.73e9, packing="base3")


def test_parts_add_up_and_the_largest_bounds() -> None:
    planned = plan(shape_of("nano"), Machine.of(find("icebreaker")), host_s=0.001)
    rate = planned.decode
    assert rate.parts.keys() == {"array", "memory", "link", "host"}
    assert rate.seconds == pytest.approx(rate.array_s + rate.link_s + 0.001)
    assert rate.bound == "link"
    assert planned.fits
    assert planned.resident_share == 1
    # As `tritloom explore` says it of the board's own geometry.
    uncounted = plan(shape_of("nano"), Machine.of(find("icebreaker")))
    assert uncounted.decode.tokens_per_s == pytest.approx(planned.speed.decode.link_tokens_per_s(45e6, 3e6), rel=1e-3)
    assert "host" not in uncounted.decode.parts
    slow = plan(shape_of("nano"), Machine.of(find("icebreaker")), host_s=1.0)
    assert slow.decode.bound == slow.prefill.bound == "host"
    assert slow.prefill.seconds > 32


def test_array_and_memory_work_at_the_same_time() -> None:
    """A memory that is slow enough bounds a token alone; one that is fast enough does not show."""
    shape, geometry = shape_of("2b-4t"), Geometry(rows=4, cols=8, lanes=16)
    slow, fast = (plan(shape, Machine(geometry=geometry, clock_hz=1e8, bandwidth=bandwidth)) for bandwidth in (1e8, 1e11))
    assert slow.decode.bound == "memory"
    assert slow.decode.seconds == pytest.approx(slow.decode.memory_s + slow.decode.link_s)
    assert slow.decode.tokens_per_s == pytest.approx(1e8 / 521e6, rel=0.01)    # bytes a second over bytes a token
    assert fast.decode.bound == "array"
    assert fast.decode.seconds == pytest.approx(fast.decode.array_s + fast.decode.link_s)
    assert fast.decode.at_work > 0.99
    assert fast.decode.of_peak == pytest.approx(0.25, rel=0.01)    # one row of four works
    narrow = plan(shape, Machine(geometry=geometry, clock_hz=1e8, bandwidth=1e8, packing="base3"))
    assert narrow.decode.memory_s == pytest.approx(slow.decode.memory_s * 26 / 32)    # 128 trits a word


def test_bitnet_kv260() -> None:
    """What it streams, planned and published: github.com/MerlijnW70/bitnet-kv260, docs/measurements.md and docs/how-it-works.md.

    By the streams alone a token would take 36.9 ms. Theirs takes 59.6, and the 22.7 ms in between are their own measurements of what is not a
    weight's stream; with these as host time the rate is theirs to 1 %. So it is the streams that are confirmed here, and nothing else.
    """
    planned = plan(shape_of("2b-4t"), KV260)
    assert planned.decode.phase.memory_words * KV260.word_bytes == pytest.approx(417_546_240, rel=1e-4)    # their file
    assert planned.decode.memory_s == pytest.approx(32.799e-3, rel=0.01)
    assert planned.decode.bound == "memory"
    # The head goes through the same array there, as trits, at the full rate of its beats; then 256 rows of it are scored again on the processor.
    head = KV260.geometry.words(128256, 2560) * KV260.word_bytes
    assert head == pytest.approx(65_667_072, rel=1e-4)
    head_s = head / 16.0e9
    assert head_s == pytest.approx(4.12e-3, rel=0.01)
    assert 1 / (planned.decode.array_s + head_s) == pytest.approx(33, rel=0.01)    # their floor: every byte at the rate of beats
    assert 1 / (planned.decode.memory_s + head_s) == pytest.approx(27.1, rel=0.01)    # 61 % above what is measured
    others_s = 59.599e-3 - 32.799e-3 - 4.12e-3
    whole = plan(shape_of("2b-4t"), KV260, host_s=others_s + head_s)
    assert whole.decode.tokens_per_s == pytest.approx(16.78, rel=0.15)
    assert whole.decode.tokens_per_s == pytest.approx(16.78, rel=0.01)


@pytest.mark.parametrize("board", boards(), ids=lambda board: board.name)
def test_2b_4t_is_planned_in_two_seconds(board) -> None:
    began = time.process_time()
    planned = plan(shape_of("2b-4t"), Machine.of(board))
    others = changes(planned)
    assert time.process_time() - began < 2
    assert planned.decode.bound == "link"
    assert not planned.fits
    assert planned.resident_share == 0
    assert [change.kind for change in others] == ["memory", "link"]    # no part could hold it
    json.dumps({**planned.as_json(), "changes": [change.as_json() for change in others]}, allow_nan=False)


def test_the_smallest_changes_do_what_they_say() -> None:
    shape = shape_of("nano")
    planned = plan(shape, Machine.of(find("tang_nano_9k")))
    assert not planned.fits
    board, memory, link = changes(planned)
    assert (board.kind, board.value, board.fits) == ("board", "icebreaker", True)
    assert board.decode == pytest.approx(plan(shape, Machine.of(find("icebreaker"))).decode.tokens_per_s)
    assert (memory.kind, memory.fits) == ("memory", True)
    fed = plan(shape, replace(planned.machine, bandwidth=memory.value)).decode
    assert fed.memory_s == pytest.approx(fed.array_s)
    assert (link.kind, link.fits) == ("link", False)
    faster = plan(shape, replace(planned.machine, baud=link.value * 10)).decode
    assert faster.link_s == pytest.approx(faster.array_s)
    # A made-up array gets words, and exactly as many as are needed.
    own = plan(shape, Machine(geometry=Geometry(weight_words=4096), clock_hz=1e8))
    words = changes(own)[0]
    assert (words.kind, words.value) == ("words", own.words_needed)
    enough = replace(own.machine.geometry, weight_words=own.words_needed)
    assert plan(shape, replace(own.machine, geometry=enough)).fits
    fewer = replace(enough, weight_words=own.words_needed - enough.stream_words)
    assert not plan(shape, replace(own.machine, geometry=fewer)).fits


def test_a_store_that_the_part_has_room_for_comes_first() -> None:
    """On a board whose block RAM could hold the model, the smallest change is its own geometry with more words."""
    board = find("ulx3s_85f")
    planned = plan(shape_of("nano"), replace(Machine.of(board), geometry=replace(board.geometry, weight_words=2048)))
    first = changes(planned)[0]
    assert (first.kind, first.value) == ("words", planned.words_needed)
    assert "never built" in first.note


def test_memory() -> None:
    needs = Needs(PUBLISHED["2b-4t"].config, 4096)
    assert needs.weights("2bit") == 521_011_200
    assert needs.weights("base3") == 30 * ((3840 + 2560 + 13824) * 512 + 2560 * 1383)
    assert needs.table("bfloat16") == 128256 * 2560 * 2
    assert needs.table("int8") == 128256 * (2560 + 4)
    assert needs.cache("float32") == 2 * 30 * 5 * 128 * 4 * 4096 == 2 * needs.cache("float16")
    assert replace(needs, sequences=3).cache("int8") == 3 * needs.cache("int8")
    assert needs.vectors == 4 * (30 * (2560 + 2560 + 2560 + 6912) + 2560)


def test_a_host_that_is_too_small_is_told_what_would_fit() -> None:
    planned = plan(shape_of("2b-4t"), Machine.of(find("icebreaker")))
    needs = planned.needs
    assert cache_change(planned, needs.host("float32", "float32")) is None
    assert cache_change(planned, needs.host("float32", "float32") - 1).value == "float16"
    assert cache_change(planned, needs.host("float16", "float32") - 1).value == "int8"
    room = needs.host("int8", "float32") - 1
    shorter = cache_change(planned, room)
    assert (shorter.kind, shorter.value, shorter.fits) == ("context", 4095, True)
    assert replace(needs, context=4095).host("int8", "float32") <= room
    nothing = cache_change(planned, needs.table("float32"))
    assert (nothing.value, nothing.fits) == (0, False)


def test_numbers_that_make_no_sense() -> None:
    shape, machine = shape_of("nano"), Machine.of(find("icebreaker"))
    with pytest.raises(ContextError, match="the context must be at most 256, which is all that nano has, not 257"):
        plan(shape, machine, context=257)
    for wrong in (0, -1, True, 1.0):
        with pytest.raises(UsageError, match="the context must be an integer from 1 up, not"):
            plan(shape, machine, context=wrong)
        with pytest.raises(UsageError, match="the batch must be an integer from 1 up, not"):
            plan(shape, machine, sequences=wrong)
    with pytest.raises(UsageError, match="the batch must be at most 4,096 sequences, not 4,097"):
        plan(shape, machine, sequences=4097)
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="the host's time must be a number of seconds from 0 up, not"):
            plan(shape, machine, host_s=wrong)
    for wrong in (0.0, -1e9, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="the bandwidth must be a positive number of bytes a second, not"):
            replace(machine, bandwidth=wrong)
        with pytest.raises(UsageError, match="the clock must be a positive number of hertz, not"):
            replace(machine, clock_hz=wrong)
    with pytest.raises(UsageError, match="`packing` must be base3 or 2bit, not '3bit'"):
        replace(machine, packing="3bit")


def test_shapes(tmp_path: Path) -> None:
    """A config.json is enough, alone or in a folder."""
    folder = tmp_path / "some-model"
    folder.mkdir()
    values = {"architectures": ["BitNetForCausalLM"], "model_type": "bitnet", "hidden_size": 2560, "intermediate_size": 6912,
              "num_hidden_layers": 30, "num_attention_heads": 20, "num_key_value_heads": 5, "vocab_size": 128256, "max_position_embeddings": 4096,
              "hidden_act": "relu2", "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "tie_word_embeddings": True}
    (folder / "config.json").write_text(json.dumps(values))
    for given in (folder, folder / "config.json"):
        shape = shape_of(str(given))
        assert shape.name == "some-model"
        assert shape.config == PUBLISHED["2b-4t"].config
    (tmp_path / "snapshot").mkdir()    # a download's cache has links, and the files elsewhere
    (tmp_path / "snapshot" / "config.json").symlink_to(folder / "config.json")
    assert shape_of(str(tmp_path / "snapshot")).name == "snapshot"
    with pytest.raises(CheckpointError, match="there is no .*config.json"):
        shape_of(str(tmp_path))
    with pytest.raises(CheckpointError, match="there is no .*other.json"):
        shape_of(str(tmp_path / "other.json"))
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(CheckpointError, match="broken.json is not valid JSON"):
        shape_of(str(tmp_path / "broken.json"))
    with pytest.raises(ModelFileError, match="there is no model file"):
        shape_of(str(tmp_path / "none.trit"))
    with pytest.raises(UnknownNameError, match="there is no model named '2b4t'. Did you mean 2b-4t"):
        shape_of("2b4t")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_have_the_size_they_are_called_by(name: str) -> None:
    """All weights, the embedding and the head included, in billions; 1bitLLM's names aside, which are its own measure."""
    known = PUBLISHED[name]
    called = {"2b-4t": 2.4, "1bitllm-large": 0.73, "1bitllm-xl": 1.3, "falcon3-1b": 1.67, "trilm-99m": 0.1}.get(name) or float(name.split("-")[1].rstrip("b"))
    if name == "llama3-8b":
        called = 8.03
    total = (known.config.ternary_weights + known.config.float_weights) / 1e9
    assert total == pytest.approx(called, rel=0.12)
    assert {group for _, _, group in shape_of(name).matrices} == {known.group}


def test_groups_of_columns_are_planned() -> None:
    """Each group is a job with results of its own, which is what a link then has to carry."""
    shape, machine = shape_of("bonsai-1.7b"), Machine.of(find("ulx3s_85f"), bandwidth=1e9)
    grouped, whole = plan(shape, machine).decode, plan(replace(shape, groups=()), machine).decode
    assert grouped.phase.counters.busy == whole.phase.counters.busy
    assert grouped.phase.counters.jobs == sum(k // 128 for _, k, _ in shape.matrices)
    assert grouped.phase.counters.results == sum(n * k // 128 for n, k, _ in shape.matrices)
    assert grouped.link_s > 10 * whole.link_s


def write_gguf(path: Path, *, hidden: int = 64, q1: bool = False) -> None:
    """Metadata and an embedding; with `q1` also a matrix of that type."""
    from gguf import GGMLQuantizationType, GGUFWriter

    writer = GGUFWriter(path, "bitnet-b1.58")
    for key, value in (("embedding_length", hidden), ("feed_forward_length", 96), ("block_count", 2), ("attention.head_count", 4), ("context_length", 128)):
        writer.add_uint32(f"bitnet-b1.58.{key}", value)
    writer.add_float32("bitnet-b1.58.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_tensor("token_embd.weight", np.zeros((10, hidden), np.float32))
    if q1:
        writer.add_tensor("blk.0.ffn_up.weight", np.zeros((96, hidden // 128 * 18), np.uint8), raw_dtype=GGMLQuantizationType.Q1_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_is_known_by_its_metadata(tmp_path: Path) -> None:
    """No matrix but the embedding is looked at."""
    path = tmp_path / "some.gguf"
    write_gguf(path)
    shape = shape_of(str(path))
    assert shape.name == "some"
    assert (shape.config.hidden_size, shape.config.vocab_size, shape.config.tie_word_embeddings) == (64, 10, True)
    assert plan(shape, Machine.of(find("icebreaker"))).decode.tokens_per_s > 0
    assert {group for _, _, group in shape.matrices} == {None}
    with pytest.raises(CheckpointError, match="there is no checkpoint .*none.gguf"):
        shape_of(str(tmp_path / "none.gguf"))


def test_a_gguf_of_q1_is_planned_by_groups(tmp_path: Path) -> None:
    """As the model file is that it becomes: 128 columns share a scale, and each such group is a job. What is 96 wide cannot be of that type."""
    write_gguf(tmp_path / "one.gguf", hidden=256, q1=True)
    assert [group for _, _, group in shape_of(str(tmp_path / "one.gguf")).matrices] == [128, 128, 128, None] * 2
