"""`tritloom eval`: the score, of which part of the text, in which windows."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest

from tritloom.host.model import Model, evaluate
from tritloom.sim.golden import NumpyAccelerator

KEYS = {"nats_per_token", "tokens", "perplexity", "window", "device", "model", "geometry", "seconds", "notes"}
SEED = 11


@pytest.fixture
def text(tmp_path: Path) -> Path:
    rng = random.Random(SEED)
    path = tmp_path / "text.txt"
    path.write_text("".join(rng.choice("\n aeiou,bcdMNOP?") for _ in range(307)), encoding="utf-8", newline="")
    return path


def test_the_record(record, tiny, text: Path) -> None:
    got = record("eval", "--text", text, "--model", tiny)
    assert set(got) == KEYS
    want = evaluate(Model.load(tiny), NumpyAccelerator(), text.read_text(encoding="utf-8"))
    assert got["nats_per_token"] == want.nats_per_token
    assert got["perplexity"] == math.exp(want.nats_per_token)
    assert (got["tokens"], got["window"], got["device"], got["geometry"], got["notes"]) == (306, 40, "model", "2,8,4", [])


def test_a_part_of_the_text(record, tiny, text: Path) -> None:
    chars = text.read_text(encoding="utf-8")
    got = record("eval", "--text", text, "--model", tiny, "--last", "0.1", "--window", "7", "--limit", "25", "--geometry", "4,3,2")
    want = evaluate(Model.load(tiny), NumpyAccelerator(), chars[int(len(chars) * 0.9):], window=7, limit=25)
    assert (got["nats_per_token"], got["tokens"], got["window"]) == (want.nats_per_token, 25, 7)
    assert record("eval", "--text", text, "--model", tiny, "--last", "0.1")["tokens"] == len(chars) - int(len(chars) * 0.9) - 1


def test_line_ends_are_kept(record, tiny, tmp_path: Path) -> None:
    path = tmp_path / "dos.txt"
    path.write_bytes(b"one\r\ntwo\r\n")
    got = record("eval", "--text", path, "--model", tiny)
    assert got["tokens"] == 7
    assert got["notes"] == ["dropped 2 characters that the model's vocabulary does not have: '\\r' (2 times)"]


def test_what_a_person_sees(succeed, record, tiny, text: Path) -> None:
    shown = succeed("eval", "--text", text, "--model", tiny)
    assert f"{record('eval', '--text', text, '--model', tiny)['nats_per_token']:.4f}" in shown.stdout
    assert "perplexity" in shown.stdout
    assert shown.stderr == ""


def test_bad_input(fail, tiny, text: Path, tmp_path: Path) -> None:
    latin, empty = tmp_path / "latin.txt", tmp_path / "empty.txt"
    latin.write_bytes("h\u00e9".encode("latin-1"))
    empty.touch()
    assert fail(1, "eval", "--text", tmp_path / "absent.txt").endswith("absent.txt' cannot be read: No such file or directory.")
    assert fail(1, "eval", "--text", tmp_path).endswith("cannot be read: Is a directory.")
    assert fail(1, "eval", "--text", latin).endswith("is not UTF-8 at byte 1: convert it to UTF-8 first.")
    assert fail(2, "eval", "--text", empty, "--model", tiny).startswith("a text needs at least 2 characters")
    assert fail(2, "eval", "--text", text, "--model", tiny, "--window", "41") == (
        "`window` must be an integer from 1 to 40 (the model's context), not 41.")
    assert fail(2, "eval", "--text", text, "--last", "0") == "Invalid value for '--last': 0.0 is not in the range 0<x<=1."
    assert fail(2, "eval", "--text", text, "--last", "nan") == "`--last` must be a number above 0 and at most 1, not nan."
