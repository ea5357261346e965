"""What can be wrong with a checkpoint or a model file, and the whole sentence that a person reads; never garbage text, never half a file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tritloom.host.errors import TritloomError
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.file import open_model

from .checkpoints import AUTO, Gguf, HuggingFace, make_golden, pack_i2s, write_tokenizer

Q, DOWN = "model.layers.1.self_attn.q_proj.weight", "blk.0.ffn_down.weight"
NONSENSE = "if the model was not trained for that it will write nonsense"


def folder(path: Path, change: Callable[[HuggingFace], object] = lambda made: None) -> Path:
    made = HuggingFace(path / "hf", make_golden(seed=1)).add_floats().add_packed(AUTO)
    change(made)
    return made.write()


def gguf(path: Path, change: Callable[[Gguf], object] = lambda made: None, arch: str = "bitnet-b1.58") -> Path:
    made = Gguf(path / "m.gguf", make_golden(seed=11, hidden_size=256, intermediate_size=512, num_hidden_layers=1), arch).add_floats().add_matrices("TQ2_0")
    made.tokenizer = write_tokenizer(path / "written.json")
    change(made)
    return made.write()


def missing_shard(path: Path) -> tuple[Path, str]:
    made = folder(path, lambda made: setattr(made, "shards", 2))
    shard = made / "model-00002-of-00002.safetensors"
    shard.unlink()
    return made, f"the shard {shard} is missing: download the checkpoint again, whole"


def wrong_shape(path: Path) -> tuple[Path, str]:
    made = folder(path, lambda made: made.tensors.update({Q: np.zeros((3, 8), np.uint8)}))
    return made, f"tensor '{Q}' in {made}/model.safetensors has the shape (3, 8) where the config asks for (2, 8)"


def unknown_dtype(path: Path) -> tuple[Path, str]:
    made = folder(path, lambda made: made.tensors.update({Q: np.zeros((8, 8), np.int8)}))
    return made, f"tensor '{Q}' in {made}/model.safetensors is of the type I8, and tritloom reads F32, F16, BF16, U8 there"


def scale(value: float) -> Callable[[Path], tuple[Path, str]]:
    def make(path: Path) -> tuple[Path, str]:
        made = folder(path, lambda made: made.put(f"{Q}_scale", np.array([value], np.float32), "F32"))
        return made, f"tensor '{Q}_scale' in {made}/model.safetensors is the scale {value} where a positive finite number must be"

    return make


def scale_in_gguf(path: Path) -> tuple[Path, str]:
    def change(made: Gguf) -> None:
        made.add_i2s(64)
        data = pack_i2s(np.ones((256, 512), np.int8), float("nan"), 64)
        made.tensors[DOWN] = (np.frombuffer(data, np.int8), 36)

    made = gguf(path, change)
    return made, f"tensor '{DOWN}' in {made} has the scale nan where a positive finite number must be"


def scale_of_a_group(path: Path) -> tuple[Path, str]:
    made = gguf(path, lambda made: made.tensors[DOWN][0][3, 64:66].__setitem__(slice(None), [0x00, 0x7C]))
    return made, f"tensor '{DOWN}' in {made} (TQ2_0) is not ternary: it holds infinities or NaN"


def no_weight(path: Path) -> tuple[Path, str]:
    made = folder(path, lambda made: made.tensors[Q].__setitem__((1, 3), 0b00_11_00_01))
    return made, f"tensor '{Q}' in {made}/model.safetensors holds the code 11, which is no ternary weight"


def no_tokenizer(path: Path) -> tuple[Path, str]:
    made = folder(path)
    (made / "tokenizer.json").unlink()
    return made, f"there is no tokenizer {made}/tokenizer.json: give a tokenizer.json with --tokenizer"


def no_tokenizer_in_gguf(path: Path) -> tuple[Path, str]:
    made = gguf(path, lambda made: setattr(made, "tokenizer", None))
    return made, f"{made} has no tokenizer: give the model's tokenizer.json with --tokenizer"


def truncated_gguf(path: Path) -> tuple[Path, str]:
    made = gguf(path)
    size = made.stat().st_size
    made.write_bytes(made.read_bytes()[: size - 1000])
    return made, f"{made} is truncated: tensor 'blk.0.ffn_down.weight' ends at byte {size:,} of {size - 1000:,}; download it again"


def another_architecture(path: Path) -> tuple[Path, str]:
    made = gguf(path, arch="gemma3")
    return made, f"{made} is of the architecture 'gemma3', and tritloom runs only 'bitnet-b1.58', 'bitnet-25', 'bitnet', 'llama', 'qwen3'"


def not_ternary_gguf(path: Path) -> tuple[Path, str]:
    values = np.tile(np.array([0.5, -0.25], np.float32), (256, 256))
    made = gguf(path, lambda made: made.put(DOWN, values, "F32"))
    return made, f"tensor '{DOWN}' in {made} (F32) is not ternary: it holds the magnitudes 0.5 and 0.25; --quantize absmean makes it ternary, and {NONSENSE}"


@pytest.mark.parametrize("make", [
    missing_shard, wrong_shape, unknown_dtype, scale(float("nan")), scale(float("inf")), scale(0.0), scale(-1.5), scale_in_gguf, scale_of_a_group, no_weight,
    no_tokenizer, no_tokenizer_in_gguf, truncated_gguf, another_architecture, not_ternary_gguf,
])  # fmt: skip
def test_a_checkpoint_that_will_not_do(tmp_path: Path, make: Callable[[Path], tuple[Path, str]]) -> None:
    made, sentence = make(tmp_path)
    (tmp_path / "out").mkdir()
    with pytest.raises(TritloomError) as caught:
        convert(open_source(made, i2s_layout="arm" if make is scale_in_gguf else None), tmp_path / "out" / "m.trit")
    assert str(caught.value) == sentence
    assert list((tmp_path / "out").iterdir()) == []


def test_a_checkpoint_that_is_not_ternary_and_does_not_say_so(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    golden = make_golden(seed=1)
    masters = {name: random.standard_normal(matrix.trits.shape).astype(np.float32) for name, matrix in golden.matrices.items()}
    masters[Q] = np.array([[0.5, -0.25] * 4] * 8, np.float32)
    made = HuggingFace(tmp_path / "hf", golden).add_floats().add_masters("F32", masters).write()
    with pytest.raises(TritloomError) as caught:
        open_source(made).tensor(Q)
    assert str(caught.value) == (
        f"tensor '{Q}' in {made}/model.safetensors is not ternary: it holds the magnitudes 0.5 and 0.25; if they are master weights, --quantize absmean "
        f"makes them ternary, and {NONSENSE}")
    assert open_source(made, quantize="absmean").tensor(Q).trits.tolist() == [[1, -1] * 4] * 8


@pytest.mark.parametrize("damage", ["truncated", "flipped weight", "flipped header", "appended"])
def test_a_model_file_that_will_not_do(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "m.trit"
    convert(open_source(folder(tmp_path)), path)
    data = path.read_bytes()
    (length,) = struct.unpack_from("<I", data, 12)
    down = "model.layers.1.mlp.down_proj.weight"
    changed, sentence = {
        "truncated": (data[:-5], f"the file is truncated: tensor '{down}' ends at byte {len(data)} of {len(data) - 5}; copy or download it again"),
        "flipped weight": (data[:-3] + bytes([data[-3] ^ 4]) + data[-2:], f"the checksum of tensor '{down}' is wrong: the file is damaged; copy or download it again"),
        "flipped header": (data[:length] + bytes([data[length] ^ 1]) + data[length + 1 :], "the header's checksum is wrong: the file is damaged; copy or download it again"),
        "appended": (data + b"abc", "3 bytes follow the last tensor: the file is damaged or something was appended to it"),
    }[damage]  # fmt: skip
    path.write_bytes(changed)
    with pytest.raises(TritloomError) as caught:
        open_model(path)
    assert str(caught.value) == f"{path}: {sentence}"


def test_flipped_bits_of_a_safetensors_header_end_in_an_error_or_in_the_same_model(tmp_path: Path) -> None:
    """The format has no checksum: what a flip leaves valid is read. Whatever it is, it is no crash and no endless loop."""
    made = folder(tmp_path) / "model.safetensors"
    data = made.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    refused = 0
    for at in range(0, 8 + length, 37):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        made.write_bytes(damaged)
        try:
            list(open_source(made.parent).tensors())
        except TritloomError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > 20
