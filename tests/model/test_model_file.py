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
from tritloom.host.model.file import FORMAT_VERSION, FloatTensor, ModelFile, Ternary, open_model, write_model
from tritloom.host.trits import base3_to_two_bit, has_invalid_code, pack_trits, two_bit_to_base3, unpack_trits
from tritloom.host.words import ArrayOrder

# K of 8, 6 and 5: rows that end inside a byte, and one that does not.
CONFIG = ModelConfig(
    hidden_size=8, intermediate_size=5, num_hidden_layers=1, num_attention_heads=3, num_key_value_heads=1, head_dim=2, vocab_size=3,
    max_position_embeddings=4, tie_word_embeddings=False,
)  # fmt: skip
TOKENIZER = {"kind": "characters", "characters": "ab\n"}
TRAINING = {"seed": 1, "note": "größer"}
DOWN = "model.layers.0.mlp.down_proj.weight"
K_PROJ = "model.layers.0.self_attn.k_proj.weight"
UP = "model.layers.0.mlp.up_proj.weight"
QKV = "model.layers.0.self_attn.qkv_proj.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
HEADER_AT = 20

# Deeper than a part, shallower, and with chunks that are whole bytes and are not.
ORDERS = [ArrayOrder(cols=3, lanes=2, col_pitch=2, depth=6), ArrayOrder(cols=2, lanes=4, col_pitch=1, depth=64), ArrayOrder(cols=5, lanes=3, col_pitch=5, depth=2)]


def make_tensors(seed: int = 0) -> dict[str, np.ndarray | Ternary]:
    random = np.random.default_rng(seed)
    tensors: dict[str, np.ndarray | Ternary] = {n: random.standard_normal(s).astype(np.float32) for n, s in CONFIG.float_tensors()}
    for name, n, k in CONFIG.matrices():
        tensors[name] = Ternary(random.integers(-1, 2, (n, k)).astype(np.int8), float(np.float32(random.uniform(0.01, 2))))
    return tensors


def make_rich_tensors(seed: int = 0) -> dict[str, np.ndarray | FloatTensor | Ternary]:
    """Every kind that a file can hold: an embedding of bfloat16, a head of int8, and scales by groups of 4 columns, of 2, and of a row."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Any] = make_tensors(seed)
    tensors[EMBEDDING] = FloatTensor((tensors[EMBEDDING].view(np.uint32) >> 16).astype(np.uint16), "bfloat16")
    tensors[HEAD] = FloatTensor(tensors[HEAD]).to_int8()
    for name, groups in ((K_PROJ, 2), (UP, 4), (DOWN, 1)):
        trits = tensors[name].trits
        tensors[name] = Ternary(trits, random.uniform(0.01, 2, (len(trits), groups)).astype(np.float32))
    return tensors


def assert_holds(model: ModelFile, tensors: dict[str, Any]) -> None:
    """A file gives back exactly these, whole and fused."""
    assert set(model.names) == set(tensors)
    for name, expected in tensors.items():
        if isinstance(expected, Ternary):
            stored = model.ternary(name)
            np.testing.assert_array_equal(stored.trits, expected.trits, err_msg=name)
            np.testing.assert_array_equal(stored.scale, expected.scale, err_msg=name)
            assert stored.group == expected.group
            facts = model.facts(name)
            assert (facts.shape, facts.group, facts.zeros) == (stored.trits.shape, stored.group, int((expected.trits == 0).sum()))
        else:
            given = expected if isinstance(expected, FloatTensor) else FloatTensor(expected)
            stored = model.floats(name)
            assert (stored.dtype, stored.shape, model.facts(name).dtype) == (given.dtype, given.shape, given.dtype)
            np.testing.assert_array_equal(stored.stored, given.stored, err_msg=name)
            np.testing.assert_array_equal(model.array(name), given.array(), err_msg=name)
            assert not stored.stored.flags.owndata, "float tensors are views of the map"
    for names in ([f"model.layers.0.self_attn.{part}_proj.weight" for part in "qkv"], [f"model.layers.0.mlp.{part}_proj.weight" for part in ("gate", "up")]):
        fused = model.linear(names)
        np.testing.assert_array_equal(fused.trits(), np.concatenate([tensors[name].trits for name in names]))
        assert (fused.words is not None) == (model.order is not None)


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
    assert before == sums, "each tensor's own bytes, and in order"
    raw = change(header, body)
    for entry in header["tensors"] if raw is None and isinstance(header["tensors"], list) else []:
        if isinstance(entry, dict) and {"offset", "nbytes"} <= set(entry) and entry["nbytes"] < 1 << 20:
            entry["crc32"] = zlib.crc32(body[entry["offset"] : entry["offset"] + int(entry["nbytes"])])
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


@pytest.mark.parametrize("packing", ["2bit", "base3"])
@pytest.mark.parametrize("order", [None, *ORDERS], ids=str)
@pytest.mark.parametrize("make", [make_tensors, make_rich_tensors])
def test_every_kind_packing_and_order_is_read(tmp_path: Path, make: Any, order: ArrayOrder | None, packing: str) -> None:
    write(tmp_path / "m.trit", tensors=make(seed=3), order=order, packing=packing)
    model = open_model(tmp_path / "m.trit")
    assert (model.order, model.packing) == (order, packing)
    assert_holds(model, make(seed=3))


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_words_survive_base_3(n: int, seed: int) -> None:
    words = pack_trits(np.random.default_rng(seed).integers(-1, 2, (1, 4 * n)).astype(np.int8))[0]
    coded = two_bit_to_base3(words)
    assert len(coded) == -(-4 * n // 5)
    np.testing.assert_array_equal(base3_to_two_bit(coded)[:n], words)


def test_writing_twice_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "again.trit")
    assert (tmp_path / "again.trit").read_bytes() == path.read_bytes()


def test_the_layout_is_the_documented_one(path: Path) -> None:
    data = path.read_bytes()
    magic, version, length, crc = struct.unpack_from("<8sIII", data)
    assert (magic, version) == (b"\x89TRIT\r\n\x1a", 3)
    assert zlib.crc32(data[:16] + data[HEADER_AT : HEADER_AT + length]) == crc
    header = json.loads(data[HEADER_AT : HEADER_AT + length])
    (entry,) = (entry for entry in header["tensors"] if entry["name"] == DOWN)
    start = -(-(HEADER_AT + length) // 64) * 64 + entry["offset"]
    assert start % 64 == 0
    scale = make_tensors()[DOWN].scale
    assert {key: entry[key] for key in entry if key not in ("offset", "crc32")} == {
        "name": DOWN, "kind": "ternary", "shape": [8, 5], "packing": "2bit", "parts": [{"name": DOWN, "rows": 8, "scale": scale}], "nbytes": 8 * 2}
    (norm,) = (entry for entry in header["tensors"] if entry["name"] == "model.norm.weight")
    assert (norm["kind"], norm["dtype"], norm["nbytes"]) == ("float", "float32", 32)
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


def check_flips(path: Path, step: int) -> None:
    """Flip a bit of each byte. All of the header's text is under one checksum: every `step`-th byte of it will do."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    for at in [*range(HEADER_AT), *range(HEADER_AT, HEADER_AT + length, step), *range(HEADER_AT + length, len(data))]:
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            open_model(path)
            pytest.fail(f"byte {at} of {len(data)}, bit {at % 8}, was flipped and nothing was said")


def test_a_flipped_byte_is_noticed_wherever_it_is(path: Path) -> None:
    check_flips(path, 5)


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
        (data[:8] + struct.pack("<I", 4) + data[12:], r"format version 4 is newer than this program reads \(it reads 3\): update tritloom"),
        (data[:8] + struct.pack("<I", 2) + data[12:], r"format version 2 is an old one \(this program reads 3\): convert the checkpoint again, or download the model anew$"),
        (data[:8] + struct.pack("<I", 1) + data[12:], "format version 1 is an old one"),
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


def set_scale(value: Any, key: str = "scale", name: str = DOWN) -> Callable[[dict[str, Any], bytearray], None]:
    def change(header: dict[str, Any], body: bytearray) -> None:
        (part,) = next(entry for entry in header["tensors"] if entry["name"] == name)["parts"]
        del part["scale"]
        part[key] = value

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
        (lambda header, body: header.pop("training"), "must hold exactly config, tokenizer, training, order, tensors"),
        (lambda header, body: header.update(tokenizer=[]), "`tokenizer` in its header must be a JSON object"),
        (lambda header, body: header.update(tensors={}), "`tensors` in its header must be a JSON array"),
        (lambda header, body: header["tensors"].__setitem__(0, 5), "'model.embed_tokens.weight' is missing"),
        (lambda header, body: header["tensors"].pop(), "lists 13 tensors"),
        (set_in("name", "lm_tail.weight", "lm_head.weight"), "'lm_head.weight' is missing"),
        (set_in("name", DOWN, "lm_head.weight"), "'lm_head.weight' is missing"),
        (swap, "not in the order of the format"),
        (set_in("shape", [5, 8]), r"has shape \[5, 8\] where its config asks for \[8, 5\]"),
        (set_in("kind", "float"), "has kind 'float' where its config asks for 'ternary'"),
        (set_in("dtype", "float64", EMBEDDING), "has the dtype 'float64' where float32 or bfloat16 or float16 or int8 must be"),
        (set_in("dtype", ["float32"], EMBEDDING), r"has the dtype \['float32'\] where"),
        (set_in("dtype", "float16", "model.norm.weight"), "has the dtype 'float16' where float32 must be"),
        (set_in("dtype", "float16", EMBEDDING), "has nbytes 96 where its config asks for 48"),
        (set_in("packing", "4bit", "model.layers.0.self_attn.q_proj.weight"), "has the packing '4bit' where base3 or 2bit must be"),
        (set_in("packing", "base3"), "has packing 'base3' where its config asks for '2bit'"),
        (set_in("packing", ["2bit"], "model.layers.0.self_attn.q_proj.weight"), r"has the packing \['2bit'\] where"),
        (set_in("parts", [{"name": DOWN, "rows": 7, "scale": 1.0}]), "has parts .*'rows': 7.* where its config asks for .*'rows': 8"),
        (set_in("parts", []), r"has the parts \[\] where 1 of them must be"),
        (set_in("parts", [3]), r"has the parts \[3\] where 1 of them must be"),
        (lambda header, body: header.update(order={"cols": 4}), "its order is not valid: .*lanes"),
        (lambda header, body: header.update(order={"cols": 0, "lanes": 4, "col_pitch": 1, "depth": 8}), "its order is not valid: `cols` must be an integer from 1"),
        (lambda header, body: header.update(order={"cols": 2, "lanes": 4, "col_pitch": 1, "depth": 8}), "lists 14 tensors where its config asks for 11"),
        (lambda header, body: header.update(order=[]), "`order` in its header must be a JSON object"),
        (set_in("nbytes", 1 << 60), "has nbytes 1152921504606846976 where"),
        (set_in("offset", -64), "has offset -64 where"),
        (set_in("extra", 1), "has extra 1 where its config asks for 'nothing'"),
        (set_scale(0), "has the scale 0 where a positive float32 number must be"),
        (set_scale(-1.5), "has the scale -1.5 where"),
        (set_scale(1e300), "has the scale 1e.300 where"),
        (set_scale("1"), "has the scale '1' where"),
        (set_scale(1, "colour"), "has the scale None where"),
        (set_scale(3, "group"), "has groups of 3 columns where a divisor of 5 must be"),
        (set_scale(0, "group"), "has groups of 0 columns where"),
        (set_scale(True, "group"), "has groups of True columns where"),
        (set_scale(1, "group"), "has nbytes 16 where its config asks for 176"),
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


@pytest.mark.parametrize(("change", "message"), [
    *((poke(struct.pack("<f", value), K_PROJ, 4), f"tensor '{K_PROJ}' holds a scale of a group that is no positive float32 number")
      for value in (0.0, -1.0, float("nan"), float("inf"), 1e-40)),
    *((poke(struct.pack("<f", value), HEAD, 8), "'lm_head.weight' holds a scale of a row that is no positive float32 number")
      for value in (0.0, -1.0, float("nan"), float("inf"))),
    (poke(b"\x80\x7f", EMBEDDING, 6), "'model.embed_tokens.weight' holds infinities or NaN"),
    (poke(b"\x02", K_PROJ, 17), "holds the code 10, which is no ternary weight"),
])
def test_scales_and_floats_of_every_kind_are_checked(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "m.trit"
    write(path, tensors=make_rich_tensors())
    rewrite(path, change)
    with pytest.raises(ModelFileError, match=message):
        open_model(path)


@pytest.mark.parametrize("change", [
    lambda entry: entry.update(nbytes=16.0), lambda entry: entry.update(shape=[8.0, 5]), lambda entry: entry["parts"][0].update(rows=8.0),
])
def test_a_number_that_equals_the_right_one_is_used_as_that(path: Path, change: Any) -> None:
    rewrite(path, lambda header, body: change(next(entry for entry in header["tensors"] if entry["name"] == DOWN)))
    np.testing.assert_array_equal(open_model(path).ternary(DOWN).trits, make_tensors()[DOWN].trits)


@pytest.mark.parametrize(("packing", "value", "message"), [("2bit", b"\x80", "the code 10"), ("base3", b"\xf3", "a byte above 242")])
def test_codes_in_an_arrays_words_are_checked(tmp_path: Path, packing: str, value: bytes, message: str) -> None:
    path = tmp_path / "m.trit"
    write(path, order=ORDERS[0], packing=packing)
    rewrite(path, poke(value, QKV, 5))
    with pytest.raises(ModelFileError, match=f"tensor '{QKV}' holds {message}"):
        open_model(path)


@pytest.mark.parametrize("packing", ["2bit", "base3"])
def test_a_flipped_byte_of_a_file_in_array_order_is_noticed(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "m.trit"
    write(path, tensors=make_rich_tensors(), order=ORDERS[1], packing=packing)
    check_flips(path, 7)


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
        ({"model.norm.weight": FloatTensor(np.zeros(8, np.float16), "float16")}, r"must be a float32 array \(8,\), not a float16 FloatTensor \(8,\)"),
        ({EMBEDDING: np.zeros((3, 8), np.float16)}, r"must be a float32 array or a FloatTensor \(3, 8\), not a float16 array \(3, 8\)"),
        ({EMBEDDING: FloatTensor(np.full((3, 8), 0x7FC0, np.uint16), "bfloat16")}, "must be finite"),
        ({EMBEDDING: FloatTensor(np.zeros((3, 8), np.int8), "int8", np.array([1, np.nan, 1], np.float32))}, "must have positive finite scales"),
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
        (np.ones((2, 6), np.int8), np.ones((2, 4), np.float32), r"one number or a float32 array \(2, 6 / group\) for trits \(2, 6\), not float32 \(2, 4\)"),
        (np.ones((2, 6), np.int8), np.ones((3, 3), np.float32), r"not float32 \(3, 3\)"),
        (np.ones((2, 6), np.int8), np.ones(2, np.float32), r"not float32 \(2,\)"),
        (np.ones((2, 6), np.int8), np.ones((2, 3)), r"not float64 \(2, 3\)"),
        (np.ones((2, 2), np.int8), np.array([[1, 1], [1, np.nan]], np.float32), r"positive numbers that float32 holds, not nan \(at row 1, group 1\)"),
        (np.ones((2, 2), np.int8), np.array([[1, 0], [1, 1]], np.float32), r"not 0.0 \(at row 0, group 1\)"),
        (np.ones((2, 2), np.int8), np.array([[1, 1], [-2, 1]], np.float32), r"not -2.0 \(at row 1, group 0\)"),
        (np.ones((2, 2), np.int8), np.array([[1, np.inf], [1, 1]], np.float32), r"not inf \(at row 0, group 1\)"),
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
    with pytest.raises(UsageError, match="no tensor 'lm_tail'"):
        model.facts("lm_tail")
    with pytest.raises(UsageError, match=f"'{DOWN}' is ternary, not float"):
        model.array(DOWN)
    with pytest.raises(UsageError, match=r"'model.norm.weight' is float32, not ternary"):
        model.ternary("model.norm.weight")
    assert issubclass(ModelFileError, TritloomError)
