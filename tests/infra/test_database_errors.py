"""The boundary table: what is an outage, what is damage and what is neither, by databases that are in that state."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from sfserver.errors import DatabaseDamagedError, DatabaseUnavailableError, PermanentError, TransientError
from sfserver.infra.database_errors import classify
from sfserver.infra.db import Database

ROW = "x" * 4000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", busy_timeout_s=0.1)
    with database.write() as session:
        session.execute(text("CREATE TABLE rows (id INTEGER PRIMARY KEY, value TEXT UNIQUE NOT NULL)"))
    yield database
    database.close()


def insert(database: Database, count: int = 1) -> None:
    with database.write() as session:
        for number in range(count):
            session.execute(text("INSERT INTO rows (value) VALUES (:value)"), {"value": f"{number}{ROW}"})


def count(database: Database) -> int:
    with database.read() as session:
        found: int = session.execute(text("SELECT count(*) FROM rows")).scalar_one()
    return found


def test_a_database_that_another_process_has_locked_is_an_outage(database: Database, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "test.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailableError, match="locked"):
            insert(database)
        assert count(database) == 0
        other.execute("ROLLBACK")
    other.close()
    insert(database)
    assert count(database) == 1


def test_a_full_database_is_an_outage_and_goes_on_when_there_is_room(database: Database) -> None:
    limit(database, pages=8)
    with pytest.raises(DatabaseUnavailableError, match="full") as refused:
        insert(database, 20)
    assert "make room" in (refused.value.hint or "")
    assert count(database) == 0
    limit(database, pages=1000)
    insert(database, 20)
    assert count(database) == 20


def limit(database: Database, *, pages: int) -> None:
    with database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def test_a_full_disk_is_an_outage(full_disk: Path) -> None:
    database = Database(f"sqlite:///{full_disk / 'test.db'}", busy_timeout_s=0.1)
    if not full_disk.is_mount():
        limit(database, pages=1)
    with pytest.raises(DatabaseUnavailableError), database.write() as session:
        session.execute(text("CREATE TABLE rows (id INTEGER)"))
    database.close()


def test_a_file_that_cannot_be_written_is_an_outage(database: Database, tmp_path: Path) -> None:
    database.close()
    path = f"file:{tmp_path / 'test.db'}?mode=ro&uri=true"
    read_only = Database(f"sqlite:///{path}", busy_timeout_s=0.1)
    with pytest.raises(DatabaseUnavailableError, match="readonly"):
        insert(read_only)
    assert count(read_only) == 0
    read_only.close()


def test_a_write_by_a_reader_is_a_bug_and_no_outage(database: Database) -> None:
    with pytest.raises(OperationalError, match="readonly"), database.read() as session:
        session.execute(text("INSERT INTO rows (value) VALUES ('x')"))
    assert count(database) == 0


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}")
    for transaction in (database.read, database.write):
        with pytest.raises(DatabaseUnavailableError, match="unable to open"), transaction() as session:
            session.execute(text("SELECT 1"))


def test_a_commit_that_fails_is_an_outage(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose_the_disk(session: Session) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise OperationalError("COMMIT", None, error)

    monkeypatch.setattr(Session, "commit", lose_the_disk)
    with pytest.raises(DatabaseUnavailableError, match="disk I/O error"):
        insert(database)


def overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"not a database at all")


def overwrite_pages(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


@pytest.mark.parametrize("damage", [overwrite_header, overwrite_pages])
def test_a_damaged_file_is_no_outage(database: Database, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    insert(database, 20)
    database.close()
    damage(tmp_path / "test.db")
    with pytest.raises(DatabaseDamagedError) as caught:
        count(database)
    assert (caught.value.code, caught.value.status) == ("database_damaged", 500)
    assert caught.value.hint


def test_bugs_and_constraints_stay_what_they_are(database: Database) -> None:
    insert(database)
    with pytest.raises(IntegrityError):
        insert(database)
    with pytest.raises(OperationalError, match="syntax error"), database.write() as session:
        session.execute(text("SELEC 1"))


class PostgresError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


@pytest.mark.parametrize("state", ["08006", "40001", "40P01", "53100", "53300", "57P01", "57P03", None])
def test_states_of_postgresql_that_are_outages(state: str | None) -> None:
    assert classify(OperationalError("SELECT 1", None, PostgresError(state))) is DatabaseUnavailableError


@pytest.mark.parametrize(
    ("state", "wrapper", "expected"),
    [
        ("XX001", OperationalError, DatabaseDamagedError),
        ("XX000", OperationalError, None),
        ("23505", IntegrityError, None),
        ("25006", OperationalError, None),
        ("42601", ProgrammingError, None),
        (None, ProgrammingError, None),
    ],
)
def test_states_of_postgresql_that_are_none(
    state: str | None, wrapper: type[DBAPIError], expected: type[PermanentError] | None
) -> None:
    assert classify(wrapper("SELECT 1", None, PostgresError(state))) is expected


def test_a_connection_that_broke_is_an_outage_whatever_was_said() -> None:
    broken = DBAPIError("SELECT 1", None, PostgresError("XX000"), connection_invalidated=True)
    assert classify(broken) is DatabaseUnavailableError
    assert issubclass(DatabaseUnavailableError, TransientError)
