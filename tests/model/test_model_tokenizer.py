from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tritloom.host.errors import PromptError, UsageError
from tritloom.host.model.tokenizer import CharTokenizer, tokenizer_from_dict

VOCABULARY = "\n abcß😀"


@given(st.text(st.sampled_from(VOCABULARY)))
def test_text_of_the_vocabulary_survives(text: str) -> None:
    tokenizer = CharTokenizer(VOCABULARY)
    encoding = tokenizer.encode(text)
    assert (tokenizer.decode(encoding.ids), encoding.dropped, encoding.note) == (text, "", None)


@given(st.text())
def test_what_is_kept_and_what_is_dropped_make_up_the_text(text: str) -> None:
    tokenizer = CharTokenizer(VOCABULARY)
    known = "".join(char for char in text if char in VOCABULARY)
    if text and not known:
        with pytest.raises(PromptError, match="none of the text's"):
            tokenizer.encode(text)
        return
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids) == known
    assert encoding.dropped == "".join(char for char in text if char not in VOCABULARY)


def test_dropped_characters_are_told() -> None:
    note = CharTokenizer(VOCABULARY).encode("aéübéé").note
    assert note == "dropped 4 characters that the model's vocabulary does not have: 'é' (3 times), 'ü'"
    note = CharTokenizer(VOCABULARY).encode("a0123456789").note
    assert note is not None
    assert note.endswith("'7' and 2 more")


def test_nothing_left_is_an_error_that_shows_text_and_vocabulary() -> None:
    with pytest.raises(PromptError, match=r"none of the text's 30 characters \('x{20}'\.\.\.\) is in the model's vocabulary; it knows '.n ab'"):
        CharTokenizer("\n ab").encode("x" * 30)


def test_ends_and_starts() -> None:
    assert CharTokenizer("ab\n").start_id == 2
    assert CharTokenizer("ab\n").end_id is None
    assert CharTokenizer("ab\0", end="\0").end_id == 2
    with pytest.raises(PromptError, match="no newline to start from"):
        _ = CharTokenizer("ab").start_id


@pytest.mark.parametrize("tokenizer", [CharTokenizer(VOCABULARY), CharTokenizer("ab\0", end="\0")])
def test_a_dictionary_and_back(tokenizer: CharTokenizer) -> None:
    again = tokenizer_from_dict(tokenizer.to_dict())
    assert (again.characters, again.end) == (tokenizer.characters, tokenizer.end)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "kind must be 'characters' or 'huggingface', not None"),
        ({"kind": "bpe"}, "kind must be 'characters' or 'huggingface', not 'bpe'"),
        ({"kind": "characters"}, "lacks the key 'characters'"),
        ({"kind": "characters", "characters": "a", "merges": []}, "unknown key 'merges'"),
        ({"kind": "characters", "characters": ""}, "must be a non-empty string, not ''"),
        ({"kind": "characters", "characters": ["a"]}, "must be a non-empty string"),
        ({"kind": "characters", "characters": "aba"}, "must not repeat a character, and 'a' is there twice"),
        ({"kind": "characters", "characters": "ab", "end": "c"}, "`end` must be one of the vocabulary's characters, not 'c'"),
        ({"kind": "characters", "characters": "ab", "end": "ab"}, "`end` must be one"),
        ({"kind": "characters", "characters": "ab", "end": 0}, "`end` must be one"),
    ],
)
def test_what_is_refused_is_said(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        tokenizer_from_dict(values)
