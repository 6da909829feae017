"""Write docs/reference; `make docs` runs this, and a test fails where it would change a page."""

from pathlib import Path

from docs.generate import cli, errors, http, players, settings

REFERENCE = Path(__file__).parents[1] / "reference"


def pages() -> dict[str, str]:
    """Return the text of each page by file name."""
    return {
        "cli.md": cli.page(),
        "errors.md": errors.page(),
        "http.md": http.page(),
        "players.md": players.page(),
        "settings.md": settings.page(),
    }


def main() -> None:
    """Write every page whose text has changed."""
    for name, text in pages().items():
        path = REFERENCE / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            print(f"wrote docs/reference/{name}")


if __name__ == "__main__":
    main()
