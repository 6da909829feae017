"""A database is judged before it is used, and by looking alone."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from sfserver.errors import StreamForgeError
from sfserver.infra import checks
from sfserver.infra.checks import check_database, find_database_problem
from sfserver.infra.clock import db_now
from sfserver.infra.db import Database
from sfserver.infra.schema import HEAD, upgrade_schema
from sfserver.infra.storage.directory import DirectoryStore
from sfserver.models import User

CRASH = """
import os, signal, sys; from sfserver.infra.db import Database; from sqlalchemy import text
database = Database("sqlite:///" + sys.argv[1])
with database.write() as session:
    session.execute(text("UPDATE users SET name = 'changed before the crash'"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path, empty_database: Path) -> Path:
    """Return a database with a user and a hundred pages, closed cleanly, beside a store with an object."""
    path = tmp_path / "streamforge.db"
    shutil.copy(empty_database, path)
    database = Database(f"sqlite:///{path}")
    with database.write() as session:
        session.add(User(name="local" * 10_000, created_at=db_now(session)))
    database.close()
    writer = DirectoryStore(tmp_path).create("source/v/u")
    writer.write(b"a film")
    writer.commit()
    return path


def code(problem: StreamForgeError | None) -> str | None:
    return problem and problem.code


def check(path: Path) -> str | None:
    """Judge the file both ways; see that nothing came, went or changed."""
    before = contents(path.parent)
    found = find_database_problem(path, path.parent)
    raised = raised_by_check(path)
    assert code(raised) == code(found)
    assert raised is None or raised.hint or raised.code == "database_unavailable"
    assert contents(path.parent) == before
    return code(found)


def raised_by_check(path: Path) -> StreamForgeError | None:
    try:
        check_database(Database(f"sqlite:///{path}"), path.parent)
    except StreamForgeError as error:
        return error
    return None


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.iterdir() if path.is_file() and not path.name.endswith("-shm")]
    return {path.name: path.read_bytes() for path in files}


def test_a_healthy_database_is_fine_and_nothing_is_made_beside_it(path: Path) -> None:
    assert check(path) is None
    assert {entry.name for entry in path.parent.iterdir()} == {"streamforge.db", "objects", "tmp"}


def test_a_database_whose_server_was_killed_is_fine(path: Path) -> None:
    subprocess.run([sys.executable, "-c", CRASH, str(path)], check=False, timeout=60)
    assert path.with_name("streamforge.db-wal").stat().st_size > 0
    assert check(path) is None
    database = Database(f"sqlite:///{path}")
    with database.read() as session:
        assert session.execute(text("SELECT name FROM users")).scalar_one() == "changed before the crash"
    database.close()


def test_a_database_in_use_is_fine(path: Path) -> None:
    database = Database(f"sqlite:///{path}")
    with database.write() as session:
        session.execute(text("UPDATE users SET name = 'changing'"))
        assert check(path) is None
    assert check(path) is None
    database.close()


def test_a_first_start_is_fine(tmp_path: Path) -> None:
    assert check(tmp_path / "streamforge.db") is None
    (tmp_path / "streamforge.db").touch()
    assert check(tmp_path / "streamforge.db") is None
    assert find_database_problem(tmp_path / "no" / "folder" / "x.db", tmp_path / "no") is None
    assert {entry.name for entry in tmp_path.iterdir()} == {"streamforge.db"}


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def cut_to_a_header(path: Path) -> None:
    os.truncate(path, 100)


def overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(os.urandom(100))


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 8192))


def replace_by_text(path: Path) -> None:
    path.write_bytes(b"this is not a database\n" * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def migrate_again(path: Path) -> None:
    path.unlink()
    database = Database(f"sqlite:///{path}")
    upgrade_schema(database)
    database.close()


def make_foreign(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE moz_places (id INTEGER)")


def make_foreign_with_alembic(path: Path) -> None:
    make_foreign(path)
    execute(path, "CREATE TABLE alembic_version (version_num TEXT)", f"INSERT INTO alembic_version VALUES ('{HEAD}')")


def forget_tables(path: Path) -> None:
    path.unlink()
    execute(path, "CREATE TABLE alembic_version (version_num TEXT)", f"INSERT INTO alembic_version VALUES ('{HEAD}')")


def make_newer(path: Path) -> None:
    execute(path, "UPDATE alembic_version SET version_num = '9999'")


def forget_version(path: Path) -> None:
    execute(path, "DROP TABLE alembic_version")


def remove_users(path: Path) -> None:
    execute(path, "DELETE FROM users")


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (cut, "database_damaged"),
        (cut_to_a_header, "database_damaged"),
        (overwrite_header, "database_damaged"),
        (overwrite_middle, "database_damaged"),
        (replace_by_text, "database_damaged"),
        (Path.unlink, "database_missing"),
        (empty, "database_missing"),
        (migrate_again, "database_missing"),
        (remove_users, "database_missing"),
        (make_foreign, "foreign_database"),
        (make_foreign_with_alembic, "foreign_database"),
        (forget_version, "foreign_database"),
        (forget_tables, "foreign_database"),
        (make_newer, "newer_schema"),
        (replace_by_folder, "database_unavailable"),
    ],
)
def test_what_is_wrong_has_a_name(path: Path, harm: Callable[[Path], None], expected: str) -> None:
    harm(path)
    assert check(path) == expected


def test_a_newer_schema_names_both_revisions(path: Path) -> None:
    make_newer(path)
    problem = find_database_problem(path, path.parent)
    assert problem is not None
    assert problem.detail == f"the database has schema 9999, this program ends at {HEAD}"


def test_an_empty_database_beside_empty_folders_is_a_first_start(path: Path) -> None:
    migrate_again(path)
    DirectoryStore(path.parent).delete("source/v/u")
    (path.parent / "objects" / "source").mkdir()
    assert check(path) is None


def test_objects_that_were_moved_away_let_a_new_library_begin(path: Path) -> None:
    path.unlink()
    (path.parent / "objects").rename(path.parent / "objects.old")
    assert check(path) is None


def test_a_large_or_slow_database_is_not_read_to_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overwrite_a_leaf(path)
    assert check(path) == "database_damaged"
    monkeypatch.setattr(checks, "_CHECK_BYTES", 1000)
    assert check(path) is None
    monkeypatch.undo()
    monkeypatch.setattr(checks, "_CHECK_S", -1)
    monkeypatch.setattr(checks, "_STEPS_BETWEEN_LOOKS", 1)
    assert check(path) is None


def overwrite_a_leaf(path: Path) -> None:
    """Damage a page that only the check of all pages reads: an index's."""
    connection = sqlite3.connect(path)
    page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
    query = "SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'tasks' LIMIT 1"
    page = connection.execute(query).fetchone()[0]
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * page_bytes)
        file.write(os.urandom(page_bytes))
