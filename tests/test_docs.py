"""Documentation that is generated, or that names files, says what is there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_protocol_tables_are_those_of_the_wire_definitions():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    page = generate.PAGE.read_text()
    assert generate.render(page) == page, "docs/protocol.md is stale: run `make docs`"
    with pytest.raises(ValueError, match="must have the markers"):
        generate.render("nothing")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_figure_was_left_to_fill_in(page):
    assert not re.search(r"@[A-Z]+@", page.read_text())


def test_no_module_is_long():
    modules = [path for folder in ("rtl", "sim", "host", "boards", "tests", "docs") for path in (ROOT / folder).rglob("*.py")]
    assert len(modules) > 50
    for path in modules:
        lines = path.read_text().count("\n")
        assert lines <= 500, f"{path.relative_to(ROOT)} has {lines} lines: split it"
