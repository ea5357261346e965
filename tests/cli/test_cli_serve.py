"""`tritloom serve-device`: two processes, one the device and one its user."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest


@pytest.fixture
def served(process) -> Callable[..., AbstractContextManager[str]]:
    """A context manager: where another process serves the device `model`. It must end well on Ctrl-C, having printed nothing more."""

    @contextmanager
    def serve(*args: str) -> Iterator[str]:
        with process("serve-device", "--device", "model", "--json", *args) as server:
            where = json.loads(server.stdout.readline())["where"]
            yield where
            server.send_signal(signal.SIGINT)
            assert server.communicate(timeout=10) == ("", "\n")
            assert server.returncode == 0

    return serve


@pytest.mark.parametrize("how, kind", [(["--listen", "127.0.0.1:0"], "tcp:127.0.0.1:"), (["--pty"], "serial:/dev/")])
def test_another_process_drives_it(served, record, tiny, how: list[str], kind: str) -> None:
    args = ("run", "Hello", "--model", tiny, "--tokens", "20", "--temperature", "0")
    with served("--geometry", "3,5,7", *how) as where:
        assert where.startswith(kind)
        over_there = record(*args, "--device", where)
        assert record("selftest", "--device", where, "--cases", "16", "--seed", "2")["mismatches"] == 0
    here = record(*args, "--device", "model", "--geometry", "3,5,7")
    assert (over_there["device"], over_there["geometry"]) == (where, "3,5,7")
    for key in ("text", "cycles_per_token", "array_utilization", "link_bytes_per_token"):
        assert over_there[key] == here[key]


def test_a_person_sees_the_address(process) -> None:
    with process("serve-device", "--device", "model", "--listen", "127.0.0.1:0") as server:
        where = server.stdout.readline().strip()
        assert where.startswith("tcp:127.0.0.1:")
        assert server.stderr.readline() == f"model is served there until Ctrl-C. For example: tritloom run --device {where}.\n"
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=10) == 0


def test_another_geometry_is_refused(served, fail, tiny) -> None:
    with served("--listen", "127.0.0.1:0") as where:
        assert fail(1, "run", "--model", tiny, "--device", where, "--geometry", "1,8,4") == (
            f"{where} has another geometry than was asked for: rows 2 instead of 1.")


def test_unplugged_in_the_middle(process, lasting) -> None:
    """The sentence names the job, and stands on a line of its own."""
    with process("serve-device", "--device", "model", "--listen", "127.0.0.1:0", "--json") as server:
        where = json.loads(server.stdout.readline())["where"]
        with process("run", "Hello", "--model", lasting, "--device", where, "--tokens", "60000") as running:
            running.stdout.read(15)
            server.kill()
            out, err = running.communicate(timeout=20)
    assert running.returncode == 1
    assert out.endswith("\n")
    assert err.startswith(f"Error: {where} closed the connection")
    assert ", at job " in err
    assert err.count("\n") == 1


def test_bad_input(fail) -> None:
    one_way = "a device must be served in one way: give --listen HOST:PORT or --pty."
    assert fail(2, "serve-device") == one_way
    assert fail(2, "serve-device", "--pty", "--listen", ":0") == one_way
    assert fail(2, "serve-device", "--listen", "7333") == "a TCP address must be HOST:PORT, such as localhost:7333, not '7333'."
    assert "Did you mean model?" in fail(2, "serve-device", "--device", "modell", "--pty")
    assert "Did you mean icebreaker or " in fail(2, "serve-device", "--board", "icebraker", "--pty")
    assert fail(2, "serve-device", "--board", "icebreaker", "--listen", ":0") == (
        "a board has a serial line with a rate, which a TCP socket has not: serve it with --pty.")
    assert fail(2, "serve-device", "--board", "icebreaker", "--device", "model", "--pty") == (
        "--board icebreaker is a device of its own: leave out --device model.")
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert fail(1, "serve-device", "--device", "model", "--listen", address) == f"cannot listen at {address}: the port is in use."
