"""Finding and opening transports, and what people read when that fails."""

import errno
import os
import socket
import subprocess
import sys
import tty
from importlib.metadata import EntryPoint

import pytest

from tritloom.host import serial_port, transport
from tritloom.host.errors import DisconnectedError, TransportError, UnknownNameError, UsageError
from tritloom.host.serial_port import open_serial
from tritloom.host.serve import line_rate
from tritloom.host.tcp import open_tcp, split_address
from tritloom.host.transport import Transport, open_transport, transports
from tritloom.rtl.geometry import Geometry


@pytest.fixture
def pty():
    """Path of a pseudo-terminal and the descriptor of its other end."""
    master, slave = os.openpty()
    tty.setraw(slave)
    yield os.ttyname(slave), master
    for fd in (master, slave):
        try:
            os.close(fd)
        except OSError as error:    # a test that unplugs it has closed it
            assert error.errno == errno.EBADF


def test_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match=r"no device named 'modle'\. Did you mean model\? Known: .*model, serial, sim, tcp"):
        open_transport("modle")


def test_listing():
    infos = {info.name: info for info in transports()}
    assert {"sim", "model", "tcp", "serial"} <= infos.keys()
    assert infos["model"].missing is None
    assert "numpy" in infos["model"].summary
    assert "tcp:HOST:PORT" in infos["tcp"].summary
    assert infos["serial"].missing is None


def test_code_that_cannot_be_imported(monkeypatch):
    broken = {"broken": EntryPoint("broken", "no_such_module:opener", transport.GROUP)}
    monkeypatch.setattr(transport, "_entries", lambda: broken)
    (info,) = transports()
    assert info.missing == "its code cannot be imported: No module named 'no_such_module'"
    with pytest.raises(TransportError, match="'broken' cannot be used, because its code cannot be imported: No module"):
        open_transport("broken")


def test_a_transport_of_another_package(monkeypatch):
    class Other(Transport):
        name, flow_controlled = "other", True

        def __init__(self, address, geometry):
            self.given = address, geometry

        def write(self, data): ...
        def read(self, timeout_s): return b""
        def close(self): ...

    def open_other(address, *, geometry=None):
        """Something else: other:PLACE."""
        return Other(address, geometry)

    class Entry:
        value = "other_package:open_other"
        load = staticmethod(lambda: open_other)

    monkeypatch.setattr(transport, "_entries", lambda: {"other": Entry})
    geometry = Geometry()
    assert open_transport("other:a:b", geometry=geometry).given == ("a:b", geometry)
    (info,) = transports()
    assert (info.name, info.summary, info.missing, info.found) == ("other", "Something else: other:PLACE.", None, ())


def test_model_has_no_address():
    with pytest.raises(UsageError, match="`model` has no address, so nothing may follow it, not 'x'"):
        open_transport("model:x")


def test_model_after_close():
    model = open_transport("model")
    model.close()
    model.close()
    with pytest.raises(DisconnectedError, match="model was closed here"):
        model.read(0)


@pytest.mark.parametrize("text, expected", [
    ("localhost:7333", ("localhost", 7333)), (":1", ("", 1)), ("[::1]:80", ("::1", 80)),
])
def test_tcp_addresses(text, expected):
    assert split_address(text) == expected


@pytest.mark.parametrize("text", ["", "localhost", "localhost:", "localhost:x", "localhost:70000", "localhost:-1"])
def test_bad_tcp_addresses(text):
    with pytest.raises(UsageError, match=f"must be HOST:PORT, such as localhost:7333, not '{text}'"):
        open_transport(f"tcp:{text}")


def test_tcp_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(TransportError, match=f"nothing listens at 127.0.0.1:{port}: start a device there, for example with `tritloom"):
        open_tcp(f"127.0.0.1:{port}")


def test_tcp_both_ways_and_the_end():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = open_tcp(address)
        server, _ = listener.accept()
        with server:
            client.write(b"abc")
            assert server.recv(10) == b"abc"
            assert client.read(0) == client.read(0.01) == b""
            server.sendall(b"xyz")
            assert client.read(2) == b"xyz"
        with pytest.raises(DisconnectedError, match=f"tcp:{address} closed the connection"):
            client.read(2)
        client.close()
        client.close()
        with pytest.raises(DisconnectedError, match="was closed here"):
            client.write(b"")


def test_serial_both_ways_and_the_end(pty):
    path, master = pty
    port = open_serial(path)
    assert not port.flow_controlled
    port.write(b"\x00\x11\x13\n\r\xff")
    assert os.read(master, 100) == b"\x00\x11\x13\n\r\xff"
    assert port.read(0) == port.read(0.01) == b""
    os.write(master, bytes(range(256)))
    data = b""
    while len(data) < 256:    # a terminal hands bytes over in pieces
        piece = port.read(2)
        assert piece
        data += piece
    assert data == bytes(range(256))
    os.close(master)
    with pytest.raises(DisconnectedError, match=f"serial:{path} is gone"):
        port.read(2)
    port.close()
    with pytest.raises(DisconnectedError, match="was closed here"):
        port.read(0)


def test_serial_speed(pty):
    """Any rate can be set, and is what the other end then sees; what came in before is dropped."""
    port = open_serial(f"{pty[0]}:3000000")
    assert (port.baud, port.wanted_baud) == (115_200, 3_000_000)
    for baud in (3_000_000, 1_928_571, 115_200):
        os.write(pty[1], b"old")
        port.set_baud(baud)
        assert port.baud == baud
        assert line_rate(pty[1]) == baud
        assert port.read(0.01) == b""
    port.close()
    assert open_serial(pty[0]).wanted_baud is None


def test_a_rate_that_the_port_refuses(pty, monkeypatch):
    port = open_serial(pty[0])

    def refuse(baud):
        raise ValueError("no")

    monkeypatch.setattr(port._port, "_set_special_baudrate", refuse)
    with pytest.raises(TransportError, match=f"serial:{pty[0]} cannot run at 1928571 baud: no"):
        port.set_baud(1_928_571)
    assert port.baud == 115_200
    port.close()
    with pytest.raises(DisconnectedError, match="was closed here"):
        port.set_baud(9600)


@pytest.mark.parametrize("text", ["", ":115200", "/dev/ttyUSB1:fast", "/dev/ttyUSB1:0"])
def test_bad_serial_addresses(text):
    with pytest.raises(UsageError, match="a serial address must be PORT or PORT:BAUD, such as /dev/ttyUSB1 or /dev/ttyUSB1:3000000, not"):
        open_transport(f"serial:{text}")


def test_serial_absent():
    with pytest.raises(TransportError, match=r"there is no serial port /dev/ttyNONE \(USB serial ports here: .*\): is the board plugged in\?"):
        open_serial("/dev/ttyNONE")


def test_serial_in_use(pty):
    path, _ = pty
    first = open_serial(path)
    with pytest.raises(TransportError, match=f"the serial port {path} is in use by another program"):
        open_serial(path)
    first.close()
    open_serial(path).close()


def test_serial_not_a_port(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TransportError, match="does not open: .*Could not configure port"):
        open_serial(str(tmp_path / "file"))


def test_serial_without_permission(pty):
    # Whoever runs the tests as root is refused nothing, so only the sentence can be tested.
    sentence = serial_port._explain("/dev/null", PermissionError(errno.EACCES, "Permission denied"))
    assert sentence.startswith("no permission to open /dev/null: join the group 'root' (`sudo usermod -aG root $USER`)")


def test_serial_without_pyserial(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    assert serial_port.missing() == "serial ports need pyserial: install it with `pip install 'tritloom[serial]'`"
    assert serial_port.found() == []
    with pytest.raises(TransportError, match="serial ports need pyserial"):
        open_transport("serial:/dev/ttyUSB0")


def test_the_host_needs_neither_amaranth_nor_pyserial(tmp_path):
    """A driver that is only a driver: everything up to a product on the model device, in a fresh interpreter."""
    program = """
import sys
import numpy as np
from tritloom.host import connect
with connect("model") as acc:
    y = acc.matmul(np.eye(3, dtype=np.int8), np.array([[1, 2, 3]], np.int8))
assert y.tolist() == [[1, 2, 3]]
print(sorted(name for name in sys.modules if name.split(".")[0] in ("amaranth", "serial", "torch", "click", "rich")))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[]\n", "")
