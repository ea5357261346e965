"""Documentation that is generated, or that names files, says what is there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_generated_tables_are_those_of_the_program():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    assert {path.name for path in generate.PAGES} == {"protocol.md", "models.md", "trust.md"}
    for path, make in generate.PAGES.items():
        page = path.read_text()
        assert generate.render(page, make(), path.name) == page, f"docs/{path.name} is stale: run `make docs`"
    with pytest.raises(ValueError, match="nothing.md must have the markers"):
        generate.render("nothing", {"sizes": ""}, "nothing.md")


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
