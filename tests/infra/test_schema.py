"""Migrations make what the models say, once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sfserver.errors import DatabaseDamagedError
from sfserver.infra.db import Database
from sfserver.infra.schema import upgrade_schema
from sfserver.models import Base


@pytest.fixture
def database(tmp_path: Path) -> Database:
    database = Database(f"sqlite:///{tmp_path / 'test.db'}", busy_timeout_s=20)
    upgrade_schema(database)
    return database


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


def test_two_servers_may_migrate_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'test.db'}"
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda _: upgrade_schema(Database(url, busy_timeout_s=20)), range(3)))
    assert (tmp_path / "test.db").stat().st_size > 0


def test_a_damaged_database_is_not_migrated(tmp_path: Path) -> None:
    (tmp_path / "test.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(DatabaseDamagedError):
        upgrade_schema(Database(f"sqlite:///{tmp_path / 'test.db'}"))
