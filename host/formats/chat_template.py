"""A checkpoint's chat template, rendered as transformers renders it: in Jinja's sandbox, since a template is a program out of somebody else's file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from tritloom.host.errors import PromptError
from tritloom.host.formats.source import missing_library

__all__ = ["render_chat"]


def render_chat(template: str, message: str, special_tokens: Mapping[str, str]) -> str:
    """A conversation of one message by the user, up to where the model's answer begins.

    Parameters
    ----------
    template
        In Jinja's language, with what transformers adds to it: `raise_exception`, `strftime_now`, `tojson` without HTML's escapes, loop controls, and
        ``{% generation %}`` blocks, which here only say what is in them.
    message
        What the user says.
    special_tokens
        Texts that the template may name: ``bos_token`` and its like.

    Raises
    ------
    CheckpointError
        When Jinja is not installed.
    PromptError
        When the template is not sound, or will not take such a conversation.
    """
    try:
        from jinja2 import TemplateError, nodes
        from jinja2.ext import Extension
        from jinja2.parser import Parser
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise missing_library("jinja2", "this model's chat template") from error

    class Generation(Extension):
        """What the model said in the template's eyes, which training marks with these."""

        tags = {"generation"}

        def parse(self, parser: Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise TemplateError(message)

    def strftime_now(shape: str) -> str:
        return datetime.now().strftime(shape)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None, sort_keys: bool = False) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    given = {"messages": [{"role": "user", "content": message}], "tools": None, "documents": None, "add_generation_prompt": True}
    try:
        return environment.from_string(template).render(**{**special_tokens, **given})
    except Exception as error:    # a template may do anything that raises; the class only says of what kind
        raise PromptError(f"the model's chat template cannot be rendered ({type(error).__name__}: {error}): leave out --chat, and write the prompt as the model expects it") from error
