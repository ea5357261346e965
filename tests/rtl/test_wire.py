"""The wire tables: what the host packs is, bit for bit, what the gateware's layouts read."""

import random

import pytest
from amaranth.hdl import Const

from tritloom.rtl import wire
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.layouts import Trit, acts_word, job_layout, struct, weights_word


@pytest.mark.parametrize("record", wire.RECORDS, ids=lambda record: record.name)
def test_host_and_gateware_agree(record):
    for seed in range(20):
        rng = random.Random(seed)
        values = {field.name: rng.choice([0, (1 << field.bits) - 1, rng.getrandbits(field.bits)]) for field in record.fields}
        packed = record.pack(**values)
        assert len(packed) == record.size
        layout = struct(record)
        assert layout.size == 8 * record.size
        bits = int.from_bytes(packed, "little")
        assert {name: layout.from_bits(bits)[name] for name in values} == values, f"seed {seed}"
        assert layout.const(values).as_bits() == bits, f"seed {seed}"
        assert record.unpack(packed + b"more") == values, f"seed {seed}"


def test_names_are_unique():
    assert len({record.name for record in wire.RECORDS}) == len(wire.RECORDS)
    for record in wire.RECORDS:
        assert len({field.name for field in record.fields}) == len(record.fields)
        assert all(field.bits % 8 == 0 and field.bits for field in record.fields)


def test_pack_refuses():
    with pytest.raises(ValueError) as caught:
        wire.HEADER.pack(op=256, seq=0)
    assert str(caught.value) == "`op` must fit 8 bits unsigned, not 256"
    with pytest.raises(ValueError) as caught:
        wire.HEADER.pack(op=0, seq=-1)
    assert str(caught.value) == "`seq` must fit 8 bits unsigned, not -1"
    with pytest.raises(ValueError) as caught:
        wire.HEADER.pack(op=0)
    assert str(caught.value) == "Header must have the fields ['op', 'seq'], not ['op']"
    with pytest.raises(ValueError) as caught:
        wire.HEADER.pack(op=0, seq=0, nonce=0)
    assert str(caught.value) == "Header must have the fields ['op', 'seq'], not ['nonce', 'op', 'seq']"
    with pytest.raises(ValueError) as caught:
        wire.SYNC.unpack(b"abc")
    assert str(caught.value) == "SYNC must have at least 5 bytes, not 3"


def test_identity_carries_the_highest_numbers():
    highest = Geometry(rows=255, cols=4, lanes=240, col_pitch=255, tree_pitch=8, depth=65535, weight_words=1 << 24, stream_words=1 << 15,
                       queue=255)
    numbers = {name: getattr(highest, name) for name in (*Geometry.names(), "digest")}
    others = {field.name: 1 for field in wire.IDENTITY.fields if field.name not in numbers}
    assert wire.IDENTITY.unpack(wire.IDENTITY.pack(**numbers, **others)) == numbers | others


def test_sizes():
    assert wire.PAYLOAD_BYTES == 248 and wire.RESULT_BYTES == 246
    assert max(record.size for record in wire.RECORDS) <= wire.PAYLOAD_BYTES
    assert all(op < 0x80 for op in (wire.Op.SYNC, wire.Op.WRITE, wire.Op.JOB, wire.Op.STREAM, wire.Op.COUNTERS))
    assert all(op >= 0x80 for op in (wire.Op.ACK, wire.Op.IDENTITY, wire.Op.COUNTS, wire.Op.RESULT, wire.Op.ERROR))


def test_words_of_the_array():
    geometry = Geometry(rows=1, cols=3, lanes=2, col_pitch=1, depth=5)
    assert weights_word(geometry).size == 12 and acts_word(geometry).size == 16
    # Column 1, lane 0 is -1: bits 4 and 5 of the word; column 2, lane 1 is +1: bit 10.
    word = weights_word(geometry).const([[0, 0], [{"nz": 1, "neg": 1}, 0], [0, {"nz": 1, "neg": 0}]])
    assert word.as_bits() == 0b11 << 4 | 1 << 10
    assert Trit.as_shape().const({"nz": 1, "neg": 0}).as_bits() == 0b01
    assert acts_word(geometry).const([1, 0x80]).as_bits() == 0x8001
    assert job_layout(geometry)["k"].width == len(Const(5)) and job_layout(geometry)["outputs"].shape["last_row"].width == 0
