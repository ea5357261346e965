"""Lengths are bounded before anything is allocated: in the host's decoder, in the server, and in the devices behind it."""

import contextlib
import socket
import threading
import time
import tracemalloc

import numpy as np
import pytest

from tritloom.host import connect
from tritloom.host.errors import TransportError
from tritloom.host.framing import Decoder, encode
from tritloom.host.serve import REFUSAL, Server
from tritloom.host.tcp import split_address
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import FRAME_BYTES, JOB, SYNC, WRITE, Op
from tritloom.sim.compiled import CompiledDevice, build
from tritloom.sim.model_device import ModelDevice

GEOMETRY = Geometry(rows=2, cols=4, lanes=4, depth=64, weight_words=1024, stream_words=64)

#: What a server may hold for a device or a client, and one read on top.
_MOST = (1 << 20) + (1 << 16)


@contextlib.contextmanager
def served(device):
    server = Server(device, listen=":0")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join(30)
        server.close()
        assert not thread.is_alive()


def dial(server):
    return socket.create_connection(split_address(server.where.removeprefix("tcp:")), timeout=5)


def flood(server, data, seconds):
    """Send for so long, without reading; how much went out."""
    sent, end = 0, time.monotonic() + seconds
    with dial(server) as rude:
        rude.settimeout(0.1)
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                sent += rude.send(data)
    return sent


def check(where):
    with connect(where, geometry=GEOMETRY) as acc:
        w, x = np.random.default_rng(1).integers(-1, 2, (9, 30), np.int8), np.full((3, 30), -128, np.int8)
        assert np.array_equal(acc.matmul(w, x), x.astype(np.int32) @ w.T)


@pytest.mark.parametrize("zeros", [False, True])
def test_the_decoder_keeps_no_more_than_a_frame(zeros):
    decoder = Decoder()
    tracemalloc.start()
    try:
        for _ in range(300):
            decoder.feed(b"\x01" * 65_000 + b"\0" * zeros)
        kept, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000 and most < 500_000
    assert decoder.bad == 300 * zeros
    assert len(decoder._rest) < 2 * FRAME_BYTES


def test_a_flood_waits_outside():
    """The gateware takes a byte a cycle; a client that sends faster waits, and the server's memory does not grow."""
    most = 0

    class Watched(CompiledDevice):
        def write(self, data):
            nonlocal most
            super().write(data)
            most = max(most, self.backlog)

    device = Watched(build(GEOMETRY))
    with served(device) as server:
        assert flood(server, b"\x55" * 30_000 + encode(Op.WRITE, 3, WRITE.pack(memory=0, row=0, at=0) + bytes(200)) * 100, 1.0) > 1_000_000
        assert 0 < most <= _MOST
        while device.backlog:
            time.sleep(0.05)
        check(server.where)
    device.close()


def test_replies_that_nobody_reads_wait_outside(monkeypatch):
    """Each short command asks for a long answer; they are not all computed for a client that takes none."""
    monkeypatch.setattr("tritloom.host.serve._MOST_PENDING", 1 << 16)
    monkeypatch.setattr("tritloom.host.serve._MOST_BACKLOG", 1 << 16)
    device = CompiledDevice(build(GEOMETRY))
    with served(device) as server:
        hello = encode(Op.SYNC, 255, SYNC.pack(nonce=1, claim=1))
        flood(server, hello + b"".join(encode(Op.COUNTERS, i & 0xFF) for i in range(20_000)), 1.0)
        assert len(server._pending) <= 1 << 17 and device.backlog <= 1 << 17
        while device.backlog:
            time.sleep(0.05)
        check(server.where)
    device.close()


def test_a_second_client_is_refused_while_the_first_is_served():
    device = ModelDevice(GEOMETRY)
    with served(device) as server, connect(server.where) as acc:
        for _ in range(3):
            with dial(server) as second:
                text = b""
                while piece := second.recv(1000):
                    text += piece
            assert text == REFUSAL and b"serves another client" in text
            with pytest.raises(TransportError, match="the device is gone, or serves someone else already"):
                connect(server.where)
        assert acc.counters().jobs == 0
    assert server.where.startswith("tcp:127.0.0.1:")


@pytest.mark.parametrize("op, payload", [
    (Op.JOB, JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=2, result_bytes=4, acts_at=0, k=64, n=0xFFFFFFFF, weights_at=0)),
    (Op.JOB, JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=255, result_bytes=4, acts_at=0, k=64, n=1, weights_at=0)),
    (Op.JOB, JOB.pack(engine=0, source=0, destination=0, weights=0, hold=0, rows=1, result_bytes=4, acts_at=0, k=0xFFFF, n=1, weights_at=0)),
    (Op.JOB, JOB.pack(engine=0, source=0, destination=0, weights=1, hold=0, rows=1, result_bytes=255, acts_at=0, k=1, n=1, weights_at=0)),
    (Op.WRITE, WRITE.pack(memory=0, row=0, at=0xFFFFFFFF) + bytes(8)),
    (Op.WRITE, WRITE.pack(memory=1, row=255, at=0) + bytes(8)),
])
def test_the_model_allocates_nothing_for_what_it_refuses(op, payload):
    device = ModelDevice(GEOMETRY)
    device.write(encode(Op.SYNC, 255, SYNC.pack(nonce=1, claim=1)))
    device.read(0.0)
    tracemalloc.start()
    try:
        device.write(encode(op, 0, payload))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    (reply,) = Decoder().feed(device.read(0.0))
    assert reply[0] == Op.ERROR and most < 100_000
