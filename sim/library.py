"""Gateware as a shared library: Amaranth makes C++ of it (CXXRTL), a C++ compiler makes a library of that, and the library is kept.

It is named by everything that it depends on, so that nothing is compiled twice, and nothing old is used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from platformdirs import user_cache_path

from tritloom.host.beside import written_beside
from tritloom.host.errors import TransportError
from tritloom.rtl.geometry import Geometry

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = ["build", "find_compiler", "missing", "opened"]

_Device = TypeVar("_Device")

_log = logging.getLogger("tritloom.sim")

_SOURCES = Path(sys.modules[Geometry.__module__].__file__).parent

#: NDEBUG: an address past a memory's end, which a host can ask for, is ignored as in hardware instead of ending the process.
_FLAGS = ["-std=c++17", "-O2", "-DNDEBUG", "-DCXXRTL_NDEBUG", "-w", "-shared", "-fPIC"]

#: The whole core is one function, of thousands of calls into CXXRTL's small templates. CXXRTL has them inlined by force, before they are
#: optimised, which takes clang two minutes and g++ 18 s. Left to the inliner, with bounds that let it do the same afterwards: 10 s and
#: 11 s, and what comes out is as fast or faster (2.0 and 1.1 million cycles a second on a loaded core, before 1.8 and 1.1).
_INLINING = {
    "clang": ["-D__always_inline__=__unused__", "-mllvm", "-inline-threshold=200000"],
    "gcc": ["-D__always_inline__=__unused__", "-finline-limit=3000", *(
        part for name, value in {
            "max-inline-insns-single": 3000, "inline-unit-growth": 1000, "large-function-growth": 10000,
            "large-stack-frame-growth": 100000, "early-inlining-insns": 500,
        }.items() for part in ("--param", f"{name}={value}"))],
}

#: Scratch folders of compilations that were killed are removed after this long, in seconds.
_SCRATCH_S = 24 * 3600

_TWO_WAYS = "install one (such as Debian's g++), or the one that pip brings: pip install 'tritloom[compiler]'"
_NO_COMPILER = f"simulated gateware needs a C++ compiler and there is none: {_TWO_WAYS}"


def missing() -> str | None:
    """What has to be installed before gateware can be compiled, if anything."""
    return None if find_compiler() else _NO_COMPILER


def find_compiler() -> list[str] | None:
    """Command of the C++ compiler: ``$CXX``, clang++, g++, or the one in the ``ziglang`` package, which is clang.

    Raises
    ------
    TransportError
        If ``$CXX`` is no command line.
    """
    if named := os.environ.get("CXX", "").strip():
        try:
            return shlex.split(named)
        except ValueError as error:
            raise TransportError(f"$CXX is {named!r}, which is no command: {error}") from error
    for name in ("clang++", "g++"):
        if path := shutil.which(name):
            return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "c++"]
    return None


def build(name: str, what: object, harness: Path, designs: Mapping[str, Callable[[], Component]]) -> Path:
    """Compile gateware with its harness, unless that was done before.

    Parameters
    ----------
    name : str
        Begins the file's name, and stands in the message that it is being compiled.
    what : object
        All that the designs are made from, as something whose `repr` tells it.
    harness : Path
        C++ to be included after the designs' own.
    designs : mapping of str to callable
        Namespace, and what makes the component that becomes the class `p_top` there. Called only if something is to be compiled.

    Returns
    -------
    Path
        Shared library, in the user's cache folder.

    Raises
    ------
    TransportError
        If there is no C++ compiler, or it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise TransportError(_NO_COMPILER)
    folder = user_cache_path("tritloom") / "sim"
    library = folder / f"{name}-{_digest(what, harness, compiler)}.so"
    if library.exists():
        return library
    _log.info("Compiling %s (once; about 20 s)", name)
    with _scratch(folder) as scratch, written_beside(library) as made:
        source = scratch / "design.cpp"
        texts, include = _cxxrtl(designs)
        source.write_text("\n".join([*texts, harness.read_text()]))
        try:
            told = subprocess.run([*compiler, "--version"], capture_output=True, text=True, check=False).stdout
            inlining = _INLINING["clang" if "clang" in told else "gcc"]
            command = [*compiler, *_FLAGS, *inlining, f"-I{include}", str(source), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise TransportError(
                f"the C++ compiler {shlex.join(compiler)!r} cannot be started ({error.strerror}): name another in $CXX, or {_TWO_WAYS}") from error
        if done.returncode or not made.exists():
            last = done.stderr.strip().splitlines()[-1:] or ["it gave no message"]
            raise TransportError(f"the C++ compiler {shlex.join(compiler)!r} failed on the simulated core ({last[0]}): "
                                 f"name another in $CXX, or {_TWO_WAYS}")
    return library


def opened(make: Callable[[], Path], load: Callable[[Path], _Device]) -> _Device:
    """What is in a library that `build` made; made anew if the one that was kept is damaged.

    Parameters
    ----------
    make : callable
        Calls `build`.
    load : callable
        Opens the library, and raises OSError if it is none.

    Raises
    ------
    TransportError
        As `build`.
    """
    made = make()
    try:
        return load(made)
    except OSError:
        made.unlink()
        return load(make())


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to compile in, beside the libraries; those that were left behind are removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("tmp*"):
            with suppress(FileNotFoundError):    # another process has just finished with its own
                if time.time() - left.stat().st_mtime > _SCRATCH_S:
                    shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            yield Path(scratch)
    except OSError as error:
        raise TransportError(f"the compiled array cannot be kept in {folder} ({error.strerror or error}): "
                             "make room there, or name another folder in $XDG_CACHE_HOME") from error


def _digest(what: object, harness: Path, compiler: list[str]) -> str:
    """Name for all that a library depends on."""
    digest = hashlib.sha256()
    for path in [*sorted(_SOURCES.glob("*.py")), harness, Path(__file__)]:
        digest.update(path.read_bytes())
    digest.update(repr((what, compiler, version("amaranth"), platform.platform())).encode())
    return digest.hexdigest()[:16]


def _cxxrtl(designs: Mapping[str, Callable[[], Component]]) -> tuple[list[str], Path]:
    """The designs in C++, and the folder of the headers that they include."""
    # Amaranth takes a second to import, and is not needed when the library is there.
    from amaranth._toolchain.yosys import find_yosys
    from amaranth.back import rtlil

    from tritloom.rtl.ports import ports

    # Amaranth's own before one on the PATH: a distribution's may be years old, and keep its headers in a package of their own.
    os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin,system")
    yosys = find_yosys(lambda version: version >= (0, 10))
    texts = []
    for namespace, make in designs.items():
        component = make()
        # amaranth.back.cxxrtl does the same but for -g0, which leaves out the debug information: half of the text and of the compile time.
        # A warning (of combinational feedback, which a harness could not clock) is an error here.
        # Memories start as zeros anyway, all but the one with the identity; their initial values, spelt out, are another half.
        text = rtlil.convert(component, ports=ports(component), emit_src=False)
        kept = " *.counters.sums/t:$meminit* %d" if ".counters.sums" in text else ""
        texts.append(yosys.run(["-q", "-"], "\n".join([
            "read_rtlil <<rtlil", text, "rtlil", f"delete */t:$meminit*{kept}", f"write_cxxrtl -g0 -namespace {namespace}", "",
        ])))
    return texts, yosys.data_dir() / "include" / "backends" / "cxxrtl" / "runtime"
