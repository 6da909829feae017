"""The database seam: units of work, callbacks after commit, the shared clock, two writers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select, text

from sfserver.errors import DatabaseUnavailableError
from sfserver.infra.db import Database, db_now, on_commit
from sfserver.infra.schema import upgrade_schema
from sfserver.models import Base, User


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", busy_timeout_s=5)
    upgrade_schema(database)
    return database


def add_user(database: Database, name: str) -> None:
    with database.write() as session:
        session.add(User(name=name, created_at=db_now(session)))


def test_an_error_rolls_back_and_drops_the_callbacks(database: Database) -> None:
    called: list[str] = []

    def fail() -> None:
        with database.write() as session:
            session.add(User(name="lost", created_at=db_now(session)))
            on_commit(session, lambda: called.append("lost"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.write() as session:
        on_commit(session, lambda: called.append("kept"))
        assert called == []
    assert called == ["kept"]
    with database.read() as session:
        assert session.scalars(select(User)).all() == []


def test_writers_wait_for_each_other_and_lose_nothing(database: Database) -> None:
    add_user(database, "u")

    def raise_length() -> None:
        for _ in range(20):
            with database.write() as session:
                user = session.scalars(select(User)).one()
                user.name += "x"

    threads = [Thread(target=raise_length) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        assert len(session.scalars(select(User)).one().name) == 81


def test_readers_do_not_wait_for_writers(database: Database) -> None:
    with database.write() as writer:
        writer.add(User(name="unseen", created_at=db_now(writer)))
        writer.flush()
        with database.read() as reader:
            assert reader.scalars(select(User)).all() == []


def test_the_disk_is_synced_at_every_commit(database: Database) -> None:
    with database.read() as session:
        assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert session.execute(text("PRAGMA synchronous")).scalar_one() == 2


def test_the_clock_is_utc_and_can_be_shifted_in_tests(database: Database, tmp_path: Path) -> None:
    with database.read() as session:
        assert abs(db_now(session) - datetime.now(UTC)) < timedelta(seconds=5)
    ahead = Database(f"sqlite:///{tmp_path / 'test.db'}", clock_offset=timedelta(hours=25))
    with ahead.read() as session:
        assert db_now(session) - datetime.now(UTC) > timedelta(hours=24)


def test_a_database_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError):
        Database(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}").ping()


def test_the_migrations_make_exactly_what_the_models_say(database: Database) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_migration_is_the_one_a_start_looks_for() -> None:
    from alembic.script import ScriptDirectory

    from sfserver.infra.schema import HEAD, alembic_config

    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [HEAD]
