"""GGUF files, written by the `gguf` library and its own quantisers, become the tensors they were made from."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.formats.gguf_file import GgufFile
from tritloom.host.formats.i2s import unpack_i2s
from tritloom.host.formats.q1 import dequantize_q1
from tritloom.host.model.file import FloatTensor, open_model
from tritloom.host.model.tokenizer import tokenizer_from_dict
from tritloom.host.trits import Ternary

from .checkpoints import Gguf, Golden, assert_reads_as, gguf_name, make_golden, pack_i2s, write_tokenizer

Make = Callable[..., Gguf]
DOWN = "blk.0.ffn_down.weight"
NAMED = "model.layers.0.mlp.down_proj.weight"

#: Blocks of TQ1_0 and TQ2_0 are of 256 weights.
WIDE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}


@pytest.fixture(scope="module")
def wide() -> Golden:
    return make_golden(seed=11, **WIDE)


@pytest.fixture
def gguf(tmp_path: Path, wide: Golden) -> Make:
    def make(golden: Golden = wide, arch: str = "bitnet-b1.58") -> Gguf:
        made = Gguf(tmp_path / "model.gguf", golden, arch)
        made.tokenizer = write_tokenizer(tmp_path / "written.json")
        return made

    return make


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0", "F16", "F32", "BF16"])
def test_what_the_librarys_quantiser_wrote_is_read_exactly(gguf: Make, wide: Golden, kind: str) -> None:
    source = GgufFile(gguf().add_floats().add_matrices(kind).write())
    assert_reads_as(source, wide)
    assert source.facts["matrices"] == {kind: 7}


@pytest.mark.parametrize("arch", ["bitnet-b1.58", "bitnet-25"])
def test_names_of_the_architecture(gguf: Make, wide: Golden, arch: str) -> None:
    assert_reads_as(GgufFile(gguf(arch=arch).add_floats().add_matrices("TQ2_0").write()), wide)


@pytest.mark.parametrize(("kind", "dtype"), [("F32", "float32"), ("F16", "float16"), ("BF16", "bfloat16")])
def test_the_embeddings_type_is_kept(gguf: Make, wide: Golden, kind: str, dtype: str) -> None:
    source = GgufFile(gguf().add_floats(kind).add_matrices("TQ2_0").write())
    assert_reads_as(source, wide)
    table = source.tensor("model.embed_tokens.weight")
    assert isinstance(table, FloatTensor)
    assert table.dtype == dtype


def test_an_embedding_that_is_not_finite(gguf: Make, wide: Golden) -> None:
    embedding = wide.floats["model.embed_tokens.weight"].copy()
    embedding[299, 255] = np.inf
    for kind in ("F32", "F16", "BF16"):
        made = gguf().add_floats().add_matrices("TQ2_0")
        made.put("token_embd.weight", embedding, kind)
        with pytest.raises(CheckpointError, match="'token_embd.weight' .* holds infinities or NaN"):
            GgufFile(made.write()).tensor("model.embed_tokens.weight")


def test_an_embedding_of_8_bits_is_what_the_library_makes_of_it(gguf: Make, wide: Golden) -> None:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    made = gguf().add_floats().add_matrices("TQ2_0")
    embedding = wide.floats["model.embed_tokens.weight"]
    made.put("token_embd.weight", embedding, "Q8_0")
    q8 = GGMLQuantizationType.Q8_0
    expected = dequantize(quantize(embedding, q8), q8)
    assert_reads_as(GgufFile(made.write()), wide.with_tensors(**{"model.embed_tokens.weight": expected}))


def test_rows_of_zeros_have_no_scale_of_their_own(gguf: Make, wide: Golden) -> None:
    matrix = wide.matrices[NAMED]
    trits = matrix.trits.copy()
    trits[3:9] = 0
    made = gguf(wide.with_tensors(**{NAMED: Ternary(trits, matrix.scale)})).add_floats().add_matrices("TQ1_0")
    assert_reads_as(GgufFile(made.write()), made.golden)


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_blocks_of_different_scales_are_groups(gguf: Make, wide: Golden, kind: str) -> None:
    """Exactly the trits and scales that the library's quantiser wrote, whatever the weights were."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    made = gguf().add_floats().add_matrices(kind)
    w = np.random.default_rng(18).standard_normal(wide.matrices[NAMED].trits.shape).astype(np.float32)
    w[3, :256] = 0
    made.put(DOWN, w, kind)
    number = GGMLQuantizationType[kind]
    real = dequantize(quantize(w, number), number)
    source = GgufFile(made.write())
    found = source.tensor(NAMED)
    assert isinstance(found, Ternary)
    assert found.group == 256
    np.testing.assert_array_equal(found.trits * np.repeat(found.scale, 256, axis=1), real)
    scales = np.abs(real).reshape(len(w), 2, 256).max(axis=2)
    np.testing.assert_array_equal(found.scale, np.where(scales == 0, 1, scales))
    assert source.facts["matrices"] == {f"{kind} in groups of 256": 1}


@pytest.mark.parametrize("one", [False, True], ids=["a scale a group", "one scale"])
def test_q1(gguf: Make, wide: Golden, one: bool) -> None:
    made, random, expected = gguf().add_floats(), np.random.default_rng(19), {}
    for name, matrix in wide.matrices.items():
        trits = random.choice(np.array([-1, 1], np.int8), matrix.trits.shape)
        scales = random.uniform(0.01, 1, (len(trits), trits.shape[1] // 128)).astype(np.float16)
        scales[:] = scales[0, 0] if one else scales
        made.put_q1(gguf_name(name), trits, scales)
        expected[name] = Ternary(trits, float(scales[0, 0]) if one else scales.astype(np.float32))
    source = GgufFile(made.write())
    assert_reads_as(source, wide.with_tensors(**expected))
    assert source.facts["matrices"] == {"Q1_0" if one else "Q1_0 in groups of 128": 7}


def test_q1_by_hand() -> None:
    """Weight 0 in the lowest bit of the first byte behind the scale; 1 is plus."""
    raw = np.zeros((1, 36), np.uint8)
    raw[0, :2] = np.frombuffer(np.float16(0.5).tobytes(), np.uint8)
    raw[0, 2], raw[0, 17] = 0b00000101, 0b10000000
    raw[0, 18:20] = np.frombuffer(np.float16(2).tobytes(), np.uint8)
    expected = np.concatenate([np.full(128, -0.5), np.full(128, -2.0)])
    expected[[0, 2, 127]] = 0.5
    np.testing.assert_array_equal(dequantize_q1(raw), expected[None])


def test_an_embedding_of_q1_is_kept_in_16_bits(gguf: Make, wide: Golden) -> None:
    random = np.random.default_rng(20)
    signs, scales = random.choice(np.array([-1, 1], np.int8), (300, 256)), random.uniform(0.01, 1, (300, 2)).astype(np.float16)
    made = gguf().add_floats().add_matrices("TQ2_0")
    made.put_q1("token_embd.weight", signs, scales)
    table = GgufFile(made.write()).tensor("model.embed_tokens.weight")
    assert isinstance(table, FloatTensor)
    assert table.dtype == "float16"
    np.testing.assert_array_equal(table.array(), signs * np.repeat(scales.astype(np.float32), 128, axis=1))


@pytest.mark.parametrize(("half", "message"), [(b"\x00\x7e", "holds infinities or NaN"), (b"\x00\x7c", "holds infinities or NaN")])
def test_scales_of_q1_that_are_none(gguf: Make, wide: Golden, half: bytes, message: str) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    made.put_q1(DOWN, np.ones((256, 512), np.int8), np.ones((256, 4)))
    made.tensors[DOWN][0][7, 18:20] = np.frombuffer(half, np.uint8)
    with pytest.raises(CheckpointError, match=f"'{DOWN}' .* \\(Q1_0\\) is not ternary: it {message}$"):
        GgufFile(made.write()).tensor(NAMED)


def test_a_scale_beside_a_matrix_multiplies_those_of_its_groups(gguf: Make, wide: Golden) -> None:
    scales = np.random.default_rng(21).uniform(0.5, 1, (256, 4)).astype(np.float16)
    made = gguf().add_floats().add_matrices("TQ2_0")
    made.put_q1(DOWN, np.ones((256, 512), np.int8), scales)
    made.put("blk.0.ffn_down.scale", np.array([0.25]), "F32")
    found = GgufFile(made.write()).tensor(NAMED)
    assert isinstance(found, Ternary)
    np.testing.assert_array_equal(found.scale, scales.astype(np.float32) / 4)
    for factor in (np.nan, 0.0, -1.0, 1e-40):
        made.put("blk.0.ffn_down.scale", np.array([factor]), "F32")
        with pytest.raises(CheckpointError, match="'blk.0.ffn_down.scale' .* is the scale .* where a positive finite number must be"):
            GgufFile(made.write()).tensor(NAMED)


def test_weights_of_one_bit(gguf: Make, wide: Golden) -> None:
    """A model of -1 and +1 is a ternary one without zeros."""
    random = np.random.default_rng(12)
    signs = {name: Ternary(random.choice(np.array([-1, 1], np.int8), matrix.trits.shape), matrix.scale) for name, matrix in wide.matrices.items()}
    made = gguf(wide.with_tensors(**signs)).add_floats().add_matrices("TQ2_0")
    assert_reads_as(GgufFile(made.write()), made.golden)


@pytest.mark.parametrize(("layout", "block"), [("x86", 128), ("arm", 64)])
def test_i2s(gguf: Make, wide: Golden, layout: str, block: int) -> None:
    path = gguf().add_floats("F16").add_i2s(block).write()
    assert_reads_as(GgufFile(path, i2s_layout=layout), wide)
    other = GgufFile(path, i2s_layout={"x86": "arm", "arm": "x86"}[layout]).tensor(NAMED)
    assert isinstance(other, Ternary)
    assert (other.trits != wide.matrices[NAMED].trits).any()


def test_i2s_by_hand() -> None:
    """One block of 128: byte p holds weights p, p + 32, p + 64 and p + 96 from the high bits down."""
    trits = np.zeros((1, 128), np.int8)
    trits[0, [0, 32, 64, 97]] = 1, -1, 1, -1
    raw = np.full(32, 0b01010101, np.uint8)
    raw[0], raw[1] = 0b10_00_10_01, 0b01_01_01_00
    data = np.concatenate([raw, np.frombuffer(struct.pack("<f", 1.5) + bytes(28), np.uint8)])
    assert data.tobytes() == pack_i2s(trits, 1.5, 128)
    found, scale = unpack_i2s(data, (1, 128), "x86")
    np.testing.assert_array_equal(found, trits)
    assert scale == 1.5


def test_i2s_is_not_guessed(gguf: Make) -> None:
    path = gguf().add_floats().add_i2s(128).write()
    with pytest.raises(UnsupportedCheckpointError, match="does not say in which of two orders: give --i2s-layout x86"):
        GgufFile(path)


def test_i2s_of_widths_that_only_arm_has(gguf: Make) -> None:
    golden = make_golden(seed=13, hidden_size=64, intermediate_size=192, num_hidden_layers=1)
    path = gguf(golden).add_floats().add_i2s(64).write()
    assert_reads_as(GgufFile(path), golden)
    with pytest.raises(CheckpointError, match=r"matrices of \[64, 192\] columns, which the layout x86 cannot hold"):
        GgufFile(path, i2s_layout="x86")


def test_a_scale_beside_a_matrix_multiplies_it(gguf: Make, wide: Golden) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    made.put("blk.0.ffn_down.scale", np.array([0.25]), "F32")
    matrix = wide.matrices[NAMED]
    assert_reads_as(GgufFile(made.write()), wide.with_tensors(**{NAMED: Ternary(matrix.trits, matrix.scale / 4)}))


def test_an_untied_head(gguf: Make) -> None:
    golden = make_golden(seed=14, tied=False, **WIDE)
    assert_reads_as(GgufFile(gguf(golden).add_floats().add_matrices("TQ1_0").write()), golden)


def test_a_model_file_from_gguf(gguf: Make, wide: Golden, tmp_path: Path) -> None:
    path = gguf().add_floats().add_matrices("TQ1_0").write()
    convert(open_source(path), tmp_path / "m.trit", "base3")
    assert_reads_as(open_model(tmp_path / "m.trit"), wide)


def test_the_tokenizer_is_built_from_the_metadata(gguf: Make, tmp_path: Path) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    tokenizer = tokenizer_from_dict(GgufFile(made.write()).tokenizer)
    for text in ("the loom and the shuttle", "größer, 1234 €", "  spaces\n\nand lines", "a<end>b"):
        assert tokenizer.encode(text).ids.tolist() == made.tokenizer.encode(text).ids, text
    assert (tokenizer.start_id, tokenizer.end_ids) == (0, (1,))


def test_llama_3s_tokenizer_cuts_otherwise_and_begins_with_its_token(gguf: Make) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    made.cut = "llama-bpe"
    tokenizer = tokenizer_from_dict(GgufFile(made.write()).tokenizer)
    ids = tokenizer.encode("the loom, 1234").ids.tolist()
    assert ids[0] == 0
    assert tokenizer.decode(ids) == "the loom, 1234"


@pytest.mark.parametrize(("change", "message"), [
    (lambda made: setattr(made, "tokenizer", None), "has no tokenizer: give the model's tokenizer.json with --tokenizer"),
    (lambda made: setattr(made, "cut", "chameleon"), r"tokenizer of the kind 'gpt2' \('chameleon'\), and tritloom reads"),
])
def test_tokenizers_that_cannot_be_had(gguf: Make, tmp_path: Path, change: Callable[[Gguf], None], message: str) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    change(made)
    path = made.write()
    with pytest.raises(CheckpointError, match=message):
        GgufFile(path)
    assert GgufFile(path, tokenizer=tmp_path / "written.json").tokenizer["kind"] == "huggingface"


def test_a_matrix_that_is_not_ternary(gguf: Make, wide: Golden) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    w = np.random.default_rng(15).standard_normal(wide.matrices[NAMED].trits.shape).astype(np.float32)
    made.put(DOWN, w, "F32")
    with pytest.raises(CheckpointError, match=rf"'{DOWN}' .* \(F32\) is not ternary: it holds the magnitudes [0-9.]+ and [0-9.]+; --quantize absmean makes it "
                       "ternary, and if the model was not trained for that it will write nonsense$"):
        GgufFile(made.write()).tensor(NAMED)
    found = GgufFile(made.write(), quantize="absmean").tensor(NAMED)
    assert isinstance(found, Ternary)
    s = np.float32(1) / np.float32(np.mean(np.abs(w), dtype=np.float64))
    np.testing.assert_array_equal(found.trits, np.clip(np.rint(w * s), -1, 1))


def put(name: str, values: Any, kind: str = "F32") -> Callable[[Gguf], None]:
    return lambda made: made.put(name, np.array(values, np.float32), kind)


def raw(name: str, data: bytes, shape: tuple[int, ...], number: int) -> Callable[[Gguf], None]:
    def change(made: Gguf) -> None:
        made.tensors[name] = (np.frombuffer(data, np.int8), number)
        made.shapes[name] = shape

    return change


@pytest.mark.parametrize(("change", "kind", "message"), [
    (lambda made: setattr(made, "arch", "gemma"), UnsupportedCheckpointError, "of the architecture 'gemma', and tritloom runs only 'bitnet-b1.58', 'bitnet-25', 'bitnet', 'llama', 'qwen3'"),
    (lambda made: made.uint32.pop("block_count"), CheckpointError, "lacks the key 'bitnet-b1.58.block_count'"),
    (lambda made: made.uint32.update(expert_count=8), UnsupportedCheckpointError, "asks for bitnet-b1.58.expert_count 8"),
    (lambda made: made.uint32.update(window=8), UnsupportedCheckpointError, r"has the key 'bitnet-b1.58.window' \(8\)"),
    (lambda made: made.uint32.update({"rope.dimension_count": 32}), UnsupportedCheckpointError, "asks for bitnet-b1.58.rope.dimension_count 32 with heads of 64"),
    (lambda made: made.uint32.update(vocab_size=299), CheckpointError, "vocab_size 299 and an embedding of 300 tokens"),
    (lambda made: made.uint32.update(feed_forward_length=256), CheckpointError, r"has the shape \(512,\) where the metadata ask for \(256,\)"),
    (lambda made: made.uint32.update(block_count=2), CheckpointError, r"lacks the tensor 'blk.1.attn_norm.weight' \(11 of 24 are missing\)"),
    (lambda made: made.uint32.update(block_count=1 << 24), CheckpointError, "has 13 tensors, too few for the 16777216 layers"),
    (lambda made: made.uint32.update(block_count=0), CheckpointError, "`num_hidden_layers` must be an integer from 1"),
    (lambda made: made.uint32.update({"attention.head_count": 3}), CheckpointError, "embedding_length 256 and the head_count 3"),
    (lambda made: made.float32.update({"rope.scaling.factor": 0.5}), CheckpointError, "`factor` must be at least 1, not 0.5"),
    (lambda made: made.strings.update({"rope.scaling.type": "longrope"}), UnsupportedCheckpointError, "rope.scaling.type 'longrope'"),
    (lambda made: made.strings.update({"rope.scaling.type": "yarn"}), CheckpointError, "lacks the key 'bitnet-b1.58.rope.scaling.factor'"),
    (lambda made: made.uint32.update({"attention.sliding_window": 4096}), UnsupportedCheckpointError, "asks for bitnet-b1.58.attention.sliding_window 4096"),
    (lambda made: made.strings.update({"other.thing": "x"}), UnsupportedCheckpointError, "has the key 'other.thing'"),
    (lambda made: made.tensors.pop(DOWN), CheckpointError, f"lacks the tensor '{DOWN}' \\(1 of"),
    (lambda made: made.tensors.pop("token_embd.weight"), CheckpointError, "must have a matrix 'token_embd.weight', and there is none"),
    (put("blk.0.attn_q.bias", np.zeros(256)), CheckpointError, r"lacks the tensor 'blk.0.attn_k.bias' \(3 of"),
    (put("blk.0.attn_k.bias", np.zeros(128)), UnsupportedCheckpointError, "'blk.0.attn_k.bias', which tritloom does not know there"),
    (put("rope_freqs.weight", np.full(32, 2)), UnsupportedCheckpointError, "'rope_freqs.weight', which tritloom follows only for the architecture 'llama'"),
    (put(DOWN, np.ones((256, 256))), CheckpointError, r"has the shape \(256, 256\) where the metadata ask for \(256, 512\)"),
    (put("blk.0.ffn_down.scale", np.ones(3)), UnsupportedCheckpointError, r"is F32 \(3,\), and tritloom runs one float scale"),
    (raw(DOWN, bytes(999), (256, 512), 38), UnsupportedCheckpointError, "is of the type number 38, which tritloom does not know"),
    (raw(DOWN, bytes(1 << 17), (256, 512), 24), UnsupportedCheckpointError, "is of the type I8, which the gguf library does not dequantise"),
    (raw("output_norm.weight", bytes(96), (256,), 36), CheckpointError, "is of the type I2_S, which is for matrices"),
])  # fmt: skip
def test_what_a_file_may_not_be(gguf: Make, change: Callable[[Gguf], Any], kind: type, message: str) -> None:
    made = gguf().add_floats().add_matrices("TQ2_0")
    change(made)
    with pytest.raises(kind, match=message) as caught:
        GgufFile(made.write())
    assert "\n" not in str(caught.value)


def test_an_option_that_means_nothing(gguf: Make) -> None:
    with pytest.raises(CheckpointError, match="has no tensors of the type I2_S: leave --i2s-layout out"):
        GgufFile(gguf().add_floats().add_matrices("TQ2_0").write(), i2s_layout="x86")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), 0.0, -1.0])
def test_scales_of_i2s(gguf: Make, wide: Golden, scale: float) -> None:
    made = gguf().add_floats().add_i2s(128)
    made.tensors[DOWN] = (np.frombuffer(pack_i2s(wide.matrices[NAMED].trits, scale, 128), np.int8), 36)
    with pytest.raises(CheckpointError, match=f"'{DOWN}' .* has the scale {scale} where a positive finite number must be"):
        GgufFile(made.write(), i2s_layout="x86").tensor(NAMED)


def test_a_code_of_i2s_that_is_none(gguf: Make) -> None:
    made = gguf().add_floats().add_i2s(128)
    data = made.tensors[DOWN][0].copy()
    data[77] |= 0b11
    made.tensors[DOWN] = (data, 36)
    with pytest.raises(CheckpointError, match="holds the code 11"):
        GgufFile(made.write(), i2s_layout="x86").tensor(NAMED)


@pytest.mark.parametrize("half", [b"\x00\x7e", b"\x00\x7c", b"\x00\x00"])
def test_scales_of_a_block_that_are_none(gguf: Make, wide: Golden, half: bytes) -> None:
    """NaN, infinity, and 0 where others are not."""
    made = gguf().add_floats().add_matrices("TQ2_0")
    data = made.tensors[DOWN][0].copy()
    data[0, 64:66] = np.frombuffer(half, np.uint8)
    made.tensors[DOWN] = (data, made.tensors[DOWN][1])
    source = GgufFile(made.write())
    if half == b"\x00\x00":
        found = source.tensor(NAMED)    # a block of nothing
        assert isinstance(found, Ternary)
        assert not found.trits[0, :256].any()
        np.testing.assert_array_equal(found.trits[0, 256:], wide.matrices[NAMED].trits[0, 256:])
    else:
        with pytest.raises(CheckpointError, match="is not ternary: it holds infinities or NaN"):
            source.tensor(NAMED)


def test_every_truncation_is_noticed_when_it_is_opened(gguf: Make) -> None:
    path = gguf(make_golden(seed=16)).add_floats().add_matrices("F16").write()
    data = path.read_bytes()
    assert GgufFile(path)
    for length in [*range(0, 64, 7), *range(64, len(data) - 64, 997), len(data) - 64]:
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match="truncated") as caught:
            GgufFile(path)
            pytest.fail(f"cut to {length} of {len(data)} bytes, and nothing was said")
        assert "\n" not in str(caught.value)


def test_flipped_bits_of_the_header_end_in_an_error_or_nothing(gguf: Make) -> None:
    """A GGUF file has no checksum: what a flip leaves valid is read. Whatever it is, it is no crash and no endless loop."""
    path = gguf(make_golden(seed=17)).add_floats().add_matrices("F16").write()
    data = path.read_bytes()
    header = data.index(b"blk.1.") + 100
    refused = 0
    for at in range(0, header, 61):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            GgufFile(path)
        except CheckpointError:
            refused += 1
    assert refused > 10


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        open_source(tmp_path / "absent.gguf")
    (tmp_path / "empty.gguf").touch()
    with pytest.raises(CheckpointError, match="empty.gguf"):
        open_source(tmp_path / "empty.gguf")
    (tmp_path / "text.gguf").write_text("hello, this is no such thing")
    with pytest.raises(CheckpointError, match=r"no GGUF file \(GGUF magic invalid\)"):
        open_source(tmp_path / "text.gguf")


def test_names_are_llama_cpps() -> None:
    """As the `gguf` library itself maps them."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH.LLAMA, 2)
    golden = make_golden(tied=False)
    for name in golden.tensors:
        if "sub_norm" not in name:
            assert names.get_name(name, try_suffixes=(".weight",)) == gguf_name(name)
