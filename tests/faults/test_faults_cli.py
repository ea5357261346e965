"""`--faults`, `--verify` and `selftest --memory` as a user meets them."""

import json

import pytest
from click.testing import CliRunner

from tritloom.host.cli.program import program
from tritloom.sim.model_device import ModelDevice


@pytest.fixture
def tritloom():
    """A function: runs a command line; the exit code and both streams."""
    def run(*args):
        done = CliRunner().invoke(program, args)
        return done.exit_code, done.stdout, done.stderr

    return run


def told(err):
    return " ".join(err.split())


def test_the_text_is_the_same_and_what_was_injected_is_said(tritloom):
    args = ("run", "ROMEO:", "--device", "model", "--tokens", "8", "--temperature", "0", "--json")
    code, out, err = tritloom(*args)
    bad_code, bad_out, bad_err = tritloom(*args, "--faults", "7:0.001", "--verify")
    assert code == bad_code == 0, bad_err
    assert json.loads(out)["text"] == json.loads(bad_out)["text"] and json.loads(bad_out)["verified_outputs"] > 1000
    assert "faults" not in err and "verified_outputs" not in out
    assert "faults 7:0.001 over" in told(bad_err) and "bytes flipped" in told(bad_err) and "times and repeated" in told(bad_err)
    assert "The weight store holds what was loaded" in told(bad_err)


def test_a_cut_line_is_an_error_and_its_faults_are_said(tritloom):
    code, _, err = tritloom("selftest", "--device", "model", "--cases", "30", "--faults", "1:0:5000")
    assert code == 1
    assert "faults 1:0:5000 over" in told(err) and "nothing happened to them" in told(err)
    assert "the line was cut after 5,000 bytes" in told(err)


@pytest.mark.parametrize("command", ["run", "selftest", "serve-device", "eval"])
def test_faults_that_are_none(tritloom, command):
    code, _, err = tritloom(command, "--faults", "bad", *(["--text", "x"] if command == "eval" else []))
    assert code == 2 and "faults must be SEED:RATE, such as 7:0.01" in told(err)


def test_selftest_memory(tritloom):
    code, out, _ = tritloom("selftest", "--memory", "--device", "model", "--json", "--seed", "3")
    report = json.loads(out)
    assert code == 0 and report["failures"] == [] and (report["words"], report["trits"]) == (16384, 524064)
    code, out, _ = tritloom("selftest", "--memory", "--device", "model")
    assert code == 0 and "524,064" in out


def test_selftest_memory_of_a_bad_store(tritloom, monkeypatch):
    """The lowest bit of word 5,000 stuck at 1, in the device itself."""
    multiply = ModelDevice._multiply

    def spoilt(self, job):
        self._store[5000, 0] |= 1
        return multiply(self, job)

    monkeypatch.setattr(ModelDevice, "_multiply", spoilt)
    code, out, err = tritloom("selftest", "--memory", "--device", "model", "--seed", "3")
    assert code == 1 and "are not what was written (seed 3)" in told(err) and "column 0, pattern" in told(err)
    code, out, _ = tritloom("selftest", "--memory", "--device", "model", "--seed", "3", "--json")
    failures = json.loads(out)["failures"]
    assert code == 1 and failures and all(failure["first"] <= 5000 <= failure["last"] for failure in failures)
