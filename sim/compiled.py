"""The device `sim`: the gateware itself, compiled, beat by beat.

Amaranth makes C++ of the core (CXXRTL), a C++ compiler makes a shared library of that, and the library is kept, named by everything it
depends on. The device is spoken to through its two byte streams only, so whatever works here is what a board would do.
"""

import ctypes
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
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from platformdirs import user_cache_path

from tritloom.host.beside import written_beside
from tritloom.host.errors import DisconnectedError, TransportError, UsageError
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry

__all__ = ["CompiledDevice", "build", "find_compiler", "missing", "open_sim"]

#: For `tritloom.host.transport`.
SIMULATED = True

_log = logging.getLogger("tritloom.sim")

_HARNESS = Path(__file__).with_name("harness.cpp")
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

#: Cycles run between two looks at the clock on the wall.
_CYCLES_AT_ONCE = 20_000

#: Scratch folders of compilations that were killed are removed after this long, in seconds.
_SCRATCH_S = 24 * 3600

_TWO_WAYS = "install one (such as Debian's g++), or the one that pip brings: pip install 'tritloom[compiler]'"
_NO_COMPILER = f"the device `sim` needs a C++ compiler and there is none: {_TWO_WAYS}"


class CompiledDevice(Transport):
    """The compiled core and its clock, which runs only inside `read`.

    Parameters
    ----------
    library : Path
        As `build` makes it.
    """

    name = "sim"
    flow_controlled = True

    def __init__(self, library: Path):
        self._library = lib = ctypes.CDLL(str(library))
        lib.tritloom_open.restype = ctypes.c_void_p
        lib.tritloom_close.argtypes = [ctypes.c_void_p]
        lib.tritloom_write.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        lib.tritloom_read.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
        lib.tritloom_read.restype = ctypes.c_size_t
        self._buffer = ctypes.create_string_buffer(4096)
        self._device = lib.tritloom_open()

    def write(self, data: bytes) -> None:
        self._library.tritloom_write(self._open(), data, len(data))

    def read(self, timeout_s: float) -> bytes:
        """Run the clock until a frame has come out, or for `timeout_s` seconds (at least 20,000 cycles)."""
        device = self._open()
        deadline = time.monotonic() + timeout_s
        while True:
            size = self._library.tritloom_read(device, self._buffer, len(self._buffer), _CYCLES_AT_ONCE)
            if size:
                return ctypes.string_at(self._buffer, size)
            if time.monotonic() >= deadline:
                return b""

    def close(self) -> None:
        if self._device is not None:
            self._library.tritloom_close(self._device)
            self._device = None

    def _open(self) -> int:
        if self._device is None:
            raise DisconnectedError("the device `sim` was closed here")
        return self._device


def open_sim(address: str = "", geometry: Geometry | None = None) -> CompiledDevice:
    """The gateware, compiled, beat by beat.

    Parameters
    ----------
    address : str
        Must be empty.
    geometry : Geometry, optional
        The default geometry if none is given.

    Raises
    ------
    UsageError
        If there is an address.
    TransportError
        If there is no C++ compiler, or it fails.
    """
    if address:
        raise UsageError(f"the device `sim` has no address, so nothing may follow it, not {address!r}")
    library = build(geometry or Geometry())
    try:
        return CompiledDevice(library)
    except OSError:    # the file is damaged: compile anew
        library.unlink()
        return CompiledDevice(build(geometry or Geometry()))


def missing() -> str | None:
    """What has to be installed before `sim` can be opened, if anything."""
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


def build(geometry: Geometry) -> Path:
    """Compile the core, unless that was done before.

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
    library = folder / f"core-{str(geometry).replace(',', 'x')}-{_digest(geometry, compiler)}.so"
    if library.exists():
        return library
    _log.info("Compiling the array %s (once; about 20 s)", geometry)
    with _scratch(folder) as scratch, written_beside(library) as made:
        source = scratch / "core.cpp"
        text, include = _cxxrtl(geometry)
        source.write_text(f"{text}\n#define TOP p_top\n{_HARNESS.read_text()}")
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


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder to compile in, beside the libraries; those that were left behind are removed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("tmp*"):
            if time.time() - left.stat().st_mtime > _SCRATCH_S:
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            yield Path(scratch)
    except OSError as error:
        raise TransportError(f"the compiled array cannot be kept in {folder} ({error.strerror or error}): "
                             "make room there, or name another folder in $XDG_CACHE_HOME") from error


def _digest(geometry: Geometry, compiler: list[str]) -> str:
    """Name for all that a library depends on."""
    digest = hashlib.sha256()
    for path in [*sorted(_SOURCES.glob("*.py")), _HARNESS, Path(__file__)]:
        digest.update(path.read_bytes())
    digest.update(repr((geometry, compiler, version("amaranth"), platform.platform())).encode())
    return digest.hexdigest()[:16]


def _cxxrtl(geometry: Geometry) -> tuple[str, Path]:
    """The core in C++, and the folder of the headers it includes."""
    # Amaranth takes a second to import, and is not needed when the library is there.
    from amaranth._toolchain.yosys import find_yosys
    from amaranth.back import rtlil

    from tritloom.rtl.core import Core

    yosys = find_yosys(lambda version: version >= (0, 10))
    # amaranth.back.cxxrtl does the same but for -g0, which leaves out the debug information: half of the text and of the compile time.
    # A warning (of combinational feedback, which the harness could not clock) is an error here.
    # Memories start as zeros anyway; their initial values, spelt out, are another half.
    text = yosys.run(["-q", "-"], "\n".join([
        "read_rtlil <<rtlil", rtlil.convert(Core(geometry), emit_src=False), "rtlil",
        "delete */t:$meminit*", "write_cxxrtl -g0", "",
    ]))
    return text, yosys.data_dir() / "include" / "backends" / "cxxrtl" / "runtime"
