"""`tritloom run --marks`: when the phases of a run began and ended, and what they did."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tritloom.host import Model
from tritloom.host.marks import Marks, MarksError, Phase


def test_a_run_leaves_its_marks(succeed, tiny, tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    before = time.time(), time.monotonic()
    succeed("run", "Hello", "--model", tiny, "--device", "model", "--tokens", "8", "--marks", path)
    after = time.time(), time.monotonic()
    marks = Marks.read(path)
    assert (marks.model, marks.device, marks.geometry) == (tiny, "model", "2,8,4")
    weights = Model.load(tiny).config.ternary_weights
    assert [(phase.name, phase.tokens, phase.macs) for phase in marks.phases] == [("load", 0, 0), ("prompt", 5, 5 * weights), ("decode", 7, 7 * weights)]
    for clock, (first, last) in zip(("wall_s", "monotonic_s"), zip(before, after, strict=True), strict=True):
        moments = [getattr(phase, f"{end}_{clock}") for phase in marks.phases for end in ("start", "end")]
        assert moments == sorted(moments)
        assert first <= moments[0] <= moments[-1] <= last
    assert all(phase.seconds > 0 for phase in marks.phases)


def test_an_interrupted_run_leaves_what_it_did(process, lasting, tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    with process("run", "Hello", "--model", lasting, "--device", "model", "--tokens", "60000", "--marks", path) as running:
        assert running.stdout.read(15).startswith("Hello")
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=20)
    [_, prompt, decode] = Marks.read(path).phases
    assert prompt.tokens == 5
    assert 0 < decode.tokens < 60000


def test_marks_that_cannot_be_written_are_said_before_the_run(fail, tritloom, tiny, tmp_path: Path) -> None:
    path = tmp_path / "absent" / "marks.json"
    assert fail(1, "run", "Hello", "--model", tiny, "--device", "model", "--marks", path) == f"the marks {str(path)!r} cannot be written: No such file or directory."


def test_a_phase_ends_once() -> None:
    marks = Marks("nano", "sim")
    end = marks.begin("decode")
    end(3, 10)
    end(4, 10)
    assert [(phase.tokens, phase.macs) for phase in marks.phases] == [(3, 30)]


def test_fields_of_later_versions_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    Marks("nano", "sim", "2,8,4", [Phase("decode", 1, 2, 3, 4, 5, 6)]).write(path)
    record = json.loads(path.read_text())
    record["phases"][0]["watts"] = 3
    path.write_text(json.dumps(record | {"weather": "fine"}))
    assert Marks.read(path).phases == [Phase("decode", 1, 2, 3, 4, 5, 6)]


@pytest.mark.parametrize(("change", "sentence"), [
    (lambda record: {}, "the marks must have the format 'tritloom marks 1'"),
    (lambda record: record | {"format": "tritloom marks 2"}, "the marks must have the format 'tritloom marks 1'"),
    (lambda record: {name: value for name, value in record.items() if name != "phases"}, "the marks are damaged: 'phases' is missing"),
    (lambda record: record | {"phases": [{"name": "decode"}]}, "the marks are damaged: "),
    (lambda record: record | {"phases": [record["phases"][0] | {"tokens": -1}]}, "`tokens` of 'decode' must be a whole number from 0 up, not -1"),
    (lambda record: record | {"phases": [record["phases"][0] | {"start_wall_s": "noon"}]}, "`start_wall_s` of 'decode' must be a number of seconds, not 'noon'"),
    (lambda record: record | {"phases": [record["phases"][0] | {"end_monotonic_s": 0}]}, "'decode' must end after it starts, not -3 s later"),
    (lambda record: record | {"phases": [record["phases"][0] | {"tokens": 0}]}, "no phase of these marks has tokens"),
])
def test_files_that_are_none(tmp_path: Path, change, sentence: str) -> None:
    path = tmp_path / "marks.json"
    Marks("nano", "sim", "2,8,4", [Phase("decode", 1, 2, 3, 4, 5, 6)]).write(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(MarksError) as caught:
        Marks.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert sentence in str(caught.value)


def test_what_is_no_json(tmp_path: Path) -> None:
    path = tmp_path / "marks.json"
    path.write_text("start,end\n")
    with pytest.raises(MarksError, match="no marks, which `tritloom run --marks` writes, but"):
        Marks.read(path)
    with pytest.raises(MarksError, match="cannot be read: No such file"):
        Marks.read(tmp_path / "absent.json")
