"""The compiled gateware at the end of a bad line: ``make stress``.

Thousands of small jobs, or, with ``--hours``, text, over a line that flips, loses, repeats and delays bytes from a seed. Every result is
compared, every time-out is checked, and a witness beside the device sees whether it ever executes a command twice.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tritloom.host import Model, connect
from tritloom.host.driver import Accelerator
from tritloom.host.errors import DeviceError
from tritloom.host.faults import Faults, FaultyTransport
from tritloom.host.link import Link
from tritloom.host.transport import open_transport
from tritloom.sim.witness import Witness

__all__ = ["JobsReport", "TextReport", "jobs", "text"]

#: Largest N, K and M of a job.
_LARGEST = (24, 48, 2)

#: Jobs with each matrix.
_JOBS_A_MATRIX = 20

#: Texts that are made before the first look at the memory.
_WARM_UP = 4

#: Every so many seconds the memory is looked at, and a line is printed.
_EVERY_S = 60.0


@dataclass
class JobsReport:
    """What became of the jobs of one seed.

    Parameters
    ----------
    seed : int
    jobs, wrong, errors : int
        Asked for; with a wrong result; that raised an error.
    twice : int
        Jobs that the device ran twice for one command: whose results began twice, as the witness saw it, or that it counted beyond those
        that it was given.
    synchronisations, repeats : int
        Of the link.
    injected : int
        Faults.
    bytes, clean_bytes : int
        Over the line, both ways; and of the same jobs on a line without faults.
    slowest_s, seconds : float
        The slowest call; all of them.
    clean_seconds : float
        All of them on a line without faults.
    usable : bool
        The device, without a reset, gave exact results to another host afterwards.
    """

    seed: int
    jobs: int
    wrong: int = 0
    errors: int = 0
    twice: int = 0
    synchronisations: int = 0
    repeats: int = 0
    injected: int = 0
    bytes: int = 0
    clean_bytes: int = 0
    slowest_s: float = 0.0
    seconds: float = 0.0
    clean_seconds: float = 0.0
    usable: bool = False

    @property
    def kept(self) -> float:
        """Share of the line's bytes that a line without faults would have needed."""
        return self.clean_bytes / self.bytes

    @property
    def good(self) -> bool:
        return self.usable and not (self.wrong or self.errors or self.twice)


def jobs(device: str, seed: int, count: int, rate: float) -> JobsReport:
    """Run jobs over a bad line, then the same over a good one.

    Parameters
    ----------
    device : str
        As `connect` takes it.
    seed : int
        Of the jobs and of the faults.
    count : int
        Jobs.
    rate : float
        Of the faults, a byte.
    """
    report = JobsReport(seed, count)
    line = FaultyTransport(Witness(open_transport(device)), Faults(seed, rate))
    witness = line.device
    link = Link(line)
    began = time.monotonic()
    for matrix, x, expected in _drawn(Accelerator(link), seed, count):
        begin = time.monotonic()
        try:
            report.wrong += not np.array_equal(matrix._owner.matmul(matrix, x), expected)
        except DeviceError as error:
            report.errors += 1
            print(f"seed {seed}: {type(error).__name__}: {error}", file=sys.stderr)
        report.slowest_s = max(report.slowest_s, time.monotonic() - begin)
    report.seconds = time.monotonic() - began
    report.synchronisations, report.repeats, report.injected = link.synchronisations, link.repeats, line.injected.total()
    report.bytes = link.bytes_sent + link.bytes_received

    # Another host, a good line, no reset. Its greeting ends what the first one left.
    link = Link(witness)
    acc = Accelerator(link)
    counted = acc.counters()
    report.twice = witness.twice + max(0, counted.jobs - witness.accepted)
    before, began = link.bytes_sent + link.bytes_received, time.monotonic()
    report.usable = all(np.array_equal(acc.matmul(matrix, x), expected) for matrix, x, expected in _drawn(acc, seed, count))
    report.clean_seconds = time.monotonic() - began
    report.clean_bytes = link.bytes_sent + link.bytes_received - before
    acc.close()
    return report


def _drawn(acc: Accelerator, seed: int, count: int):
    """Jobs: a matrix that is loaded, vectors, and what comes out."""
    rng = np.random.default_rng(seed)
    matrix = None
    for number in range(count):
        if number % _JOBS_A_MATRIX == 0:
            if matrix is not None:
                matrix.unload()
            n, k, m = (int(size) for size in rng.integers(1, _LARGEST, endpoint=True))
            w = rng.integers(-1, 2, (n, k), np.int8)
            matrix = acc.load(w)
        x = rng.integers(-128, 128, (m, k), np.int8)
        yield matrix, x, x.astype(np.int32) @ w.T.astype(np.int32)


@dataclass
class TextReport:
    """What became of text made over a bad line.

    Parameters
    ----------
    seconds : float
    texts, tokens, different : int
        Texts and tokens made, and texts that differ from those of a line without faults.
    rss_mib : list of float
        Memory of this process, in MiB: after warming up, and then about once a minute.
    synchronisations, repeats, injected, bytes : int
        Of the link and the line.
    """

    seconds: float
    texts: int
    tokens: int
    different: int
    rss_mib: list[float]
    synchronisations: int
    repeats: int
    injected: int
    bytes: int

    @property
    def drift(self) -> float:
        """Largest distance of the memory from where it was after warming up, as a share of that."""
        return max(abs(size / self.rss_mib[0] - 1) for size in self.rss_mib)


def text(device: str, seed: int, rate: float, seconds: float, tokens: int = 40) -> TextReport:
    """Make texts over a bad line, one after the other, each compared with that of a line without faults.

    Parameters
    ----------
    device : str
        As `connect` takes it. The texts to compare with come from the device `model`, whose sums are those of every device.
    seed : int
        Of the texts and of the faults.
    rate : float
        Of the faults, a byte.
    seconds : float
        Text is made for at least so long, and at least one.
    tokens : int
        Of each text.
    """
    model = Model.load("nano")
    report = TextReport(0.0, 0, 0, 0, [], 0, 0, 0, 0)
    began = looked = time.monotonic()
    with connect(device, faults=Faults(seed, rate)) as acc, connect("model") as good:
        line = acc.link.transport
        while not report.texts or report.seconds < seconds:
            made = ["".join(model.generate("ROMEO:", each, max_tokens=tokens, temperature=1.0, seed=seed + report.texts))
                    for each in (acc, good)]
            report.different += made[0] != made[1]
            report.texts += 1
            report.tokens += tokens
            now = time.monotonic()
            report.seconds = now - began
            if report.texts >= _WARM_UP and (not report.rss_mib or now - looked >= _EVERY_S):
                looked = now
                report.rss_mib.append(_rss_mib())
                print(f"{report.seconds:,.0f} s: {report.tokens:,} tokens, {report.different} texts differ, {report.rss_mib[-1]:.1f} MiB; "
                      f"{line.summary()}", file=sys.stderr, flush=True)
        report.rss_mib.append(_rss_mib())
        report.synchronisations, report.repeats = acc.link.synchronisations, acc.link.repeats
        report.injected, report.bytes = line.injected.total(), line.bytes
    return report


def _rss_mib() -> float:
    """Resident memory of this process."""
    fields = dict(row.split(":", 1) for row in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tritloom.sim.stress", description=__doc__)
    parser.add_argument("--device", default="sim", help="what is driven (default sim)")
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs in all (default 10,000)")
    parser.add_argument("--seeds", type=int, default=10, help="seeds that share them, from 0 on (default 10)")
    parser.add_argument("--rate", type=float, default=0.01, help="faults a byte (default 0.01)")
    parser.add_argument("--hours", type=float, help="make text for so long instead")
    parser.add_argument("--seed", type=int, default=1, help="of the text (default 1)")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    if options.hours is not None:
        report = text(options.device, options.seed, options.rate, 3600 * options.hours)
        bad = report.different or report.drift > 0.05
        print(json.dumps({"rate": options.rate, "seed": options.seed, "drift": report.drift, **asdict(report)}))
    else:
        reports = []
        for seed in range(options.seeds):
            reports.append(jobs(options.device, seed, options.jobs // options.seeds, options.rate))
            print(f"seed {seed}: {asdict(reports[-1])}", file=sys.stderr, flush=True)
        bad = not all(report.good for report in reports)
        if options.json:
            print(json.dumps({"rate": options.rate, "seeds": [asdict(report) for report in reports]}))
        else:
            _show(options.device, options.rate, reports)
    sys.exit(1 if bad else 0)


def _show(device: str, rate: float, reports: list[JobsReport]) -> None:
    total = sum(report.jobs for report in reports)
    table = Table(*("seed", "jobs", "wrong", "errors", "run twice", "faults", "synchronised", "repeated", "bytes kept", "time kept", "slowest"),
                  box=None, header_style="bold", caption=f"{total:,} jobs on {device}, {rate:g} faults a byte")
    for report in reports:
        table.add_row(*(f"{count:,}" for count in (
            report.seed, report.jobs, report.wrong, report.errors, report.twice, report.injected, report.synchronisations, report.repeats)),
            f"{report.kept:.1%}", f"{report.clean_seconds / report.seconds:.1%}", f"{report.slowest_s:.2f} s")
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
