"""The documented walk, "flash, plug in, run", with a virtual board in another process for the board."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tritloom.boards import find
from tritloom.host import connect
from tritloom.host.errors import DeviceResetError, UnknownNameError, UsageError
from tritloom.host.transport import open_transport

BOARD = find("icebreaker")
TRITLOOM = [sys.executable, "-P", "-c", "from tritloom.host.cli import main; main()"]


def tritloom(*args):
    done = subprocess.run([*TRITLOOM, *args], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextlib.contextmanager
def plugged_in():
    """The other process; yields it and where its serial port is."""
    with subprocess.Popen([*TRITLOOM, "serve-device", "--board", "icebreaker", "--pty"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as server:
        try:
            where = server.stdout.readline().strip()
            assert where.startswith("serial:/dev/"), server.stderr.read()
            yield server, where
            assert server.poll() is None, server.stderr.read()
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=20)


@pytest.fixture(scope="module")
def served():
    with plugged_in() as (server, where):
        yield server, where


def test_the_walk(served):
    """The same text from the board's device, bit by bit over its serial line, as from the model."""
    _, where = served
    args = ("run", "ROMEO:", "--tokens", "8", "--temperature", "0", "--json")
    over_there = json.loads(tritloom(*args, "--device", where))
    here = json.loads(tritloom(*args, "--device", "model"))
    assert over_there["text"] == here["text"] and len(here["text"]) == 8
    assert over_there["geometry"] == str(BOARD.geometry)


def test_selftest(served):
    _, where = served
    assert json.loads(tritloom("selftest", "--device", where, "--cases", "5", "--seed", "1", "--json"))["mismatches"] == 0


def test_the_rate_is_the_boards_highest(served):
    with connect(served[1]) as acc:
        assert acc.link.baud == BOARD.max_baud
        assert acc.link.identity.board == "icebreaker"
        assert acc.counters().bad_frames == 0
    with connect(f"{served[1]}:921600") as acc:
        assert acc.link.baud == 921_600


def test_a_client_killed_at_the_fast_rate(served):
    """The next one gets through."""
    _, where = served
    with subprocess.Popen([*TRITLOOM, "selftest", "--device", where, "--cases", "1000"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as client:
        time.sleep(3)
        assert client.poll() is None
        client.kill()
    rng = np.random.default_rng(1)
    w, x = rng.integers(-1, 2, (9, 70), np.int8), rng.integers(-128, 128, (2, 70), np.int8)
    with connect(where) as acc:
        assert acc.link.baud == BOARD.max_baud
        assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T)


def test_idle_it_rests(served):
    """Without a client it burns no processor time."""
    server, where = served
    with connect(where) as acc:
        acc.counters()
    time.sleep(2)    # its clock runs on for 0.3 s of its own time
    before = _cpu_s(server.pid)
    time.sleep(1)
    assert _cpu_s(server.pid) - before <= 0.03


def _cpu_s(pid):
    with open(f"/proc/{pid}/stat") as stat:    # noqa: PTH123 (a pseudo-file)
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# Without a terminal in between

def test_a_reset_in_the_middle():
    """Between two products: the weights are not trusted any more, whatever the memories hold."""
    with connect("board:icebreaker", timeout_s=0.5) as acc:
        matrix = acc.load(np.ones((3, 40), np.int8))
        x = np.ones((1, 40), np.int8)
        assert acc.matmul(matrix, x).tolist() == [[40, 40, 40]]
        acc.link._transport.reset()
        with pytest.raises(DeviceResetError, match=r"board:icebreaker: the device was reset, .* connect again"):
            acc.matmul(matrix, x)


def test_results_fill_the_line():
    """While results stream, at least nine of ten byte times on the wire carry bytes of a frame."""
    with connect("board:icebreaker") as acc:
        wire = acc.link._transport
        rng = np.random.default_rng(2)
        matrix = acc.load(rng.integers(-1, 2, (3000, 32), np.int8))
        x = rng.integers(-128, 128, (1, 32), np.int8)
        acc.matmul(matrix, x)
        before, received = wire.cycles[0], acc.link.bytes_received
        acc.matmul(matrix, x)
        cycles, received = wire.cycles[0] - before, acc.link.bytes_received - received
    byte_cycles = 10 * round(BOARD.clock_hz / BOARD.max_baud)
    command_cycles = 100 * byte_cycles    # vector and job, on their way before the first result
    assert received * byte_cycles / (cycles - command_cycles) >= 0.9


def test_bad_names():
    with pytest.raises(UsageError, match="a virtual board must be named, as in board:icebreaker"):
        open_transport("board")
    with pytest.raises(UnknownNameError, match="there is no board named 'icebraker'. Did you mean icebreaker or "):
        open_transport("board:icebraker")
