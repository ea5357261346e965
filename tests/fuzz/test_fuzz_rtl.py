"""Hostile bytes into the compiled core, judged by the protocol: the short form of ``python -m tritloom.sim.fuzz``."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner

from tritloom.host.framing import encode
from tritloom.rtl.wire import COUNTERS, ERROR, IDENTITY, JOB, SYNC, Error, Op
from tritloom.sim.fuzz.__main__ import main
from tritloom.sim.fuzz.campaign import GEOMETRY, Campaign, Found, replay
from tritloom.sim.fuzz.judge import Disagreement, Judge
from tritloom.sim.model_device import ModelDevice


@pytest.mark.parametrize("seed", range(4))
def test_hostile_bytes_are_answered_as_the_protocol_asks_and_then_a_job_is_exact(seed: int) -> None:
    campaign = Campaign(seed)
    done = campaign.run(60_000)    # raises what it finds, with seed and place
    assert done.sent >= 60_000 and done.checks
    assert campaign.device.reached()[0] > 100, f"seed {seed}: a campaign that reaches few states tests little"
    assert len(campaign.judge.outcomes) >= 22, f"seed {seed}: {campaign.judge.outcomes}"


def test_nothing_but_zeros_and_nothing_but_noise() -> None:
    campaign = Campaign(1)
    for data in (bytes(5000), b"\xff" * 5000, b"\x01" * 5000, bytes(range(256)) * 20):
        campaign.send([(0, data)], 0.0)
        campaign.send([(0, b"\0")], 0.0)
    campaign.check()


class _Core:
    """What is known of a device after its first SYNC, to judge invented replies by."""

    def __init__(self) -> None:
        self.judge = Judge(GEOMETRY)
        fields = {name: getattr(GEOMETRY, name) for name in type(GEOMETRY).names()}
        identity = IDENTITY.pack(nonce=9, owner=0, version=2, rx_bytes=1023, digest=GEOMETRY.digest, clock_hz=0, max_baud=0, board=0, **fields)
        self.judge.judge(encode(Op.SYNC, 4, SYNC.pack(nonce=9, claim=1)), encode(Op.IDENTITY, 4, identity), alone=True)


def _job(**changes: int) -> bytes:
    return JOB.pack(**{"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": 1, "acts_at": 0, "k": 3, "n": 2,
                       "weights_at": 0} | changes)


def _error(seq: int, code: Error, expected: int) -> bytes:
    return encode(Op.ERROR, seq, ERROR.pack(code=code, expected=expected))


@pytest.mark.parametrize(("sent", "received"), [
    (encode(Op.COUNTERS, 5), b""),
    (encode(Op.COUNTERS, 5), encode(Op.ACK, 5)),
    (encode(Op.COUNTERS, 5), encode(Op.COUNTS, 6, bytes(COUNTERS.size))),
    (encode(Op.COUNTERS, 5), encode(Op.COUNTS, 5, bytes(COUNTERS.size)) * 2),
    (encode(Op.COUNTERS, 5), encode(Op.COUNTS, 5, bytes(COUNTERS.size - 1) + b"\1")),
    (encode(Op.COUNTERS, 5), b"\1\2\0"),
    (encode(Op.COUNTERS, 6), _error(6, Error.SEQUENCE, 6)),
    (encode(Op.COUNTERS, 4), _error(4, Error.SEQUENCE, 5)),
    (b"\1\0", _error(0, Error.CRC, 4)),
    (encode(Op.JOB, 5, _job()), b""),
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\0\0\0")),
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\0\0\0\1")),
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\0\0\0\0\0")),
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\1\0\0\0")),
    (encode(Op.JOB, 5, _job()), _error(5, Error.QUEUE_FULL, 5)),
    (encode(Op.JOB, 5, _job(n=0)), encode(Op.RESULT, 5, b"\0\0\0\0")),
    (encode(Op.STREAM, 5, bytes(3)), encode(Op.ACK, 5)),
    (encode(Op.WRITE, 5, bytes(9)), _error(5, Error.BUSY, 5)),
], ids=range(18))
def test_the_judge_objects(sent: bytes, received: bytes) -> None:
    with pytest.raises(Disagreement):
        _Core().judge.judge(sent, received, alone=True)


@pytest.mark.parametrize(("sent", "received"), [
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\0\0\0\0")),
    (encode(Op.JOB, 5, _job()), encode(Op.RESULT, 5, b"\0\0\0") + encode(Op.RESULT, 5, b"\1\0\0")),
    (encode(Op.JOB, 5, _job()) + encode(Op.WRITE, 6, bytes(9)), _error(6, Error.BUSY, 6) + encode(Op.RESULT, 5, b"\0\0\0\0")),
    (encode(Op.JOB, 5, _job()) + encode(Op.WRITE, 6, bytes(9)), encode(Op.RESULT, 5, b"\0\0\0\0") + encode(Op.ACK, 6)),
    (encode(Op.COUNTERS, 4), encode(Op.ACK, 4)),
], ids=range(5))
def test_the_judge_lets_time_be_time(sent: bytes, received: bytes) -> None:
    _Core().judge.judge(sent, received, alone=len(sent) < 40)


def test_what_is_found_can_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here: that the protocol wants a device to take 127 numbers for repeats."""
    execute = ModelDevice._execute

    def strict(self, frame):
        if frame is not None and (self._expected - frame[1]) & 0xFF == 128:
            frame = frame[0], frame[1] - 1 & 0xFF, frame[2]
        execute(self, frame)

    monkeypatch.setattr(ModelDevice, "_execute", strict)
    with pytest.raises(Found, match="seed 1, after .* bytes: to .* the core sent ACK") as found:
        Campaign(1).run(400_000)
    with pytest.raises(Found, match="the core sent ACK"):
        replay(found.value.sent)
    monkeypatch.undo()
    replay(found.value.sent)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = CliRunner().invoke(main, ["--seed", "5", "--bytes", "8000"])
    assert told.exit_code == 0 and "seed 5: 8" in told.output and "joint states" in told.output and "QUEUE_FULL" in told.output
    monkeypatch.setattr(Judge, "_compare_counters", lambda *_: (_ for _ in ()).throw(Disagreement("the counters are wrong")))
    told = CliRunner().invoke(main, ["--seed", "5", "--bytes", "8000", "--blind", "--save", str(tmp_path / "found")])
    assert told.exit_code == 1 and "the counters are wrong" in told.output
    assert isinstance(ast.literal_eval((tmp_path / "found").read_text()), list)
