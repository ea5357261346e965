"""Tokenizers built from a GGUF file's metadata, against llama.cpp's way of joining tokens, written down here a second time, and as text comes out of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import CheckpointError, UnsupportedCheckpointError
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.formats.gguf_tokenizer import gguf_tokenizer
from tritloom.host.formats.hf_tokenizer import HuggingFaceTokenizer
from tritloom.host.model.generation import Generation
from tritloom.host.model.model import Model
from tritloom.host.model.sampling import Sampler
from tritloom.host.model.tokenizer import Tokenizer, tokenizer_from_dict
from tritloom.sim.golden import NumpyAccelerator

from .checkpoints import Gguf, make_golden

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
SPACE = "\u2581"
#: Of the vocabulary's characters; and of texts, in which some characters are no tokens.
LETTERS = "abcd" + SPACE + "é語🧵"
SAID = "abcd" * 3 + "   " + LETTERS + "\n\t😀ßx€"


def make_vocabulary(seed: int, size: int = 120) -> dict[str, Any]:
    """Metadata of a SentencePiece tokenizer: random tokens with random scores, some of them out of reach."""
    random = np.random.default_rng(seed)
    joined = list(LETTERS)
    while len(joined) < size:
        # Of two tokens, or of a few characters, which may never come about.
        made = "".join(random.choice(joined, 2)) if random.random() < 0.7 else "".join(random.choice(list(LETTERS), random.integers(2, 5)))
        if made not in joined and len(made) < 9:
            joined.append(made)
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL), ("<tool>", USER_DEFINED), *((f"<0x{value:02X}>", BYTE) for value in range(256))]
    scores = random.permutation(len(joined)).astype(np.float32) * -0.5
    return {
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.tokens": [token for token, _ in special] + joined,
        "tokenizer.ggml.scores": [0.0] * len(special) + scores.tolist(), "tokenizer.ggml.token_type": [kind for _, kind in special] + [NORMAL if i % 9 else UNUSED for i in range(1, len(joined) + 1)],
    }  # fmt: skip


def build(values: dict[str, Any], vocab_size: int = 600) -> HuggingFaceTokenizer:
    tokenizer = tokenizer_from_dict(gguf_tokenizer(Path("m.gguf"), values, vocab_size, None))
    assert isinstance(tokenizer, HuggingFaceTokenizer)
    return tokenizer


def join_by_score(text: str, values: dict[str, Any]) -> list[int]:
    """Again and again, the two neighbours that make the token of the highest score, the leftmost such; then bytes for what is no token."""
    tokens = values["tokenizer.ggml.tokens"]
    ids = {token: i for i, token in enumerate(tokens)}
    symbols = list(text)
    while True:
        best = None
        for at, (left, right) in enumerate(zip(symbols, symbols[1:], strict=False)):
            score = values["tokenizer.ggml.scores"][ids[left + right]] if left + right in ids else None
            if score is not None and (best is None or score > best[0]):
                best = score, at
        if best is None:
            break
        symbols[best[1] : best[1] + 2] = ["".join(symbols[best[1] : best[1] + 2])]
    return [i for symbol in symbols for i in ([ids[symbol]] if symbol in ids else [ids[f"<0x{byte:02X}>"] for byte in symbol.encode()])]


def as_llama_cpp(text: str, values: dict[str, Any]) -> list[int]:
    """The ids of a whole text: cut at special tokens, a space before each piece between them."""
    ids = [1]
    first = SPACE if values.get("tokenizer.ggml.add_space_prefix", True) else ""
    for piece in re.split("(<unk>|<s>|</s>|<tool>)", text):
        if re.fullmatch("<unk>|<s>|</s>|<tool>", piece):
            ids.append(values["tokenizer.ggml.tokens"].index(piece))
        elif piece:
            ids += join_by_score(first + piece.replace(" ", SPACE), values)
    return ids


def text_of(ids: Iterable[int], values: dict[str, Any]) -> str:
    """The bytes of all tokens in a row as text, without a space that was put first."""
    said = b""
    for i in ids:
        token, kind = values["tokenizer.ggml.tokens"][i], values["tokenizer.ggml.token_type"][i]
        said += bytes([int(token[3:5], 16)]) if kind == BYTE else b"" if kind in (CONTROL, UNKNOWN) else token.replace(SPACE, " ").encode()
    text = said.decode("utf-8", "replace")
    return text.removeprefix(" ") if values.get("tokenizer.ggml.add_space_prefix", True) else text


@pytest.mark.parametrize("space_first", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_texts_become_the_tokens_that_joining_by_score_gives(seed: int, space_first: bool) -> None:
    values = {**make_vocabulary(seed), "tokenizer.ggml.add_space_prefix": space_first}
    tokenizer = build(values)
    random = np.random.default_rng(seed)
    texts = ["", " ", "  a", "\n", "\n\na ", f"a{SPACE}b", "<s>a</s> b<tool>c", "</s><tool>", "<tool> a", "🧵😀🧵", "<0x0A>", "<s", "a" * 300, "ab" * 200]
    words = [token.replace(SPACE, " ") for token in values["tokenizer.ggml.tokens"][260:]]
    texts += ["".join(random.choice([*SAID, *words, "<tool>", "</s>"], random.integers(1, 40))) for _ in range(400)]
    long = 0
    for text in texts:
        ids = tokenizer.encode(text).ids.tolist()
        assert ids == as_llama_cpp(text, values), (seed, text)
        assert tokenizer.decode(ids) == text_of(ids, values), (seed, text)
        long += sum(len(values["tokenizer.ggml.tokens"][i]) > 2 and i > 260 for i in ids)
    assert long > 1000, "the seed gives texts in which tokens are joined more than once"
    assert tokenizer.start_id == 1 and tokenizer.end_ids == (2,)


def stream(tokenizer: Tokenizer, ids: list[int], after: list[int] = []) -> str:    # noqa: B006
    step = tokenizer.stream(after)
    return "".join(step(i) for i in ids) + step(None)


@pytest.mark.parametrize("space_first", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_pieces_are_the_text_of_all_ids(seed: int, space_first: bool) -> None:
    """Ids at random, so characters are broken off everywhere; and ids of texts that go on from others."""
    values = {**make_vocabulary(seed), "tokenizer.ggml.add_space_prefix": space_first}
    tokenizer = build(values)
    random = np.random.default_rng(seed)
    emoji = tokenizer.encode("😀€").ids.tolist()[-7:]
    choices = [*range(4, len(values["tokenizer.ggml.tokens"])), *emoji * 20, 0, 1, 2, *[4 + ord(" "), 4 + ord("\n"), 4 + ord("A")] * 20]
    for _ in range(400):
        ids = random.choice(choices, random.integers(1, 12)).tolist()
        assert tokenizer.decode(ids) == text_of(ids, values), (seed, ids)
        assert stream(tokenizer, ids) == text_of(ids, values), (seed, ids)
        text = "".join(random.choice(list(SAID.replace(SPACE, " ")), random.integers(1, 12)))    # U+2581 in a text becomes a space
        prompt = tokenizer.encode(text).ids.tolist()
        assert tokenizer.decode(prompt) == text, (seed, text)
        assert text + stream(tokenizer, ids, prompt) == text_of(prompt + ids, values), (seed, text, ids)


def test_a_piece_comes_as_soon_as_it_is_sure() -> None:
    values = make_vocabulary(0)
    tokenizer = build(values)
    said = [1, *join_by_score(SPACE + "a" + SPACE + "😀\n" + "b", values)]
    step = tokenizer.stream()
    pieces = [step(i) for i in said]
    whole = pieces.index("😀")
    assert pieces[whole - 3 : whole] == ["", "", ""] and pieces[whole + 1] == "\n"
    assert "".join(pieces) == "a 😀\nb" and step(None) == ""


def test_a_character_that_the_library_knows_as_broken() -> None:
    """U+FFFD can be a token of its own: it is shown with the next one, and at the end."""
    values = make_vocabulary(0)
    values["tokenizer.ggml.tokens"][-1] = "\ufffd"
    tokenizer = build(values)
    broken, a = len(values["tokenizer.ggml.tokens"]) - 1, values["tokenizer.ggml.tokens"].index("a")
    step = tokenizer.stream([a])
    assert [step(broken), step(a), step(broken), step(None)] == ["", "\ufffda", "", "\ufffd"]


def test_a_decoder_that_changes_what_came_before() -> None:
    """A text cannot be taken back: the token's own is shown."""
    from tokenizers import Tokenizer, decoders, models

    made = Tokenizer(models.BPE({"a": 0, "b": 1, "c": 2}, []))
    made.decoder = decoders.Sequence([decoders.Fuse(), decoders.Replace("ab", "x")])
    tokenizer = HuggingFaceTokenizer(json.loads(made.to_str()), 3)
    assert tokenizer.decode([0, 1, 2]) == "xc" and stream(tokenizer, [0, 1, 2]) == "abc"


def test_what_a_byte_token_is_called_is_text() -> None:
    """Here SentencePiece is followed, which joins nothing into a byte; llama.cpp would, if two tokens made its name."""
    values = make_vocabulary(0)
    for token, score in (("<", -900.0), ("0x41>", -901.0), *((character, -902.0) for character in "0x41>")):
        values["tokenizer.ggml.tokens"].append(token)
        values["tokenizer.ggml.scores"].append(score)
        values["tokenizer.ggml.token_type"].append(NORMAL)
    for left, right, score in (("0", "x", -910.0), ("0x", "4", -911.0), ("0x4", "1", -912.0)):
        values["tokenizer.ggml.tokens"].append(left + right)
        values["tokenizer.ggml.scores"].append(score)
        values["tokenizer.ggml.token_type"].append(NORMAL)
    tokenizer = build(values)
    ids = tokenizer.encode("<0x41>").ids.tolist()
    assert [values["tokenizer.ggml.tokens"][i] for i in ids[-2:]] == ["<", "0x41>"] and tokenizer.decode(ids) == "<0x41>"


# Byte-level BPE

def byte_level(pre: str, merges: Iterable[str] = (), more: Iterable[str] = ()) -> dict[str, Any]:
    from tokenizers import pre_tokenizers

    tokens = ["<begin>", "<end>", "<|im_end|>", "<tool>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in merges), *more]
    types = [CONTROL] * 3 + [USER_DEFINED] + [NORMAL] * (len(tokens) - 4)
    return {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
            "tokenizer.ggml.merges": list(merges), "tokenizer.ggml.bos_token_id": 0, "tokenizer.ggml.eos_token_id": 1}  # fmt: skip


MERGES = ["1 2", "12 3", "123 4", "' L", "'L L", "I 'LL", "Ċ Ċ", "ĊĊ Ċ", "Ġ x", "! Ċ"]
GPT_2 = ["I", "'", "L", "L", "|", "1234", "|", "ĊĊ", "Ċ", "|", "!", "Ċ", "1", "z", "u"]
WORDS = ["I", "'LL", "|", "123", "4", "|", "ĊĊĊ", "|", "!Ċ", "1", "z", "u"]


@pytest.mark.parametrize(("pre", "pieces", "begins", "composed"), [
    *((name, GPT_2, False, name == "olmo") for name in ("gpt-2", "phi-2", "mpt", "olmo")),
    *((name, [*WORDS[:-2], "zu"], True, False) for name in ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1")),
    *((name, WORDS, False, False) for name in ("smaug-bpe", "dbrx")),
    ("qwen2", [*WORDS[:3], "1", "2", "3", "4", *WORDS[5:]], False, True),
])
def test_each_cut(pre: str, pieces: list[str], begins: bool, composed: bool) -> None:
    """What a cut keeps apart no merge joins; Llama 3's takes "zu", a token of no merge, whole; Qwen's and GPT-NeoX's compose characters."""
    values = byte_level(pre, MERGES, ["zu"])
    # In GPT-2's cut, "'LL" is the apostrophe and letters, since its contractions are of small letters.
    tokenizer = build(values)
    ids = tokenizer.encode("I'LL|1234|\n\n\n|!\n1zu").ids.tolist()
    assert [values["tokenizer.ggml.tokens"][i] for i in ids] == ["<begin>"] * begins + pieces
    assert len(tokenizer.encode("e\u0301").ids) == begins + (2 if composed else 3)
    assert tokenizer.decode(tokenizer.encode(" x<tool>  y<end>").ids) == " x<tool>  y"
    assert tokenizer.end_ids == (1, 2)    # <|im_end|> as well, which the metadata do not name


def test_pieces_of_byte_level_tokens() -> None:
    values = byte_level("qwen2", ["Ġ â", "ð Ł"])
    tokenizer = build(values)
    random = np.random.default_rng(3)
    plain = tokenizer.encode(" €😀é a").ids.tolist()
    for _ in range(300):
        ids = random.choice([*range(4, len(values["tokenizer.ggml.tokens"])), *plain * 30, 1], random.integers(1, 12)).tolist()
        assert stream(tokenizer, ids) == tokenizer.decode(ids), ids
        assert " 語" + stream(tokenizer, ids, tokenizer.encode(" 語").ids.tolist()) == tokenizer.decode([*tokenizer.encode(" 語").ids.tolist(), *ids]), ids


# From the file to the text

class SentencePieceGguf(Gguf):
    """A file with the tokenizer of such metadata."""

    values: dict[str, Any]

    def _add_tokenizer(self, writer: Any) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(self.values["tokenizer.ggml.tokens"])
        writer.add_token_scores(self.values["tokenizer.ggml.scores"])
        writer.add_token_types(self.values["tokenizer.ggml.token_type"])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template("{{ bos_token }}a {{ messages[0].content }}</s>")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("sentencepiece")
    made = SentencePieceGguf(folder / "m.gguf", make_golden(seed=16, hidden_size=256, intermediate_size=512, num_hidden_layers=1, vocab_size=380))
    made.values, made.tokenizer = make_vocabulary(7), True
    convert(open_source(made.add_floats().add_matrices("TQ2_0").write()), folder / "m.trit")
    return Model.load(folder / "m.trit")


def test_a_file_with_such_a_tokenizer_runs(model: Model) -> None:
    values = make_vocabulary(7)
    for seed in range(6):
        generation = model.generate("ab  😀 c", NumpyAccelerator(), max_tokens=12, temperature=1.5, seed=seed)
        assert generation.prompt_ids == as_llama_cpp("ab  😀 c", values)
        assert "ab  😀 c" + "".join(generation) == text_of(generation.prompt_ids + generation.tokens, values), seed
    answer = model.generate("ab", NumpyAccelerator(), max_tokens=6, chat=True)
    assert answer.prompt_ids == as_llama_cpp("<s>a ab</s>", values)[1:]
    assert "".join(answer) == text_of(answer.tokens, values)


class Prepared(Sampler):
    """Picks what it was given."""

    def __init__(self, ids: Iterable[int]) -> None:
        super().__init__()
        self.ids = iter(ids)

    def pick(self, logits: np.ndarray) -> int:
        return next(self.ids)


def test_where_a_text_begins_and_ends(model: Model) -> None:
    tokens = make_vocabulary(7)["tokenizer.ggml.tokens"]
    space, a, first, second, end = (tokens.index(token) for token in (SPACE, "a", "<0xE2>", "<0x82>", "</s>"))

    def pieces(ids: list[int], count: int, chat: bool = False) -> tuple[list[str], str | None]:
        generation = Generation(model.session(NumpyAccelerator()), model.tokenizer, Prepared(ids), "b", count, chat)
        return list(generation), generation.stop_reason

    # What goes on from a text keeps its space; an answer is a text of its own.
    assert pieces([space, a], 2) == ([" ", "a"], "length")
    assert pieces([space, a], 2, chat=True) == (["", "a"], "length")
    # A character that is broken off, by the count of tokens, and by the model.
    assert pieces([a, first, second], 3) == (["a", "", "\ufffd"], "length")
    assert pieces([a, first, second, end], 9) == (["a", "", "", "\ufffd"], "end")
    assert pieces([a, end], 9) == (["a"], "end")


# What cannot be read

def put(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda values: values.__setitem__(f"tokenizer.ggml.{key}", value)


def leave_out(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda values: values.pop(f"tokenizer.ggml.{key}")


def change(key: str, at: Any, value: Any) -> Callable[[dict[str, Any]], Any]:
    def do(values: dict[str, Any]) -> None:
        tokens = values["tokenizer.ggml.tokens"]
        values[f"tokenizer.ggml.{key}"][tokens.index(at) if isinstance(at, str) else at] = value

    return do


def equal_scores(values: dict[str, Any]) -> None:
    values["tokenizer.ggml.scores"] = [-1000.0] * len(values["tokenizer.ggml.tokens"])


@pytest.mark.parametrize(("spoil", "kind", "message"), [
    (leave_out("model"), CheckpointError, "has no tokenizer"),
    (put("model", "t5"), UnsupportedCheckpointError, r"of the kind 't5' \('default'\), and tritloom reads 'llama' and 'gpt2' \('gpt-2', "),
    (leave_out("tokens"), CheckpointError, "without tokens"),
    (leave_out("scores"), CheckpointError, "has no scores, without which"),
    (leave_out("token_type"), CheckpointError, "has no token types, without which"),
    (lambda values: values["tokenizer.ggml.scores"].pop(), CheckpointError, "has 379 scores for 380 tokens"),
    (lambda values: values["tokenizer.ggml.token_type"].pop(), CheckpointError, "another number of token types than tokens"),
    (put("token_type", 3), CheckpointError, "another number of token types than tokens"),
    (change("scores", "a", float("nan")), CheckpointError, "score of 'a' must be a number, not nan"),
    (change("scores", "a", "x"), CheckpointError, "score of 'a' must be a number, not 'x'"),
    (equal_scores, CheckpointError, r"have the same score \(-1000\), and which is joined first depends"),
    (change("tokens", "<0x41>", "<byte>"), CheckpointError, "has no byte token <0x41>"),
    (change("token_type", "<0x0A>", NORMAL), CheckpointError, "has no byte token <0x0A>"),
    (change("token_type", "a", BYTE), CheckpointError, "byte token 'a' must be from '<0x00>' to '<0xFF>'"),
    (change("tokens", "</s>", "<s>"), CheckpointError, "a token occurs twice"),
    (change("tokens", "b", "ay"), CheckpointError, "token 'ay' has the character 'y', which is no token"),
    (put("bos_token_id", 380), CheckpointError, "its bos_token_id is 380"),
    (put("eos_token_id", 600), CheckpointError, r"`end` must be from 0 to 599 \(the model's vocabulary\), not 600"),
    (put("add_eos_token", True), UnsupportedCheckpointError, "adds an end or a space"),
    (put("remove_extra_whitespaces", True), UnsupportedCheckpointError, "changes a text's characters or spaces first"),
    (put("precompiled_charsmap", [1, 2]), UnsupportedCheckpointError, "changes a text's characters or spaces first"),
])  # fmt: skip
def test_sentencepiece_that_cannot_be_had(spoil: Callable[[dict[str, Any]], Any], kind: type, message: str) -> None:
    values = make_vocabulary(0)
    spoil(values)
    with pytest.raises(kind, match=message) as caught:
        build(values)
    text = str(caught.value)
    assert text.startswith("m.gguf") and text.endswith(": give the model's tokenizer.json with --tokenizer") and "\n" not in text


@pytest.mark.parametrize(("spoil", "kind", "message"), [
    (put("pre", "chameleon"), UnsupportedCheckpointError, r"of the kind 'gpt2' \('chameleon'\), and tritloom reads"),
    (leave_out("pre"), UnsupportedCheckpointError, r"of the kind 'gpt2' \(None\)"),
    (leave_out("merges"), CheckpointError, "the tokenizer has no merges"),
    (put("merges", ["a b c"]), CheckpointError, "a merge of the tokenizer is not of two tokens"),
    (put("merges", ["1 9"]), CheckpointError, "merges and tokens do not fit together"),
    (put("add_space_prefix", True), UnsupportedCheckpointError, "adds an end or a space"),
    (lambda values: (leave_out("bos_token_id")(values), put("add_bos_token", True)(values)), CheckpointError, "its bos_token_id is None"),
])  # fmt: skip
def test_byte_level_that_cannot_be_had(spoil: Callable[[dict[str, Any]], Any], kind: type, message: str) -> None:
    values = byte_level("qwen2", MERGES)
    spoil(values)
    with pytest.raises(kind, match=message) as caught:
        build(values)
    assert str(caught.value).endswith(": give the model's tokenizer.json with --tokenizer") and "\n" not in str(caught.value)
