"""`tritloom devices` and `tritloom models`."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tritloom.host.model import catalogue
from tritloom.rtl.geometry import Geometry


def test_devices(record, succeed) -> None:
    found = {device["name"]: device for device in record("devices")["devices"]}
    assert {"sim", "model", "tcp", "serial"} <= set(found)
    assert found["model"] == {
        "name": "model", "summary": found["model"]["summary"], "missing": None, "found": [], "geometry": "2,8,4", "macs_per_cycle": 64,
        "resident_weights": Geometry().resident_words * 32,
    }
    assert found["tcp"]["geometry"] is None
    shown = succeed("devices")
    assert all(name in shown.stdout for name in found)
    assert max(map(len, shown.stdout.splitlines())) <= 80


def port(device, vid, pid, manufacturer, product, location="1-1:1.1"):
    """A port as pyserial lists it."""
    from serial.tools.list_ports_common import ListPortInfo

    info = ListPortInfo(device)
    info.vid, info.pid, info.manufacturer, info.product, info.location = vid, pid, manufacturer, product, location
    return info


PORTS = [
    port("/dev/ttyUSB0", 0x0403, 0x6010, "1BitSquared", "iCEBreaker V1.0e", "1-1:1.0"),
    port("/dev/ttyUSB1", 0x0403, 0x6010, "1BitSquared", "iCEBreaker V1.0e"),
    port("/dev/ttyUSB2", 0x0403, 0x6015, "FER-RADIONA-EMARD", "ULX3S FPGA 85K v3.0.8", "1-2"),
    port("/dev/ttyUSB3", 0x0403, 0x6010, "SIPEED", "USB Debugger"),
    port("/dev/ttyUSB4", 0x0403, 0x6015, None, None, None),
    port("/dev/ttyUSB5", 0x1A86, 0x7523, None, "USB2.0-Serial", None),
    port("/dev/ttyS0", None, None, None, None, None),
]


def test_serial_ports_that_may_be_boards(record, succeed, fail, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the USB descriptor says, and which board that suggests; neither built-in ports nor the channel that programs the FPGA."""
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: PORTS)
    serial = next(device for device in record("devices")["devices"] if device["name"] == "serial")
    assert [(found["device"], found["description"], found["board"]) for found in serial["found"]] == [
        ("serial:/dev/ttyUSB1", "1BitSquared, iCEBreaker V1.0e (0403:6010)", "icebreaker"),
        ("serial:/dev/ttyUSB2", "FER-RADIONA-EMARD, ULX3S FPGA 85K v3.0.8 (0403:6015)", "ulx3s_85f"),
        ("serial:/dev/ttyUSB3", "SIPEED, USB Debugger (0403:6010)", "tang_nano_9k or tang_primer_20k"),
        ("serial:/dev/ttyUSB4", "USB serial port (0403:6015)", "ulx3s or icepi_zero"),
        ("serial:/dev/ttyUSB5", "USB2.0-Serial (1a86:7523)", None),
    ]
    shown = succeed("devices").stdout
    assert "perhaps ulx3s_85f" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert "(USB serial ports here: /dev/ttyUSB1, /dev/ttyUSB2," in fail(1, "run", "--device", "serial:/dev/ttyNONE")


def test_a_device_that_lacks_something() -> None:
    """Without pyserial, `serial` is listed with what to install."""
    code = "import sys; sys.modules['serial'] = None; from tritloom.host.cli import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code, "devices", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    serial = next(device for device in json.loads(done.stdout)["devices"] if device["name"] == "serial")
    assert "pip install" in serial["missing"]
    assert serial["found"] == []


def test_models(record, succeed) -> None:
    nano = next(model for model in record("models")["models"] if model["name"] == "nano")
    assert set(nano) == {"name", "path", "nbytes", "parameters", "ternary_weights", "context", "config", "training", "problem"}
    assert nano["ternary_weights"] <= 500_000
    assert nano["nbytes"] == Path(nano["path"]).stat().st_size
    assert nano["problem"] is None
    assert f"{nano['ternary_weights']:,}" in succeed("models").stdout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the shipped models lie, in this test."""
    monkeypatch.setattr(catalogue, "list_models", functools.partial(catalogue.list_models, tmp_path))
    return tmp_path


def test_a_damaged_model_is_listed_with_its_problem(record, succeed, folder: Path, tiny) -> None:
    data = Path(tiny).read_bytes()
    (folder / "whole.trit").write_bytes(data)
    (folder / "half.trit").write_bytes(data[:len(data) // 2])
    half, whole = record("models")["models"]
    assert (half["name"], half["ternary_weights"], half["config"]) == ("half", None, None)
    assert "truncated" in half["problem"]
    assert whole["problem"] is None
    text = succeed("models").stdout
    assert "truncated" in text
    assert "4.200" in text


def test_no_models(record, succeed, folder: Path) -> None:
    assert record("models") == {"models": []}
    assert "tritloom train" in succeed("models").stderr
