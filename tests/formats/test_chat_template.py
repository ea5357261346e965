"""Chat templates: where they are found, what they may do, and what is said when they cannot be used. `tests/transformers` compares them with transformers'."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tritloom.host.errors import CheckpointError, PromptError, UsageError
from tritloom.host.formats.chat_template import render_chat
from tritloom.host.formats.convert import convert, open_source
from tritloom.host.model.model import Model
from tritloom.host.model.tokenizer import CharTokenizer, tokenizer_from_dict
from tritloom.sim.golden import NumpyAccelerator

from .checkpoints import AUTO, HuggingFace

PLAIN = "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}"


@pytest.fixture
def folder(hugging_face: Callable[..., HuggingFace]) -> Path:
    return hugging_face().add_floats().add_packed(AUTO).write()


def _settings(folder: Path, **values: Any) -> dict[str, Any]:
    """What is read of a folder with such a ``tokenizer_config.json``."""
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return open_source(folder).tokenizer


def test_where_it_is_found(folder: Path) -> None:
    assert open_source(folder).tokenizer["chat_template"] is None
    assert _settings(folder, chat_template=PLAIN)["chat_template"] == PLAIN
    several = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": PLAIN}]
    assert _settings(folder, chat_template=several)["chat_template"] == PLAIN
    assert _settings(folder, chat_template=several[:1])["chat_template"] is None
    (folder / "chat_template.jinja").write_text("é " + PLAIN, encoding="utf-8")
    assert _settings(folder, chat_template=PLAIN)["chat_template"] == "é " + PLAIN
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(CheckpointError, match=r"chat_template\.jinja cannot be read"):
        open_source(folder)


def test_the_special_tokens_are_the_checkpoints(folder: Path) -> None:
    """From ``tokenizer_config.json``, in either spelling; where there is none, those that begin and end a text."""
    template = "{{ bos_token }}|{{ eos_token }}|{{ messages[0].content }}"
    read = _settings(folder, bos_token={"content": "<end>", "lstrip": False}, eos_token=None, pad_token="p", add_bos_token=True, chat_template=template)
    assert read["special_tokens"] == {"bos_token": "<end>", "pad_token": "p"}
    assert tokenizer_from_dict(read).encode_chat("loom").ids.tolist() == tokenizer_from_dict(read).encode("<end>||loom").ids.tolist()
    bare = tokenizer_from_dict(read | {"special_tokens": None})
    assert bare.encode_chat("loom").ids.tolist() == bare.encode("<begin>|<end>|loom").ids.tolist()
    with pytest.raises(UsageError, match="`special_tokens` must be texts by name"):
        tokenizer_from_dict(read | {"special_tokens": {"bos_token": 3}})


def test_a_model_file_keeps_it(folder: Path, tmp_path: Path) -> None:
    _settings(folder, chat_template=PLAIN, bos_token="<begin>")
    convert(open_source(folder), tmp_path / "model.trit")
    model = Model.load(tmp_path / "model.trit")
    generation = model.generate("the loom", NumpyAccelerator(), max_tokens=1, chat=True)
    assert generation.prompt_ids == model.tokenizer.encode("<user>the loom").ids.tolist()
    assert model.generate("the loom", NumpyAccelerator(), max_tokens=1).prompt_ids == model.tokenizer.encode("the loom").ids.tolist()


def test_what_a_template_may_use() -> None:
    assert render_chat("{{ messages | tojson }}", "<é>", {}) == '[{"role": "user", "content": "<é>"}]'
    assert render_chat("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}{{ absent }}", "", {}) == "01"
    assert render_chat("a{% generation %}b{{ 1 }}{% endgeneration %}c", "", {}) == "ab1c"
    assert render_chat("{{ messages[0].content }}{{ bos_token }}", "x", {"bos_token": "B", "messages": "no"}) == "xB"
    assert len(render_chat("{{ strftime_now('%Y-%m-%d') }}", "", {})) == 10


@pytest.mark.parametrize(("template", "said"), [
    ("{% for %}", "TemplateSyntaxError"),
    ("{{ raise_exception('roles must alternate') }}", "TemplateError: roles must alternate"),
    ("{{ messages[0].content.__class__.__mro__ }}", "SecurityError"),
    ("{% set _ = messages.append(1) %}", "SecurityError"),
    ("{{ 1 // 0 }}", "ZeroDivisionError"),
    ("{{ absent.content }}", "UndefinedError"),
    ("{% generation %}", "TemplateSyntaxError"),
    ("{% include 'file' %}", "TypeError"),
])  # fmt: skip
def test_what_it_may_not(template: str, said: str) -> None:
    with pytest.raises(PromptError, match=f"chat template cannot be rendered .{said}"):
        render_chat(template, "", {})


def test_models_without_one() -> None:
    with pytest.raises(PromptError, match="one character at a time and was not made for conversations: leave out --chat"):
        CharTokenizer("ab\n").encode_chat("a")


def test_checkpoints_without_one(folder: Path) -> None:
    with pytest.raises(PromptError, match="has no chat template.*leave out --chat"):
        tokenizer_from_dict(open_source(folder).tokenizer).encode_chat("a")
