"""Judging a database before it is used: whole, ours, of our time, and the one that belongs to the objects.

Nothing is created, migrated or repaired here. An older schema is fine: the migrations bring it forward.
"""

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from sfserver.errors import (
    DatabaseDamagedError,
    DatabaseMissingError,
    DatabaseUnavailableError,
    ForeignDatabaseError,
    NewerSchemaError,
    StreamForgeError,
)
from sfserver.infra.database_errors import classify
from sfserver.infra.db import Database
from sfserver.infra.schema import HEAD, is_known_revision, read_revision

_OURS = {"users", "videos", "jobs"}  # since the first schema
_CHECK_BYTES = 512 << 20
_CHECK_S = 5.0
_STEPS_BETWEEN_LOOKS = 100_000


def check_database(database: Database, store_root: Path) -> None:
    """Raise what is wrong with the database, before anything is created or migrated.

    `DatabaseDamagedError`, `ForeignDatabaseError`, `NewerSchemaError`, `DatabaseMissingError` (objects without one), or
    `DatabaseUnavailableError` if nothing can be said.
    """
    if database.engine.dialect.name == "sqlite":
        problem = find_database_problem(Path(database.engine.url.database or ""), store_root)
    else:
        with database.read() as session:
            problem = _judge(_look(session.connection()), store_root)
    if problem is not None:
        raise problem


def find_database_problem(path: Path, store_root: Path) -> StreamForgeError | None:
    """Return what is wrong with an SQLite database file, opened read-only; nothing is created.

    Its pages are checked up to 512 MiB and for 5 s. `store_root` is the directory that holds `objects`.
    """
    log = path.with_name(f"{path.name}-wal")
    try:
        if not path.stat().st_size:
            return _judge(_Facts(), store_root)
        is_unclean = log.exists() and log.stat().st_size > 0
        problem = _examine(path, store_root, immutable=not is_unclean)
        # A server that started meanwhile has changed the file under the eyes of a reader that takes no locks.
        if isinstance(problem, DatabaseDamagedError) and not is_unclean and log.exists():
            problem = _examine(path, store_root, immutable=False)
    except FileNotFoundError:
        return _judge(_Facts(), store_root)
    except OSError as error:
        return DatabaseUnavailableError(f"{error.strerror} ({path})")
    return problem


@dataclass(frozen=True)
class _Facts:
    """What a database says of itself; the defaults are an empty one's."""

    tables: frozenset[str] = frozenset()
    revision: str | None = None
    has_users: bool = False


def _judge(facts: _Facts, store_root: Path) -> StreamForgeError | None:
    if facts.revision is not None or facts.tables - {"alembic_version"}:
        if facts.revision is None or not facts.tables >= _OURS:
            return ForeignDatabaseError(f"its tables are {', '.join(sorted(facts.tables)[:5])} …")
        if not is_known_revision(facts.revision):
            return NewerSchemaError(f"the database has schema {facts.revision}, this program ends at {HEAD}")
    if not facts.has_users and _has_objects(store_root):
        return DatabaseMissingError(f"{store_root / 'objects'} holds objects, the database knows nobody")
    return None


def _examine(path: Path, store_root: Path, *, immutable: bool) -> StreamForgeError | None:
    # A database that was closed cleanly has no log and can be read without the files SQLite would make beside it.
    mode = "immutable=1" if immutable else "mode=ro"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as connection:
            if path.stat().st_size <= _CHECK_BYTES and (found := _quick_check(connection)) is not None:
                return DatabaseDamagedError(f"{path}: {found}")
            return _judge(_look_into_file(connection), store_root)
    except sqlite3.Error as error:
        kind = classify(error) or DatabaseUnavailableError
        return kind(f"{path}: {error}")


def _quick_check(connection: sqlite3.Connection) -> str | None:
    """Return the first thing that is wrong with the pages; None if nothing is, or if it takes too long to say."""
    with _time_limit(connection):
        try:
            found: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            raise
    return None if found == "ok" else found


@contextmanager
def _time_limit(connection: sqlite3.Connection) -> Iterator[None]:
    deadline = time.monotonic() + _CHECK_S
    connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)


def _look_into_file(connection: sqlite3.Connection) -> _Facts:
    rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    tables = frozenset(name for (name,) in rows)
    revision = has_users = None
    if "alembic_version" in tables:
        revision = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if "users" in tables:
        has_users = connection.execute("SELECT 1 FROM users LIMIT 1").fetchone()
    return _Facts(tables, revision and revision[0], has_users is not None)


def _look(connection: Connection) -> _Facts:
    tables = frozenset(inspect(connection).get_table_names())
    has_users = "users" in tables and connection.execute(text("SELECT 1 FROM users LIMIT 1")).first() is not None
    return _Facts(tables, read_revision(connection), has_users)


def _has_objects(store_root: Path) -> bool:
    """Whether anything is stored; hidden files are no objects (`infra.storage.directory`)."""
    folders = [store_root / "objects"]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if not entry.is_dir(follow_symlinks=False):
                        return True
                    folders.append(Path(entry.path))
        except FileNotFoundError:
            continue
    return False
