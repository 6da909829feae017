"""Docs say what the code does: generated pages are up to date, and names, links and commands in the others exist."""

import re
from pathlib import Path

import pytest

from docs.generate.__main__ import REFERENCE, pages

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", list(pages()))
def test_reference_is_what_the_code_says(page: str) -> None:
    assert (REFERENCE / page).read_text() == pages()[page], "run `make docs`"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_settings_make_targets_and_files_exist(page: Path) -> None:
    text = page.read_text()
    settings = set(re.findall(r"`(SF_[A-Z_]+)[`=]", text)) - {"SF_TEST_REQUIRE_SERVERS"}
    known = set(re.findall(r"`(SF_[A-Z_]+)`", pages()["settings.md"] + pages()["cli.md"]))
    targets = set(re.findall(r"`?make ([a-z]+)", "\n".join(re.findall(r"`+[^`]+`+", text))))
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    files = set(re.findall(r"`((?:sfserver|sfctl|docs|tests|bench|notebooks)/[\w/.-]+)`", text))
    assert settings - known == set()
    assert targets - made == set()
    assert {file for file in files if not (ROOT / file).exists()} == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_named_error_codes_exist(page: Path) -> None:
    known = set(re.findall(r"`([a-z_]+)`", pages()["errors.md"]))
    named = set(
        re.findall(r"`(limit_[a-z]+|[a-z]+_(?:media|upload|crashed|found|rendition|unavailable))`", page.read_text())
    )
    assert named - known == set()


def test_the_index_names_every_page() -> None:
    listed = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "README.md").read_text())}
    assert {page for page in DOCS.rglob("*.md") if page != DOCS / "README.md"} - listed == set()


def test_the_readme_is_short_and_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    assert "make demo" in text
    assert "sfctl up" in text
    assert re.search(r"!\[[^]]+\]\(docs/images/[\w.-]+\)", text)
