"""`tritloom run`: the text, its figures, and what ends it."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tritloom.host import Model, connect
from tritloom.rtl.geometry import Geometry
from tritloom.sim.golden import NumpyAccelerator

KEYS = {"text", "tokens", "tokens_per_s", "cycles_per_token", "array_utilization", "link_bytes_per_token", "prefill", "decode", "device",
        "model", "geometry", "prompt", "temperature", "top_k", "top_p", "seed", "kv_cache", "stop_reason", "notes"}
PHASE_KEYS = {"tokens", "seconds", "tokens_per_s", "cycles_per_token", "array_utilization", "link_bytes_per_token"}


def test_the_text_is_that_of_the_golden_model(record, tiny) -> None:
    got = record("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "30", "--temperature", "0")
    assert got["text"] == "".join(Model.load(tiny).generate("Hello", NumpyAccelerator(), max_tokens=30))
    assert len(got["text"]) == got["tokens"] == 30


def test_the_record(record, tiny) -> None:
    got = record("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "8", "--top-k", "9", "--top-p", "0.9", "--seed", "7")
    assert set(got) == KEYS
    assert set(got["prefill"]) == set(got["decode"]) == PHASE_KEYS
    assert {key: got[key] for key in PHASE_KEYS - {"tokens", "seconds"}} == {
        key: got["decode"][key] for key in PHASE_KEYS - {"tokens", "seconds"}}
    assert (got["device"], got["model"], got["geometry"], got["prompt"]) == ("model", tiny, "2,8,4", "Hello")
    assert (got["temperature"], got["top_k"], got["top_p"], got["seed"]) == (0.8, 9, 0.9, 7)
    assert (got["stop_reason"], got["notes"]) == ("length", [])
    assert got["prefill"]["tokens"] == 5
    assert got["decode"]["tokens"] == 7    # the first token follows from the prompt
    assert all(value > 0 for phase in ("prefill", "decode") for value in got[phase].values())


def test_the_figures_are_the_devices(record, tiny) -> None:
    """Cycles, busy beats and bytes of the model's work alone, counted a second time here."""
    tokens = 30
    got = record("run", "Hello", "--model", tiny, "--device", "model", "--tokens", str(tokens), "--geometry", "3,5,7", "--temperature", "0")
    with connect("model", geometry=Geometry.parse("3,5,7")) as acc:
        generation = Model.load(tiny).generate("Hello", acc, max_tokens=tokens)
        for phase, count, work in (("prefill", 5, generation.start), ("decode", tokens - 1, lambda: list(generation))):
            before, moved = acc.counters(), acc.link.bytes_sent + acc.link.bytes_received
            work()
            moved = acc.link.bytes_sent + acc.link.bytes_received - moved
            counters = acc.counters() - before
            assert got[phase]["cycles_per_token"] == counters.cycles / count
            assert got[phase]["array_utilization"] == counters.utilization
            assert got[phase]["link_bytes_per_token"] == moved / count


def test_long_runs_add_up(record, lasting) -> None:
    """The counters are read several times on the way; every token costs the array the same."""
    one = record("run", "a", "--model", lasting, "--device", "model", "--tokens", "2", "--temperature", "0")
    many = record("run", "a", "--model", lasting, "--device", "model", "--tokens", "200", "--temperature", "0")
    assert many["decode"]["tokens"] == 199
    for key in ("cycles_per_token", "array_utilization", "link_bytes_per_token"):
        assert many[key] == one[key]


def test_a_seed_repeats_a_text(record, tiny) -> None:
    texts = [record("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "30", "--temperature", "2", *seed)["text"]
             for seed in ([], [], ["--seed", "0"], ["--seed", "1"])]
    assert texts[0] == texts[1] == texts[2] != texts[3]


def test_what_a_person_sees(succeed, record, tiny) -> None:
    args = ("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "20")
    shown = succeed(*args)
    lines = shown.stdout.splitlines()
    text = "Hello" + record(*args)["text"]
    assert shown.stdout.startswith(text)
    assert max(len(line) for line in shown.stdout.removeprefix(text).splitlines()[:-1]) <= 80
    for row in ("prompt", "tokens/s", "array cycles a token", "array utilisation", "link bytes a token"):
        assert any(row in line for line in lines)
    assert lines[-1] == f" {tiny} on model, geometry 2,8,4; temperature 0.8, seed 0"
    assert shown.stderr == ""


def test_the_prompt_is_optional(record, tiny) -> None:
    assert record("run", "--model", tiny, "--device", "model", "--tokens", "1")["prompt"] == "ROMEO:"


@pytest.mark.parametrize("tokens, decoded", [(0, 0), (1, 0), (2, 1)])
def test_few_tokens(record, succeed, tiny, tokens: int, decoded: int) -> None:
    args = ("run", "Hello", "--model", tiny, "--device", "model", "--tokens", str(tokens))
    got = record(*args)
    assert (got["tokens"], got["decode"]["tokens"], got["prefill"]["tokens"]) == (tokens, decoded, 5)
    assert (got["cycles_per_token"] is None) == (decoded == 0)
    assert ("-" in succeed(*args).stdout.split("tokens/s")[1].splitlines()[0]) == (decoded == 0)


def test_unknown_characters_are_said(tritloom, tiny) -> None:
    result = tritloom("run", "Hé[llo]", "--model", tiny, "--device", "model", "--tokens", "3")
    assert result.exit_code == 0
    assert result.stdout.startswith("Hllo")
    assert result.stderr == "Note: dropped 3 characters that the model's vocabulary does not have: 'é', '[', ']'.\n"


def test_an_empty_prompt_is_said(tritloom, tiny) -> None:
    result = tritloom("run", "", "--model", tiny, "--device", "model", "--tokens", "3")
    assert result.exit_code == 0
    assert result.stdout.startswith("\n")
    assert result.stderr == "Note: the prompt is empty: started from a newline.\n"


def test_the_end_of_the_context_is_said(tritloom, record, tiny) -> None:
    args = ("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "100")
    result = tritloom(*args)
    assert result.exit_code == 0
    assert result.stderr == "Stopped because the model's context of 40 tokens is full.\n"
    got = record(*args)
    assert (got["stop_reason"], got["tokens"]) == ("context", 36)


def test_nano_is_the_default(record) -> None:
    got = record("run", "--device", "model", "--tokens", "2")
    assert (got["model"], got["prompt"]) == ("nano", "ROMEO:")


@pytest.mark.parametrize("args, code, sentence", [
    (["--device", "sims"], 2, "there is no device named 'sims'. Did you mean sim? Known: board, model, serial, sim, tcp."),
    (["--device", "sim:3"], 2, "the device `sim` has no address, so nothing may follow it, not '3'."),
    (["--device", "model", "--model", "nanno"], 2,
     "there is no model named 'nanno'. Did you mean nano? Known: nano. A path to a *.trit file will do as well."),
    (["--model", "absent.trit"], 1, "there is no model file absent.trit."),
    (["--tokns", "3"], 2, "there is no option named '--tokns'. Did you mean --tokens"),
    (["--tokens", "many"], 2, "Invalid value for '--tokens': 'many' is not a valid integer"),
    (["--tokens", "-1"], 2, "Invalid value for '--tokens': -1 is not in the range x>=0."),
    (["--temperature", "nan", "--device", "model"], 2, "`temperature` must be a number from 0 up, not nan."),
    (["--temperature", "-0.1"], 2, "Invalid value for '--temperature': -0.1 is not in the range x>=0"),
    (["--top-k", "0"], 2, "Invalid value for '--top-k': 0 is not in the range x>=1."),
    (["--top-p", "0"], 2, "Invalid value for '--top-p': 0.0 is not in the range 0<x<=1."),
    (["--seed", "-1"], 2, "Invalid value for '--seed': -1 is not in the range x>=0."),
    (["--geometry", "2,8"], 2, "Invalid value for '--geometry': a geometry must be three integers R,C,L such as 2,8,4, not '2,8'."),
    (["--geometry", "0,8,4"], 2, "Invalid value for '--geometry': `rows` must be an integer from 1 to 255, not 0."),
    (["--device", "tcp:localhost"], 2, "a TCP address must be HOST:PORT, such as localhost:7333, not 'localhost'."),
    (["--device", "tcp:localhost:1"], 1, "nothing listens at localhost:1: start a device there"),
    (["--device", "serial:/dev/absent"], 1, "there is no serial port /dev/absent"),
    (["To be", "or not"], 2, "Got unexpected extra argument (or not)."),
    (["\u00e9\u00e8", "--device", "model"], 2, "none of the text's 2 characters ('\u00e9\u00e8') is in the model's vocabulary; it knows"),
    (["a" * 300, "--device", "model"], 2, "the prompt has 300 tokens and the model's context holds 256: shorten the prompt."),
])
def test_bad_input(fail, args: list[str], code: int, sentence: str) -> None:
    assert fail(code, "run", *args).startswith(sentence)


def test_json_does_not_change_errors(fail) -> None:
    assert "'sims'" in fail(2, "run", "--device", "sims", "--json")


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_model_is_refused(fail, tiny, tmp_path: Path, damage: str) -> None:
    data = bytearray(Path(tiny).read_bytes())
    if damage == "truncated":
        del data[-100:]
    else:
        data[-100] ^= 0x10
    broken = tmp_path / "broken.trit"
    broken.write_bytes(data)
    sentence = fail(1, "run", "--model", broken, "--device", "model")
    assert "broken.trit" in sentence
    assert ("truncated" if damage == "truncated" else "checksum") in sentence


def test_ctrl_c_ends_with_the_table(process, lasting) -> None:
    with process("run", "Hello", "--model", lasting, "--device", "model", "--tokens", "60000") as running:
        assert running.stdout.read(15).startswith("Hello")
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "link bytes a token" in out
    assert err.startswith("Stopped by Ctrl-C after ")
    assert err.endswith(" of 60000 tokens.\n")


def test_ctrl_c_ends_with_the_record(process, lasting) -> None:
    with process("run", "Hello~", "--model", lasting, "--device", "model", "--tokens", "60000", "--json") as running:
        assert running.stderr.readline().startswith("Note: dropped 1 character")    # the prompt is taken in next
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        out, _ = running.communicate(timeout=20)
    assert running.returncode == 130
    got = json.loads(out)
    assert got["stop_reason"] == "interrupted"
    assert set(got) == KEYS
    assert got["tokens"] == len(got["text"]) < 60000


def test_a_reader_that_leaves(process, lasting) -> None:
    """As in ``tritloom run | head``."""
    with process("run", "Hello", "--model", lasting, "--device", "model", "--tokens", "60000") as running:
        running.stdout.read(10)
        running.stdout.close()
        assert running.wait(timeout=20) == 1
        assert running.stderr.read() == ""


def test_the_compile_is_announced(process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny) -> None:
    """The first use of `sim` takes its time, and says so before; here it ends early, because the compiler is none."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "false")
    with process("run", "--model", tiny, "--geometry", "1,1,2") as running:
        out, err = running.communicate(timeout=60)
    assert running.returncode == 1
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("Compiling core-1x1x2 (once; about ")
    assert second.startswith("Error: the C++ compiler 'false' failed")


def test_a_chat_needs_a_template(fail, tiny) -> None:
    assert "leave out --chat" in fail(2, "run", "Hello", "--model", tiny, "--device", "model", "--chat")
