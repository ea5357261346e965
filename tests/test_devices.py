"""The same host code on every device: the compiled RTL, the model of it, and the golden model agree to the last bit, beat and character."""

import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from tritloom.host import Model, connect
from tritloom.host.framing import Decoder, encode
from tritloom.host.transport import open_transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import JOB, SYNC, WRITE, Error, Memory, Op
from tritloom.sim.compiled import build
from tritloom.sim.golden import NumpyAccelerator, matmul

ODD = Geometry(rows=1, cols=3, lanes=5, depth=64, weight_words=64, stream_words=32, queue=2)


@pytest.fixture(scope="module")
def nano():
    return Model.load("nano")


def test_greedy_text_is_the_same_everywhere(nano):
    """200 tokens, byte by byte, and the array's counters with them."""
    texts, counts = {}, {}
    for device in ("sim", "model"):
        with connect(device) as acc:
            texts[device] = "".join(nano.generate("ROMEO:", acc, max_tokens=200, temperature=0.0)).encode()
            counts[device] = acc.counters()
    texts["numpy"] = "".join(nano.generate("ROMEO:", NumpyAccelerator(), max_tokens=200, temperature=0.0)).encode()
    assert len(texts["numpy"]) == 200
    assert texts["sim"] == texts["model"] == texts["numpy"]
    assert counts["sim"] == counts["model"]
    assert counts["sim"].utilization > 0.95


def test_sampled_text_is_the_same_everywhere(nano):
    texts = []
    for device in ("sim", "model"):
        with connect(device) as acc:
            texts.append("".join(nano.generate("MENENIUS:\n", acc, max_tokens=40, temperature=1.0, top_k=20, top_p=0.9, seed=5)))
    assert texts[0] == texts[1]


def like(measured, modelled):
    """The same, but for the cycles in which the framer was still at an acknowledgement when the first results came."""
    apart = measured.cycles - modelled.cycles
    return abs(apart) <= 64 and measured == replace(modelled, cycles=measured.cycles, stall_results=modelled.stall_results + apart)


@pytest.mark.parametrize("seed", range(4))
def test_random_matrices(seed):
    """Stored and streamed matrices, one or many vectors: exact on both devices, with the same counters."""
    rng = np.random.default_rng(seed)
    with connect("sim") as sim, connect("model") as model:
        for case in range(15):
            n, k, m = rng.integers(1, 301, 3) if case % 3 else rng.integers(1, 20, 3)
            w, x = rng.integers(-1, 2, (n, k), np.int8), rng.integers(-128, 128, (m, k), np.int8)
            if case % 5 == 0:
                w[:], x[:] = rng.choice([-1, 1]), rng.choice([-128, 127])
            said = f"seed {seed}, case {case}: N={n}, K={k}, M={m}"
            assert np.array_equal(sim.matmul(w, x), matmul(w, x)), said
            assert np.array_equal(model.matmul(w, x), matmul(w, x)), said
            assert like(sim.counters(), model.counters()), said


def test_weight_words_of_one_byte_never_overrun_the_streaming_window():
    """They come two cycles apart; results of four bytes stall the array until the window is full."""
    geometry = Geometry(rows=1, cols=1, lanes=4, col_pitch=1, depth=64, weight_words=16, stream_words=8, queue=2)
    rng = np.random.default_rng(1)
    w, x = rng.integers(-1, 2, (700, 4), np.int8), rng.integers(-128, 128, (1, 4), np.int8)
    with connect("sim", geometry=geometry) as sim:
        assert np.array_equal(sim.matmul(w, x), matmul(w, x))
        assert sim.counters().stall_results > 0


def test_larger_than_the_weight_store():
    """Streamed weights, K beyond the accumulators' depth too."""
    rng = np.random.default_rng(11)
    w, x = rng.integers(-1, 2, (50, 150), np.int8), rng.integers(-128, 128, (4, 150), np.int8)
    with connect("sim", geometry=ODD) as sim, connect("model", geometry=ODD) as model:
        for acc in (sim, model):
            matrix = acc.load(w)
            assert not matrix.resident
            assert np.array_equal(acc.matmul(matrix, x), matmul(w, x))
        assert sim.counters().stall_weights > 0
        assert sim.counters() == model.counters()


@pytest.mark.parametrize("seed", range(3))
def test_gateware_and_model_give_the_same_replies(seed):
    """300 commands, right and wrong in every field, one after another: every byte of every reply."""
    rng = random.Random(seed)
    devices = [open_transport(name, geometry=ODD) for name in ("sim", "model")]
    decoders = [Decoder() for _ in devices]
    expected, seen = 0, set()
    try:
        for step in range(300):
            op, payload = command(rng) if step else (Op.SYNC, SYNC.pack(nonce=7, claim=1))
            seq = expected if rng.random() < 0.9 else rng.randrange(256)
            frame = encode(op, seq, payload)
            if rng.random() < 0.03:
                frame = bytes([*frame[:4], frame[4] ^ 0x40 or 1, *frame[5:]])
            replies = []
            for device, decoder in zip(devices, decoders, strict=True):
                device.write(frame)
                frames = []
                while data := device.read(0.0):
                    frames += decoder.feed(data)
                replies.append(frames)
            assert replies[0] == replies[1], f"seed {seed}, step {step}: {frame.hex()}"
            seen |= {(reply[0], reply[2][0] if reply[0] == Op.ERROR else None) for reply in replies[0]}
            if replies[0] and replies[0][-1][0] != Op.ERROR and seq == expected or op == Op.SYNC:
                expected = (seq + 1) & 0xFF
    finally:
        for device in devices:
            device.close()
    assert {code for op, code in seen if op == Op.ERROR} >= {
        Error.CRC, Error.LENGTH, Error.UNKNOWN, Error.SEQUENCE, Error.BAD_JOB, Error.BAD_ADDRESS, Error.NO_JOB}, f"seed {seed}: {seen}"
    assert {op for op, _ in seen} >= {Op.ACK, Op.RESULT, Op.COUNTS, Op.IDENTITY}, f"seed {seed}: {seen}"


def command(rng):
    """A command: half of them right, the others with one field anywhere."""
    wrong = rng.random() < 0.5
    kind = rng.choice([Op.WRITE, Op.WRITE, Op.JOB, Op.JOB, Op.STREAM, Op.COUNTERS, Op.SYNC, 0x77] if wrong else [Op.WRITE, Op.JOB, Op.COUNTERS])
    if kind == Op.WRITE:
        acts = rng.random() < 0.5
        words, size = rng.randint(1, 4), ODD.lanes if acts else ODD.word_bytes
        fields = {"memory": Memory.ACTS if acts else Memory.WEIGHTS, "row": 0, "at": rng.randrange((ODD.act_words if acts else 32) - words + 1)}
        if wrong:
            fields[rng.choice(list(fields))] = rng.choice([1, 2, 12, 13, 62, 63, 64, 255])
        return kind, WRITE.pack(**fields) + rng.randbytes(words * size + (wrong and rng.random() < 0.3))
    if kind == Op.JOB:
        k, n = rng.randint(1, 40), rng.randint(1, 7)
        fields = {"engine": 0, "source": 0, "destination": 0, "weights": 0, "hold": 0, "rows": 1, "result_bytes": rng.randint(1, 4),
                  "acts_at": rng.randrange(ODD.act_words - ODD.beats(k) + 1), "k": k, "n": n, "weights_at": rng.randrange(5)}
        if wrong:
            name = rng.choice(["engine", "source", "destination", "weights", "rows", "result_bytes", "acts_at", "k", "n", "weights_at"])
            fields[name] = {"weights": 2, "acts_at": ODD.act_words, "k": rng.choice([0, 65, 65535]), "n": 0, "weights_at": 64,
                            "result_bytes": rng.choice([0, 5])}.get(name, 2)
        return kind, JOB.pack(**fields)
    return kind, {Op.STREAM: bytes(ODD.word_bytes), Op.SYNC: SYNC.pack(nonce=rng.randint(1, 99), claim=rng.randint(0, 1))}.get(kind, bytes(rng.randrange(3)))


def test_no_compiler_is_said_with_two_ways_out(tmp_path):
    """Without a C++ compiler on the path, and with nothing compiled before."""
    code = (
        "import importlib.util, sys\n"
        "from tritloom.host import connect\n"
        "from tritloom.host.errors import TransportError\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'ziglang' else find(name, *rest)\n"
        "try: connect('sim')\n"
        "except TransportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False,
                         env={"PATH": "", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)})
    assert run.returncode == 0, run.stderr
    assert "there is none: install one (such as Debian's g++), or the one that pip brings" in run.stdout


def test_a_compiler_that_fails_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from tritloom.host.errors import TransportError

    monkeypatch.setenv("CXX", "/nowhere/c++ -fast")
    with pytest.raises(TransportError, match=r"compiler '/nowhere/c\+\+ -fast' cannot be started"):
        connect("sim")
    monkeypatch.setenv("CXX", f"{sys.executable} -c 'import sys; sys.exit(\"no such thing\")'")
    with pytest.raises(TransportError, match=r"failed on the simulated core \(no such thing\): name another in \$CXX"):
        connect("sim")
    for command, said in (("true", "it gave no message"), ("false", "it gave no message"), ("g++ \"", "No closing quotation")):
        monkeypatch.setenv("CXX", command)
        with pytest.raises(TransportError, match=said):
            connect("sim")
    assert not list(tmp_path.rglob("*.so")) and not list(tmp_path.rglob("tmp*"))
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    with pytest.raises(TransportError, match=r"cannot be kept in /dev/null/tritloom/sim \(Not a directory\)"):
        connect("sim")


def test_a_damaged_library_is_compiled_anew():
    library = build(ODD)
    library.unlink()    # it may be loaded already: a new file, not a hole in that one
    library.write_bytes(b"")
    with connect("sim", geometry=ODD) as acc:
        assert acc.matmul(np.ones((1, 1), np.int8), np.ones((1, 1), np.int8)) == 1
