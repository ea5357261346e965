"""`tritloom selftest`: that it finds what is wrong, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from tritloom.host.serve import Server
from tritloom.rtl.geometry import Geometry
from tritloom.sim.model_device import ModelDevice

KEYS = {"cases", "mismatches", "seed", "device", "geometry", "failures", "counters"}


class FaultyDevice(ModelDevice):
    """Whoever sums more than 250 products gets the last output's sum of the first vector wrong, by one."""

    def _multiply(self, job) -> np.ndarray:
        sums = super()._multiply(job)
        if job.record["k"] > 250:
            sums[-1, 0] += 1
        return sums


@pytest.fixture
def faulty() -> Iterator[str]:
    """Where a faulty device is served."""
    with Server(FaultyDevice(Geometry()), listen="127.0.0.1:0") as server:
        thread = threading.Thread(target=server.run)
        thread.start()
        yield server.where
        server.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_sound_device(record) -> None:
    got = record("selftest", "--device", "model", "--cases", "40", "--seed", "5")
    assert set(got) == KEYS
    assert (got["cases"], got["mismatches"], got["failures"], got["seed"]) == (40, 0, [], 5)
    assert (got["device"], got["geometry"]) == ("model", "2,8,4")
    assert got["counters"]["jobs"] > 40
    assert got["counters"]["bad_frames"] == 0


@pytest.mark.parametrize("geometry", ["1,1,1", "3,5,7", "5,1,16"])
def test_other_geometries(record, geometry: str) -> None:
    assert record("selftest", "--device", "model", "--cases", "25", "--seed", "1", "--geometry", geometry)["mismatches"] == 0


def test_a_seed_repeats_a_run(record) -> None:
    runs = [record("selftest", "--device", "model", "--cases", "25", "--seed", seed)["counters"] for seed in ("8", "8", "9")]
    assert runs[0] == runs[1] != runs[2]


def test_without_a_seed_one_is_drawn_and_printed(succeed, record) -> None:
    seeds = {record("selftest", "--device", "model", "--cases", "1")["seed"] for _ in range(2)}
    assert len(seeds) == 2
    assert "geometry 2,8,4; seed " in succeed("selftest", "--device", "model", "--cases", "1").stdout


def test_a_faulty_device(tritloom, faulty: str) -> None:
    result = tritloom("selftest", "--device", faulty, "--cases", "20", "--seed", "4")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0].startswith("Wrong: case 2 (N = 1; K=300, N=1, M=300): 150 of 300 sums are wrong, the first at vector 0, output 0: ")
    assert all(line.startswith("Wrong: case ") and line.endswith("(seed 4).") for line in lines)
    assert "case 0 " not in result.stderr
    assert f"{len(lines)}" in result.stdout.splitlines()[3]


def test_a_faulty_device_in_json(tritloom, faulty: str) -> None:
    import json

    result = tritloom("selftest", "--device", faulty, "--cases", "20", "--seed", "4", "--json")
    assert result.exit_code == 1
    got = json.loads(result.stdout)
    assert got["mismatches"] == len(got["failures"]) > 0
    first = got["failures"][0]
    assert (first["k"], first["n"], first["m"], first["wrong"], first["got"] - first["expected"]) == (300, 1, 300, 150, 1)


def test_bad_input(fail) -> None:
    assert fail(2, "selftest", "--cases", "0") == "Invalid value for '--cases': 0 is not in the range x>=1."
    assert "Did you mean model?" in fail(2, "selftest", "--device", "modle")
    assert fail(2, "selftest", "--memory", "--cases", "5") == (
        "--cases says how many multiplications, and --memory makes its own: leave one of both out.")
