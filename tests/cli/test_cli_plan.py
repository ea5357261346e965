"""`tritloom plan` and what `tritloom inspect` says of boards: shown, as JSON, and refused in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritloom.boards import boards
from tritloom.host.cli.plan import amount, rate

MADE_UP = ("--geometry", "4,4,80", "--clock", "250e6", "--bandwidth", "12.73e9", "--packing", "base3")


def test_a_board(succeed: Callable[..., Any]) -> None:
    shown = succeed("plan", "--board", "icebreaker")
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "nano on icebreaker" in lines[1]
    assert any(line.split() == ["bound", "by", "link", "link"] for line in lines)
    assert "nano fits: all weights stay on the device, and are put there in " in shown.stdout
    assert "the host's own time (norms, attention, head, packing) is not counted" in shown.stderr
    assert "not counted" in shown.stdout
    counted = succeed("plan", "--board", "icebreaker", "--host-time", "0.5")
    assert "not counted" not in counted.output
    assert any(line.split() == ["bound", "by", "host", "host"] for line in counted.stdout.splitlines())


def test_a_model_that_does_not_fit(succeed: Callable[..., Any]) -> None:
    shown = succeed("plan", "--board", "tang_nano_9k").stdout
    flat = " ".join(shown.split())
    assert "nano does not fit: 8.3% of the weights stay on the device, the rest is sent over the link for every token." in flat
    assert "the weight store would need 8,192 words, not 1,024." in flat
    first = shown[shown.index("change"):].splitlines()[2]
    assert first.split()[0] == "icebreaker"
    assert max(map(len, shown.splitlines())) <= 80
    assert "no build of it has met its clock yet" in succeed("plan", "--board", "ulx3s_25f").stderr


def test_a_memory_of_its_own(succeed: Callable[..., Any], record: Callable[..., dict[str, Any]]) -> None:
    shown = succeed("plan", "--model", "2b-4t", *MADE_UP, "--host-time", "0.0268")
    assert "2b-4t fits, with that memory: all weights are read for every token." in " ".join(shown.stdout.split())
    told = record("plan", "--model", "2b-4t", *MADE_UP)
    assert told["decode"]["bound"] == "memory"
    assert told["decode"]["tokens_per_s"] == pytest.approx(12.73e9 / 417.57e6, rel=0.01)
    assert told["decode"]["host_counted"] is False
    assert told["packing"] == "base3"
    board = record("plan", "--model", "2b-4t", "--board", "ulx3s_85f", "--bandwidth", "4e8")
    assert board["fits"] is True
    assert board["decode"]["bound"] == "link"    # activations and results alone: the UART is still there
    without = record("plan", "--model", "2b-4t", "--board", "ulx3s_85f")
    assert without["fits"] is False
    assert 100 < board["decode"]["tokens_per_s"] / without["decode"]["tokens_per_s"] < 1000


def test_json(record: Callable[..., dict[str, Any]]) -> None:
    told = record("plan", "--board", "icebreaker", "--context", "100", "--batch", "3")
    assert (told["context"], told["sequences"], told["decode"]["tokens"]) == (100, 3, 3)
    assert told["needs"]["cache"]["float32"] == 3 * 100 * 2 * 3 * 32 * 4
    assert told["resident_share"] == 1
    assert [change["kind"] for change in told["changes"]] == ["link"]
    assert told["host_bytes"] is None or told["host_bytes"] > 1e8
    assert told["machine"] == "icebreaker"
    assert record("plan", "--geometry", "2,8,4", "--clock", "5e7")["baud"] is None


def test_a_computer_that_is_too_small(succeed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritloom.host.cli.plan._host_bytes", lambda: 2_200_000_000)
    said = succeed("plan", "--board", "icebreaker", "--model", "2b-4t").stderr
    assert "this computer's 2.2 GB do not hold the model and a float32 cache of 4,096 positions; a float16 cache would fit" in said
    monkeypatch.setattr("tritloom.host.cli.plan._host_bytes", lambda: 1_900_000_000)
    said = succeed("plan", "--board", "icebreaker", "--model", "2b-4t").stderr
    assert "a context of 1," in said
    assert "with an int8 cache would fit" in said
    monkeypatch.setattr("tritloom.host.cli.plan._host_bytes", lambda: 1_000_000_000)
    assert "no context is short enough" in succeed("plan", "--board", "icebreaker", "--model", "2b-4t").stderr


@pytest.mark.parametrize("code, args, sentence", [
    (2, ("--board", "icebraker"), "there is no board named 'icebraker'. Did you mean icebreaker"),
    (2, ("--board", "icebreaker", "--geometry", "2,8,4"), "--board icebreaker has a geometry of its own: give --board or --geometry, not both."),
    (2, ("--board", "icebreaker", "--clock", "1e6"), "--board icebreaker has a clock of its own: leave --clock out"),
    (2, (), "it is not said what to plan for: give --board BOARD, or --geometry R,C,L with --clock HZ."),
    (2, ("--geometry", "2,8,4"), "an array of 2,8,4 needs a clock as well: give --clock HZ."),
    (2, ("--geometry", "2,8"), "Invalid value for '--geometry': a geometry must be three integers R,C,L"),
    (2, ("--clock", "1e8"), "it is not said what to plan for"),
    (2, ("--geometry", "2,8,4", "--clock", "0"), "the clock must be a positive number of hertz, not 0."),
    (2, ("--board", "icebreaker", "--bandwidth", "0"), "the bandwidth must be a positive number of bytes a second, not 0."),
    (2, ("--board", "icebreaker", "--bandwidth", "-5"), "the bandwidth must be a positive number of bytes a second, not -5."),
    (2, ("--board", "icebreaker", "--bandwidth", "nan"), "the bandwidth must be a positive number of bytes a second, not nan."),
    (2, ("--board", "icebreaker", "--context", "257"), "the context must be at most 256, which is all that nano has, not 257."),
    (2, ("--board", "icebreaker", "--context", "0"), "the context must be an integer from 1 up, not 0."),
    (2, ("--board", "icebreaker", "--batch", "0"), "the batch must be an integer from 1 up, not 0."),
    (2, ("--board", "icebreaker", "--host-time", "-1"), "the host's time must be a number of seconds from 0 up, not -1."),
    (2, ("--board", "icebreaker", "--packing", "base3"), "--packing base3 says how weights lie in a memory of their own: give its --bandwidth as well."),
    (2, ("--board", "icebreaker", "--packing", "base4"), "Invalid value for '--packing'"),
    (2, ("--board", "icebreaker", "--model", "manno"), "there is no model named 'manno'. Did you mean nano?"),
    (1, ("--board", "icebreaker", "--model", "no/such.trit"), "there is no model file no/such.trit."),
    (1, ("--board", "icebreaker", "--model", "no/such.json"), "there is no no/such.json"),
    (1, ("--board", "icebreaker", "--model", "no/such.gguf"), "there is no checkpoint no/such.gguf."),
])
def test_what_cannot_be_planned(fail: Callable[..., str], code: int, args: tuple[str, ...], sentence: str) -> None:
    assert fail(code, "plan", *args).startswith(sentence)


def test_a_damaged_file(fail: Callable[..., str], tiny: str, tmp_path: Path) -> None:
    data = bytearray(Path(tiny).read_bytes())
    data[-5] ^= 4
    damaged = tmp_path / "damaged.trit"
    damaged.write_bytes(data)
    assert "the file is damaged" in fail(1, "plan", "--board", "icebreaker", "--model", damaged)
    damaged.write_bytes(data[:100])
    assert "the file is truncated" in fail(1, "plan", "--board", "icebreaker", "--model", damaged)
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"}))
    assert "GPT2LMHeadModel" in fail(1, "plan", "--board", "icebreaker", "--model", config)
    gguf = tmp_path / "m.gguf"
    gguf.write_bytes(b"GGUFnonsense")
    assert "m.gguf" in fail(1, "plan", "--board", "icebreaker", "--model", gguf)


def test_inspect_tells_each_board_s_speed(record: Callable[..., dict[str, Any]], succeed: Callable[..., Any]) -> None:
    told = record("inspect", "nano")
    assert [board["name"] for board in told["boards"]] == [board.name for board in boards()]
    for board in told["boards"]:
        planned = record("plan", "--board", board["name"])
        assert board["decode_tokens_per_s"] == planned["decode"]["tokens_per_s"]
        assert board["prefill_tokens_per_s"] == planned["prefill"]["tokens_per_s"]
        assert board["resident_share"] == planned["resident_share"]
        assert board["bound"] == planned["decode"]["bound"]
    assert (told["embedding"], told["head"], told["order"]) == ("float32", None, None)
    shown = succeed("inspect", "nano").stdout
    assert max(map(len, shown.splitlines())) <= 86    # the file's path may be long
    assert "squared ReLU, sub-norms" in shown


def test_figures_for_people() -> None:
    assert [rate(value) for value in (1456.2, 99.4, 29.58, 0.000358116)] == ["1,456", "99.4", "29.6", "0.000358"]
    assert [amount(value) for value in (0, 999, 33_280, 1.313e9, 5.1e12)] == ["0 B", "999 B", "33.3 kB", "1.31 GB", "5,100 GB"]
