"""Docs say what the code does: reference pages are up to date, and what the other pages name exists."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
REFERENCE = ("cli.md", "errors.md", "http.md", "players.md", "settings.md")
LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    from docs.generate.__main__ import pages

    return pages()


def on_every_page(problems: Callable[[Path, str], set[str]]) -> list[str]:
    texts = [(page, page.read_text()) for page in PAGES]
    return [f"{page.relative_to(ROOT)}: {item}" for page, text in texts for item in sorted(problems(page, text))]


def code(text: str) -> str:
    """Everything a page sets as code, inline and fenced."""
    fences = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*fences, *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)])


@pytest.mark.parametrize("page", REFERENCE)
def test_reference_is_what_the_code_says(page: str, generated: dict[str, str]) -> None:
    assert (DOCS / "reference" / page).read_text() == generated[page], "run `make docs`"


def test_every_setting_command_and_call_is_described(generated: dict[str, str]) -> None:
    rows = [line for page in ("cli.md", "settings.md") for line in generated[page].splitlines() if line[:3] == "| `"]
    sections = re.findall(r"^##+ (.+)\n\n(```|\||#)", generated["cli.md"] + generated["http.md"], re.MULTILINE)
    plain = {"Options of every command", "Exit codes", "Calls", "Models"}
    assert [row for row in rows if row.endswith("|  |")] == []
    assert [title for title, _ in sections if title not in plain] == []


def test_links_lead_somewhere() -> None:
    def dead(page: Path, text: str) -> set[str]:
        return {link for link in LINK.findall(text) if "://" not in link and not (page.parent / link).exists()}

    assert on_every_page(dead) == []


def test_named_files_and_make_targets_exist() -> None:
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    def missing(_page: Path, text: str) -> set[str]:
        files = re.findall(r"`((?:sfserver|sfctl|docs|tests|bench|notebooks)/[\w/.-]*)`", text)
        targets = set(re.findall(r"^make ([a-z-]+)", code(text), re.MULTILINE))
        return {file for file in files if not (ROOT / file).exists()} | (targets - made)

    assert on_every_page(missing) == []


def test_named_settings_and_error_codes_exist(generated: dict[str, str]) -> None:
    settings = set(re.findall(r"`(SF_[A-Z_]+)`", generated["settings.md"]))
    codes = set(re.findall(r"`([a-z_]+)`", generated["errors.md"]))
    looks_like_a_code = re.compile(r"`(limit_[a-z]+|[a-z]+_(?:media|upload|crashed|found|rendition|unavailable))`")

    def unknown(_page: Path, text: str) -> set[str]:
        named = set(re.findall(r"\bSF_[A-Z]+__[A-Z_]+\b", code(text)))
        return (named - settings) | (set(looks_like_a_code.findall(text)) - codes)

    assert on_every_page(unknown) == []


def test_named_commands_and_options_exist(generated: dict[str, str]) -> None:
    sections = dict(re.findall(r"^## (sfctl[ \w]*)\n(.*?)(?=^## )", generated["cli.md"], re.MULTILINE | re.DOTALL))
    shared = generated["cli.md"].split("## sfctl\n")[0]

    def unknown(_page: Path, text: str) -> set[str]:
        lines = re.findall(r"(?:^|\s|/)sfctl((?: [^#|\n]*)?)", code(text))
        return {f"sfctl{line}" for line in lines if not is_known(line.split(), sections, shared)}

    assert on_every_page(unknown) == []


def is_known(words: list[str], sections: dict[str, str], shared: str) -> bool:
    command = next((word for word in words if not word.startswith("-") and f"sfctl {word}" in sections), None)
    plain = [word for word in words if re.fullmatch(r"[a-z]+", word)]
    if plain and command is None:
        return False
    known = "".join(text for path, text in sections.items() if path.startswith(f"sfctl {command}")) + shared
    options = [word.split("=")[0] for word in words if word.startswith("-") and word != "-"]
    return all(option in known or option in {"--help", "--version"} for option in options)


def test_the_index_names_every_page() -> None:
    listed = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "README.md").read_text())}
    assert {page for page in DOCS.rglob("*.md") if page != DOCS / "README.md"} - listed == set()


def test_the_readme_is_short_and_shows_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count("\n") <= 150
    assert "make demo" in text
    assert "sfctl up" in text
    assert re.search(r"!\[[^]]+\]\(docs/images/[\w.-]+\)", text)
