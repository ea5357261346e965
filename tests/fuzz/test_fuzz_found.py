"""What fuzzing found, once each, as small as it can be."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritloom.host.driver import connect
from tritloom.host.errors import CheckpointError, LinkError, ModelFileError, TritloomError, UsageError
from tritloom.host.formats import gguf_reader
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer
from tritloom.host.framing import Decoder, encode
from tritloom.host.link import Link
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.file import open_model, write_model
from tritloom.host.model.model import Model
from tritloom.host.model.runtime import check_ids
from tritloom.host.model.tokenizer import tokenizer_from_dict
from tritloom.host.transport import Transport
from tritloom.rtl.geometry import Geometry
from tritloom.rtl.wire import COUNTERS, JOB, SYNC, Op
from tritloom.sim.compiled import open_sim
from tritloom.sim.model_device import ModelDevice
from tritloom.sim.model_device import open_model as open_device

from ..formats.checkpoints import AUTO, Gguf, HuggingFace, make_golden, write_tokenizer
from .reading import parse_gguf

Header = dict[str, Any]


# The device

@pytest.mark.parametrize("open_it", [open_sim, open_device], ids=["sim", "model"])
def test_streamed_words_that_were_left_over_are_nobody_s(open_it: Callable[..., Transport]) -> None:
    """The model kept them for the next streamed job; the gateware, and the protocol, drop them."""
    geometry = Geometry()
    device, decoder = open_it(geometry=geometry), Decoder()

    def ask(op: Op, seq: int, payload: bytes) -> list[tuple[int, int]]:
        """What kinds of replies come, and to which numbers."""
        device.write(encode(op, seq, payload))
        replies = []
        while frames := decoder.feed(device.read(0.05)):
            replies += [frame[:2] for frame in frames if frame is not None]
        return sorted(set(replies))

    job = JOB.pack(engine=0, source=0, destination=0, weights=1, hold=0, rows=1, result_bytes=1, acts_at=0, k=1, n=geometry.cols, weights_at=0)
    words = geometry.words(geometry.cols, 1)
    assert ask(Op.SYNC, 9, SYNC.pack(nonce=5, claim=1)) == [(Op.IDENTITY, 9)]
    assert ask(Op.JOB, 10, job) == []
    assert ask(Op.STREAM, 11, bytes(geometry.word_bytes * words)) == [(Op.ACK, 11), (Op.RESULT, 10)]
    assert ask(Op.JOB, 12, job) == []
    more = ask(Op.STREAM, 13, bytes(geometry.word_bytes * (words + 1)))
    assert (Op.RESULT, 12) in more    # the word too many may be acknowledged or refused
    seq = 14 if (Op.ACK, 13) in more else 13
    assert ask(Op.JOB, seq, job) == []
    assert (Op.ACK, seq + 1) in ask(Op.STREAM, seq + 1, bytes(geometry.word_bytes * (words - 1)))
    assert (Op.ACK, seq + 2) in ask(Op.STREAM, seq + 2, bytes(geometry.word_bytes))    # one was still missing, so this one is not refused


# Replies

def test_a_frame_with_something_behind_it_is_bad_however_it_comes() -> None:
    """COBS' longest block and an empty one behind it are a whole frame; what came after those was forgotten if it came in another piece."""
    frame = next(data for fill in range(1, 256) if (data := encode(Op.WRITE, 7, bytes([fill]) * 248))[0] == 0xFF)
    for pieces in ([frame[:-1] + b"\1junk\0"], [frame[:-1] + b"\1", b"junk", b"\0"], [frame[:-1], b"\1junk\0"]):
        decoder = Decoder()
        assert [found for piece in pieces for found in decoder.feed(piece)] == [None]


def test_counters_of_another_length_are_no_reply() -> None:
    class Short(Transport):
        name, flow_controlled = "short", True

        def __init__(self) -> None:
            self.device = ModelDevice(Geometry())

        def write(self, data: bytes) -> None:
            self.device.write(data)

        def read(self, timeout_s: float) -> bytes:
            return b"".join(encode(op, seq, payload[:5] if op == Op.COUNTS else payload) for op, seq, payload in Decoder().feed(self.device.read(timeout_s)))

        def close(self) -> None:
            """There is nothing to close."""

    from tritloom.host.driver import Accelerator

    with pytest.raises(LinkError):
        Accelerator(Link(Short(), timeout_s=0.05, retries=0)).counters()
    assert COUNTERS.size > 5


# Files

@pytest.fixture
def folder(tmp_path: Path) -> HuggingFace:
    return HuggingFace(tmp_path / "checkpoint", make_golden(seed=3, num_hidden_layers=1)).add_floats().add_packed(AUTO)


def test_what_a_file_says_does_not_fill_the_screen(folder: HuggingFace) -> None:
    folder.config["unknown"] = "long " * 100_000 + "\nand\nin lines"
    with pytest.raises(CheckpointError) as caught:
        open_source(folder.write())
    text = str(caught.value)
    assert len(text) <= 1000 and "\n" not in text and "has the key 'unknown'" in text and " ... " in text


def test_the_tokenizers_library_panics() -> None:
    """Which is no `Exception` in Python."""
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"], "continuing_subword_prefix": "abc"}
    with pytest.raises(UsageError, match="the tokenizer is not one the tokenizers library reads"):
        HuggingFaceTokenizer({"version": "1.0", "added_tokens": [], "model": model}, 9)


@pytest.mark.parametrize("change", [{"vocab_size": "300"}, {"vocab_size": None}, {"end": 5}, {"end": "5"}, {"end": ["5"]}, {"start": 1.5}, {"chat_template": 3}], ids=str)
def test_a_tokenizer_of_other_types(tmp_path: Path, change: dict[str, Any]) -> None:
    definition = json.loads(write_tokenizer(tmp_path / "tokenizer.json").to_str())
    with pytest.raises(UsageError):
        tokenizer_from_dict({"kind": "huggingface", "definition": definition, "vocab_size": 300} | change)


@pytest.mark.filterwarnings("error")
def test_a_gguf_tensor_beyond_the_end_of_numbers(tmp_path: Path) -> None:
    """Its offset and where the data begin are both 64 bits wide, and so was their sum."""
    made = Gguf(tmp_path / "m.gguf", make_golden(seed=4, num_hidden_layers=1)).add_floats().add_matrices("F32")
    made.tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    data = bytearray(made.write().read_bytes())
    at, width = parse_gguf(bytes(data)).places[-1]
    assert width == 8
    data[at:at + 8] = b"\xff" * 8
    (tmp_path / "m.gguf").write_bytes(data)
    with pytest.raises(CheckpointError, match="truncated"):
        open_source(tmp_path / "m.gguf")


def test_metadata_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that claims the rest of the file is read element by element; in a file of gigabytes that takes hours."""
    made = Gguf(tmp_path / "m.gguf", make_golden(seed=4, num_hidden_layers=1)).add_floats().add_matrices("F32")
    made.tokenizer = write_tokenizer(tmp_path / "tokenizer.json")
    open_source(made.write())
    monkeypatch.setattr(gguf_reader, "_MOST_READS", 1000)
    with pytest.raises(CheckpointError, match="more than 1,000 numbers and texts in its metadata"):
        open_source(tmp_path / "m.gguf")


@pytest.mark.parametrize("theta", [1e-38, 1e-300, 0.5, 1e300, 10 ** 40])
def test_a_rope_that_float32_cannot_turn(theta: float) -> None:
    with pytest.raises(UsageError, match="`rope_theta` must be at"):
        ModelConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1, head_dim=4, vocab_size=9,
                    max_position_embeddings=8, rope_theta=theta)


def _with_header(path: Path, change: Callable[[Header], None]) -> None:
    """Another header, with a checksum that is right."""
    data = path.read_bytes()
    version, size = struct.unpack_from("<II", data, 8)
    header = json.loads(data[20:20 + size])
    change(header)
    text = json.dumps(header).encode()
    prefix = data[:8] + struct.pack("<II", version, len(text))
    head = prefix + struct.pack("<I", zlib.crc32(text, zlib.crc32(prefix))) + text
    path.write_bytes(head + bytes(-len(head) % 64) + data[-(-(20 + size) // 64) * 64:])


@pytest.mark.parametrize("change", [
    lambda header: next(entry for entry in header["tensors"] if "packing" in entry).update(packing=[]),
    lambda header: header["tokenizer"].update(vocab_size="300"),
    lambda header: header["tokenizer"].update(end=7),
], ids=["packing", "vocab_size", "end"])
def test_a_header_of_other_types(folder: HuggingFace, tmp_path: Path, change: Callable[[Header], None]) -> None:
    convert(open_source(folder.write()), tmp_path / "m.trit")
    _with_header(tmp_path / "m.trit", change)
    with pytest.raises(ModelFileError):
        Model.load(tmp_path / "m.trit")


# Arguments

@pytest.mark.parametrize("call", [
    lambda: connect("serial:\0"),
    lambda: connect("model", timeout_s=None),
    lambda: connect("model", timeout_s=float("inf")),
    lambda: connect("model", retries="2"),
    lambda: check_ids([[1], [1, 2]], Model.load("nano").config),
    lambda: open_model(None),
    lambda: open_model("a\0b"),
    lambda: Model.load(None),
    lambda: write_model("m.trit", config=Model.load("nano").config, tokenizer={}, tensors=None, training={}),
    lambda: write_model("m.trit", config=Model.load("nano").config, tokenizer={}, tensors={}, training={}, packing=[]),
], ids=range(10))
def test_arguments_of_other_types(call: Callable[[], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError):
        call()


def test_every_error_is_one_line() -> None:
    assert str(TritloomError("one\r\ntwo\x0bthree")) == "one two three"
    assert len(str(UsageError("x" * 10**6))) < 1000
