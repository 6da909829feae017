"""What must not be left once no job is running."""

import os
import time
from pathlib import Path

PATIENCE_S = 5.0


def remains(data_dir: Path) -> list[str]:
    """Return the files of work, unfinished uploads and intermediate results.

    Walked with `os.walk`, which passes over a folder that the server removes meanwhile; `Path.rglob` raises.
    """
    roots = [data_dir / "work", data_dir / "tmp", data_dir / "objects" / "chunks"]
    return [
        os.path.relpath(Path(folder, name), data_dir)
        for root in roots
        for folder, _, names in os.walk(root)
        for name in names
    ]


def assert_clean(data_dir: Path) -> None:
    """Wait a moment, since a job is final before its last process's folder is gone; then nothing may be left."""
    deadline = time.monotonic() + PATIENCE_S
    while found := remains(data_dir):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
