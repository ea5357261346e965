"""Devices served to other clients: over TCP and over a pseudo-terminal, driven by the real driver."""

import contextlib
import socket
import threading
import time

import numpy as np
import pytest

from tritloom.host import connect
from tritloom.host.errors import DisconnectedError, LinkError, TransportError, UsageError
from tritloom.host.framing import Decoder, encode
from tritloom.host.serve import REFUSAL, Server, serve
from tritloom.host.tcp import split_address
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import SYNC, Op
from tritloom.sim.model_device import ModelDevice

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=256, weight_words=1024, stream_words=64)


class Sluggish(ModelDevice):
    """Like a simulation: it answers when it is asked often enough, a few bytes at a time."""

    def __init__(self, geometry):
        super().__init__(geometry)
        self.ready = b""
        self.asked = 0

    def read(self, timeout_s):
        self.ready += super().read(timeout_s)
        self.asked += 1
        if self.asked % 3:
            return b""
        data, self.ready = self.ready[:500], self.ready[500:]
        return data


@contextlib.contextmanager
def served(device=None, **how):
    """A running server; yields what to connect to."""
    device = device or ModelDevice(GEOMETRY)
    server = Server(device, **(how or {"listen": "127.0.0.1:0"}))
    failure = []

    def run():
        try:
            server.run()
        except TransportError as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield server.where
        assert not failure or isinstance(device, Failing)
    finally:
        server.stop()
        thread.join(10)
        assert not thread.is_alive()
        server.close()


class Failing(ModelDevice):
    """Unplugged after so many writes."""

    left = 4

    def write(self, data):
        self.left -= 1
        if self.left < 0:
            raise DisconnectedError("model is gone")
        super().write(data)


def exercise(where, seed, **options):
    rng = np.random.default_rng(seed)
    with connect(where, **options) as acc:
        for n, k, m in ((5, 7, 1), (60, 60, 5), (200, 300, 3)):    # the last is larger than the store
            w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
            assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T), f"seed {seed}"
        return acc.counters()


def raw(where):
    return socket.create_connection(split_address(where.removeprefix("tcp:")), timeout=5)


@pytest.mark.parametrize("device", [ModelDevice, Sluggish])
def test_tcp(device):
    with served(device(GEOMETRY)) as where:
        assert where.startswith("tcp:127.0.0.1:")
        exercise(where, 1, geometry=GEOMETRY)


@pytest.mark.parametrize("device", [ModelDevice, Sluggish])
def test_pty(device):
    with served(device(GEOMETRY), pty=True) as where:
        assert where.startswith("serial:/dev/pts/")
        exercise(where, 2, geometry=GEOMETRY)
        exercise(f"{where}:3000000", 3)


def test_one_client_after_the_other():
    with served() as where:
        first = exercise(where, 4)
        second = exercise(where, 5)
    assert second.jobs == 2 * first.jobs > 0
    assert second.bad_frames == 0


def test_a_second_client_is_told_and_sent_away():
    with served() as where, connect(where) as acc:
        with raw(where) as second:
            text = b""
            while piece := second.recv(1000):
                text += piece
        assert text == REFUSAL
        assert Decoder().feed(text) == [None]
        with pytest.raises(TransportError, match="closed the connection .the device is gone, or serves someone else already"):
            connect(where)
        assert acc.counters().jobs == 0


def test_a_client_that_leaves_in_the_middle():
    with served() as where:
        with raw(where) as rude:
            rude.sendall(encode(Op.SYNC, 1, SYNC.pack(nonce=1, claim=1)) + encode(Op.COUNTERS, 2)[:5])
        time.sleep(0.05)
        with raw(where) as polite:
            polite.sendall(encode(Op.SYNC, 7, SYNC.pack(nonce=2, claim=1)))
            decoder, frames = Decoder(), []
            while not frames:
                frames = decoder.feed(polite.recv(1000))
            assert [frame[:2] for frame in frames] == [(Op.IDENTITY, 7)]
        assert exercise(where, 6).bad_frames == 1


def test_a_client_that_leaves_without_reading():
    with served() as where:
        with connect(where) as acc:
            matrix = acc.load(np.ones((30, 10), np.int8))
        with raw(where) as rude:
            rude.sendall(encode(Op.SYNC, 255, SYNC.pack(nonce=1, claim=1)))
            rude.settimeout(0.5)
            with contextlib.suppress(TimeoutError):    # replies fill every buffer on the way, then the server takes no more
                rude.sendall(b"".join(encode(Op.COUNTERS, i & 0xFF) for i in range(300_000)))
        time.sleep(0.3)
        with raw(where) as polite:
            polite.settimeout(0.2)
            with pytest.raises(TimeoutError):    # what was for the other is not for this one
                polite.recv(1)
        exercise(where, 7)
        assert matrix.shape == (30, 10)


def test_a_slow_reader_loses_nothing():
    count = 100_000
    with served() as where, raw(where) as client:
        client.sendall(encode(Op.SYNC, 255, SYNC.pack(nonce=1, claim=1)))
        sender = threading.Thread(target=lambda: client.sendall(b"".join(encode(Op.COUNTERS, i & 0xFF) for i in range(count))))
        sender.start()
        time.sleep(0.3)
        decoder, replies = Decoder(), []
        while len(replies) < count + 1:
            replies += decoder.feed(client.recv(1 << 16))
        sender.join()
    assert [frame[1] for frame in replies[1:]] == [i & 0xFF for i in range(count)]


def test_a_real_device_wakes_the_server():
    """A device with a file descriptor of its own: a served device, served once more."""
    with served() as inner:
        device = connect_transport(inner)
        with served(device) as outer:
            exercise(outer, 8)
        device.close()


def connect_transport(where) -> Transport:
    from tritloom.host.transport import open_transport

    return open_transport(where)


def test_unplugged_behind_the_server():
    """The driver names the job, whatever lies between it and the device."""
    device = Failing(GEOMETRY)
    done = threading.Event()

    def run():
        with contextlib.suppress(DisconnectedError):
            serve(device, listen="127.0.0.1:0", announce=places.append)
        done.set()

    places = []
    thread = threading.Thread(target=run)
    thread.start()
    while not places:
        time.sleep(0.01)
    acc = connect(places[0])
    matrix = acc.load(np.ones((3, 4), np.int8))
    with pytest.raises(DisconnectedError, match=r"tcp:.* closed the connection .*, at job \d \(N=3, K=4, rows=1\)"):
        for _ in range(10):
            acc.matmul(matrix, np.ones((1, 4), np.int8))
    acc.close()
    assert done.wait(5)
    thread.join()


def test_a_server_that_stops():
    with served() as where:
        acc = connect(where)
        matrix = acc.load(np.ones((3, 4), np.int8))
    with pytest.raises(DisconnectedError, match=r"at job 1 \(N=3, K=4, rows=1\)"):
        acc.matmul(matrix, np.ones((1, 4), np.int8))
    acc.close()


def test_a_pty_whose_server_is_gone():
    with served(pty=True) as where:
        acc = connect(where, timeout_s=0.2)
        matrix = acc.load(np.ones((3, 4), np.int8))
    with pytest.raises((DisconnectedError, LinkError), match=r"at job 1 \(N=3, K=4, rows=1\)"):
        acc.matmul(matrix, np.ones((1, 4), np.int8))
    acc.close()


@pytest.mark.parametrize("listen, host", [(":0", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "0.0.0.0")])
def test_this_machine_only_unless_told_otherwise(listen, host):
    with Server(ModelDevice(GEOMETRY), listen=listen) as server:
        assert server.where.startswith(f"tcp:{host}:")


@pytest.mark.parametrize("how, message", [
    ({}, "must have one way in"),
    ({"listen": ":0", "pty": True}, "must have one way in"),
    ({"listen": "somewhere"}, "a TCP address must be HOST:PORT, such as localhost:7333, not 'somewhere'"),
])
def test_bad_ways_in(how, message):
    with pytest.raises(UsageError, match=message):
        Server(ModelDevice(GEOMETRY), **how)


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(TransportError, match=f"cannot listen at {address}: the port is in use"):
            Server(ModelDevice(GEOMETRY), listen=address)


def test_the_server_rests_when_nothing_moves(monkeypatch):
    device = Sluggish(GEOMETRY)
    monkeypatch.setattr("tritloom.host.serve._ASK_FOR_S", 0.2)
    with served(device) as where, connect(where) as acc:
        time.sleep(0.6)
        asked = device.asked
        time.sleep(0.3)
        assert device.asked == asked
        acc.counters()
