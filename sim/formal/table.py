"""All properties as a table for people."""

from __future__ import annotations

from .properties import ALL

__all__ = ["markdown"]


def markdown() -> str:
    """Every property: what is promised, how far it is proved, of what, and the first of the mutations that break it; in Markdown, for docs/trust.md."""
    lines = [("property", "what is promised", "steps of the induction", "built with", "gateware that breaks it (first of its mutations)"), ("---",) * 5]
    lines += [(f"`{about.name}`", about.promise, str(about.steps), about.geometry, _code(str(about.mutations[0]))) for about in ALL]
    said = f"{len(ALL)} properties, all of them for ever, and {sum(len(about.mutations) for about in ALL)} mutations:\n\n"
    return said + "\n".join("| " + " | ".join(cell.replace("|", "&#124;") for cell in line) + " |" for line in lines)


def _code(text: str) -> str:
    """An entity inside a span of code is shown as it stands, so a span with a bar is HTML."""
    parts = text.split("`")
    return "".join(part if not i % 2 else f"<code>{part.replace('&', '&amp;').replace('<', '&lt;')}</code>" if "|" in part else f"`{part}`"
                   for i, part in enumerate(parts))
