"""Folders nested deeper than a path can say, which neither the shell of a test nor pytest can remove."""

from pathlib import Path


def remove_nested(top: Path) -> None:
    """Remove folders that are nested deeper than a path can say, by moving each one up first."""
    while (top / "d").exists():
        (top / "d").rename(top / "old")
        if (top / "old" / "d").exists():
            (top / "old" / "d").rename(top / "d")
        (top / "old").rmdir()
