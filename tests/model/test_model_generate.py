"""What a user of the Python API meets: names, prompts, reasons to stop, scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tritloom.host.errors import ContextError, ModelFileError, PromptError, TritloomError, UnknownNameError, UsageError
from tritloom.host.model.catalogue import find_model, list_models
from tritloom.host.model.config import ModelConfig
from tritloom.host.model.evaluate import evaluate
from tritloom.host.model.file import open_model, write_model
from tritloom.host.model.model import Model

MakeModel = Callable[..., Model]


def test_greedy_text_is_the_argmax_of_the_logits(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=6, vocab_size=40)
    generation = model.generate("abca", acc, max_tokens=15)
    pieces = list(generation)
    assert len(set(pieces)) > 2, "the seed gives a text that makes this test mean something"
    ids = generation.prompt_ids + generation.tokens
    assert generation.prompt_ids == [2, 3, 4, 2]
    assert "".join(pieces) == model.tokenizer.decode(generation.tokens)
    assert generation.tokens == model.logits(ids, acc).argmax(axis=1)[3:-1].tolist()
    assert (len(pieces), generation.stop_reason, generation.notes) == (15, "length", ())
    assert list(generation) == []


def test_the_prompt_is_taken_in_before_the_first_piece_or_by_start(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    generation = model.generate("abc", acc, max_tokens=2)
    assert generation.session.position == 0
    generation.start()
    generation.start()
    assert (generation.session.position, generation.tokens) == (3, [])
    next(generation)
    assert (generation.session.position, generation.stop_reason) == (3, None)
    next(generation)
    assert (generation.session.position, generation.stop_reason) == (4, "length")


@pytest.mark.parametrize(("prompt", "made"), [("a" * 24, 1), ("a" * 20, 5), ("a", 24)])
def test_a_full_context_stops_the_text_and_says_so(make_model: MakeModel, acc: Any, prompt: str, made: int) -> None:
    generation = make_model(seed=2).generate(prompt, acc, max_tokens=100)
    assert len(list(generation)) == made
    assert generation.stop_reason == "context"
    assert generation.session.position == generation.session.context == 24


def test_the_last_token_that_fits_counts_as_length(make_model: MakeModel, acc: Any) -> None:
    generation = make_model().generate("a" * 20, acc, max_tokens=5)
    assert len(list(generation)) == 5
    assert generation.stop_reason == "length"


def test_an_end_token_stops_the_text_and_is_not_printed(make_model: MakeModel, acc: Any) -> None:
    text = "".join(make_model(seed=3).generate("ab", acc, max_tokens=12))
    cut = max(i for i, char in enumerate(text) if char not in text[:i])
    assert cut > 0, "the seed gives a text that makes this test mean something"
    generation = make_model(seed=3, end=text[cut]).generate("ab", acc, max_tokens=12)
    assert "".join(generation) == text[:cut]
    assert generation.stop_reason == "end"


def test_no_tokens_asked_for(make_model: MakeModel, acc: Any) -> None:
    generation = make_model().generate("ab", acc, max_tokens=0)
    assert generation.stop_reason == "length"
    assert list(generation) == []
    assert acc.calls == []


def test_a_prompt_outside_the_vocabulary_is_told(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    generation = model.generate("aZbüZ", acc, max_tokens=3)
    assert generation.notes == ("dropped 3 characters that the model's vocabulary does not have: 'Z' (2 times), 'ü'",)
    assert list(generation) == list(model.generate("ab", acc, max_tokens=3))
    with pytest.raises(PromptError, match=r"none of the text's 2 characters \('ZZ'\)"):
        model.generate("ZZ", acc)


def test_an_empty_prompt_starts_from_a_newline(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    generation = model.generate("", acc, max_tokens=5)
    assert generation.notes == ("the prompt is empty: started from a newline",)
    assert list(generation) == list(model.generate("\n", acc, max_tokens=5))


def test_sampled_text_is_repeatable(make_model: MakeModel, acc: Any) -> None:
    model = make_model(vocab_size=40)

    def text(seed: int) -> str:
        return "".join(model.generate("abc", acc, max_tokens=20, temperature=1.5, top_k=20, top_p=0.95, seed=seed))

    assert text(1) == text(1)
    assert len({text(seed) for seed in range(5)}) == 5
    assert "".join(model.generate("abc", acc, max_tokens=20, temperature=3.0, top_k=1)) == "".join(model.generate("abc", acc, max_tokens=20))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_tokens": -1}, UsageError, "`max_tokens` must be an integer from 0 up, not -1"),
        ({"max_tokens": 2.5}, UsageError, "`max_tokens` must be an integer from 0 up, not 2.5"),
        ({"max_tokens": True}, UsageError, "`max_tokens` must be an integer from 0 up, not True"),
        ({"temperature": -1}, UsageError, "`temperature` must be a number from 0 up, not -1"),
        ({"prompt": b"abc"}, UsageError, "`prompt` must be text, not bytes"),
        ({"prompt": "a" * 25}, ContextError, "the prompt has 25 tokens and the model's context holds 24: shorten the prompt"),
    ],
)
def test_bad_arguments_are_refused_at_the_call(
    make_model: MakeModel, acc: Any, arguments: dict[str, Any], error: type[TritloomError], message: str
) -> None:
    with pytest.raises(error) as caught:
        make_model().generate(**{"prompt": "abc", "acc": acc, **arguments})
    assert str(caught.value) == message
    assert acc.calls == []


def test_evaluation_is_the_mean_negative_log_likelihood(make_model: MakeModel, acc: Any) -> None:
    model = make_model(seed=4)
    random = np.random.default_rng(4)
    text = model.tokenizer.decode(random.integers(0, 11, 60).tolist())
    ids = model.tokenizer.encode(text).ids
    for window, limit in ((None, None), (24, 59), (7, None), (1, 10), (24, 25), (5, 5)):
        seen: list[tuple[int, int]] = []
        score = evaluate(model, acc, text, window=window, limit=limit, progress=lambda *now, seen=seen: seen.append(now))
        tokens, losses = min(59, limit or 59), []
        for start in range(0, tokens, window or 24):
            inputs = ids[start : min(start + (window or 24), tokens)]
            for row, target in zip(model.logits(inputs, acc).astype(np.float64), ids[start + 1 :], strict=False):
                losses.append(math.log(sum(math.exp(value) for value in row)) - row[target])
        assert score.tokens == len(losses) == tokens
        assert score.nats_per_token == pytest.approx(sum(losses) / tokens, rel=1e-9), f"window {window}, limit {limit}, seed 4"
        assert score.perplexity == pytest.approx(math.exp(sum(losses) / tokens))
        assert seen[-1] == (tokens, tokens)
        assert len(seen) == -(-tokens // (window or 24))


def test_evaluation_says_what_it_dropped_and_refuses_what_it_cannot_score(make_model: MakeModel, acc: Any) -> None:
    model = make_model()
    assert evaluate(model, acc, "aZb").notes == ("dropped 1 character that the model's vocabulary does not have: 'Z'",)
    assert evaluate(model, acc, "aZb").tokens == 1
    for text, message in (("", "this one has 0"), ("aZ", "this one has 1"), ("ZZ", "none of the text's 2 characters")):
        with pytest.raises(PromptError, match=message):
            evaluate(model, acc, text)
    for window in (0, 25, 1.5, True):
        with pytest.raises(UsageError, match=r"`window` must be an integer from 1 to 24"):
            evaluate(model, acc, "abc", window=window)  # type: ignore[arg-type]
    for limit in (0, 2.0, True):
        with pytest.raises(UsageError, match="`limit` must be an integer from 1 up"):
            evaluate(model, acc, "abc", limit=limit)  # type: ignore[arg-type]


@pytest.fixture
def shelf(make_model: MakeModel, tmp_path: Path) -> Path:
    """A folder of shipped models: nano, nanette and a damaged one."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    for name in ("nano", "nanette", "zbroken"):
        (folder / f"{name}.trit").write_bytes(make_model().path.read_bytes())
    with (folder / "zbroken.trit").open("r+b") as file:
        file.truncate(1000)
    return folder


def test_models_are_listed(shelf: Path) -> None:
    nanette, nano, broken = list_models(shelf)
    assert [nanette.name, nano.name, broken.name] == ["nanette", "nano", "zbroken"]
    assert nano.path == shelf / "nano.trit"
    assert nano.nbytes == nano.path.stat().st_size
    assert (nano.context, nano.ternary_weights, nano.parameters) == (24, 2 * 12 * (24 + 12 + 54), 2160 + 11 * 12 + 12 + 2 * (24 + 12 + 18))
    assert (nano.training, nano.problem) == ({"seed": 0}, None)
    assert "truncated" in str(broken.problem)
    assert (broken.parameters, broken.ternary_weights, broken.context) == (None, None, None)


def test_names_and_paths_become_files(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_model("nano", shelf) == shelf / "nano.trit"
    assert find_model("absent.trit", shelf) == Path("absent.trit")
    assert find_model("./nano", shelf) == Path("nano")
    assert find_model(Path("nano"), shelf) == Path("nano")
    monkeypatch.chdir(shelf)
    (shelf / "plain").write_bytes(b"")
    assert find_model("plain", shelf) == Path("plain")


def test_an_unknown_name_gets_the_nearest_ones(shelf: Path) -> None:
    with pytest.raises(UnknownNameError) as caught:
        find_model("nanno", shelf)
    assert str(caught.value) == (
        "there is no model named 'nanno'. Did you mean nano or nanette? Known: nanette, nano, zbroken. A path to a *.trit file will do as well."
    )
    assert isinstance(caught.value, ValueError)
    with pytest.raises(UnknownNameError, match="no model named 'x'. There is no model here."):
        find_model("x", shelf / "empty")


def test_loading_by_name_and_path(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.load(shelf / "nano.trit")
    assert (model.name, model.path, model.nbytes) == ("nano", shelf / "nano.trit", (shelf / "nano.trit").stat().st_size)
    assert Model.load(str(shelf / "nano.trit")).config == model.config
    with pytest.raises(UnknownNameError, match="no model named 'no such model'"):
        Model.load("no such model")
    with pytest.raises(ModelFileError, match="there is no model file"):
        Model.load("absent.trit")
    with pytest.raises(ModelFileError, match="truncated"):
        Model.load(shelf / "zbroken.trit")


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        ({"kind": "bpe"}, "the tokenizer's kind must be 'characters' or 'huggingface', not 'bpe'"),
        ({"kind": "characters", "characters": "abc"}, "its tokenizer has 3 tokens and its config 11: they must be equal"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_refused(make_model: MakeModel, tmp_path: Path, tokenizer: dict[str, Any], message: str) -> None:
    file = open_model(make_model().path)
    tensors = {name: file.tensor(name) for name in file.names}
    path = tmp_path / "odd.trit"
    write_model(path, config=ModelConfig(**file.config.to_dict()), tokenizer=tokenizer, tensors=tensors, training={})
    with pytest.raises(ModelFileError, match=message) as caught:
        Model.load(path)
    assert str(path) in str(caught.value)
