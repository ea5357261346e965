from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritloom.host.errors import ModelFileError, TritloomError, UsageError
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import FORMAT_VERSION, Ternary, open_model, write_model
from tritloom.host.trits import has_invalid_code, pack_trits, unpack_trits

# K of 8, 6 and 5: rows that end inside a byte, and one that does not.
CONFIG = ModelConfig(
    hidden_size=8, intermediate_size=5, num_hidden_layers=1, num_attention_heads=3, num_key_value_heads=1, head_dim=2, vocab_size=3,
    max_position_embeddings=4, tie_word_embeddings=False,
)  # fmt: skip
TOKENIZER = {"kind": "characters", "characters": "ab\n"}
TRAINING = {"seed": 1, "note": "größer"}
DOWN = "model.layers.0.mlp.down_proj.weight"
HEADER_AT = 20


def make_tensors(seed: int = 0) -> dict[str, np.ndarray | Ternary]:
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray | Ternary] = {n: random.standard_normal(s).astype(np.float32) for n, s in CONFIG.float_tensors()}
    for name, n, k in CONFIG.matrices():
        tensors[name] = Ternary(random.integers(-1, 2, (n, k)).astype(np.int8), float(np.float32(random.uniform(0.01, 2))))
    return tensors


def write(path: Path, **changes: Any) -> None:
    write_model(path, **{"config": CONFIG, "tokenizer": TOKENIZER, "tensors": make_tensors(), "training": TRAINING, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write(tmp_path / "m.trit")
    return tmp_path / "m.trit"


def rewrite(path: Path, change: Callable[[dict[str, Any], bytearray], Any]) -> None:
    """Let `change` work on header and tensor bytes, then write both back under right checksums of header and tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    header, body = json.loads(data[HEADER_AT : HEADER_AT + length]), bytearray(data[-(-(HEADER_AT + length) // 64) * 64 :])
    before = {entry["name"]: entry["crc32"] for entry in header["tensors"]}
    sums = {entry["name"]: zlib.crc32(body[entry["offset"] : entry["offset"] + entry["nbytes"]]) for entry in header["tensors"]}
    assert before == sums
    raw = change(header, body)
    for entry in header["tensors"] if raw is None and isinstance(header["tensors"], list) else []:
        if isinstance(entry, dict) and {"offset", "nbytes"} <= set(entry) and entry["nbytes"] < 1 << 20:
            entry["crc32"] = zlib.crc32(body[entry["offset"] : entry["offset"] + entry["nbytes"]])
    put(path, json.dumps(header).encode() if raw is None else raw, bytes(body))


def put(path: Path, text: bytes, body: bytes, length: int | None = None, version: int = FORMAT_VERSION) -> None:
    prefix = struct.pack("<8sII", b"\x89TRIT\r\n\x1a", version, len(text) if length is None else length)
    head = prefix + struct.pack("<I", zlib.crc32(prefix + text)) + text
    path.write_bytes(head + bytes(-len(head) % 64) + body)


def test_what_is_written_is_read(path: Path) -> None:
    model, tensors = open_model(path), make_tensors()
    assert (model.config, model.tokenizer, model.training, model.nbytes) == (CONFIG, TOKENIZER, TRAINING, path.stat().st_size)
    assert set(model.names) == set(tensors)
    for name, expected in tensors.items():
        stored = model.tensor(name)
        if isinstance(expected, Ternary):
            assert isinstance(stored, Ternary)
            assert stored.scale == expected.scale
            np.testing.assert_array_equal(stored.trits, expected.trits)
        else:
            np.testing.assert_array_equal(stored, expected)
            assert not stored.flags.owndata, "float tensors are views of the map"
            assert not stored.flags.writeable


def test_writing_twice_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.trit")
    assert (tmp_path / "again.trit").read_bytes() == path.read_bytes()


def test_the_layout_is_the_documented_one(path: Path) -> None:
    data = path.read_bytes()
    magic, version, length, crc = struct.unpack_from("<8sIII", data)
    assert (magic, version) == (b"\x89TRIT\r\n\x1a", 1)
    assert zlib.crc32(data[:16] + data[HEADER_AT : HEADER_AT + length]) == crc
    header = json.loads(data[HEADER_AT : HEADER_AT + length])
    (entry,) = (entry for entry in header["tensors"] if entry["name"] == DOWN)
    start = -(-(HEADER_AT + length) // 64) * 64 + entry["offset"]
    assert start % 64 == 0
    assert entry["nbytes"] == 8 * 2
    codes = {0: 0b00, 1: 0b01, -1: 0b11}
    for row, trits in enumerate(make_tensors()[DOWN].trits.tolist()):
        for column, trit in enumerate(trits):
            assert data[start + row * 2 + column // 4] >> 2 * (column % 4) & 3 == codes[trit]


@given(st.integers(1, 9), st.integers(1, 13), st.integers(0, 2**32 - 1))
def test_trits_survive_packing(n: int, k: int, seed: int) -> None:
    trits = np.random.default_rng(seed).integers(-1, 2, (n, k)).astype(np.int8)
    packed = pack_trits(trits)
    assert packed.shape == (n, -(-k // 4))
    assert not has_invalid_code(packed, k)
    np.testing.assert_array_equal(unpack_trits(packed, k), trits)


def test_a_flipped_byte_is_noticed_wherever_it_is(path: Path) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    # All of the header's text is under one checksum: every fifth byte of it will do.
    for at in [*range(HEADER_AT), *range(HEADER_AT, HEADER_AT + length, 5), *range(HEADER_AT + length, len(data))]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            open_model(path)
            pytest.fail(f"byte {at} of {len(data)}, bit {at % 8}, was flipped and nothing was said")


def test_every_truncation_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    for length in [*range(0, 140), *range(140, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="truncated|empty"):
            open_model(path)
            pytest.fail(f"cut to {length} of {len(data)} bytes, and nothing was said")


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 64, b"garbage"])
def test_what_follows_the_last_tensor_is_noticed(path: Path, tail: bytes) -> None:
    path.write_bytes(path.read_bytes() + tail)
    with pytest.raises(ModelFileError, match=f"{len(tail)} bytes follow the last tensor"):
        open_model(path)


def test_other_files_are_told_apart(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    cases: list[tuple[bytes, str]] = [
        (b"PK\x03\x04 a zip", "not a tritloom model file"),
        (data.replace(b"\r\n", b"\n", 1), "not a tritloom model file"),
        (data[:8] + struct.pack("<I", 3) + data[12:], "format version 3 is newer than this program reads"),
        (data[:8] + struct.pack("<I", 0) + data[12:], "format version 0 is not one this program reads"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=message) as caught:
            open_model(path)
        assert str(path) in str(caught.value)
    with pytest.raises(ModelFileError, match="there is no model file"):
        open_model(tmp_path / "absent.trit")
    with pytest.raises(ModelFileError, match="cannot read the model file"):
        open_model(tmp_path)


def set_in(key: str, value: Any, name: str = DOWN) -> Callable[[dict[str, Any], bytearray], None]:
    def change(header: dict[str, Any], body: bytearray) -> None:
        next(entry for entry in header["tensors"] if entry["name"] == name)[key] = value

    return change


def config_with(**values: Any) -> Callable[[dict[str, Any], bytearray], None]:
    return lambda header, body: header["config"].update(values)


def swap(header: dict[str, Any], body: bytearray) -> None:
    header["tensors"][1:3] = header["tensors"][2:0:-1]


def poke(value: bytes, name: str = DOWN, at: int = 0) -> Callable[[dict[str, Any], bytearray], None]:
    def change(header: dict[str, Any], body: bytearray) -> None:
        start = next(entry for entry in header["tensors"] if entry["name"] == name)["offset"] + at
        body[start : start + len(value)] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (config_with(num_hidden_layers=1 << 24), "lists 14 tensors where its config asks for 184549379"),
        (config_with(num_hidden_layers=2), "lists 14 tensors where its config asks for 25"),
        (config_with(num_hidden_layers=1 << 25), "`num_hidden_layers` must be an integer from 1 to"),
        (config_with(vocab_size=1 << 24), "'model.embed_tokens.weight' has nbytes 96 where its config asks for 536870912"),
        (config_with(intermediate_size=6), "has nbytes 20 where its config asks for 24"),
        (config_with(tie_word_embeddings=True), "lists 14 tensors where its config asks for 13"),
        (config_with(rope_theta=-1), "`rope_theta` must be a positive"),
        (config_with(colour="red"), "unknown key 'colour'"),
        (lambda header, body: header["config"].pop("head_dim"), "lacks the key 'head_dim'"),
        (lambda header, body: header.pop("training"), "must hold exactly config, tokenizer, training, tensors"),
        (lambda header, body: header.update(tokenizer=[]), "`tokenizer` in its header must be a JSON object"),
        (lambda header, body: header.update(tensors={}), "`tensors` in its header must be a JSON array"),
        (lambda header, body: header["tensors"].__setitem__(0, 5), "'model.embed_tokens.weight' is missing"),
        (lambda header, body: header["tensors"].pop(), "lists 13 tensors"),
        (set_in("name", "lm_tail.weight", "lm_head.weight"), "'lm_head.weight' is missing"),
        (set_in("name", DOWN, "lm_head.weight"), "'lm_head.weight' is missing"),
        (swap, "not in the order of the format"),
        (set_in("shape", [5, 8]), r"has shape \[5, 8\] where its config asks for \[8, 5\]"),
        (set_in("kind", "float32"), "has kind 'float32' where its config asks for 'ternary'"),
        (set_in("nbytes", 1 << 60), "has nbytes 1152921504606846976 where"),
        (set_in("offset", -64), "has offset -64 where"),
        (set_in("extra", 1), "has extra 1 where its config asks for 'nothing'"),
        (set_in("scale", 0), "has the scale 0 where"),
        (set_in("scale", 1e300), "has the scale 1e.300 where"),
        (set_in("scale", "1"), "has the scale '1' where"),
        (set_in("scale", 1.0, "model.norm.weight"), "has scale 1.0 where its config asks for 'nothing'"),
        (poke(b"\x02"), "holds the code 10"),
        (poke(b"\x80"), "holds the code 10"),
        (poke(b"\x04", at=1), "holds the code 10"),
        (poke(struct.pack("<f", float("inf")), "model.norm.weight"), "holds infinities or NaN"),
        (poke(struct.pack("<f", float("nan")), "model.norm.weight", 28), "holds infinities or NaN"),
        (lambda header, body: b"[" * 100_000, "not valid JSON"),
        (lambda header, body: b'{"config": NaN}', "not valid JSON"),
        (lambda header, body: b"9" * 5000, "not valid JSON"),
        (lambda header, body: b"\xff\xfe", "not valid JSON"),
        (lambda header, body: b"", "not valid JSON"),
        (lambda header, body: b"[]", "must hold exactly"),
    ],
)  # fmt: skip
def test_a_file_under_right_checksums_is_still_checked(path: Path, change: Any, message: str) -> None:
    rewrite(path, lambda header, body: result if isinstance(result := change(header, body), bytes) else None)
    with pytest.raises(ModelFileError, match=message):
        open_model(path)


@pytest.mark.parametrize(("length", "message"), [((1 << 32) - 1, "more than the 67108864 allowed"), (1 << 26, "truncated"), (99_999, "truncated")])
def test_a_header_length_is_not_believed(path: Path, length: int, message: str) -> None:
    put(path, b"{}", b"", length=length)
    with pytest.raises(ModelFileError, match=message):
        open_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"drop": DOWN}, f"tensor '{DOWN}' is missing"),
        ({"bias": np.zeros(3, np.float32)}, "tensor 'bias' is not one that the config asks for"),
        ({DOWN: np.zeros((8, 5), np.float32)}, r"must be a Ternary \(8, 5\), not a float32 array \(8, 5\)"),
        ({DOWN: Ternary(np.zeros((5, 8), np.int8), 1.0)}, r"must have the shape \(8, 5\), not \(5, 8\)"),
        ({"model.norm.weight": np.zeros(8)}, r"must be a float32 array \(8,\), not a float64 array \(8,\)"),
        ({"model.norm.weight": np.zeros(9, np.float32)}, r"must have the shape \(8,\), not \(9,\)"),
        ({"model.norm.weight": [1.0]}, "not list"),
        ({"model.norm.weight": np.full(8, np.nan, np.float32)}, "must be finite"),
    ],
)
def test_a_writer_refuses_wrong_tensors(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    tensors = {**make_tensors(), **changes}
    tensors.pop(tensors.pop("drop", ""), None)
    with pytest.raises(UsageError, match=message):
        write(tmp_path / "bad.trit", tensors=tensors)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("training", [{"x": float("nan")}, {"x": {1, 2}}, {"x": np.float32(1)}])
def test_a_writer_refuses_what_json_cannot_hold(tmp_path: Path, training: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="plain JSON values"):
        write(tmp_path / "bad.trit", training=training)


@pytest.mark.parametrize(
    ("trits", "scale", "message"),
    [
        (np.array([[2]], np.int8), 1.0, "only -1, 0 and 1, not 2"),
        (np.array([[1, -128]], np.int8), 1.0, "only -1, 0 and 1, not -128"),
        (np.array([[1]]), 1.0, r"non-empty int8 matrix \(N, K\), not int64 \(1, 1\)"),
        (np.zeros(3, np.int8), 1.0, r"not int8 \(3,\)"),
        (np.zeros((0, 3), np.int8), 1.0, r"not int8 \(0, 3\)"),
        ([[1]], 1.0, "not list"),
        (np.ones((1, 1), np.int8), 0.0, "`scale` must be a positive number that float32 holds, not 0.0"),
        (np.ones((1, 1), np.int8), 1e39, "not 1e.39"),
        (np.ones((1, 1), np.int8), float("nan"), "not nan"),
    ],
)
def test_ternary_refuses_anything_else(trits: Any, scale: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Ternary(trits, scale)


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ModelFileError, match=r"cannot write the model file .*: No space left on device"):
        write(path, tensors=make_tensors(seed=5))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match=r"cannot write .*: No such file or directory"):
        write(tmp_path / "nowhere" / "m.trit")


def test_an_open_model_survives_its_replacement(path: Path) -> None:
    model = open_model(path)
    write(path, tensors=make_tensors(seed=5))
    np.testing.assert_array_equal(model.tensor(DOWN).trits, make_tensors()[DOWN].trits)
    np.testing.assert_array_equal(open_model(path).tensor(DOWN).trits, make_tensors(seed=5)[DOWN].trits)


def test_an_unknown_tensor_is_named(path: Path) -> None:
    model = open_model(path)
    for get in (model.tensor, model.array, model.ternary):
        with pytest.raises(UsageError, match="no tensor 'lm_tail'"):
            get("lm_tail")
    with pytest.raises(UsageError, match=f"'{DOWN}' is ternary, not float32"):
        model.array(DOWN)
    with pytest.raises(UsageError, match=r"'model.norm.weight' is float32, not ternary"):
        model.ternary("model.norm.weight")
    assert issubclass(ModelFileError, TritloomError)
