"""The few pieces of Markdown the pages are made of."""

from collections.abc import Iterable

NOTE = "<!-- Written by `make docs` from the code: change it there. -->"


def page(title: str, *blocks: str) -> str:
    """Return a page: its title, where it comes from, and its blocks with empty lines between."""
    return "\n\n".join([f"# {title}", NOTE, *(block for block in blocks if block)]) + "\n"


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """Return a table; an empty string if there are no rows."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *cells]]
    return "\n".join(lines) if cells else ""


def bullets(items: Iterable[str]) -> str:
    """Return a list, one line an item."""
    return "\n".join(f"- {item}" for item in items)


def first_paragraph(text: str | None) -> str:
    """Return a docstring's first paragraph on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())
