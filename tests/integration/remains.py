"""What must not be left once no job is running."""

import os
import time
from pathlib import Path

from sfserver.infra.db import Database
from tests.tasks.keys import garbage_keys, keys_in_the_making, live_keys

PATIENCE_S = 30.0


def remains(data_dir: Path) -> list[str]:
    """Return the files of work and of unfinished writes, and objects that no row knows.

    What a failed job recorded is kept for a day, and what waits to be deleted is known too. Walked with `os.walk`,
    which passes over a folder that the server removes meanwhile; `Path.rglob` raises.
    """
    objects = files_below(data_dir / "objects")  # before the rows: what is stored meanwhile is in none of them
    unknown = set(objects) - known_keys(data_dir) if objects else set()
    left = [f"{name}/{path}" for name in ("work", "tmp") for path in files_below(data_dir / name)]
    return [*left, *(f"objects/{key}" for key in sorted(unknown))]


def known_keys(data_dir: Path) -> set[str]:
    database = Database(f"sqlite:///{data_dir / 'streamforge.db'}")
    try:
        with database.read() as session:
            return live_keys(session) | garbage_keys(session) | keys_in_the_making(session)
    finally:
        database.close()


def files_below(root: Path) -> list[str]:
    return [os.path.relpath(Path(folder, name), root) for folder, _, names in os.walk(root) for name in names]


def assert_clean(data_dir: Path) -> None:
    """Wait a moment, since a job is final before its last process's folder is gone; then nothing may be left."""
    deadline = time.monotonic() + PATIENCE_S
    while found := remains(data_dir):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
